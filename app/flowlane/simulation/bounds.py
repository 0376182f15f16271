"""How good an assignment could be: bounds and solvers for the busiest queue's load, to compare with.

Placing known, unmovable rates on equal queues so that the busiest has least is scheduling on identical
machines (P||Cmax), which is NP-hard. LPT (longest first, each to the least loaded; Graham, SIAM J. Appl.
Math. 17, 1969) is at most 4/3 - 1/(3m) of the optimum; it sees all rates at once, which no controller does.
"""

from __future__ import annotations

from heapq import heapreplace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def lower_bound(rates: Sequence[int], queues: int) -> float:
    """No assignment can have a busiest queue below the mean load or below the heaviest flow."""
    return max(sum(rates) / queues, max(rates, default=0))


def lpt(rates: Iterable[int], queues: int) -> int:
    """The busiest queue's load when the heaviest flow is placed first, each on the least loaded queue."""
    heap = [0] * queues
    for rate in sorted(rates, reverse=True):
        heapreplace(heap, heap[0] + rate)
    return max(heap)


def optimum(rates: Sequence[int], queues: int) -> int:
    """The least possible load of the busiest queue, by branch and bound; for about 20 flows at most."""
    ordered = sorted(rates, reverse=True)
    best = lpt(ordered, queues)
    floor = -(-sum(ordered) // queues)
    floor = max(floor, ordered[0] if ordered else 0)
    loads = [0] * queues

    def descend(index: int) -> None:
        nonlocal best
        if index == len(ordered):
            best = min(best, max(loads))
            return
        for load in dict.fromkeys(loads):
            if best <= floor or load + ordered[index] >= best:
                continue
            queue = loads.index(load)
            loads[queue] += ordered[index]
            descend(index + 1)
            loads[queue] -= ordered[index]

    descend(0)
    return best
