"""Measures of an assignment: load of the busiest queue against its bounds, and fairness.

To place known, unmovable rates on equal queues so that the busiest queue has the least load is scheduling on
identical machines (P||Cmax), which is NP-hard. LPT, "longest processing time first", places the heaviest flow
first, each on the least loaded queue. It is at most 4/3 - 1/(3m) of the optimum on m queues (Graham, SIAM
J. Appl. Math. 17, 1969). It sees all rates at once, which no controller does.
"""

from __future__ import annotations

from heapq import heapreplace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def lower_bound(rates: Sequence[int], queues: int) -> float:
    """Return a load below which no assignment can have its busiest queue: the mean, or the heaviest flow."""
    return max(sum(rates) / queues, max(rates, default=0))


def over_bound(loads: Sequence[float], heaviest: float, speeds: Sequence[float] = ()) -> float:
    """Return the busiest queue's load over its lower bound; 1 where there is no load.

    It is no less than 1: the heaviest flow is no bound in a second in which it moves.

    Args:
        loads: of the queues, in bit/s.
        heaviest: rate of the heaviest flow on them, in bit/s.
        speeds: what each queue can transmit, in bit/s; a load counts by its part of that. None given: they are equal.
    """
    if not loads:
        return 1.0
    weights = speeds or [1.0] * len(loads)
    bound = max(sum(loads) / sum(weights), heaviest / max(weights))
    busiest = max(load / weight for load, weight in zip(loads, weights, strict=True))
    return max(1.0, busiest / bound) if bound else 1.0


def jain(values: Sequence[float]) -> float:
    """Return Jain's fairness index (DEC-TR-301, 1984): 1 when all are equal, 1/n when one has all."""
    squares = len(values) * sum(value * value for value in values)
    return sum(values) ** 2 / squares if squares else 1.0


def lpt(rates: Iterable[int], queues: int) -> int:
    """Return the load of the busiest queue under LPT."""
    heap = [0] * queues
    for rate in sorted(rates, reverse=True):
        heapreplace(heap, heap[0] + rate)
    return max(heap)


def optimum(rates: Sequence[int], queues: int) -> int:
    """Return the least possible load of the busiest queue, by branch and bound; for some 20 flows at most."""
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
