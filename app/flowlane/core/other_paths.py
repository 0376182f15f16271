"""The other interfaces of a flow's VM, with the room that their devices' queues have.

Which interface a packet takes is the guest's choice, so that Flowlane does not balance load between them: it shows
where there is room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import room
from flowlane.core.device.nics import paths_of
from flowlane.core.model import PortRole, QueueKind, Reason, Role
from flowlane.units import format_rate

if TYPE_CHECKING:
    from flowlane.core.allocate import Room
    from flowlane.core.device.nics import Nic
    from flowlane.core.state.device import Device, State

FULL = frozenset((Reason.OVERFLOW_TO_SOFTWARE, Reason.EXCLUSIVE_UNAVAILABLE, Reason.HARDWARE_ONLY_FULL))
"""Reasons of a flow that is on its queue for lack of room on the device."""


class OtherPath(NamedTuple):
    """Another interface of a flow's VM.

    Attributes:
        vm: id of the NIC.
        dpid: its device.
        device: the device's name.
        port: name of its port.
        up: whether it can send.
        has_room: whether a queue of the device's ports to the network has room for the flow; None: they have no queues.
        note: what follows for the flow.
    """

    vm: str
    dpid: int
    device: str
    port: str
    up: bool
    has_room: bool | None
    note: str


def other_paths(state: State, device: Device, row: int) -> tuple[OtherPath, ...]:
    """Describe the interfaces by which the VM could send a flow as well, on other devices."""
    vm = state.vms.get(device.flows.vm_number[row])
    if vm is None or device.port_vm.get(device.flows.in_port[row]) != vm.number:
        return ()
    nics = [nic for nic in paths_of(state, vm) if nic.device is not device]
    return tuple(_describe(device, row, nic) for nic in nics)


def _describe(device: Device, row: int, nic: Nic) -> OtherPath:
    there, kind = nic.device, QueueKind.NONE
    best: Room | None = None
    for port in there.ports.values():
        if port.allocation is not None and port.role in (PortRole.UPLINK, PortRole.LINK):
            for of_kind, found in room(port.allocation, int(device.flows.rate[row])).items():
                if best is None or (found.fits and not best.fits):
                    kind, best = of_kind, found
    note = _note(device, row, nic, kind, best)
    has_room = None if best is None else best.fits
    return OtherPath(nic.vm.id, there.dpid, there.name, nic.vm.port_name, nic.is_up, has_room, note)


def _note(device: Device, row: int, nic: Nic, kind: QueueKind, best: Room | None) -> str:
    if not nic.is_up:
        return "its link is down, or its device is not connected"
    if best is None:
        return "its device has no queues towards the network"
    word = "hardware" if kind is QueueKind.PHYSICAL else "software"
    of_all = "" if best.capacity is None else f" of {format_rate(best.capacity)}"
    carries = f"its {word} queues carry {format_rate(best.load)}{of_all}"
    if not best.fits:
        return f"{carries}: they are full"
    if Reason(device.flows.reason[row]) in FULL:
        return f"{carries}: they have room for the flow, and this path has not; only the VM can send it there"
    if device.role is Role.VSWITCH and kind is QueueKind.PHYSICAL:
        return (
            f"{carries}: they have room for the flow, without the host's CPU; only the VM can send it there"
        )
    return f"{carries}: they have room"
