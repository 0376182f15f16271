"""A flow's life on a device: seen, counted, classified again as it grows, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import measure
from flowlane.core.assign import count_refusal, forget, pin, place, regroup, report_flow
from flowlane.core.classified import classify_row, reclassify
from flowlane.core.devices import replan
from flowlane.core.flowkey import FlowParts, unpack
from flowlane.core.flows import PINNED, REFUSED
from flowlane.core.gates import advance
from flowlane.core.hosts import hear, sender
from flowlane.core.model import NO_QUEUE, NOT_A_VM
from flowlane.core.packet import read_frame
from flowlane.core.rates import SHORTEST_WINDOW, grown, smooth

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.events import FlowCounters, FlowEnded, FlowSeen, RuleRefused
    from flowlane.core.packet import Frame
    from flowlane.core.state import Device, State

REPLAN_INTERVAL = 0.1
"""Seconds; a flood of new addresses makes a device's plan anew no more often than this."""

REPIN_AFTER = 1.0
"""Seconds without a sign of a flow's pin, after which a packet that missed it shows that it is lost."""

SWEEP_PARTS = 10
"""A tick looks at one in so many flows for those that ended without a word."""


def on_flow_seen(state: State, event: FlowSeen, out: list[Effect]) -> None:
    """The first packet of a flow, or another one that met no pin: learn its sender, place it, pin it."""
    device = state.devices.get(event.dpid)
    port = device.ports.get(event.in_port) if device else None
    frame = read_frame(event.frame)
    if device is None or port is None or frame is None:
        return
    if hear(state, device, port, frame):
        follow_hosts(state, device, out)
    if frame.is_discovery or frame.is_group_addressed:
        return
    number = sender(state, device, port, frame)
    egress = event.egress_port or _egress(device, frame)
    if number == NOT_A_VM or egress is None or egress == event.in_port:
        return
    key = frame.key(number)
    row = device.flows.rows.get(key)
    if row is None:
        parts = FlowParts(
            number,
            frame.vlan,
            frame.kind,
            frame.protocol,
            frame.src_port,
            frame.dst_port,
            frame.src,
            frame.dst,
        )
        _begin(state, device, event.in_port, egress, key, parts, (frame.dscp, frame.pcp), out)
    else:
        _seen_again(state, device, row, event.in_port, egress, out)


def follow_hosts(state: State, device: Device, out: list[Effect]) -> None:
    """A destination is news: have it programmed at once, or with the others when many come together."""
    device.plan_due = True
    if state.now - device.planned_at >= REPLAN_INTERVAL:
        replan(state, device, out)


def _egress(device: Device, frame: Frame) -> int | None:
    """Where the device sends the frame, when it did not say: as its forward table does."""
    plan = device.plan
    return device.hosts.get(int.from_bytes(frame.eth_dst), plan.unknown_port if plan else None)


def _begin(
    state: State,
    device: Device,
    in_port: int,
    egress: int,
    key: bytes,
    parts: FlowParts,
    marks: tuple[int, int],
    out: list[Effect],
) -> int:
    flows = device.flows
    row = flows.add(key, state.now)
    flows.in_port[row], flows.egress_port[row], flows.vm_number[row] = in_port, egress, parts.vm_number
    flows.dscp[row], flows.pcp[row] = marks
    classify_row(state, device, row, parts)
    place(state, device, row, out)
    report_flow(state, device, row, "seen", out)
    return row


def _seen_again(state: State, device: Device, row: int, in_port: int, egress: int, out: list[Effect]) -> None:
    flows = device.flows
    if flows.egress_port[row] != egress or flows.in_port[row] != in_port:
        _reroute(state, device, row, in_port, egress, out)
    elif state.now - flows.last_active[row] > REPIN_AFTER:
        if flows.flags[row] & PINNED:
            flows.flags[row] &= ~PINNED
            device.pinned -= 1
        flows.last_active[row] = state.now
        pin(device, row, out)


def _reroute(state: State, device: Device, row: int, in_port: int, egress: int, out: list[Effect]) -> None:
    """The flow's sender or destination is at another port now: the same flow, with other queues."""
    flows = device.flows
    key, first, marks = flows.keys[row], flows.first_seen[row], (flows.dscp[row], flows.pcp[row])
    assert key is not None
    forget(state, device, row, out, unpin=True)
    row = _begin(state, device, in_port, egress, key, unpack(key), marks, out)
    flows.first_seen[row] = first


def on_flow_counters(state: State, event: FlowCounters, out: list[Effect]) -> None:
    """Counters of pins: measure, and classify anew where a rate gate opened or closed."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    for row, generation, packets, octets, _duration in event.counters:
        if device.flows.holds(row, generation):
            _count(state, device, row, packets, octets, out)


def _count(state: State, device: Device, row: int, packets: int, octets: int, out: list[Effect]) -> None:
    flows, now = device.flows, state.now
    seconds = now - flows.counted_at[row]
    if seconds < SHORTEST_WINDOW:
        return
    more = grown(flows.octets[row], octets)
    if more:
        flows.last_active[row] = now
    first = flows.counted_at[row] == flows.first_seen[row]
    rate = flows.rate[row] = smooth(flows.rate[row], more, seconds, first)
    flows.packets[row], flows.octets[row], flows.counted_at[row] = packets, octets, now
    port = device.ports.get(flows.egress_port[row])
    if port is not None and port.allocation is not None and flows.queue_id[row] != NO_QUEUE:
        measure(port.allocation, row, int(rate))
    gates = device.policy.gates
    if gates:
        before = flows.level[row]
        level, flows.level_since[row] = advance(gates, before, flows.level_since[row], rate, now)
        flows.level[row] = level
        if level != before and reclassify(state, device, row, out):
            return
    regroup(state, device, row, out)


def on_flow_ended(state: State, event: FlowEnded, out: list[Effect]) -> None:
    """A pin left the table. Idle: the flow has ended. Otherwise its next packet will show that it lives."""
    device = state.devices.get(event.dpid)
    if device is None or not device.flows.holds(event.row, event.generation) or not event.idle:
        return
    device.flows.packets[event.row], device.flows.octets[event.row] = event.packets, event.octets
    report_flow(state, device, event.row, "ended", out)
    forget(state, device, event.row, out, unpin=False)


def on_rule_refused(state: State, event: RuleRefused, out: list[Effect]) -> None:
    """A device refused an entry: the flow stays on the device's standing rules, and that is told."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    count_refusal(device, event.what, event.why, out)
    if event.what == "pin" and device.flows.holds(event.object_id, event.generation):
        row = event.object_id
        if device.flows.flags[row] & PINNED:
            device.pinned -= 1
        device.flows.flags[row] = device.flows.flags[row] & ~PINNED | REFUSED


def sweep(state: State, device: Device, out: list[Effect]) -> None:
    """Forget flows that showed no sign of life for long, a part of the table at a time.

    Idle pins end by flow-removed; this is for the flows whose word was lost, or that had no pin.
    """
    flows = device.flows
    size = len(flows.keys)
    if not device.connected or not size:
        return
    oldest = state.now - 1.5 * device.policy.pins.idle_timeout - 5.0
    first = device.sweep_from % size
    last = min(size, first + size // SWEEP_PARTS + 1)
    for row in range(first, last):
        if flows.keys[row] is not None and flows.last_active[row] < oldest:
            report_flow(state, device, row, "ended", out)
            forget(state, device, row, out, unpin=True)
    device.sweep_from = last % size
