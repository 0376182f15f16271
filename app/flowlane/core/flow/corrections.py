"""New flows that the device put on a queue with too much are placed anew as soon as they are seen.

The device places new flows by weights, without knowing what is on its queues just now (M14). Where a few flows begin
in a second, the controller sees each of them by its copied packet, and can do better: the flow gets a pin to the queue
with least load. A storm of flows is left to the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import is_above_others

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Demand, PortState
    from flowlane.core.state.device import Device, State

LOOKS = 150
"""New flows in a second that are looked at; while more than that begin, none is placed anew."""

LOOKED_AT = 0.15
"""The same as a part of the copies that a device may send in a second, where that is less."""


def corrects(state: State, device: Device, allocation: PortState, row: int, demand: Demand) -> bool:
    """Whether a new flow is placed here although its device has placed it: its queue carries too much already.

    That takes a pin, of which half of the budget is left to other flows. Every new flow uses up a look, a second's
    looks can be saved, and a storm runs into debt of as many: only its first flows are looked at.
    """
    most = most_looks(device)
    if most is None:
        return False
    is_looked_at = has_look(state, device, most)
    use_up_look(state, device, most)
    return is_looked_at and is_above_others(allocation, device.flows.device_queue[row], demand)


def most_looks(device: Device) -> float | None:
    """Return how many new flows in a second may be looked at on a device; None: none is."""
    if not device.capabilities.learn or 2 * device.pinned >= device.pin_budget or device.adopting:
        return None
    return min(LOOKS, LOOKED_AT * device.policy.copy_rate)


def has_look(state: State, device: Device, most: float) -> bool:
    """Whether the next new flow is looked at, where ``most`` are in a second."""
    return min(most, device.looks + (state.now - device.looks_at) * most) >= 1


def use_up_look(state: State, device: Device, most: float) -> None:
    """Count a new flow, whether or not it is looked at."""
    looks = min(most, device.looks + (state.now - device.looks_at) * most)
    device.looks, device.looks_at = max(-most, looks - 1), state.now
