"""New flows that the device put on a queue with too much are placed anew as soon as they are seen.

The device places new flows by weights, without knowing what is on its queues just now (M14). Where a few flows begin
in a second, the controller sees each of them by its copied packet, and can do better: the flow gets a pin to the queue
with least load. A storm of flows is left to the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import is_above_others

if TYPE_CHECKING:
    from flowlane.core.allocate.state import PortState
    from flowlane.core.state.device import Device, State

CORRECTED = 0.15
"""Part of the copies that a device may send in a second whose flows may be placed on another queue at once."""

LOOK = 0.25
"""Part of a correction that it costs to look whether one is needed: the switch, not the controller, places a storm."""


def corrects(state: State, device: Device, allocation: PortState, row: int) -> bool:
    """Whether a new flow is placed here although its device has placed it: its queue carries too much already.

    That takes a pin: a :data:`part <CORRECTED>` of the copies may have one, and half of the budget is left to others.
    """
    if not device.capabilities.learn or 2 * device.pinned >= device.pin_budget or device.adopting:
        return False
    most = CORRECTED * device.policy.copy_rate
    refilled = device.corrections + (state.now - device.corrected_at) * most
    device.corrections, device.corrected_at = min(most, refilled), state.now
    if device.corrections < 1:
        return False
    above = is_above_others(allocation, device.flows.device_queue[row], device.flows.class_index[row])
    device.corrections -= 1 if above else LOOK
    return above
