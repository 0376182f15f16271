"""Rates that queues guarantee (OVSDB Queue ``min-rate``), and the classes that need one (policy ``minimum``).

Which class counts on which queue is a matching: a class fits every queue from its minimum upwards, so the sets of
queues that fit lie in each other, and giving each class the smallest that suffices serves as many as can be served.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowlane.core.allocate.state import Group, Pool, Slot


class Want(NamedTuple):
    """What needs a guarantee: ``minimum`` in bit/s; of two that need the same queue the higher priority has it."""

    key: int
    minimum: int
    priority: int


class Grant(NamedTuple):
    """Who counts on one queue, and from which guarantee (bit/s) on a queue does for all of them together.

    ``floor`` is below the minimum where no queue suffices: then it is the guarantee of the best one left.
    """

    keys: tuple[int, ...]
    floor: int


def grant(
    wants: Iterable[Want], rates: Iterable[int], may_join: bool = False
) -> tuple[list[Grant], list[int]]:
    """Match wants with queues that guarantee ``rates``; returns the grants, and the rates that nobody counts on.

    Whoever can be served is served before one that cannot; with ``may_join`` one that finds no queue free shares
    a queue whose guarantee is enough for both. One that is left without any queue has no grant.
    """
    free = sorted(rates)
    served: list[tuple[Grant, int]] = []
    unserved: list[Want] = []
    for want in sorted(wants, key=lambda want: (-want.priority, -want.minimum, want.key)):
        place = bisect_left(free, want.minimum)
        if place < len(free):
            served.append((Grant((want.key,), want.minimum), free.pop(place)))
        elif not (may_join and _join(served, want)):
            unserved.append(want)
    grants = [each for each, _ in served]
    grants += [Grant((want.key,), free.pop()) for want in unserved if free]
    return grants, free


def _join(served: list[tuple[Grant, int]], want: Want) -> bool:
    """Let a want count on a queue together with those who do already, where the guarantee is enough for all."""
    roomy = [place for place, (other, rate) in enumerate(served) if other.floor + want.minimum <= rate]
    if not roomy:
        return False
    place = min(roomy, key=lambda place: served[place][1] - served[place][0].floor)
    other, rate = served[place]
    served[place] = Grant((*other.keys, want.key), other.floor + want.minimum), rate
    return True


def take_more(free: list[int], floor: int, most: int) -> int:
    """Take up to ``most`` further queues that guarantee ``floor`` out of ``free``, the smallest first; how many."""
    place = bisect_left(free, floor)
    count = max(0, min(most, len(free) - place))
    del free[place : place + count]
    return count


def rate_of(slot: Slot) -> int:
    """What a queue guarantees in bit/s; 0 where nobody told."""
    return slot.queue.min_rate or 0


def fittest(slots: Iterable[Slot], minimum: int) -> Slot:
    """The queue with the smallest guarantee that suffices, else with the highest there is; the first of equals."""
    return min(slots, key=lambda slot: misfit(slot, minimum))


def misfit(slot: Slot, minimum: int) -> tuple[bool, int]:
    """How badly a queue fits a minimum; the least is the best."""
    rate = rate_of(slot)
    return (True, -rate) if rate < minimum else (False, rate)


def eligible(slots: Sequence[Slot], minimum: int) -> Sequence[Slot]:
    """The queues that guarantee a minimum; where none does, those with the highest guarantee."""
    if not minimum or not slots:
        return slots
    enough = min(minimum, max(rate_of(slot) for slot in slots))
    return [slot for slot in slots if rate_of(slot) >= enough]


def is_promised(slot: Slot) -> bool:
    """Whether a queue is the only one of its pool with the guarantee that a class counts on."""
    pool = slot.pool
    if pool is None or not pool.floor or rate_of(slot) < pool.floor:
        return False
    return sum(rate_of(other) >= pool.floor for other in pool.slots) == 1


def shortfall(pool: Pool, minimum: int) -> int:
    """How much of a minimum none of a pool's queues has left beside what others count on there."""
    return max(0, minimum - max(rate_of(slot) for slot in pool.slots) + pool.floor) if minimum else 0


def may_go(group: Group, source: Slot, target: Slot) -> bool:
    """Whether a group's flows keep their guarantee when they move."""
    minimum = group.demand.min_rate
    return not minimum or rate_of(target) >= min(minimum, rate_of(source))
