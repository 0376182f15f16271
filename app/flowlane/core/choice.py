"""The device's own choice of a queue for a new flow: when it is as good as any, and when its class wants another.

A device spreads flows over queues that its standing rules name [0054]; which one it took, it says (a register
in the packet-in, and the entry that it learned). Moving a flow costs an entry and may reorder its packets, so
the choice stands unless something that only the controller knows speaks against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import settle, spread
from flowlane.core.flows import UNTOLD
from flowlane.core.model import NO_QUEUE, Reason

if TYPE_CHECKING:
    from flowlane.core.allocate.model import Demand, Placement
    from flowlane.core.allocate.state import PortState
    from flowlane.core.state import Device

_SPREADING = "combined"
"""The strategy whose choice for a small flow may as well be the device's; the others choose themselves."""


def accept(device: Device, allocation: PortState, row: int, demand: Demand, now: float) -> Placement | None:
    """Take a new flow over on the queue that the device chose; None when it has to be placed."""
    if not may_stay(device, allocation, row, demand):
        return None
    placement = settle(allocation, row, demand, device.flows.device_queue[row], now)
    return placement._replace(reason=Reason.DEVICE_CHOSE)


def may_stay(device: Device, allocation: PortState, row: int, demand: Demand) -> bool:
    """Whether the queue that the device gave a flow is one of those that its class may have.

    For what is found in a device that is taken over any will do: which queues a class has follows from where its
    flows are, and what does not fit then is moved home little by little, as any stray.
    """
    queue_id = device.flows.device_queue[row]
    if queue_id in (UNTOLD, NO_QUEUE) or device.policy.balance.strategy != _SPREADING:
        return False
    wanted = device.policy.classes[demand.class_index]
    if device.adopting:
        return not wanted.meter_only and any(slot.queue.queue_id == queue_id for slot in allocation.slots)
    bound = (
        demand.exclusive
        or demand.share >= 0
        or wanted.alike
        or wanted.keep_vm_together
        or wanted.meter_only
        or wanted.max_queues is not None
    )
    queues = spread(allocation, demand.road, demand.group, demand.min_rate)
    return not bound and any(queue_id == other for other, _ in queues)
