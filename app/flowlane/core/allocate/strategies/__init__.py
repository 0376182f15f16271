"""The table of strategies that a policy can name (``balance: {strategy: ...}``).

A strategy is a function that chooses a slot for a flow. To add one: write it in a file of its own and enter
it in ``STRATEGIES``; ``docs/engineers/strategies.md`` shows how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from flowlane.core.allocate.state import Demand, PortState, Slot
from flowlane.core.allocate.strategies import combined, simple

Place = Callable[[PortState, int, Demand, bytes, Slot | None], combined.Choice]


class Strategy(NamedTuple):
    """How flows get their queues.

    ``place(state, row, demand, key, current)`` chooses for a flow that is on no slot. It returns the slot,
    the group to count the flow in, the VM's number where the VM's flows keep together (else 0), and the
    reason. ``rebalances``: whether flows are moved later to even out load. ``adopt(state, demand, slot)``,
    where there is one, is called for each flow that is placed where it is already.
    """

    place: Place
    rebalances: bool = False
    adopt: Callable[[PortState, Demand, Slot], None] | None = None


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "combined": Strategy(combined.place, rebalances=True),
        "hash": Strategy(simple.hashed),
        "round-robin": Strategy(simple.round_robin),
        "least-loaded": Strategy(simple.least_loaded),
        "one-vm-one-queue": Strategy(simple.one_vm_one_queue, adopt=simple.adopt_vm_queue),
    }
)
