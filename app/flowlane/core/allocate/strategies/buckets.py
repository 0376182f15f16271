"""Buckets of flows that move as a whole, as RSS++ does with the entries of a NIC's indirection table.

Source: Barbette, Katsikas, Maguire and Kostic, "RSS++: load and state-aware receive side scaling", CoNEXT 2019. The
hash of a flow's 5-tuple gives it a bucket, and each bucket is on one queue. A rebalance takes buckets off the queues
that carry more than the mean by more than ``Balance.imbalance``, for those that carry less.

There are two differences. What a bucket carries is the sum of the rates of its flows, where RSS++ counts packets. And
a bucket costs as many tokens as it has flows, and waits until none of them has moved within the window.

The bucket of a flow is in its cell: ``Cell.vm`` is the bucket's number plus one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, pools
from flowlane.core.allocate.budget import has_tokens, may_all_move, move_row
from flowlane.core.allocate.state import HELD_GROUP
from flowlane.core.allocate.strategies.rss import rss_hash
from flowlane.core.allocate.strategies.simple import candidates, choice
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.allocate.state import Cell, Demand, Move, PortState, Slot
    from flowlane.core.allocate.strategies.combined import Choice

BUCKETS = 512
"""Buckets, for each kind of queue."""


def place(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:
    """Choose the queue of the flow's bucket. The bucket of a queue that is gone goes to the least loaded one."""
    slots = candidates(state, demand)
    bucket = bucket_of(row, key)
    entries = _entries(state, slots)
    if entries[bucket] not in slots:
        entries[bucket] = min(slots, key=lambda slot: (slot.load * slot.scale, slot.count * slot.scale))
    return choice(current if current in slots else entries[bucket], demand, bucket + 1)


def bucket_of(row: int, key: bytes) -> int:
    """Return the number of a flow's bucket. A flow without a key goes by its row."""
    return (rss_hash(key) if key else row) % BUCKETS


def adopt(state: PortState, row: int, demand: Demand, slot: Slot, key: bytes) -> int:
    """Return the number of a flow's cell where it is; a bucket without flows on its own queue takes that one."""
    slots = candidates(state, demand)
    bucket = bucket_of(row, key)
    entries = _entries(state, slots)
    if slot in slots and not (entries[bucket] in slots and bucket + 1 in _numbers(entries[bucket])):
        entries[bucket] = slot
    return bucket + 1


def rebalance(state: PortState, now: float, octets: Sequence[int] | None, moves: list[Move]) -> None:  # noqa: ARG001
    """Bring flows to the queues of their buckets, then move buckets until no queue is above the mean by too much."""
    for kind, entries in state.buckets.items():
        slots = [slot for slot in state.slots if slot.queue.kind is kind]
        if slots:
            _give_to_new(slots, entries)
            _return_strays(state, slots, entries, now, moves)
            if not _is_quiet(slots):
                _even_out(state, slots, entries, now, moves)


def _entries(state: PortState, slots: list[Slot]) -> list[Slot]:
    """Return the queue of each bucket; at first bucket i is on queue i mod n, as in the NICs' tables."""
    kind = slots[0].queue.kind
    if kind not in state.buckets:
        state.buckets[kind] = [slots[number % len(slots)] for number in range(BUCKETS)]
    return state.buckets[kind]


def _numbers(slot: Slot) -> set[int]:
    return {cell.vm for cell in _cells_of_buckets(slot)}


def _cells_of_buckets(slot: Slot) -> list[Cell]:
    """Return the cells of a queue but that of flows which are pinned by hand."""
    return [cell for cell in slot.cells.values() if cell.group.key != HELD_GROUP]


def _give_to_new(slots: list[Slot], entries: list[Slot]) -> None:
    """Give a queue without buckets its part of those that have no flows; that moves nothing."""
    new = set(slots) - set(entries)
    if not new:
        return
    used = {number for slot in slots for number in _numbers(slot)}
    for bucket in range(BUCKETS):
        slot = slots[bucket % len(slots)]
        if slot in new and bucket + 1 not in used:
            entries[bucket] = slot


def _return_strays(
    state: PortState, slots: list[Slot], entries: list[Slot], now: float, moves: list[Move]
) -> None:
    """Move flows that are on another queue than their bucket, as after a restart or a new policy."""
    for slot in slots:
        for cell in _cells_of_buckets(slot):
            home = entries[cell.vm - 1]
            if home is not slot and home in slots and may_all_move(state, cell, now):
                if not has_tokens(state, cell.count):
                    return
                _move([cell], state, home, now, moves)


def _even_out(
    state: PortState, slots: list[Slot], entries: list[Slot], now: float, moves: list[Move]
) -> None:
    """Move buckets from the busiest queue to the idlest, one by one, while that helps; loads are per speed."""
    mean = sum(slot.load for slot in slots) / sum(1 / slot.scale for slot in slots)
    ceiling = mean * (1 + state.balance.imbalance)
    sources = list(slots)
    while sources and has_tokens(state, 1):
        source = max(sources, key=lambda slot: slot.load * slot.scale)
        if source.load * source.scale <= ceiling:
            return
        target = min(slots, key=lambda slot: slot.load * slot.scale)
        bucket = _best_bucket(state, source, target, entries, now)
        if not bucket:
            sources.remove(source)
            continue
        entries[bucket[0].vm - 1] = target
        _move(bucket, state, target, now, moves)


def _best_bucket(state: PortState, source: Slot, target: Slot, entries: list[Slot], now: float) -> list[Cell]:
    """Return the cells of the bucket whose move leaves the fuller of two queues with least load; empty: none helps."""
    buckets: dict[int, list[Cell]] = {}
    for cell in _cells_of_buckets(source):
        if entries[cell.vm - 1] is source:
            buckets.setdefault(cell.vm, []).append(cell)
    gap = source.load * source.scale - target.load * target.scale
    loads = {number: sum(cell.load for cell in of_bucket) for number, of_bucket in buckets.items()}
    gains = {number: min(load * source.scale, gap - load * target.scale) for number, load in loads.items()}
    for number in sorted(gains, key=lambda number: (-gains[number], number)):
        if gains[number] <= 0:
            break
        flows = sum(cell.count for cell in buckets[number])
        if has_tokens(state, flows) and all(may_all_move(state, cell, now) for cell in buckets[number]):
            return buckets[number]
    return []


def _move(bucket: list[Cell], state: PortState, target: Slot, now: float, moves: list[Move]) -> None:
    """Move the flows of some cells to a queue, and pay for them."""
    for cell in bucket:
        state.tokens -= cell.count
        old = cell.group
        group = pools.find_group(target.region, old.demand)
        for row in cells.rows_of(state, cell):
            move_row(state, row, target, group, now, Reason.REBALANCED, moves)
        if not old.count:
            pools.remove_group(old.region, old)


def _is_quiet(slots: list[Slot]) -> bool:
    """Return whether no queue carries enough to matter; where the rate of the port is unknown, any load does."""
    regions = list(dict.fromkeys(slot.region for slot in slots))
    capacities = [region.capacity for region in regions if region.capacity is not None]
    if len(capacities) < len(regions):
        return False
    speed = sum(region.speed for region in regions)
    return max(slot.load * slot.scale for slot in slots) * speed < pools.QUIET_SHARE * sum(capacities)
