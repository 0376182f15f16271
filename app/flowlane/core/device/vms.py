"""VM identity, and the claims of a device's ports to VMs (M1); see :mod:`flowlane.core.device.claims`.

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
from flowlane.core.device.claims import claim, retract
from flowlane.core.device.conflicts import find_conflicts
from flowlane.core.flowkey import format_mac
from flowlane.core.model import NO_IDS, NOT_A_VM, UNRESOLVED_VM, PortRole, Vm
from flowlane.core.pacing import paced

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from flowlane.core.effects import Effect
    from flowlane.core.state.device import Device, Port, State

_MAC = re.compile(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\Z")
_RESERVED = frozenset((NOT_A_VM, UNRESOLVED_VM))

STATUS_KEY, INACTIVE = "iface-status", "inactive"
"""External id of an interface that stands beside another one of the same ``iface-id``, and is not in use
(ovs-vswitchd.conf.db(5), table Interface, "Virtual Machine Identifiers")."""


def vm_number(vm_id: str, taken: Container[int]) -> int:
    """Choose a number for a VM: the CRC-32 of its id, so that it is the same after a restart, or the next free one."""
    number = crc32(vm_id.encode())
    while number in taken or number in _RESERVED:
        number = (number + 1) & 0xFFFFFFFF
    return number


def identity(port_name: str, external_ids: Mapping[str, str]) -> tuple[str, str, str]:
    """Read the identity of the VM on a port: its id, its name, and which external id the id is (or ``port``)."""
    name = external_ids.get("vm-name") or port_name
    for source in ("iface-id", "vm-uuid"):
        if external_ids.get(source):
            return external_ids[source], name, source
    return port_name, name, "port"


def attached_macs(external_ids: Mapping[str, str]) -> tuple[int, ...]:
    """Read the VM's addresses from ``attached-mac``; what is not a MAC address is ignored."""
    macs = (parse_mac(text) for text in external_ids.get("attached-mac", "").replace(",", " ").split())
    return tuple(sorted({mac for mac in macs if mac is not None}))


def parse_mac(text: str) -> int | None:
    """Parse a MAC address with colons or dashes into a 48-bit integer; return None for anything else."""
    if not _MAC.match(text):
        return None
    return int(text.replace("-", "").replace(":", ""), 16)


def refresh_vms(
    state: State, device: Device, out: list[Effect], only: Collection[int] | None = None
) -> set[int]:
    """Bring the claims of a device's ports to VMs up to date, and find where each VM is.

    Args:
        only: numbers of the ports that have changed; None: any may have.

    Returns:
        The numbers of the VMs that have changed and that may have flows.
    """
    of_ports = (item for item in device.ports.items() if only is None or item[0] in only)
    vm_ports = {number: port for number, port in of_ports if port.role is PortRole.VM}
    claimed = [port_no for port_no in device.claims if only is None or port_no in only]
    gone = [port_no for port_no in claimed if port_no not in vm_ports]
    for port_no in paced(gone, state.pace):
        retract(state, device, port_no, out)
    ports = paced(vm_ports.values(), state.pace)
    changed = {number for port in ports if (number := _attach(state, device, port, out))}
    changed |= state.renamed & state.vms.keys()
    state.renamed.clear()
    find_conflicts(state, [device.port_vm[port_no] for port_no in vm_ports], out)
    return changed


def detach_all(state: State, device: Device, out: list[Effect]) -> None:
    """Drop all claims of a device that is gone."""
    for port_no in list(device.claims):
        retract(state, device, port_no, out)
    find_conflicts(state, (), out)


def shares_of(device: Device, vms: Iterable[Vm]) -> dict[int, int]:
    """Find the shares of the hardware of VMs (M11): VM number -> index of its share, for VMs that have one."""
    shares: dict[int, int] = {}
    if not device.policy.shares:
        return shares
    for vm in vms:
        for index, share in enumerate(device.policy.shares):
            if selects(share.vms, vm):
                shares[vm.number] = index
                break
    return shares


def _attach(state: State, device: Device, port: Port, out: list[Effect]) -> int | None:
    """Have a port claim its VM; return the VM's number when it was known before and has changed."""
    external_ids = port.facts.external_ids if port.facts else NO_IDS
    vm_id, name, source = _free_identity(state, device, port, external_ids)
    number = state.vm_numbers.get(vm_id)
    if number is None:
        number = state.vm_numbers[vm_id] = vm_number(vm_id, state.numbers_taken)
        state.numbers_taken.add(number)
    macs = attached_macs(external_ids)
    vm = Vm(number, vm_id, name, device.dpid, port.port_no, port.name, macs, external_ids, source)
    is_there = device.connected or device.described is not None
    active = is_there and port.up and external_ids.get(STATUS_KEY) != INACTIVE
    return number if claim(state, device, port, vm, active, out) else None


def _free_identity(
    state: State, device: Device, port: Port, external_ids: Mapping[str, str]
) -> tuple[str, str, str]:
    """Read a port's identity; where it is not one VM's own, make one of it that is.

    A port name that is the id of a VM on another port is prefixed with the dpid. A ``vm-uuid`` alone is the id of the
    first NIC with it; others on the same device, or with other addresses, have their address or port name behind it.
    """
    vm_id, name, source = identity(port.name, external_ids)
    if source == "iface-id":
        return vm_id, name, source
    macs = attached_macs(external_ids)
    own = f"{device.dpid:016x}/{port.name}" if source == "port" else f"{vm_id}/{_nic(port, macs)}"
    of_port = device.claims.get(port.port_no)
    if of_port is not None and of_port.vm.id in (vm_id, own):
        return of_port.vm.id, name, source
    of_vm = state.claims.get(state.vm_numbers.get(vm_id, -1))
    holders = [one.vm for one in of_vm.claims] if of_vm is not None else []
    is_taken = bool(holders) if source == "port" else _is_other_nic(holders, device.dpid, macs)
    return own if is_taken else vm_id, name, source


def _nic(port: Port, macs: tuple[int, ...]) -> str:
    return format_mac(macs[0]) if macs else port.name


def _is_other_nic(holders: list[Vm], dpid: int, macs: tuple[int, ...]) -> bool:
    """Whether a port is another NIC than those that have a ``vm-uuid``: on one device, or with another address."""
    if any(vm.dpid == dpid for vm in holders):
        return True
    return bool(holders and macs) and all(vm.macs and not {*macs} & {*vm.macs} for vm in holders)
