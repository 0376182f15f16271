"""Flows that go on elsewhere: by another interface of their VM, or where their VM has moved.

The guest chooses the interface by which it sends. A flow that is seen at one of them and was known at another is the
same flow: at its first packet there it has the rate, the gates and the hint that it had, and so its class and its
queue. Its assignment at the other interface ends when two readings have shown no packet there, at once where that
port's link is down, and never while packets are still counted there, as when the guest sends by both.

Its learned entry at the interface that it left stays until it is idle; its counters show when the flow comes back.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from flowlane.core.device.links import sent_in
from flowlane.core.device.nics import other_nics
from flowlane.core.device.vlans import ANY
from flowlane.core.effects import Report
from flowlane.core.flow.assign import remove_flow
from flowlane.core.flowkey import flow_id, flow_text
from flowlane.core.model import NO_QUEUE, NOT_A_VM
from flowlane.core.state.claims import Carried, Left, Origin, PathMove
from flowlane.core.state.flows import PINNED

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.events import LearnedFlow
    from flowlane.core.model import Vm
    from flowlane.core.state.device import Device, State

SILENT = 1.5
"""Seconds from the last packet that a reading showed to the present reading, from which on two have shown none.

Counters are read every second, or less often (:data:`flowlane.core.flow.readings.PERIOD`).
"""

MOST_EXAMINED = 2000
"""Flows on their way to another interface that one tick examines."""

LEFT_KEPT = 2.0
"""Times the idle timeout after which nothing is left of the learned entry of a flow that has gone on elsewhere."""


def carried(state: State, device: Device, row: int, *, by_path: bool) -> Carried:
    """Return what is known of a flow that leaves a device: by another interface of its VM, or with its VM."""
    flows = device.flows
    return Carried(
        flows.gate_state[row],
        flows.gate_since.get(row, 0.0),
        flows.rate[row],
        flows.first_seen[row],
        flows.packets[row],
        flows.octets[row],
        state.now,
        _origin(state, device, row, by_path=by_path),
    )


def take_over(state: State, device: Device, row: int, key: bytes) -> None:
    """Give a flow that begins what is known of it: where its VM was, or at another interface of its VM."""
    flows = device.flows
    number = flows.vm_number[row]
    left = device.left.pop(key, None) if device.left else None
    before = state.carried.pop(key, None) if state.carried else None
    vm, known = state.vms.get(number), None
    if vm is not None and not (device.in_adoption and device.adopting):
        # Of entries that two devices had before nobody knows which is the newer.
        known = _known_elsewhere(state, device, row, key, vm, left)
    known = known or before
    if known is not None:
        flows.gate_state[row], flows.gate_since[row] = known.gate_state, known.gate_since
        flows.rate[row], flows.first_seen[row] = known.rate, known.first_seen
        flows.packets[row], flows.octets[row] = known.packets, known.octets
        flows.set_entry_counters(row, 0, 0)
        origin = known.origin
        if (origin.dpid, origin.in_port) != (device.dpid, flows.in_port[row]):
            device.origins[row] = origin._replace(at=state.now)
    if left is not None and left.packets is not None:
        flows.set_entry_counters(row, left.packets, left.octets)
        flows.counted_at[row] = left.at


def _known_elsewhere(
    state: State, device: Device, row: int, key: bytes, vm: Vm, left: Left | None
) -> Carried | None:
    """Find the flow at another interface of its VM, in the same VLAN; note that it is at both."""
    others = other_nics(state, vm)
    if not others:
        return None
    is_own = _is_of_own_port(device, row)
    for nic in (*others, vm) if is_own else others:
        there, own = state.devices.get(nic.dpid), nic.number.to_bytes(4) + key[4:]
        of_nic = there.flows.rows.get(own) if there is not None else None
        if there is None or of_nic is None or (there is device and of_nic == row):
            continue
        if _in_one_vlan(state, vm, nic):
            known = carried(state, there, of_nic, by_path=True)
            before = known if left is None else left.known
            if before.rate > known.rate and there.flows.last_active[of_nic] < there.flows.counted_at[of_nic]:
                # The last reading there was of the silence, not of the flow.
                known = known._replace(
                    gate_state=before.gate_state, gate_since=before.gate_since, rate=before.rate
                )
            if is_own:
                new = device.dpid, key
                state.path_moves[new] = PathMove((there.dpid, own), new, state.now, known)
            return known
    return None


def _is_of_own_port(device: Device, row: int) -> bool:
    """Whether a flow comes from the VM's port on this device, not from behind a link."""
    return device.port_vm.get(device.flows.in_port[row], NOT_A_VM) == device.flows.vm_number[row]


def _in_one_vlan(state: State, vm: Vm, nic: Vm) -> bool:
    one, other = sent_in(state, vm), sent_in(state, nic)
    return ANY in one or ANY in other or not one.isdisjoint(other)


def _origin(state: State, device: Device, row: int, *, by_path: bool) -> Origin:
    flows = device.flows
    return Origin(
        flows.vm_number[row],
        device.dpid,
        flows.in_port[row],
        flows.egress_port[row],
        flows.queue_id[row],
        state.now,
        by_path,
        not _is_up(device, flows.in_port[row]),
    )


def _is_up(device: Device, port_no: int) -> bool:
    port = device.ports.get(port_no)
    return port is not None and port.up


def report_path(state: State, device: Device, row: int, out: list[Effect]) -> None:
    """Report that a flow has come from another interface; where that one's link is down, it is over there."""
    key, origin = device.flows.keys[row], device.origins.get(row)
    if key is None or origin is None or not origin.by_path or not _is_of_own_port(device, row):
        return
    out.append(_report(state, device, row, key, origin))
    move = state.path_moves.get((device.dpid, key))
    if move is not None and origin.link_down:
        _settle(state, move, out)


def _report(state: State, device: Device, row: int, key: bytes, origin: Origin) -> Report:
    before, flows = state.devices.get(origin.dpid), device.flows
    name = before.name if before is not None else f"{origin.dpid:016x}"
    why = ", since the link of the other one is down" if origin.link_down else ""
    data = {
        "device": f"{device.dpid:016x}",
        "flow": flow_id(key),
        "port": flows.egress_port[row],
        "from": _queue(origin.queue_id),
        "to": _queue(flows.queue_id[row]),
        "reason": "path",
        "change": "path",
        "from_device": f"{origin.dpid:016x}",
        "from_port": origin.egress_port,
        "from_flow": flow_id(origin.vm.to_bytes(4) + key[4:]),
        "link_down": origin.link_down,
        "why": f"its VM sends it by another interface{why}",
    }
    text = f"{flow_text(key)}: from {name} to {device.name}: its VM sends it by another interface{why}"
    return Report("move", text, data)


def _queue(queue_id: int) -> int | None:
    return None if queue_id == NO_QUEUE else queue_id


def settle_paths(state: State, out: list[Effect]) -> None:
    """End flows at interfaces by which their VM has ceased to send them."""
    for place, move in list(islice(state.path_moves.items(), MOST_EXAMINED)):
        if not _settle(state, move, out) and place in state.path_moves:
            # The next tick examines others first.
            state.path_moves[place] = state.path_moves.pop(place)
    _forget_left(state)


def _settle(state: State, move: PathMove, out: list[Effect]) -> bool:
    """End the flow at the interface where it is over; return whether it is at one of the two only."""
    old, new = (_find(state, place) for place in (move.old, move.new))
    if old is not None and new is not None:
        if _is_over(*old, move.since) and _is_later(new, old):
            _leave(state, *old, move.known, out)
        elif _is_over(*new, move.since) and _is_later(old, new):
            _come_back(state, new, old, move.known, out)
        else:
            return False
    state.path_moves.pop(move.new, None)
    return True


def _find(state: State, place: tuple[int, bytes]) -> tuple[Device, int] | None:
    device = state.devices.get(place[0])
    row = device.flows.rows.get(place[1]) if device is not None else None
    return (device, row) if device is not None and row is not None else None


def _is_over(device: Device, row: int, since: float) -> bool:
    """Whether a flow is silent by its readings since then, or cannot send."""
    flows = device.flows
    if not _is_up(device, flows.in_port[row]):
        return True
    counted = flows.counted_at[row]
    return counted > since and counted - flows.last_active[row] >= SILENT


def _is_later(one: tuple[Device, int], other: tuple[Device, int]) -> bool:
    """Whether a flow has sent at one place after it did at another, or cannot send there."""
    (device, row), (there, of_other) = one, other
    if not _is_up(there, there.flows.in_port[of_other]):
        return True
    return device.flows.last_active[row] > there.flows.last_active[of_other]


def _leave(state: State, device: Device, row: int, known: Carried, out: list[Effect]) -> None:
    """End a flow where it is not sent any more, on the devices behind that one, too."""
    key, number = device.flows.keys[row], device.flows.vm_number[row]
    assert key is not None
    behind = [other for other in state.devices.values() if number in other.nearer and other is not device]
    for other in (device, *behind):
        of_other = other.flows.rows.get(key)
        if of_other is not None:
            flows = other.flows
            counted, octets = flows.entry_counters(of_other)
            packets = None if flows.flags[of_other] & PINNED else counted
            other.left[key] = Left(packets, octets, flows.counted_at[of_other], known, state.now)
            remove_flow(other, of_other, out, unpin=True, why="its VM sends it by another interface")


def _come_back(
    state: State, gone: tuple[Device, int], back: tuple[Device, int], known: Carried, out: list[Effect]
) -> None:
    """End a flow at the interface to which it had moved: it is sent by the first one again."""
    device, row = back
    key = device.flows.keys[row]
    assert key is not None
    origin = _origin(state, *gone, by_path=True)
    device.origins[row] = origin
    out.append(_report(state, device, row, key, origin))
    _leave(state, *gone, known, out)


def is_left(state: State, device: Device, key: bytes, entry: LearnedFlow) -> bool:
    """Whether a learned entry of a flow that is not known is of one that goes on by another interface.

    An entry that has counted more than before shows that the flow is here again, unless the link is down.
    """
    left = device.left.get(key)
    if left is None:
        return False
    if left.packets is not None and entry.packets > left.packets and _is_up(device, entry.in_port):
        return False
    device.left[key] = left._replace(packets=entry.packets, octets=entry.octets, at=state.now)
    return True


def _forget_left(state: State) -> None:
    oldest = state.now - LEFT_KEPT * state.policy.pins.idle_timeout
    for device in state.devices.values():
        for key in [key for key, left in device.left.items() if left.since < oldest] if device.left else ():
            del device.left[key]
