"""Pools of a region: which slots and groups belong to which pool, and which slots are exclusive.

A change of pools moves no flow: flows that are on a slot of another pool than their group's become strays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import division, guarantees, speeds
from flowlane.core.allocate.division import Part, Unit, divide_slots
from flowlane.core.allocate.state import NO_ROW, Group, Pool, Region, Slot
from flowlane.core.policy import PathPreference

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Demand

QUIET_SHARE = 0.05
"""Share of what a queue can carry below which the busiest queue is left as it is: no packet waits there."""

_PATH_CODES = {path: code for code, path in enumerate(PathPreference)}


def group_key(demand: Demand) -> int:
    """Return the key of a demand's group: flows with different path preferences are never alike."""
    return demand.group * len(_PATH_CODES) + _PATH_CODES[demand.path]


def find_group(region: Region, demand: Demand) -> Group:
    """Return the group of a demand, with a pool; it is made where it is missing.

    A new group gets an idle slot if there is one, else it joins the most similar pool.
    """
    key = group_key(demand)
    group = region.groups.get(key)
    if group is None:
        group = region.groups[key] = Group(key, demand, region)
    if demand.min_rate > group.demand.min_rate:
        group.demand = group.demand._replace(min_rate=demand.min_rate)
    if group.pool is None and region.slots:
        _assign_pool(region, group)
    return group


def assign_missing(region: Region) -> None:
    """Give groups a pool that have none, since the region had no shared slot left when their pool lost its last one."""
    for group in region.groups.values():
        if group.pool is None and region.slots:
            _assign_pool(region, group)


def remove_group(region: Region, group: Group) -> None:
    """Remove a group without flows; if it was the last of its pool, the pool's slots go to other pools."""
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
            assign_slot(region, slot)


def attach(slot: Slot, pool: Pool) -> None:
    """Add a slot to a pool."""
    slot.pool = pool
    slot.position = len(pool.slots)
    pool.slots.append(slot)
    pool.loads.append(slot.load * slot.scale)
    pool.speed += 1 / slot.scale


def detach(slot: Slot) -> None:
    """Take a slot out of its pool. The groups of a pool that has no slots left join the most similar pools."""
    pool = slot.pool
    if pool is None:
        return
    slot.pool = None
    del pool.slots[slot.position]
    del pool.loads[slot.position]
    for position in range(slot.position, len(pool.slots)):
        pool.slots[position].position = position
    speeds.recount(pool)
    if not pool.slots:
        _dissolve(slot.region, pool)


def make_exclusive(region: Region, slot: Slot, row: int, class_index: int) -> None:
    """Make a slot the exclusive queue of a flow; all other flows on it are strays now.

    Where it was the only slot with a pool, its groups get those that no pool could use until now.
    """
    slot.exclusive_row = row
    detach(slot)
    if not region.pools:
        assign_missing(region)
    region.exclusive_queues[class_index] = region.exclusive_queues.get(class_index, 0) + 1


def make_shared(region: Region, slot: Slot, class_index: int) -> None:
    """Make an exclusive queue of a class a shared one, in the pool with the highest load per slot."""
    slot.exclusive_row = NO_ROW
    region.exclusive_queues[class_index] -= 1
    if region.exclusive_queues[class_index] == 0:
        del region.exclusive_queues[class_index]
    assign_slot(region, slot)


def assign_slot(region: Region, slot: Slot) -> None:
    """Add a slot to the pool with the highest load per slot of those that may have one more, if there is one."""
    pool = max(
        (pool for pool in region.pools if division.may_take(region, pool, slot)),
        key=speeds.mean_load,
        default=None,
    )
    if pool is not None:
        attach(slot, pool)


def best_parts(region: Region) -> tuple[list[Part], list[Slot]]:
    """Return the best division of the region's shared slots among its groups, and these slots."""
    shared = region.shared_slots()
    number_of_pool = {id(pool): number for number, pool in enumerate(region.pools)}
    units = [
        Unit(
            (group.key,),
            group.load,
            group.demand.priority,
            group.demand.class_index,
            0 if group.demand.exclusive else group.demand.min_queues,
            _limits(group),
            number_of_pool.get(id(group.pool), -1),
            max_useful_queues(group),
            ((group.demand.class_index, group.demand.min_rate),) if group.demand.min_rate else (),
        )
        for group in region.groups.values()
    ]
    guests = {unit for unit, group in zip(units, region.groups.values(), strict=True) if group.is_guest}
    units = division.join_guests([unit for unit in units if unit not in guests], guests)
    rates = [guarantees.guaranteed_rate(slot) for slot in shared]
    return (divide_slots(units, len(shared), rates) if units and shared else []), shared


def parts_of(region: Region) -> list[Part]:
    """Return the present division: a part for each pool, with the load of its groups."""
    return [
        Part(
            tuple(pool.groups),
            len(pool.slots),
            sum(group.load for group in pool.groups.values()),
            pool.floor,
            max((group.demand.priority for group in pool.groups.values() if not group.is_guest), default=0),
        )
        for pool in region.pools
    ]


def waits_alone(region: Region) -> bool:
    """Return whether flows that wait for exclusive queues have a pool without hosts, though there are other flows."""
    hosts = {id(group.pool) for group in region.groups.values() if not group.is_guest}
    return bool(hosts) and any(
        group.is_guest and id(group.pool) not in hosts for group in region.groups.values()
    )


def is_quiet(pool: Pool) -> bool:
    """Return whether no queue carries enough to matter; where the rate of the port is unknown, any load does."""
    region = pool.slots[0].region if pool.slots else None
    if region is None or region.capacity is None:
        return False
    return max(pool.loads) * region.speed < QUIET_SHARE * region.capacity


def max_useful_queues(group: Group) -> int:
    """Return on how many queues the group's flows could be; the flows of a VM that keep together count as one."""
    return len(group.vm_cells) if group.demand.keep_vm_together else group.count


def _limits(group: Group) -> tuple[tuple[int, int], ...]:
    return () if group.max_queues is None else ((group.demand.class_index, group.max_queues),)


def divide(region: Region, now: float) -> None:
    """Divide the shared slots among the groups again; slots stay with the groups that have most flows on them."""
    parts, shared = best_parts(region)
    apply_parts(region, parts, shared, now)


def apply_parts(region: Region, parts: list[Part], shared: list[Slot], now: float) -> None:
    """Make a pool of each part, with the slots on which its groups have most flows already.

    Slots are given out in this order: those that a guarantee needs, those with most flows of the part, the
    rest.
    """
    region.divided_at = now
    for slot in shared:
        slot.pool = None
    region.pools = [Pool(floor=part.floor) for part in parts]
    part_of_group = {key: number for number, part in enumerate(parts) for key in part.groups}
    for key, number in part_of_group.items():
        group, pool = region.groups[key], region.pools[number]
        group.pool, group.provisional = pool, False
        pool.groups[key] = group
    missing = [part.slot_count for part in parts]
    overlaps = _overlaps(shared, part_of_group)
    for number in sorted(range(len(parts)), key=lambda number: -parts[number].floor):
        if parts[number].floor:
            for slot in _slots_for_guarantee(shared, parts[number], number, overlaps):
                attach(slot, region.pools[number])
                missing[number] -= 1
    if _have_priorities(shared):
        _deal_by_priority(region, missing, [slot for slot in shared if slot.pool is None], overlaps)
    elif shared and not speeds.are_equal(shared):
        overlaps = speeds.deal(parts, missing, [slot for slot in shared if slot.pool is None], overlaps)
    for _, number, slot in overlaps:
        if slot.pool is None and missing[number]:
            attach(slot, region.pools[number])
            missing[number] -= 1
    spare = sorted((slot for slot in shared if slot.pool is None), key=lambda slot: (-slot.count, slot.index))
    for number, count in enumerate(missing):
        for _ in range(count):
            attach(spare.pop(), region.pools[number])
    for pool in region.pools:
        _order_for_limited(pool)


def _have_priorities(slots: list[Slot]) -> bool:
    """Return whether some queues are served before others (OVSDB ``other_config:priority``)."""
    return len({slot.queue.priority or 0 for slot in slots}) > 1


def _deal_by_priority(
    region: Region, missing: list[int], left: list[Slot], overlaps: list[tuple[int, int, Slot]]
) -> None:
    """Give the queues that are served first to the pools of the highest priority; of equals those with most flows."""
    for number in sorted(range(len(missing)), key=lambda number: -_priority(region.pools[number])):
        flows = {slot.index: count for count, other, slot in overlaps if other == number}
        left.sort(
            key=lambda slot: (slot.queue.priority or 0, -flows.get(slot.index, 0), slot.scale, slot.index)
        )
        for slot in left[: missing[number]]:
            attach(slot, region.pools[number])
        del left[: missing[number]]
        missing[number] = 0


def _priority(pool: Pool) -> int:
    """Return the highest priority of the classes that use a pool."""
    return max((group.demand.priority for group in pool.groups.values()), default=0)


def is_served_late(region: Region) -> bool:
    """Return whether a pool has a queue that is served after one of a pool of lower priority."""
    pools = [pool for pool in region.pools if pool.slots and not pool.floor]
    if not _have_priorities([slot for pool in pools for slot in pool.slots]):
        return False
    last = {id(pool): max(slot.queue.priority or 0 for slot in pool.slots) for pool in pools}
    first = {id(pool): min(slot.queue.priority or 0 for slot in pool.slots) for pool in pools}
    return any(
        _priority(pool) > _priority(other) and last[id(pool)] > first[id(other)]
        for pool in pools
        for other in pools
    )


def _order_for_limited(pool: Pool) -> None:
    """Put the slots on which groups with ``max_queues`` are already first: such a group uses the first ones only."""
    if len(pool.slots) < 2 or all(group.max_queues is None for group in pool.groups.values()):
        return
    flows = {
        slot.index: sum(
            cell.count
            for cell in slot.cells.values()
            if cell.group.pool is pool and cell.group.max_queues is not None
        )
        for slot in pool.slots
    }
    pool.slots.sort(key=lambda slot: (-flows[slot.index], slot.scale))
    speeds.recount(pool)
    for position, slot in enumerate(pool.slots):
        slot.position = position


def _slots_for_guarantee(
    shared: list[Slot], part: Part, number: int, overlaps: list[tuple[int, int, Slot]]
) -> list[Slot]:
    """Return the slots for a part that needs a guarantee: best fit; of equals those with most of its flows.

    Called for the parts in the order of falling floors, this leaves enough for the lower ones: what fits a
    high floor fits a lower one too.
    """
    flows_on = {slot.index: flows for flows, other, slot in overlaps if other == number}
    left = [slot for slot in shared if slot.pool is None]
    left.sort(
        key=lambda slot: (*guarantees.fit_rank(slot, part.floor), -flows_on.get(slot.index, 0), slot.index)
    )
    return left[: part.slot_count]


def _overlaps(shared: list[Slot], part_of_group: dict[int, int]) -> list[tuple[int, int, Slot]]:
    """Return (flows, part number, slot) for each part that has flows on a slot, most flows first."""
    overlaps: list[tuple[int, int, Slot]] = []
    for slot in shared:
        flows: dict[int, int] = {}
        for cell in slot.cells.values():
            number = part_of_group.get(cell.group.key)
            if number is not None and cell.group.region is slot.region:
                flows[number] = flows.get(number, 0) + cell.count
        overlaps.extend((count, number, slot) for number, count in flows.items())
    overlaps.sort(key=lambda overlap: (-overlap[0], overlap[1], overlap[2].index))
    return overlaps


def _assign_pool(region: Region, group: Group) -> None:
    """Give a group without a pool one of its own on an idle slot, or let it join another one for now."""
    if not region.pools:
        divide(region, region.divided_at)
        return
    if group.is_guest:
        _join(group, _most_similar_pool(region, group.demand))
        return
    slot = _idle_slot(region, group.demand)
    group.provisional = True
    if slot is None:
        _join(group, _most_similar_pool(region, group.demand))
        return
    detach(slot)
    pool = Pool(floor=min(group.demand.min_rate, guarantees.guaranteed_rate(slot)))
    region.pools.append(pool)
    attach(slot, pool)
    _join(group, pool)


def first_slots(region: Region, demand: Demand) -> list[Slot]:
    """Return the slots, the first one first, that a group without flows would get with its first ones."""
    if not region.slots:
        return []
    if not region.pools:
        # As apply_parts() deals the slots to the only part.
        shared = sorted(region.shared_slots(), key=lambda slot: (slot.count, -slot.index))
        return sorted(shared, key=lambda slot: slot.scale)
    idle = _idle_slot(region, demand)
    return _most_similar_pool(region, demand).slots if idle is None else [idle]


def _idle_slot(region: Region, demand: Demand) -> Slot | None:
    """Return a slot that a new group can have at once: one without flows that its pool can do without.

    For a class with a minimum it must not guarantee too little while another queue guarantees more.
    """
    most = demand.max_queues
    if most is not None and division.class_slots(region, demand.class_index) >= max(1, most):
        return None
    shared = region.shared_slots()
    idle = [
        slot
        for slot in shared
        if slot.count == 0
        and (slot.pool is None or len(slot.pool.slots) > 1)
        and not guarantees.is_only_guarantee(slot)
    ]
    if not idle:
        return None
    slot = guarantees.best_fit(idle, demand.min_rate)
    return slot if slot in guarantees.eligible(shared, demand.min_rate) else None


def _most_similar_pool(region: Region, demand: Demand) -> Pool:
    """Return the pool whose groups are most like a demand: by class, then priority, then the lightest pool.

    For a class with a minimum the guarantee that a pool has to spare comes before all that.
    """

    def distance(pool: Pool) -> tuple[int, int, float]:
        unlike = min(
            0
            if group.demand.class_index == demand.class_index
            else 1 + abs(group.demand.priority - demand.priority)
            for group in pool.groups.values()
        )
        shortfall = guarantees.shortfall(pool, demand.min_rate)
        return shortfall, unlike, speeds.mean_load(pool)

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
        group.provisional = True
        if region.pools:
            _join(group, _most_similar_pool(region, group.demand))
