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
    if not _corrects_any(device):
        return False
    most, looks = _looks(state, device)
    device.looks, device.looks_at = max(-most, looks - 1), state.now
    return looks >= 1 and is_above_others(allocation, device.flows.device_queue[row], demand)


def passes_unlooked(state: State, device: Device) -> bool:
    """Let a new flow pass where none is looked at now; False: it is to be looked at, and no look is used up."""
    if not _corrects_any(device):
        return True
    most, looks = _looks(state, device)
    if looks >= 1:
        return False
    device.looks, device.looks_at = max(-most, looks - 1), state.now
    return True


def _corrects_any(device: Device) -> bool:
    return device.capabilities.learn and 2 * device.pinned < device.pin_budget and not device.adopting


def _looks(state: State, device: Device) -> tuple[float, float]:
    """Return how many looks can be saved, and how many there are."""
    most = min(LOOKS, LOOKED_AT * device.policy.copy_rate)
    return most, min(most, device.looks + (state.now - device.looks_at) * most)
