"""How many queues who may have: what is kept for flows that share, and the limits of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import guarantees

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Pool, Region, Slot


def reserve(region: Region, waiting: int = 0) -> int:
    """Slots that flows may not take for themselves: the minimum of the classes that share, at least one.

    ``waiting`` flows want a queue alone and have none: beside flows that share they need one more, for a flow
    that is to be alone must rather be with its like than among the small ones.
    """
    least = {
        group.demand.class_index: group.demand.min_queues
        for group in region.groups.values()
        if not group.demand.exclusive
    }
    base = max(1, min(sum(least.values()), len(region.slots) - 1))
    return min(base + 1, len(region.slots)) if waiting and least else base


def suffices(region: Region) -> bool:
    """Whether every waiting flow whose class may have one more queue alone can have it, beside those who share.

    Flows whose class has its most queues already share one of their own then, apart from flows that never asked.
    """
    granted = sum(
        count if most is None else max(0, min(count, most - region.owned.get(class_index, 0)))
        for (class_index, most), count in region.claims.items()
    )
    free = [slot for slot in region.slots if slot.owner < 0]
    kept = reserve(region, region.waiting - granted)
    return granted <= min(len(free) - kept, sum(not guarantees.is_promised(slot) for slot in free))


def may_grow(region: Region, pool: Pool) -> bool:
    """Whether no class in the pool has as many slots as it may."""
    return all(
        group.demand.max_queues is None
        or class_slots(region, group.demand.class_index) < group.demand.max_queues
        for group in pool.groups.values()
    )


def may_take(region: Region, pool: Pool, slot: Slot) -> bool:
    """Whether a pool may have one slot more, and this one guarantees what its groups count on."""
    return guarantees.rate_of(slot) >= pool.floor and may_grow(region, pool)


def class_slots(region: Region, class_index: int) -> int:
    """Slots of the pools that a class uses."""
    return sum(
        len(pool.slots)
        for pool in region.pools
        if any(group.demand.class_index == class_index for group in pool.groups.values())
    )
