"""The allocator: which queue each flow gets, on one egress port of one device.

:func:`new_port` makes the state of a port and :func:`update_queues` fits it to the queues that the port has
now. Flows :func:`arrive` (or are placed where they are already: :func:`place_on`), are measured
(:func:`measure`), :func:`change` their class and :func:`depart`; :func:`rebalance` moves a few of them about
once a second. Everything here is plain state and functions that change it: no I/O, no clock, and the same
calls give the same state.

These parameters are the same in all modules:

- ``state``: the :class:`~flowlane.core.allocate.state.PortState` of the port.
- ``row``: a flow, by its number in the device's :class:`~flowlane.core.state.flows.FlowTable`. It must be a
  flow of this port; that is not checked.
- ``demand``: what the flow asks for (:class:`Demand`).
- ``key``: the flow's packed key (:mod:`flowlane.core.flowkey`), which only the strategy ``hash`` reads.
- ``now``: the time in seconds, of the caller's clock. ``last_active``: by row, when the flow last sent.
  ``octets``: by row, how many bytes it has sent.
- ``moves``: the list to which a function appends each :class:`Move` that it makes.
- ``current``: the slot that a flow is on, or was on until now; None for a new flow.
- ``source`` and ``target``: the slots from which and to which a flow goes.
- Rates and loads are bit/s, times seconds.

And these words:

- *slot*: a queue of the port together with the flows on it. ``slot.queue`` is only the queue's description.
- *region*: queues that are divided among groups together: the hardware queues of one share of VMs, or all
  software queues.
- *group*: flows that the policy calls alike and that have the same path preference.
- *pool*: slots, and the groups that use them. A flow goes to the least loaded slot of its group's pool.
- *cell*: the flows of one group on one slot. Where a VM's flows keep together it holds one VM's.
- *band*: rates between two powers of two. The flows of a cell and band are a linked list, so that a flow of
  about a given rate is found without a search.
- *exclusive queue*, *exclusive flow*: a queue that one flow has to itself, and that flow. A flow of an
  exclusive class that has none is *waiting*: it shares until there is a queue for it.
- *stray*: a flow on a slot that its group does not use, after queues were divided again. A rebalance moves
  it.
- *held*: pinned by hand, or on a cordoned queue: no rebalance moves such a flow.
- *overflow*: moving flows to software queues for lack of hardware; *promotion* is the way back.
- *guarantee*: the rate that a queue always gets (``min-rate`` in OVSDB); *minimum*: the guarantee that a
  class needs.
- *window*: the time in which no flow moves twice; *token*: the right to move one flow now.
"""

from flowlane.core.allocate.flow import arrive, change, depart, measure, place_on
from flowlane.core.allocate.hold import hold, let_go
from flowlane.core.allocate.inspect import (
    Room,
    alternatives,
    begins_limited,
    is_above_others,
    queue_rate,
    queues_for_new_flows,
    room,
)
from flowlane.core.allocate.port import new_port, redivide, set_speed, update_queues
from flowlane.core.allocate.rebalance import rebalance
from flowlane.core.allocate.state import Alternative, Demand, Move, Placement
from flowlane.core.allocate.strategies import STRATEGIES

__all__ = [
    "STRATEGIES",
    "Alternative",
    "Demand",
    "Move",
    "Placement",
    "Room",
    "alternatives",
    "arrive",
    "begins_limited",
    "change",
    "depart",
    "hold",
    "is_above_others",
    "let_go",
    "measure",
    "new_port",
    "place_on",
    "queue_rate",
    "queues_for_new_flows",
    "rebalance",
    "redivide",
    "room",
    "set_speed",
    "update_queues",
]
