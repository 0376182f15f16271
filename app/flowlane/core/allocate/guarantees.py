"""Guaranteed rates of queues (OVSDB Queue ``min-rate``) and the classes that need one (policy ``minimum``).

Which class counts on which queue is a matching: a class fits every queue from its minimum upwards. The sets
of queues that fit are therefore nested, and best fit (the smallest queue that suffices) serves as many
classes as can be served.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowlane.core.allocate.state import Group, Pool, Slot


class Request(NamedTuple):
    """A need for a guaranteed rate of ``minimum`` bit/s; of two that need the same queue the higher priority has it."""

    key: int
    minimum: int
    priority: int


class Grant(NamedTuple):
    """The requests (by their keys) that count on one queue, and the guarantee in bit/s that is enough for them all.

    ``floor`` is below the minimum where no queue suffices: then it is the highest guarantee that was left.
    """

    keys: tuple[int, ...]
    floor: int


def match_requests(
    requests: Iterable[Request], rates: Iterable[int], may_join: bool = False
) -> tuple[list[Grant], list[int]]:
    """Match requests with queues that guarantee ``rates`` (bit/s).

    A request that can be served is served before one that cannot. One that finds no queue at all has no
    grant.

    Args:
        requests: what is needed.
        rates: the guarantee of each queue.
        may_join: whether a request may share a queue whose guarantee is enough for all that count on it.

    Returns:
        The grants, and the guarantees of the queues on which no request counts, in rising order.
    """
    free = sorted(rates)
    served: list[tuple[Grant, int]] = []
    unserved: list[Request] = []
    for request in sorted(requests, key=lambda request: (-request.priority, -request.minimum, request.key)):
        place = bisect_left(free, request.minimum)
        if place < len(free):
            served.append((Grant((request.key,), request.minimum), free.pop(place)))
        elif not (may_join and _join(served, request)):
            unserved.append(request)
    grants = [served_grant for served_grant, _ in served]
    grants += [Grant((request.key,), free.pop()) for request in unserved if free]
    return grants, free


def _join(served: list[tuple[Grant, int]], request: Request) -> bool:
    """Add a request to a grant whose queue guarantees enough for all; the one with least to spare. False: none."""
    with_room = [
        place for place, (granted, rate) in enumerate(served) if granted.floor + request.minimum <= rate
    ]
    if not with_room:
        return False
    place = min(with_room, key=lambda place: served[place][1] - served[place][0].floor)
    granted, rate = served[place]
    served[place] = Grant((*granted.keys, request.key), granted.floor + request.minimum), rate
    return True


def take_more(free: list[int], floor: int, most: int) -> int:
    """Take up to ``most`` guarantees of at least ``floor`` out of ``free``, the smallest first; return how many."""
    place = bisect_left(free, floor)
    count = max(0, min(most, len(free) - place))
    del free[place : place + count]
    return count


def guaranteed_rate(slot: Slot) -> int:
    """Return the guarantee of a queue in bit/s; 0 where it has none or it is unknown."""
    return slot.queue.min_rate or 0


def best_fit(slots: Iterable[Slot], minimum: int) -> Slot:
    """Return the queue with the smallest guarantee that suffices, else with the highest; the first of equals."""
    return min(slots, key=lambda slot: fit_rank(slot, minimum))


def fit_rank(slot: Slot, minimum: int) -> tuple[bool, int]:
    """Return the rank of a queue by how well it fits a minimum (bit/s); the least rank fits best."""
    rate = guaranteed_rate(slot)
    return (True, -rate) if rate < minimum else (False, rate)


def eligible(slots: Sequence[Slot], minimum: int) -> Sequence[Slot]:
    """Return the queues that guarantee a minimum; where none does, those with the highest guarantee."""
    if not minimum or not slots:
        return slots
    enough = min(minimum, max(guaranteed_rate(slot) for slot in slots))
    return [slot for slot in slots if guaranteed_rate(slot) >= enough]


def is_only_guarantee(slot: Slot) -> bool:
    """Return whether a queue is the only one of its pool with the guarantee on which the pool's groups count."""
    pool = slot.pool
    if pool is None or not pool.floor or guaranteed_rate(slot) < pool.floor:
        return False
    return sum(guaranteed_rate(other) >= pool.floor for other in pool.slots) == 1


def shortfall(pool: Pool, minimum: int) -> int:
    """Return by how much (bit/s) the best queue of a pool misses a minimum, beside what others count on there."""
    return max(0, minimum - max(guaranteed_rate(slot) for slot in pool.slots) + pool.floor) if minimum else 0


def keeps_guarantee(group: Group, source: Slot, target: Slot) -> bool:
    """Return whether a group's flows have their guarantee still when they go from ``source`` to ``target``."""
    minimum = group.demand.min_rate
    return not minimum or guaranteed_rate(target) >= min(minimum, guaranteed_rate(source))
