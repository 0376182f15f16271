"""How many queues which groups get: a pure function from groups and a number of queues to pools.

Every group has its own queues while there are enough: then each class has its ``min_queues``, and the rest go
where the load per queue is highest, up to each class's maximum. Only with more groups than queues are groups
merged: those of one class that has more groups than it may have queues, then the lightest of equal priority,
and, only when there are fewer queues than priorities, those nearest in priority; there is always a queue. A group
that has a bin already stays in it unless that costs balance (``SLACK``): merging anew from scratch would move
flows each time.

How many queues who may have: what is kept for flows that share, and the limits of classes.
"""

from __future__ import annotations

from heapq import heapreplace
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import guarantees
from flowlane.core.allocate.guarantees import Want, grant, take_more

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    free = [slot for slot in region.slots if slot.exclusive_row < 0]
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


SLACK = 0.10
"""A group stays with its old companions while that makes their load at most this much above the mean."""


FINE = 0.25
"""How much more load per queue than under the best division is accepted to keep more groups apart.

It counts only where groups have to share anyway: flows that are unlike are kept apart while queues suffice [claim 5].
"""


class Unit(NamedTuple):
    """A group, or groups merged already. ``bin`` tells which groups shared a pool before, -1: none.

    ``limits``: (class, most queues) of the classes in it that have a maximum; ``minima``: (class, bit/s) of those
    that need a guarantee. It has no use yet for more queues than ``flows``, and gets them last.
    """

    groups: tuple[int, ...]
    load: int
    priority: int
    class_index: int
    min_queues: int
    limits: tuple[tuple[int, int], ...]
    bin: int
    flows: int = 1 << 30
    minima: tuple[tuple[int, int], ...] = ()


class Part(NamedTuple):
    """A pool to be: its groups and how many queues it gets, each of which has to guarantee ``floor`` bit/s."""

    groups: tuple[int, ...]
    slots: int
    load: int
    floor: int = 0


def plan(units: list[Unit], slots: int, rates: Sequence[int] = ()) -> list[Part]:
    """Divide ``slots`` (at least 1) queues among groups; every group is in exactly one part.

    The parts together have at most ``slots`` queues and each at least one. Where there are too few for a queue
    each, the division is taken that keeps most groups apart of all that come within ``FINE`` of the best balance.
    ``rates`` are what the queues guarantee in bit/s; there are enough such queues for the floors of all parts.
    """
    rates = rates if any(unit.minima for unit in units) and any(rates) else ()
    units = _guaranteed(_bound_classes(units), rates)
    divisions = [_spread(_merge(units, count), slots, rates) for count in _counts(units, slots)]
    worst = [max(part.load / part.slots for part in parts) for parts in divisions]
    good = (1 + FINE) * min(worst)
    return next(parts for parts, load in zip(divisions, worst, strict=True) if load <= good)


def _counts(units: list[Unit], slots: int) -> list[int]:
    """How many pools to try, most first.

    One for each group if there are queues for that. Else two at least, and never so few that unlike priorities
    share: all in one pool would balance best, but then light flows stand behind heavy ones.
    """
    if len(units) <= slots:
        return [len(units)]
    most = slots
    least = min(most, max(2, len({unit.priority for unit in units})))
    tries = {most, most * 3 // 4, most // 2, most // 3, most // 4, most // 8, least}
    return sorted((count for count in tries if least <= count <= most), reverse=True)


def _guaranteed(units: list[Unit], rates: Sequence[int]) -> list[Unit]:
    """Merge the groups of a class that needs a guarantee onto as many queues as have it.

    Classes that need the same queue, whose guarantee is enough for them together, become one unit.
    """
    if not rates:
        return units
    wants = {unit.class_index: Want(*unit.minima[0], unit.priority) for unit in units if unit.minima}
    grants, free = grant(wants.values(), rates, may_join=True)
    result = [unit for unit in units if not unit.minima]
    for each in grants:
        members = [unit for unit in units if unit.minima and unit.class_index in each.keys]
        joined = len(each.keys) > 1
        result += pack(members, 1 if joined else 1 + take_more(free, each.floor, len(members) - 1))
    placed = {class_index for each in grants for class_index in each.keys}
    return result + [unit for unit in units if unit.minima and unit.class_index not in placed]


def _floors(units: list[Unit], rates: Sequence[int]) -> list[int]:
    """What the queues of each unit have to guarantee: the sum of its classes' minima, or the best there is."""
    wants = [
        Want(index, sum(rate for _, rate in unit.minima), unit.priority)
        for index, unit in enumerate(units)
        if unit.minima
    ]
    floors = [0] * len(units)
    for each in grant(wants, rates)[0]:
        floors[each.keys[0]] = each.floor
    return floors


def _limited(units: list[Unit], floors: list[int], rates: Sequence[int]) -> list[Unit]:
    """Let the units that need a guarantee have together no more queues than there are that give it."""
    levels = {floor: -1 - number for number, floor in enumerate(sorted({*floors} - {0}))}
    most = {key: (key, sum(rate >= floor for rate in rates)) for floor, key in levels.items()}
    return [
        unit._replace(
            limits=unit.limits + tuple(most[key] for level, key in levels.items() if level <= floor)
        )
        for unit, floor in zip(units, floors, strict=True)
    ]


def _bound_classes(units: list[Unit]) -> list[Unit]:
    """Merge the groups of a class that has more of them than it may have queues."""
    by_class: dict[int, list[Unit]] = {}
    for unit in units:
        by_class.setdefault(unit.class_index, []).append(unit)
    result: list[Unit] = []
    for members in by_class.values():
        limits = members[0].limits
        result.extend(pack(members, max(1, limits[0][1])) if limits else members)
    return result


def _merge(units: list[Unit], slots: int) -> list[Unit]:
    """Merge units into at most ``slots``, unlike priorities last."""
    if len(units) <= slots:
        return units
    blocks: dict[tuple[int, int], list[Unit]] = {}
    for unit in sorted(units, key=lambda unit: (-unit.priority, unit.class_index)):
        blocks.setdefault((unit.priority, unit.class_index), []).append(unit)
    rows = list(blocks.values())
    while len(rows) > slots:
        first = min(range(len(rows) - 1), key=lambda i: _distance(rows[i], rows[i + 1]))
        rows[first : first + 2] = [rows[first] + rows[first + 1]]
    bins = _bins(rows, slots)
    return [unit for row, count in zip(rows, bins, strict=True) for unit in pack(row, count)]


def _distance(one: list[Unit], other: list[Unit]) -> tuple[int, int]:
    """How unlike two neighbours are: by priority first, then by the load that their union would have."""
    return one[-1].priority - other[0].priority, sum(unit.load for unit in one + other)


def _bins(rows: list[list[Unit]], slots: int) -> list[int]:
    """How many bins each row of units gets: one each, then where the load per bin is highest."""
    counts = [1] * len(rows)
    loads = [sum(unit.load for unit in row) for row in rows]
    for _ in range(slots - len(rows)):
        open_rows = [i for i, row in enumerate(rows) if counts[i] < len(row)]
        if not open_rows:
            break
        best = max(open_rows, key=lambda i: (loads[i] / counts[i], -i))
        counts[best] += 1
    return counts


def pack(units: list[Unit], bins: int) -> list[Unit]:
    """Merge units into at most ``bins`` of about equal load: longest first, but at home when home has room."""
    if len(units) <= bins:
        return units
    roof = (1 + SLACK) * sum(unit.load for unit in units) / bins
    filled: list[list[Unit]] = [[] for _ in range(bins)]
    heap = [(0, 0, i) for i in range(bins)]
    homes: dict[int, int] = {}
    loads = [0] * bins
    for unit in sorted(units, key=lambda unit: (-unit.load, unit.groups)):
        target = homes.get(unit.bin, -1) if unit.bin >= 0 else -1
        if target < 0 or loads[target] + unit.load > roof:
            while heap[0][0] != loads[heap[0][2]] or heap[0][1] != len(filled[heap[0][2]]):
                index = heap[0][2]
                heapreplace(heap, (loads[index], len(filled[index]), index))
            target = heap[0][2]
        if unit.bin >= 0 and unit.bin not in homes and target not in homes.values():
            homes[unit.bin] = target
        filled[target].append(unit)
        loads[target] += unit.load
    return [_union(members) for members in filled if members]


def _union(members: list[Unit]) -> Unit:
    first = members[0]
    return first._replace(
        groups=tuple(key for unit in members for key in unit.groups),
        load=sum(unit.load for unit in members),
        priority=max(unit.priority for unit in members),
        flows=sum(unit.flows for unit in members),
        limits=tuple(dict.fromkeys(limit for unit in members for limit in unit.limits)),
        minima=tuple(dict.fromkeys(minimum for unit in members for minimum in unit.minima)),
    )


def _spread(units: list[Unit], slots: int, rates: Sequence[int]) -> list[Part]:
    """Give every unit a queue, classes their ``min_queues``, and the rest by load up to the maximum."""
    floors = _floors(units, rates)
    units = _limited(units, floors, rates)
    counts = [1] * len(units)
    taken: dict[int, int] = {}

    def may_grow(index: int) -> bool:
        return all(taken[class_index] < most for class_index, most in units[index].limits)

    def grow(index: int) -> None:
        for class_index in {units[index].class_index, *(limit[0] for limit in units[index].limits)}:
            taken[class_index] = taken.get(class_index, 0) + 1

    for index in range(len(units)):
        grow(index)
    left = slots - len(units)
    for index in sorted(range(len(units)), key=lambda i: (-units[i].priority, i)):
        unit = units[index]
        while (
            left
            and taken[unit.class_index] < unit.min_queues
            and may_grow(index)
            and counts[index] < unit.flows
        ):
            counts[index] += 1
            grow(index)
            left -= 1
    for _ in range(left):
        best = max(
            filter(may_grow, range(len(units))),
            key=lambda i: (counts[i] < units[i].flows, units[i].load / counts[i], -counts[i], -i),
            default=None,
        )
        if best is None:
            break
        counts[best] += 1
        grow(best)
    return [
        Part(unit.groups, count, unit.load, floor)
        for unit, count, floor in zip(units, counts, floors, strict=True)
    ]
