"""What the allocator is asked and what it answers. Plain data; rates are bit/s, times seconds.

A *row* is the number of a flow in the device's :class:`~flowlane.core.flows.FlowTable`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.policy import Road

if TYPE_CHECKING:
    from flowlane.core.model import QueueKind, Reason


class Demand(NamedTuple):
    """What a flow asks of the queues of its egress port: its class as policy says, and its rate.

    ``rate`` is bit/s, 0 when nobody has measured it yet: the allocator then takes the mean of the measured
    flows of the class. ``group`` numbers the flow's likeness [claims 5 and 6]: flows with the same number
    belong together; whoever interns the number decides whether classes are part of the likeness.
    ``share`` is the index of the VM's part of the hardware, -1 for none. ``max_queues`` None: no limit.
    ``min_rate`` is what a queue of the class has to guarantee, bit/s, 0 for nothing.
    """

    rate: int = 0
    class_index: int = 0
    group: int = 0
    exclusive: bool = False
    road: Road = Road.PREFER_HARDWARE
    priority: int = 0
    vm_number: int = 0
    share: int = -1
    min_queues: int = 0
    max_queues: int | None = None
    keep_vm_together: bool = False
    min_rate: int = 0


class Placement(NamedTuple):
    """Where a flow is: its queue, or NO_QUEUE and ``QueueKind.NONE`` when its port has none."""

    queue_id: int
    kind: QueueKind
    reason: Reason


class Move(NamedTuple):
    """A flow that has to change its queue; ``kind`` is that of the new queue.

    With ``old`` and ``new`` the same, the flow stays, for another reason than until now.
    """

    row: int
    old: int
    new: int
    kind: QueueKind
    reason: Reason


class Alternative(NamedTuple):
    """A queue that was considered for a flow, and why it was not taken; ``why`` empty: it was taken."""

    queue_id: int
    kind: QueueKind
    load: int
    flows: int
    why: str
