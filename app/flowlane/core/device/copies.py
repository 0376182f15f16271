"""The limit on copies of packets, lowered while the controller is behind with what a device sends.

A controller that has too little of a processor reads late what its switches send. The kernel stores megabytes of it,
which are copies of half a minute; whatever else the switch sends waits behind them: counters, the listing of learned
entries, replies to changes. So where a device's replies come late, it is to send half as many copies, and half of these
a second later, down to :data:`LEAST`. What is not copied is found by the next listing, if it lives as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowlane.core.state.device import Device, State

BEHIND = 1.0
"""Seconds by which the replies of a device are later than its quickest one."""

LEAST = 32
"""Copies per second that are always allowed, or what the policy allows, if that is less."""

FIRST_WAIT, LONGEST_WAIT = 5.0, 60.0
"""Seconds until the limit is doubled again; that doubles where it was too soon."""


def copy_rate(device: Device) -> int:
    """Return how many copies per second a device may send now; 0: any number."""
    allowed = device.policy.copy_rate
    return max(min(allowed, LEAST), allowed >> device.copy_limit.halved)


def follow_lag(state: State, device: Device) -> bool:
    """Lower the limit of a device whose replies are late, and raise it in time; return whether it has changed."""
    limit, before = device.copy_limit, copy_rate(device)
    if not device.connected:
        return False
    if device.readings.lag(state.now) > BEHIND:
        if limit.is_raised:
            is_soon = state.now - limit.changed_at < 2 * limit.wait
            limit.wait = min(2 * limit.wait, LONGEST_WAIT) if is_soon else FIRST_WAIT
            limit.is_raised = False
        limit.halved += before > LEAST
        limit.changed_at = state.now
    elif limit.halved and state.now - limit.changed_at >= limit.wait:
        limit.halved -= 1
        limit.is_raised, limit.changed_at = True, state.now
    return copy_rate(device) != before
