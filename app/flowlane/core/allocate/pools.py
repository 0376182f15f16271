"""Which slots and groups belong to which pool of a region, and who owns a slot alone.

Changing a pool moves no flow: flows that no longer belong where they are become strays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import division, guarantees
from flowlane.core.allocate.division import Part, Unit, plan
from flowlane.core.allocate.state import NOBODY, Group, Pool, Region, Slot
from flowlane.core.policy import PathPreference

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Demand

_PATH_CODES = {path: code for code, path in enumerate(PathPreference)}


def group_key(demand: Demand) -> int:
    """The key of a demand's group: flows that may use different paths are never alike."""
    return demand.group * len(_PATH_CODES) + _PATH_CODES[demand.path]


def find_group(region: Region, demand: Demand) -> Group:
    """The group of a demand, with a pool; a new group gets an idle slot, else it joins the nearest pool."""
    key = group_key(demand)
    group = region.groups.get(key)
    if group is None:
        group = region.groups[key] = Group(key, demand, region)
    if demand.min_rate > group.demand.min_rate:
        group.demand = group.demand._replace(min_rate=demand.min_rate)
    if group.pool is None and region.slots:
        _house(region, group)
    return group


def drop_group(region: Region, group: Group) -> None:
    """Forget a group that has no flow left; slots that it had alone go to those who need them most."""
    pool = group.pool
    region.groups.pop(group.key, None)
    if pool is None:
        return
    group.pool = None
    del pool.groups[group.key]
    if not pool.groups:
        region.pools.remove(pool)
        for slot in pool.slots:
            slot.pool = None
            give(region, slot)


def attach(slot: Slot, pool: Pool) -> None:
    """Add a slot to a pool."""
    slot.pool = pool
    slot.place = len(pool.slots)
    pool.slots.append(slot)
    pool.loads.append(slot.load)


def detach(slot: Slot) -> None:
    """Take a slot out of its pool. The groups of a pool without slots move in with their nearest."""
    pool = slot.pool
    if pool is None:
        return
    slot.pool = None
    del pool.slots[slot.place]
    del pool.loads[slot.place]
    for place in range(slot.place, len(pool.slots)):
        pool.slots[place].place = place
    if not pool.slots:
        _dissolve(slot.region, pool)


def own(region: Region, slot: Slot, row: int, class_index: int) -> None:
    """Make a slot the queue of one flow; whoever else is on it is a stray now."""
    detach(slot)
    slot.exclusive_row = row
    region.owned[class_index] = region.owned.get(class_index, 0) + 1


def disown(region: Region, slot: Slot, class_index: int, pool: Pool | None = None) -> None:
    """Give a slot back: to a pool that is named, else to the one with the highest load per slot."""
    slot.exclusive_row = NOBODY
    region.owned[class_index] -= 1
    if region.owned[class_index] == 0:
        del region.owned[class_index]
    if pool is None or not division.may_take(region, pool, slot):
        give(region, slot)
    else:
        attach(slot, pool)


def give(region: Region, slot: Slot) -> None:
    """Give a slot to the pool that needs it most, if any may have one more."""
    pool = max(
        (pool for pool in region.pools if division.may_take(region, pool, slot)),
        key=lambda pool: sum(pool.loads) / len(pool.slots),
        default=None,
    )
    if pool is not None:
        attach(slot, pool)


def parts_of(region: Region) -> tuple[list[Part], list[Slot]]:
    """The best division of the slots that nobody owns among the groups there are."""
    free = [slot for slot in region.slots if slot.exclusive_row < 0]
    bins = {id(pool): number for number, pool in enumerate(region.pools)}
    units = [
        Unit(
            (group.key,),
            group.load,
            group.demand.priority,
            group.demand.class_index,
            group.demand.min_queues,
            _limits(group.demand),
            bins.get(id(group.pool), -1),
            spreadable(group),
            ((group.demand.class_index, group.demand.min_rate),) if group.demand.min_rate else (),
        )
        for group in region.groups.values()
    ]
    rates = [guarantees.rate_of(slot) for slot in free]
    return (plan(units, len(free), rates) if units and free else []), free


def spreadable(group: Group) -> int:
    """On how many queues the group's flows could be: VMs whose flows keep together count as one."""
    return len(group.homes) if group.demand.keep_vm_together else group.count


def _limits(demand: Demand) -> tuple[tuple[int, int], ...]:
    return () if demand.max_queues is None else ((demand.class_index, demand.max_queues),)


def divide(region: Region, now: float) -> None:
    """Divide the slots among the groups; slots stay with the groups that have most flows on them."""
    parts, free = parts_of(region)
    rebuild(region, parts, free, now)


def rebuild(region: Region, parts: list[Part], free: list[Slot], now: float) -> None:
    """Make the pools of a plan, each with the slots on which its groups have most flows already."""
    region.planned_at = now
    region.pools = []
    for slot in free:
        slot.pool = None
    where = {key: number for number, part in enumerate(parts) for key in part.groups}
    needs = [part.slots for part in parts]
    pools = [Pool(floor=part.floor) for part in parts]
    region.pools = pools
    for key, number in where.items():
        group = region.groups[key]
        group.pool, group.guest = pools[number], False
        pools[number].groups[key] = group
    overlaps = _overlaps(free, where)
    for number in sorted(range(len(parts)), key=lambda number: -parts[number].floor):
        if parts[number].floor:
            for slot in _guaranteeing(free, parts[number], number, overlaps):
                attach(slot, pools[number])
                needs[number] -= 1
    for _, number, slot in overlaps:
        if slot.pool is None and needs[number]:
            attach(slot, pools[number])
            needs[number] -= 1
    spare = sorted((slot for slot in free if slot.pool is None), key=lambda slot: (-slot.count, slot.index))
    for number, need in enumerate(needs):
        for _ in range(need):
            attach(spare.pop(), pools[number])


def _guaranteeing(
    free: list[Slot], part: Part, number: int, overlaps: list[tuple[int, int, Slot]]
) -> list[Slot]:
    """The slots for a part that counts on a guarantee: the smallest that suffice, of equals those it is on.

    Taken in the order of falling floors that never leaves a lower one without: what fits it fits those too.
    """
    there = {slot.index: flows for flows, other, slot in overlaps if other == number}
    left = [slot for slot in free if slot.pool is None]
    left.sort(key=lambda slot: (*guarantees.misfit(slot, part.floor), -there.get(slot.index, 0), slot.index))
    return left[: part.slots]


def _overlaps(free: list[Slot], where: dict[int, int]) -> list[tuple[int, int, Slot]]:
    """(flows, part number, slot) for each part that has flows on a slot, most flows first."""
    result: list[tuple[int, int, Slot]] = []
    for slot in free:
        flows: dict[int, int] = {}
        for cell in slot.cells.values():
            number = where.get(cell.group.key)
            if number is not None and cell.group.region is slot.region:
                flows[number] = flows.get(number, 0) + cell.count
        result.extend((count, number, slot) for number, count in flows.items())
    result.sort(key=lambda item: (-item[0], item[1], item[2].index))
    return result


def _house(region: Region, group: Group) -> None:
    if not region.pools:
        divide(region, region.planned_at)
        return
    slot = _idle_slot(region, group.demand)
    if slot is None:
        group.guest = True
        _join(group, _nearest(region, group.demand))
        return
    detach(slot)
    pool = Pool(floor=min(group.demand.min_rate, guarantees.rate_of(slot)))
    region.pools.append(pool)
    attach(slot, pool)
    _join(group, pool)


def _idle_slot(region: Region, demand: Demand) -> Slot | None:
    """A slot that a new group can have at once: without flows, and not one that its pool needs.

    For a class with a minimum also none that guarantees too little while another queue has more.
    """
    if demand.max_queues is not None and division.class_slots(region, demand.class_index) >= max(
        1, demand.max_queues
    ):
        return None
    shared = [slot for slot in region.slots if slot.exclusive_row < 0]
    idle = [
        slot
        for slot in shared
        if slot.count == 0
        and (slot.pool is None or len(slot.pool.slots) > 1)
        and not guarantees.is_promised(slot)
    ]
    if not idle:
        return None
    slot = guarantees.fittest(idle, demand.min_rate)
    return slot if slot in guarantees.eligible(shared, demand.min_rate) else None


def _nearest(region: Region, demand: Demand) -> Pool:
    """The pool whose groups are most like a demand: by class, then priority, then the lightest.

    Before that comes what a pool's queues still guarantee, for a class that needs it.
    """

    def distance(pool: Pool) -> tuple[int, int, float]:
        unlike = min(
            0
            if group.demand.class_index == demand.class_index
            else 1 + abs(group.demand.priority - demand.priority)
            for group in pool.groups.values()
        )
        short = guarantees.shortfall(pool, demand.min_rate)
        return short, unlike, sum(pool.loads) / len(pool.slots)

    return min(region.pools, key=distance)


def _join(group: Group, pool: Pool) -> None:
    group.pool = pool
    pool.groups[group.key] = group


def _dissolve(region: Region, pool: Pool) -> None:
    region.pools.remove(pool)
    groups = list(pool.groups.values())
    for group in groups:
        group.pool = None
    for group in groups:
        group.guest = True
        if region.pools:
            _join(group, _nearest(region, group.demand))
