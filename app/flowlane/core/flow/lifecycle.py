"""A flow's life on a device: seen, counted, classified again as it grows, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.flow.assign import remove_flow, report_flow
from flowlane.core.flow.track import add_up, count, is_young

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.events import PinCounters, PinEnded
    from flowlane.core.state.device import Device, State

SWEEP_PARTS = 10
"""A tick looks at one in so many flows for those that ended without a word."""


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
    remove_flow(device, event.ref.row, out, unpin=False)


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
            remove_flow(device, row, out, unpin=True)
    device.sweep_from = last % size
