"""The way of a flow: the devices that it crosses in order, those without an assignment of it included.

Each device that has the flow reports by which port it leaves; the link there leads to the next one. Where a device
does not have the flow, the way goes on to the VM with the destination address, or backwards from the port by which
the flow comes in at the next device that has it. What no link and no address shows is said to be unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.device.links import sent_in
from flowlane.core.device.vlans import ANY
from flowlane.core.flowkey import LAYER2
from flowlane.core.model import NO_PORT, PortRole
from flowlane.core.state.links import LinkState
from flowlane.core.topology.adjacency import by_end, device_name, links, port_names

if TYPE_CHECKING:
    from flowlane.core.flowkey import FlowParts
    from flowlane.core.model import Vm
    from flowlane.core.state.device import Device, State
    from flowlane.core.state.links import End
    from flowlane.core.topology.adjacency import Link

MAX_ADDRESSES = 64
"""IP addresses of a VM that are noted: a VM that sends from more is a router, or makes them up."""

MAX_OWNERS = 8
"""VMs with one IP address that are noted: in different VLANs, or one after the other."""


class Hop(NamedTuple):
    """A device on the way, or a part of the way that is not known.

    Attributes:
        dpid: the device; None: what is here is not known.
        in_port: by which port the flow comes in; None: not known.
        out_port: by which port it leaves; None: not known, or by several.
        row: the flow's row in the device's table; None: the device has no assignment of it.
        note: why it has none, or what is not known; '': it has one.
    """

    dpid: int | None
    in_port: int | None = None
    out_port: int | None = None
    row: int | None = None
    note: str = ""


class _Map(NamedTuple):
    """What a way is found with: the rows by dpid, the links by port, the destination's VM, the sender's number."""

    rows: dict[int, int]
    links: dict[End, Link]
    destination: Vm | None
    sender: int


def note_address(state: State, parts: FlowParts) -> None:
    """Note the IP address from which a VM sends: flows to it end at this VM."""
    owners = state.addresses.get(parts.src, ())
    if parts.kind == LAYER2 or parts.vm_number in owners:
        return
    count = state.addresses_noted.get(parts.vm_number, 0)
    if count < MAX_ADDRESSES:
        state.addresses_noted[parts.vm_number] = count + 1
        state.addresses[parts.src] = (*owners[-MAX_OWNERS + 1 :], parts.vm_number)


def way(state: State, parts: FlowParts, key: bytes) -> list[Hop]:
    """Find the way of a flow, from the device of the VM that sends it on.

    Args:
        parts: the parts of its key.
        key: its key.
    """
    rows = {
        dpid: row for dpid, device in state.devices.items() if (row := device.flows.rows.get(key)) is not None
    }
    vm = state.vms.get(parts.vm_number)
    known = _Map(rows, by_end(links(state)), _destination(state, parts, vm), parts.vm_number)
    start = (vm.dpid, vm.port_no) if vm is not None else _first_end(state, rows)
    hops: list[Hop] = []
    while start is not None:
        _follow(state, known, start, hops)
        seen = {hop.dpid for hop in hops}
        if vm is not None and None not in seen and _has_arrived(state, known, hops):
            return hops  # Others have it from the way that it took before, as when a VM has moved.
        start = _first_end(state, {dpid: row for dpid, row in rows.items() if dpid not in seen})
        if start is not None:
            hops.append(Hop(None, note=_gap(state, hops[-1])))
    last, end = hops[-1] if hops else None, known.destination
    if last is not None and end is not None and end.dpid not in {hop.dpid for hop in hops}:
        hops.append(Hop(None, note=_gap(state, last)))
        hops.append(_hop(state, known, (end.dpid, None), end.port_no))
    elif last is not None and _leaves_the_known(state, last):
        hops.append(Hop(None, note=_gap(state, last)))
    return hops


def _follow(state: State, known: _Map, start: End, hops: list[Hop]) -> None:
    """Add hops from a port on, as far as links lead."""
    seen = {hop.dpid for hop in hops if hop.dpid is not None}
    end: tuple[int, int | None] | None = start
    while end is not None and end[0] not in seen:
        seen.add(end[0])
        hop = _hop(state, known, end, _egress(state, known, end[0], seen))
        hops.append(hop)
        end = None if hop.out_port is None else _next(state, known, (end[0], hop.out_port))


def _hop(state: State, known: _Map, end: tuple[int, int | None], egress: int | None) -> Hop:
    dpid, in_port = end
    row = known.rows.get(dpid)
    if row is not None:
        flows = state.devices[dpid].flows
        return Hop(dpid, flows.in_port[row], flows.egress_port[row] or None, row)
    return Hop(dpid, in_port, egress, None, _why_none(state, known, dpid, in_port))


def _egress(state: State, known: _Map, dpid: int, seen: set[int]) -> int | None:
    """Find the port by which the flow leaves a device; None: not known, or several."""
    row, device, vm = known.rows.get(dpid), state.devices.get(dpid), known.destination
    if row is not None and device is not None:
        return device.flows.egress_port[row] or None
    if vm is not None and vm.dpid == dpid:
        return vm.port_no
    for other, of_other in known.rows.items():
        in_port = other, state.devices[other].flows.in_port[of_other]
        link = known.links.get(in_port)
        if other not in seen and link is not None and link.other(in_port)[0] == dpid:
            return link.other(in_port)[1]
    return _learned_port(state, device, vm) if device is not None and vm is not None else None


def _learned_port(state: State, device: Device, vm: Vm) -> int | None:
    """Return the port of a device on which an address of a VM was learned."""
    own = state.devices.get(vm.dpid)
    sent = () if own is None else (mac for (mac, _), port_no in own.hosts.items() if port_no == vm.port_no)
    macs = {*vm.macs, *sent}
    return next((port_no for (mac, _), port_no in device.hosts.items() if mac in macs), None)


def _next(state: State, known: _Map, end: End) -> End | None:
    """Return the port at the other end of a link; of a bond, of a member whose link is up."""
    device = state.devices.get(end[0])
    of_bond = [] if device is None else [number for number, of in device.bonds.items() if of == end[1]]
    there = [port for number in (end[1], *of_bond) if (port := (end[0], number)) in known.links]
    best = min(there, key=lambda port: known.links[port].state is not LinkState.UP, default=None)
    return None if best is None else known.links[best].other(best)


def _first_end(state: State, rows: dict[int, int]) -> End | None:
    """Return where a flow comes in at the device that has it for longest."""
    dpid = min(rows, key=lambda dpid: state.devices[dpid].flows.first_seen[rows[dpid]], default=None)
    return None if dpid is None else (dpid, state.devices[dpid].flows.in_port[rows[dpid]])


def _destination(state: State, parts: FlowParts, sender: Vm | None) -> Vm | None:
    """Find the VM with the destination address, in a VLAN of the sender's; None: none, or several."""
    if parts.kind == LAYER2:
        numbers = state.macs.get(int.from_bytes(parts.dst), ())
    else:
        numbers = state.addresses.get(parts.dst, ())
    found = [vm for number in numbers if (vm := state.vms.get(number)) is not None]
    if sender is not None:
        of_sender = sent_in(state, sender)
        found = [
            vm for vm in found if ANY in of_sender or not sent_in(state, vm).isdisjoint({*of_sender, ANY})
        ]
    return found[0] if len(found) == 1 else None


def _why_none(state: State, known: _Map, dpid: int, in_port: int | None) -> str:
    device = state.devices.get(dpid)
    if device is None:
        return "it has no connection to Flowlane"
    if not device.connected:
        return "its connection to Flowlane has ended"
    port = device.ports.get(in_port) if in_port is not None else None
    if port is not None and port.role is PortRole.UPLINK and not device.queues_inward:
        return "what comes in by its uplink is placed only where ports to VMs have queues"
    if port is not None and port.role is not PortRole.VM and known.sender not in port.vms_behind:
        return f"the VM that sends it is not known behind port {port.label}"
    return "it has not reported the flow"


def _leaves_the_known(state: State, hop: Hop) -> bool:
    """Whether a way goes on after its last hop: not where that hands the flow to a VM, or to the host itself."""
    device = state.devices.get(hop.dpid) if hop.dpid is not None else None
    if device is None or hop.out_port in (None, NO_PORT):
        return True
    port = device.ports.get(hop.out_port) if hop.out_port is not None else None
    return port is None or port.role in (PortRole.UPLINK, PortRole.LINK)


def _has_arrived(state: State, known: _Map, hops: list[Hop]) -> bool:
    """Whether the last hop hands the flow to a VM, or to the host itself, and no other device has its destination."""
    end = known.destination
    return not _leaves_the_known(state, hops[-1]) and (end is None or end.dpid in {hop.dpid for hop in hops})


def _gap(state: State, hop: Hop) -> str:
    """Say what is not known after a hop."""
    if hop.dpid is None:
        return hop.note
    name = device_name(state, hop.dpid) or f"{hop.dpid:016x}"
    if hop.out_port is None:
        return f"by which one port it leaves {name} is not known"
    device = state.devices.get(hop.dpid)
    known = device.ports.get(hop.out_port) if device is not None else None
    port = (
        known.label if known is not None else port_names(state, hop.dpid).get(hop.out_port, str(hop.out_port))
    )
    return f"what is behind port {port} of {name} is not known"
