"""The strategies that a policy can name (``balance: strategy:``), by name.

A strategy is a function that places a flow, and perhaps one that moves flows later. To add one: write it in
a file of its own, and enter it in ``STRATEGIES``; ``docs/strategies.md`` shows how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from flowlane.core.allocate.state import Demand, PortState, Slot
from flowlane.core.allocate.strategies import combined, simple

Place = Callable[[PortState, int, Demand, bytes, Slot | None], combined.Choice]


class Strategy(NamedTuple):
    """How flows are placed, and whether flows are moved later to balance queues.

    ``place(state, row, demand, key, current)`` gives the slot, the group to count the flow in, the VM number if
    the VM's flows keep together (else 0), and the reason. ``current`` is where the flow was until now.
    ``adopt`` is called for each flow that is placed where it is already, not by ``place``.
    """

    place: Place
    moves: bool = False
    adopt: Callable[[PortState, Demand, Slot], None] | None = None


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "combined": Strategy(combined.place, moves=True),
        "hash": Strategy(simple.hashed),
        "round-robin": Strategy(simple.round_robin),
        "least-loaded": Strategy(simple.least_loaded),
        "one-vm-one-queue": Strategy(simple.one_vm_one_queue, adopt=simple.adopt_vm_queue),
    }
)
