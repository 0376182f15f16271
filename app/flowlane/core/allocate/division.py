"""The division of a region's queues among groups: a pure function from groups and a number of queues to pools.

Every group has its own queues while there are enough: then each class has its ``min_queues``, and the rest go
where the load per queue is highest, up to each class's maximum. Only with more groups than queues are groups
merged: those of one class that has more groups than it may have queues, then the lightest of equal priority,
and, only when there are fewer queues than priorities, those nearest in priority. A group stays in the pool
that it has unless that costs balance (``SLACK``): dividing from scratch would move flows each time.

Besides: how many queues a region keeps for flows that share, and how many a class may have.
"""

from __future__ import annotations

from collections import Counter
from heapq import heapreplace
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import guarantees
from flowlane.core.allocate.guarantees import Request, match_requests, take_more

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowlane.core.allocate.state import Pool, Region, Slot


def reserved_slots(region: Region) -> int:
    """Return how many slots may not become exclusive: ``min_queues`` of the classes that share, at least one.

    One more is reserved where flows that wait for an exclusive queue share queues of their own, apart from others.
    """
    min_queues = {
        group.demand.class_index: group.demand.min_queues
        for group in region.groups.values()
        if not group.demand.exclusive
    }
    reserved = max(1, min(sum(min_queues.values()), len(region.slots) - 1))
    apart = any(group.demand.exclusive and group.demand.apart for group in region.groups.values())
    return min(reserved + 1, len(region.slots)) if apart and min_queues else reserved


def may_grow(region: Region, pool: Pool) -> bool:
    """Return whether every class in the pool has fewer slots than its ``max_queues``, or keeps to the first ones.

    It does beside flows that wait for exclusive queues, which use the others; but only if it has no other pool.
    """
    has_guests = any(group.is_guest for group in pool.groups.values())
    for group in pool.groups.values():
        if group.max_queues is not None:
            count = class_slots(region, group.demand.class_index)
            if count >= group.max_queues and not (has_guests and count == len(pool.slots)):
                return False
    return True


def may_take(region: Region, pool: Pool, slot: Slot) -> bool:
    """Return whether a pool may have one slot more, and this one guarantees what its groups count on."""
    return guarantees.guaranteed_rate(slot) >= pool.floor and may_grow(region, pool)


def class_slots(region: Region, class_index: int) -> int:
    """Return the number of slots in the pools that a class uses."""
    return sum(
        len(pool.slots)
        for pool in region.pools
        if any(group.demand.class_index == class_index for group in pool.groups.values())
    )


SLACK = 0.10
"""A group stays in its pool while that puts the pool's load at most this share above the mean."""


ACCEPTED_EXCESS = 0.25
"""How much more load per queue than under the best division is accepted to keep more groups apart.

It counts only where groups have to share anyway: flows that are not alike are kept apart while queues suffice
[claim 5].
"""


CLEARLY = 1.1
"""How many times the load per queue of a lower priority a higher one may have; with more it gets a queue of it."""


class Unit(NamedTuple):
    """A group, or groups that are merged already. ``bin`` is the number of the pool it had, -1: none.

    ``load`` is bit/s. ``limits``: (class index, most queues) of the classes in it that have a maximum;
    ``minima``: (class index, bit/s) of those that need a guarantee. More queues than ``flows`` are of no use
    to it yet, and it gets them last.
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
    """A pool to be: the keys of its groups, and its number of queues, each of which guarantees ``floor`` bit/s.

    ``priority`` is the highest of its groups, ``load`` bit/s.
    """

    groups: tuple[int, ...]
    slot_count: int
    load: int
    floor: int = 0
    priority: int = 0


def divide_slots(units: list[Unit], slot_count: int, rates: Sequence[int] = ()) -> list[Part]:
    """Divide queues among groups; every group is in exactly one part, and each part has at least one queue.

    Where there are too few for a queue each, several numbers of pools are tried: of the divisions within
    ``ACCEPTED_EXCESS`` of the best balance the one with most pools is returned in which no priority has
    clearly more load per queue than a lower one, or the one with most pools.

    Args:
        units: the groups, at least one.
        slot_count: the number of queues, at least 1.
        rates: what each queue guarantees, in bit/s.

    Returns:
        The parts; there are enough queues for the floors of all of them.
    """
    rates = rates if any(unit.minima for unit in units) and any(rates) else ()
    units = _merge_guaranteed(_merge_limited(units), rates)
    divisions = [
        _count_slots(_merge(units, pool_count), slot_count, rates)
        for pool_count in _pool_counts(units, slot_count)
    ]
    highest_loads = [max(part.load / part.slot_count for part in parts) for parts in divisions]
    accepted = (1 + ACCEPTED_EXCESS) * min(highest_loads)
    balanced = [parts for parts, load in zip(divisions, highest_loads, strict=True) if load <= accepted]
    return next((parts for parts in balanced if inversion(parts) <= CLEARLY), balanced[0])


def inversion(parts: Iterable[Part]) -> float:
    """Return how many times the load per queue of a lower priority that of a higher one is, at most; 0: it is less."""
    sums: dict[int, tuple[int, int]] = {}
    for part in parts:
        load, count = sums.get(part.priority, (0, 0))
        sums[part.priority] = load + part.load, count + part.slot_count
    means = [load / count for _, (load, count) in sorted(sums.items())]
    return max(
        (higher / max(lower, 1.0) for place, higher in enumerate(means) for lower in means[:place]),
        default=0.0,
    )


def join_guests(hosts: list[Unit], guests: Iterable[Unit]) -> list[Unit]:
    """Join each guest with the host nearest in priority, of these the heaviest; guests without hosts join by priority.

    Guests bring their load only: limits and minima of queues are those of the hosts. But a limit does not bind the
    guests: where it is that of a single host, that one keeps to so many queues of those that they share.
    """
    joined = list(hosts)
    hosts_of_class = Counter(host.class_index for host in hosts)
    for guest in sorted(guests, key=lambda unit: (-unit.priority, unit.groups)):
        near = [
            (abs(host.priority - guest.priority), -host.load, place)
            for place, host in enumerate(joined)
            if hosts or host.priority == guest.priority
        ]
        if not near:
            joined.append(guest)
            continue
        place = min(near)[2]
        host = joined[place]
        joined[place] = host._replace(
            groups=host.groups + guest.groups,
            load=host.load + guest.load,
            flows=host.flows + guest.flows,
            limits=host.limits if hosts_of_class[host.class_index] > 1 else (),
        )
    return joined


def _pool_counts(units: list[Unit], slot_count: int) -> list[int]:
    """Return the numbers of pools to try, in falling order.

    One pool for each group if there are queues for that. Else at least two, and never so few that different
    priorities share: all groups in one pool would balance best, but then light flows stand behind heavy ones.
    """
    if len(units) <= slot_count:
        return [len(units)]
    most = slot_count
    least = min(most, max(2, len({unit.priority for unit in units})))
    counts = {most, most * 3 // 4, most // 2, most // 3, most // 4, most // 8, least}
    return sorted((count for count in counts if least <= count <= most), reverse=True)


def _merge_guaranteed(units: list[Unit], rates: Sequence[int]) -> list[Unit]:
    """Merge the groups of a class that needs a guarantee onto as many queues as have it.

    Classes that need the same queue, whose guarantee is enough for them together, become one unit.
    """
    if not rates:
        return units
    requests = {unit.class_index: Request(*unit.minima[0], unit.priority) for unit in units if unit.minima}
    grants, free = match_requests(requests.values(), rates, may_join=True)
    merged = [unit for unit in units if not unit.minima]
    for grant in grants:
        members = [unit for unit in units if unit.minima and unit.class_index in grant.keys]
        joined = len(grant.keys) > 1
        merged += pack(members, 1 if joined else 1 + take_more(free, grant.floor, len(members) - 1))
    granted = {class_index for grant in grants for class_index in grant.keys}
    return merged + [unit for unit in units if unit.minima and unit.class_index not in granted]


def _floors(units: list[Unit], rates: Sequence[int]) -> list[int]:
    """Return what the queues of each unit have to guarantee: the sum of its classes' minima, or the best there is."""
    requests = [
        Request(index, sum(rate for _, rate in unit.minima), unit.priority)
        for index, unit in enumerate(units)
        if unit.minima
    ]
    floors = [0] * len(units)
    for grant in match_requests(requests, rates)[0]:
        floors[grant.keys[0]] = grant.floor
    return floors


def _limit_by_floors(units: list[Unit], floors: list[int], rates: Sequence[int]) -> list[Unit]:
    """Give the units that need a guarantee the limit that together they have no more queues than give it.

    Each floor is a limit with a key of its own, below 0: it counts for the units with this floor or a higher
    one.
    """
    key_of_floor = {floor: -1 - number for number, floor in enumerate(sorted({*floors} - {0}))}
    limit_of_key = {key: (key, sum(rate >= floor for rate in rates)) for floor, key in key_of_floor.items()}
    return [
        unit._replace(
            limits=unit.limits
            + tuple(limit_of_key[key] for floor, key in key_of_floor.items() if floor <= unit_floor)
        )
        for unit, unit_floor in zip(units, floors, strict=True)
    ]


def _merge_limited(units: list[Unit]) -> list[Unit]:
    """Merge the groups of a class that has more of them than its ``max_queues``."""
    by_class: dict[int, list[Unit]] = {}
    for unit in units:
        by_class.setdefault(unit.class_index, []).append(unit)
    merged: list[Unit] = []
    for members in by_class.values():
        limits = members[0].limits
        merged.extend(pack(members, max(1, limits[0][1])) if limits else members)
    return merged


def _merge(units: list[Unit], pool_count: int) -> list[Unit]:
    """Merge units into at most ``pool_count``; those of different priorities last."""
    if len(units) <= pool_count:
        return units
    by_class: dict[tuple[int, int], list[Unit]] = {}
    for unit in sorted(units, key=lambda unit: (-unit.priority, unit.class_index)):
        by_class.setdefault((unit.priority, unit.class_index), []).append(unit)
    blocks = list(by_class.values())
    while len(blocks) > pool_count:
        first = min(range(len(blocks) - 1), key=lambda i: _distance(blocks[i], blocks[i + 1]))
        blocks[first : first + 2] = [blocks[first] + blocks[first + 1]]
    bin_counts = _bin_counts(blocks, pool_count)
    return [unit for block, count in zip(blocks, bin_counts, strict=True) for unit in pack(block, count)]


def _distance(block: list[Unit], neighbour: list[Unit]) -> tuple[int, int]:
    """Return how unlike two neighbours are: by priority first, then by the load that their union would have."""
    return block[-1].priority - neighbour[0].priority, sum(unit.load for unit in block + neighbour)


def _bin_counts(blocks: list[list[Unit]], pool_count: int) -> list[int]:
    """Return the number of bins of each block of units: one each, then where the load per bin is highest."""
    counts = [1] * len(blocks)
    loads = [sum(unit.load for unit in block) for block in blocks]
    for _ in range(pool_count - len(blocks)):
        growing = [i for i, block in enumerate(blocks) if counts[i] < len(block)]
        if not growing:
            break
        heaviest = max(growing, key=lambda i: (loads[i] / counts[i], -i))
        counts[heaviest] += 1
    return counts


def pack(units: list[Unit], bin_count: int) -> list[Unit]:
    """Merge units into at most ``bin_count`` of about equal load: the heaviest first, each to the lightest bin.

    A unit rather goes to the bin of the units with which it shared a pool, while that is not above ``SLACK``.
    """
    if len(units) <= bin_count:
        return units
    ceiling = (1 + SLACK) * sum(unit.load for unit in units) / bin_count
    bins: list[list[Unit]] = [[] for _ in range(bin_count)]
    loads = [0] * bin_count
    heap = [(0, 0, i) for i in range(bin_count)]
    bin_of_pool: dict[int, int] = {}
    for unit in sorted(units, key=lambda unit: (-unit.load, unit.groups)):
        target = bin_of_pool.get(unit.bin, -1) if unit.bin >= 0 else -1
        if target < 0 or loads[target] + unit.load > ceiling:
            target = _lightest_bin(heap, loads, bins)
        if unit.bin >= 0 and unit.bin not in bin_of_pool and target not in bin_of_pool.values():
            bin_of_pool[unit.bin] = target
        bins[target].append(unit)
        loads[target] += unit.load
    return [_union(members) for members in bins if members]


def _lightest_bin(heap: list[tuple[int, int, int]], loads: list[int], bins: list[list[Unit]]) -> int:
    """Return the bin with least load, then fewest units; brings heap entries that are out of date up to date."""
    while True:
        load, count, index = heap[0]
        if (load, count) == (loads[index], len(bins[index])):
            return index
        heapreplace(heap, (loads[index], len(bins[index]), index))


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


class _SlotCounts:
    """The number of slots of each unit, one at first, while more are added within the limits of their classes."""

    def __init__(self, units: list[Unit]) -> None:
        self.units = units
        self.counts = [0] * len(units)
        self.of_class: dict[int, int] = {}
        for index in range(len(units)):
            self.add(index)

    def may_add(self, index: int) -> bool:
        return all(self.of_class[class_index] < most for class_index, most in self.units[index].limits)

    def add(self, index: int) -> None:
        unit = self.units[index]
        self.counts[index] += 1
        for class_index in {unit.class_index, *(limited for limited, _ in unit.limits)}:
            self.of_class[class_index] = self.of_class.get(class_index, 0) + 1

    def move(self, giver: int, receiver: int) -> None:
        """Take a slot from a unit for another one."""
        unit = self.units[giver]
        self.counts[giver] -= 1
        for class_index in {unit.class_index, *(limited for limited, _ in unit.limits)}:
            self.of_class[class_index] -= 1
        self.add(receiver)

    def may_give(self, index: int) -> bool:
        unit = self.units[index]
        return self.counts[index] > 1 and self.of_class[unit.class_index] > unit.min_queues

    def load_per_slot(self, index: int) -> float:
        return self.units[index].load / self.counts[index]

    def lacks_minimum(self, index: int) -> bool:
        unit = self.units[index]
        return self.of_class[unit.class_index] < unit.min_queues and self.counts[index] < unit.flows

    def neediest(self) -> int | None:
        """Return the unit with the highest load per slot, first of those with more flows than slots; None: no more."""
        counts, units = self.counts, self.units
        return max(
            filter(self.may_add, range(len(units))),
            key=lambda i: (counts[i] < units[i].flows, units[i].load / counts[i], -counts[i], -i),
            default=None,
        )


def _favour_priority(slots: _SlotCounts) -> None:
    """Let no unit have clearly more load per slot than one of lower priority that can give it a slot.

    A slot goes from the unit that has least load per slot without it, and only upwards in priority, so this ends.
    """
    units, counts = slots.units, slots.counts
    while (index := _outweighing(slots)) is not None:
        givers = [
            other
            for other in range(len(units))
            if units[other].priority < units[index].priority
            and slots.may_give(other)
            and slots.load_per_slot(index) > CLEARLY * slots.load_per_slot(other)
        ]
        slots.move(min(givers, key=lambda other: (units[other].load / (counts[other] - 1), other)), index)


def _outweighing(slots: _SlotCounts) -> int | None:
    """Return a unit that has clearly more load per slot than one of lower priority that can give one; None: none."""
    units = slots.units
    least, least_below, priority = inf, inf, 0
    for index in sorted(range(len(units)), key=lambda index: units[index].priority):
        if units[index].priority != priority:
            priority, least_below = units[index].priority, least
        load = slots.load_per_slot(index)
        if load > CLEARLY * least_below and slots.counts[index] < units[index].flows and slots.may_add(index):
            return index
        if slots.may_give(index):
            least = min(least, load)
    return None


def _count_slots(units: list[Unit], slot_count: int, rates: Sequence[int]) -> list[Part]:
    """Give every unit a queue, classes their ``min_queues``, and the rest by load up to the maximum."""
    floors = _floors(units, rates)
    units = _limit_by_floors(units, floors, rates)
    slots = _SlotCounts(units)
    left = slot_count - len(units)
    for index in sorted(range(len(units)), key=lambda i: (-units[i].priority, i)):
        while left and slots.lacks_minimum(index) and slots.may_add(index):
            slots.add(index)
            left -= 1
    for _ in range(left):
        neediest = slots.neediest()
        if neediest is None:
            break
        slots.add(neediest)
    _favour_priority(slots)
    return [
        Part(unit.groups, count, unit.load, floor, unit.priority)
        for unit, count, floor in zip(units, slots.counts, floors, strict=True)
    ]
