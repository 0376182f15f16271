"""What happens because time has passed: counters are due, queues are balanced, ended flows are swept out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core import class_meters, suggest
from flowlane.core.allocate import rebalance
from flowlane.core.assign import apply_moves
from flowlane.core.devices import replan
from flowlane.core.effects import Effect, ReadCounters
from flowlane.core.lifecycle import sweep
from flowlane.core.refusals import try_another_pin
from flowlane.core.takeover import end_taking_over
from flowlane.core.weights import weigh

if TYPE_CHECKING:
    from flowlane.core.events import Tick
    from flowlane.core.state import Device, State

READ_INTERVAL = 2.0
"""Seconds between two readings of a device's counters (see :mod:`flowlane.core.rates`)."""

READS_PER_SECOND = 5000
"""Flows whose counters are read per second at most; a fuller device is read less often."""


def on_tick(state: State, event: Tick, out: list[Effect]) -> None:  # noqa: ARG001
    """Let every device do what is due."""
    suggest.expire(state, out)
    for device in list(state.devices.values()):
        end_taking_over(device, state.now)
        balance(state, device, out)
        if device.pin_room is not None and state.now >= device.pin_retry:
            try_another_pin(device)
        found = class_meters.try_again(state, device, out)
        if weigh(device, state.now) or device.plan_due or found:
            replan(state, device, out)
        if device.connected and state.now >= device.next_read:
            device.next_read = state.now + max(READ_INTERVAL, len(device.flows) / READS_PER_SECOND)
            out.append(ReadCounters(device.dpid))
        sweep(state, device, out)


def balance(state: State, device: Device, out: list[Effect]) -> None:
    """Balance those of a device's ports that are due."""
    for port in device.ports.values():
        if device.taking_over:
            # Nothing is measured yet: loads that are not known are no reason to move anything.
            port.next_balance = state.now + device.policy.balance.interval
        elif port.allocation is not None and state.now >= port.next_balance:
            port.next_balance = state.now + device.policy.balance.interval
            apply_moves(state, device, rebalance(port.allocation, state.now, device.flows.last_active), out)
