"""VM identity, and the VMs of a device as they are attached, moved and detached (M1).

A VM's identity is where libvirt, OpenStack and Kubernetes write it, in the ``external_ids`` of OVSDB's Interface row:
``iface-id``, ``vm-uuid`` and ``attached-mac`` (ovs-vswitchd.conf.db(5)). A VM with two NICs has one ``vm-uuid`` and two
``iface-id``; each NIC has its own port on a device, so the ``iface-id`` comes first. A VM port with none of them is
a VM whose id is the port's name.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING
from zlib import crc32

from flowlane.core.classify.matching import selects
from flowlane.core.effects import DeleteLearned, Effect, Report
from flowlane.core.flow.assign import remove_flow
from flowlane.core.flow.pins import WORTHY, mode
from flowlane.core.model import NO_IDS, NOT_A_VM, UNRESOLVED_VM, PortRole, Vm
from flowlane.core.state.device import rows_of_vm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.state.device import Device, Port, State

_MAC = re.compile(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\Z")
_RESERVED = frozenset((NOT_A_VM, UNRESOLVED_VM))


def vm_number(vm_id: str, taken: Container[int]) -> int:
    """Choose a number for a VM: the CRC-32 of its id, so that it is the same after a restart, or the next free one."""
    number = crc32(vm_id.encode())
    while number in taken or number in _RESERVED:
        number = (number + 1) & 0xFFFFFFFF
    return number


def identity(port_name: str, external_ids: Mapping[str, str]) -> tuple[str, str, str]:
    """Read the identity of the VM on a port: its id, its name, and which external id the id is (or ``port``)."""
    for source in ("iface-id", "vm-uuid"):
        if external_ids.get(source):
            return external_ids[source], external_ids.get("vm-name") or port_name, source
    return port_name, port_name, "port"


def attached_macs(external_ids: Mapping[str, str]) -> tuple[int, ...]:
    """Read the VM's addresses from ``attached-mac``; what is not a MAC address is ignored."""
    macs = (parse_mac(text) for text in external_ids.get("attached-mac", "").replace(",", " ").split())
    return tuple(sorted({mac for mac in macs if mac is not None}))


def parse_mac(text: str) -> int | None:
    """Parse a MAC address with colons or dashes into a 48-bit integer; return None for anything else."""
    if not _MAC.match(text):
        return None
    return int(text.replace("-", "").replace(":", ""), 16)


def refresh_vms(state: State, device: Device, out: list[Effect]) -> set[int]:
    """Reconcile a device's VMs with its ports: attach new ones, replace changed ones, detach the others.

    Returns:
        The numbers of the VMs that have changed and that may have flows.
    """
    vm_ports = {number: port for number, port in device.ports.items() if port.role is PortRole.VM}
    for port_no in [port_no for port_no in device.port_vm if port_no not in vm_ports]:
        _leave(state, device, port_no, out)
    numbers = (_attach(state, device, port, out) for port in vm_ports.values())
    return {number for number in numbers if number is not None}


def detach_all(state: State, device: Device, out: list[Effect]) -> None:
    """Detach all VMs of a device that is gone."""
    for port_no in list(device.port_vm):
        _leave(state, device, port_no, out)


def _leave(state: State, device: Device, port_no: int, out: list[Effect]) -> None:
    """Detach the VM of a port, which is on no other one, and remove its flows on all devices."""
    number = device.port_vm[port_no]
    _detach(state, device, port_no, out)
    for other in state.devices.values():
        for row in rows_of_vm(other, number):
            remove_flow(other, row, out, unpin=True)


def shares_of(device: Device, vms: Iterable[Vm]) -> dict[int, int]:
    """Find the shares of the hardware of VMs (M11): VM number -> index of its share, for VMs that have one."""
    shares = {}
    for vm in vms:
        for index, share in enumerate(device.policy.shares):
            if selects(share.vms, vm):
                shares[vm.number] = index
                break
    return shares


def _attach(state: State, device: Device, port: Port, out: list[Effect]) -> int | None:
    """Attach the VM of a port; return its number when it was known before and has changed."""
    external_ids = port.facts.external_ids if port.facts else NO_IDS
    vm_id, name, source = _free_identity(state, device, port, external_ids)
    number = state.vm_numbers.get(vm_id)
    is_known = number is not None
    if number is None:
        number = state.vm_numbers[vm_id] = vm_number(vm_id, state.numbers_taken)
        state.numbers_taken.add(number)
    macs = attached_macs(external_ids)
    vm = Vm(number, vm_id, name, device.dpid, port.port_no, port.name, macs, external_ids, source)
    if state.vms.get(number) == vm and device.port_vm.get(port.port_no) == number:
        return None
    _detach_old(state, device, vm, out)
    before = state.vms.get(number)
    state.vms[number] = vm
    device.port_vm[port.port_no] = number
    port.other_macs.clear()
    for mac in macs:
        state.macs[mac] = (*(other for other in state.macs.get(mac, ()) if other != number), number)
    change = "changed" if before is not None else "attached"
    text = f"VM {name} is on port {port.name} of {device.name}"
    out.append(
        Report(
            "vm", text, {"vm": vm_id, "device": f"{device.dpid:016x}", "port": port.name, "change": change}
        )
    )
    return number if is_known else None


def _free_identity(
    state: State, device: Device, port: Port, external_ids: Mapping[str, str]
) -> tuple[str, str, str]:
    """Read a port's identity; a port name that is the id of a VM on another port is prefixed with the dpid."""
    vm_id, name, source = identity(port.name, external_ids)
    holder = state.vms.get(state.vm_numbers.get(vm_id, -1))
    if (
        source == "port"
        and holder is not None
        and (holder.dpid, holder.port_no) != (device.dpid, port.port_no)
    ):
        return f"{device.dpid:016x}/{port.name}", name, source
    return vm_id, name, source


def _detach_old(state: State, device: Device, vm: Vm, out: list[Effect]) -> None:
    """Detach the VM from the port where it was, and another VM from the port where it is, with their flows."""
    other = device.port_vm.get(vm.port_no)
    if other is not None and other != vm.number:
        _detach(state, device, vm.port_no, out)
    before = state.vms.get(vm.number)
    if before is not None and (before.dpid, before.port_no) != (vm.dpid, vm.port_no):
        old_device = state.devices.get(before.dpid)
        if old_device is not None:
            _detach(state, old_device, before.port_no, out)
    elif before is not None:
        _disown(state, before)


def _disown(state: State, vm: Vm) -> None:
    """Take the addresses that OVSDB gives to a VM from it."""
    for mac in vm.macs:
        others = tuple(number for number in state.macs.get(mac, ()) if number != vm.number)
        if others:
            state.macs[mac] = others
        else:
            state.macs.pop(mac, None)


def _detach(state: State, device: Device, port_no: int, out: list[Effect]) -> None:
    number = device.port_vm.pop(port_no)
    vm = state.vms.pop(number, None)
    if vm is None:
        return
    _disown(state, vm)
    for row in rows_of_vm(device, number):
        remove_flow(device, row, out, unpin=True)
    if mode(device) == WORTHY:
        out.append(DeleteLearned(device.dpid, in_port=port_no))
    text = f"VM {vm.name} has left port {vm.port_name} of {device.name}"
    out.append(Report("vm", text, {"vm": vm.id, "device": f"{device.dpid:016x}", "change": "gone"}))
