"""Counters and ends of pinned flows, and the sweep that removes flows without a sign of life."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.flow.assign import remove_flow
from flowlane.core.flow.track import add_up, count, is_young

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.events import PinCounters, PinEnded
    from flowlane.core.state.device import Device, State

SWEEP_PARTS = 10
"""A tick examines one part in so many of the flow table."""

IDLE = "it was idle, and its entry has expired"
"""Why a flow has ended."""


def on_pin_counters(state: State, event: PinCounters, out: list[Effect]) -> None:
    """Take in the counters of pins: measure, and classify again where a rate gate opened or closed."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    for row, generation, packets, octets in event.counters:
        if device.flows.holds(row, generation):
            count(state, device, row, packets, octets, out)


def on_pin_ended(state: State, event: PinEnded, out: list[Effect]) -> None:
    """Take in that a pin was removed; if idle, the flow has ended, else its next packet shows that it goes on."""
    device = state.devices.get(event.dpid)
    if device is None or not device.flows.holds(*event.ref) or not event.idle:
        return
    add_up(device, event.ref.row, event.packets, event.octets)
    remove_flow(device, event.ref.row, out, unpin=False, why=IDLE)


def sweep(state: State, device: Device, out: list[Effect]) -> None:
    """Remove flows that have been idle for long, a part of the table at a time.

    Idle pins end by flow-removed; this is for flows whose flow-removed was lost, or that had no entry. Young flows
    are removed after the idle timeout, since the device reports nothing about their end. Where there are so many flows
    that their counters are read seldom, a flow may be alive though nothing was heard of it for as long.
    """
    flows = device.flows
    size = flows.used
    if not device.connected or not size:
        return
    idle_timeout = device.policy.pins.idle_timeout
    unread = device.readings.longest_unread(state.now)
    oldest_young = state.now - idle_timeout - unread
    oldest = oldest_young - 0.5 * idle_timeout - 5.0
    first = device.sweep_from % size
    last = min(size, first + size // SWEEP_PARTS + 1)
    for row in range(first, last):
        if flows.keys[row] is None or flows.last_active[row] >= oldest_young:
            continue
        if flows.last_active[row] < oldest or is_young(device, row):
            remove_flow(device, row, out, unpin=True, why="no packet of it was counted for long")
    device.sweep_from = last % size
