"""The table of strategies that a policy can name (``balance: {strategy: ...}``).

A strategy is a function that chooses a slot for a flow. To add one: write it in a file of its own and enter
it in ``STRATEGIES``; ``docs/engineers/strategies.md`` shows how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from flowlane.core.allocate.state import Demand, Move, PortState, Slot
from flowlane.core.allocate.strategies import buckets, combined, fair, priority_by_bytes, simple

Place = Callable[[PortState, int, Demand, bytes, Slot | None], combined.Choice]
OwnRebalance = Callable[[PortState, float, Sequence[int] | None, list[Move]], None]


class Strategy(NamedTuple):
    """How flows get their queues.

    ``place(state, row, demand, key, current)`` chooses for a flow that is on no slot. It returns the slot,
    the group to count the flow in, the number of what keeps together with the flow (its VM; 0 for nothing), and
    the reason. ``rebalances``: whether flows are moved later as ``combined`` does.

    The rest is None where the strategy has none. ``own_rebalance(state, now, octets, moves)`` moves flows by the
    strategy's own rules; ``octets`` are the bytes that each row has sent. ``adopt(state, row, demand, slot, key)``
    is called for each flow that is placed where it is already; it returns the number of what keeps together with
    the flow. ``newcomers(slots)`` says to which of these slots a device itself may send new flows.
    """

    place: Place
    rebalances: bool = False
    own_rebalance: OwnRebalance | None = None
    adopt: Callable[[PortState, int, Demand, Slot, bytes], int] | None = None
    newcomers: Callable[[list[Slot]], list[Slot]] | None = None


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "combined": Strategy(combined.place, rebalances=True),
        "hash": Strategy(simple.hashed),
        "round-robin": Strategy(simple.round_robin),
        "least-loaded": Strategy(simple.least_loaded),
        "one-vm-one-queue": Strategy(simple.one_vm_one_queue, adopt=simple.adopt_vm_queue),
        "buckets": Strategy(buckets.place, own_rebalance=buckets.rebalance, adopt=buckets.adopt),
        "priority-by-bytes": Strategy(
            priority_by_bytes.place,
            own_rebalance=priority_by_bytes.rebalance,
            newcomers=priority_by_bytes.highest,
        ),
        "fair": Strategy(fair.place),
    }
)
