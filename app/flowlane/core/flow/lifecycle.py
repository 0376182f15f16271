"""A flow's life on a device: seen, counted, classified again as it grows, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.device.hosts import learn_address, sender
from flowlane.core.device.refresh import replan
from flowlane.core.effects import SendPacket
from flowlane.core.flow.assign import follow_device, forget, report_flow
from flowlane.core.flow.pins import REACTIVE, mode, pin, remove_pin
from flowlane.core.flow.track import add_up, begin, count, is_young, note_choice, reroute
from flowlane.core.flowkey import FlowParts
from flowlane.core.frame import read_frame
from flowlane.core.model import NOT_A_VM
from flowlane.core.state.flows import PINNED

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.events import FlowSeen, PinCounters, PinEnded
    from flowlane.core.frame import Frame
    from flowlane.core.state.device import Device, State

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
    if learn_address(state, device, port, frame):
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
        way, marks = (event.in_port, egress), (frame.dscp, frame.pcp)
        row = begin(state, device, way, key, parts, marks, (event.queue_id, event.meter_id), out)
    else:
        chosen = event.queue_id, event.meter_id
        row = _seen_again(state, device, row, (event.in_port, egress), chosen, out)
    if mode(device) == REACTIVE:
        queue_id = device.flows.queue_id[row]
        out.append(SendPacket(device.dpid, event.in_port, egress, queue_id, event.frame))


def follow_hosts(state: State, device: Device, out: list[Effect]) -> None:
    """A destination is news: have it programmed at once, or with the others when many come together."""
    device.plan_due = True
    if state.now - device.planned_at >= REPLAN_INTERVAL:
        replan(state, device, out)


def _egress(device: Device, frame: Frame) -> int | None:
    """Where the device sends the frame, when it did not say: as its forward table does."""
    plan = device.plan
    return device.hosts.get(int.from_bytes(frame.eth_dst), plan.unknown_port if plan else None)


def _seen_again(
    state: State,
    device: Device,
    row: int,
    way: tuple[int, int],
    chosen: tuple[int | None, int],
    out: list[Effect],
) -> int:
    """A packet of a known flow met no pin; returns the flow's row."""
    flows = device.flows
    if (flows.in_port[row], flows.egress_port[row]) != way:
        return reroute(state, device, row, way, chosen, out)
    device_queue, device_meter = chosen
    if not flows.flags[row] & PINNED:
        flows.last_active[row] = state.now
        if device_queue is not None:
            follow_device(state, device, row, (device_queue, device_meter), out)
        else:
            pin(device, row, out)
    elif state.now - flows.last_active[row] > REPIN_AFTER:
        # Lost or not: an entry that stands there after all must not outlive what we know of it.
        remove_pin(device, row, out)
        flows.last_active[row] = state.now
        note_choice(device, row, chosen)
        pin(device, row, out)
    return row


def on_pin_counters(state: State, event: PinCounters, out: list[Effect]) -> None:
    """Counters of pins: measure, and classify anew where a rate gate opened or closed."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    for row, generation, packets, octets in event.counters:
        if device.flows.holds(row, generation):
            count(state, device, row, packets, octets, out)


def on_pin_ended(state: State, event: PinEnded, out: list[Effect]) -> None:
    """A pin left the table. Idle: the flow has ended. Otherwise its next packet will show that it lives."""
    device = state.devices.get(event.dpid)
    if device is None or not device.flows.holds(*event.ref) or not event.idle:
        return
    add_up(device, event.ref.row, event.packets, event.octets)
    report_flow(state, device, event.ref.row, "ended", out)
    forget(device, event.ref.row, out, unpin=False)


def sweep(state: State, device: Device, out: list[Effect]) -> None:
    """Forget flows that showed no sign of life for long, a part of the table at a time.

    Idle pins end by flow-removed; this is for the flows whose word was lost, or that had no entry. Young flows
    are given the idle timeout only, since no word will come of them.
    """
    flows = device.flows
    size = len(flows.keys)
    if not device.connected or not size:
        return
    idle_timeout = device.policy.pins.idle_timeout
    oldest, oldest_young = state.now - 1.5 * idle_timeout - 5.0, state.now - idle_timeout
    first = device.sweep_from % size
    last = min(size, first + size // SWEEP_PARTS + 1)
    for row in range(first, last):
        if flows.keys[row] is None or flows.last_active[row] >= oldest_young:
            continue
        if flows.last_active[row] < oldest or is_young(device, row):
            report_flow(state, device, row, "ended", out)
            forget(device, row, out, unpin=True)
    device.sweep_from = last % size
