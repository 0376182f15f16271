"""VMs on ports (M1): one that appears, moves or goes is noticed here, and its flows follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.assign import forget
from flowlane.core.effects import Effect, ForgetLearned, Report
from flowlane.core.model import NO_TEXT, PortRole, Vm
from flowlane.core.pinning import WORTHY, mode
from flowlane.core.state import rows_of_vm
from flowlane.core.vm_select import selects
from flowlane.core.vms import attached_macs, identity, vm_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowlane.core.state import Device, Port, State


def refresh_vms(state: State, device: Device, out: list[Effect]) -> set[int]:
    """Make the device's VMs follow its ports: new ones are attached, changed ones replaced, gone ones dropped.

    Returns the numbers of those of which something has changed and that may have flows.
    """
    here = {port.port_no: port for port in device.ports.values() if port.role is PortRole.VM}
    for port_no in [port_no for port_no in device.port_vm if port_no not in here]:
        _detach(state, device, port_no, out)
    return {number for port in here.values() if (number := _attach(state, device, port, out)) is not None}


def shares_of(device: Device, vms: Iterable[Vm]) -> dict[int, int]:
    """VM number -> index of its share of the hardware, for VMs that have one (M11)."""
    found = {}
    for vm in vms:
        for index, share in enumerate(device.policy.shares):
            if selects(share.vms, vm):
                found[vm.number] = index
                break
    return found


def _attach(state: State, device: Device, port: Port, out: list[Effect]) -> int | None:
    """Put the port's VM in its place; its number when it was known before and is not as it was."""
    external_ids = port.facts.external_ids if port.facts else NO_TEXT
    vm_id, name, source = _free_identity(state, device, port, external_ids)
    number = state.vm_numbers.get(vm_id)
    is_known = number is not None
    if number is None:
        number = state.vm_numbers[vm_id] = vm_number(vm_id, state.numbers_taken)
        state.numbers_taken.add(number)
    macs = attached_macs(external_ids)
    vm = Vm(number, vm_id, name, device.dpid, port.port_no, port.name, macs, external_ids, source)
    if state.vms.get(number) == vm:
        return None
    _leave_old_place(state, device, vm, out)
    before = state.vms.get(number)
    state.vms[number] = vm
    device.port_vm[port.port_no] = number
    state.macs.update(dict.fromkeys(macs, number))
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
    """The port's identity; a port name that another device's VM has already is made unique by the device."""
    vm_id, name, source = identity(port.name, external_ids)
    holder = state.vms.get(state.vm_numbers.get(vm_id, -1))
    if (
        source == "port"
        and holder is not None
        and (holder.dpid, holder.port_no) != (device.dpid, port.port_no)
    ):
        return f"{device.dpid:016x}/{port.name}", name, source
    return vm_id, name, source


def _leave_old_place(state: State, device: Device, vm: Vm, out: list[Effect]) -> None:
    """The VM was elsewhere, or another VM was here: those flows are no longer what they were."""
    tenant = device.port_vm.get(vm.port_no)
    if tenant is not None and tenant != vm.number:
        _detach(state, device, vm.port_no, out)
    before = state.vms.get(vm.number)
    if before is not None and (before.dpid, before.port_no) != (vm.dpid, vm.port_no):
        old_device = state.devices.get(before.dpid)
        if old_device is not None:
            _detach(state, old_device, before.port_no, out)
    elif before is not None:
        for mac in before.macs:
            state.macs.pop(mac, None)


def _detach(state: State, device: Device, port_no: int, out: list[Effect]) -> None:
    number = device.port_vm.pop(port_no)
    vm = state.vms.pop(number, None)
    if vm is None:
        return
    for mac in [mac for mac, owner in state.macs.items() if owner == number]:
        del state.macs[mac]
    for row in rows_of_vm(device, number):
        forget(state, device, row, out, unpin=True)
    if mode(device) == WORTHY:
        out.append(ForgetLearned(device.dpid, in_port=port_no))
    text = f"VM {vm.name} has left port {vm.port_name} of {device.name}"
    out.append(Report("vm", text, {"vm": vm.id, "device": f"{device.dpid:016x}", "change": "gone"}))
