"""Queues that one flow has alone: given to flows that wait, taken from flows that deserve them much less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, division, pools
from flowlane.core.allocate.flow import slot_of
from flowlane.core.allocate.port import disinherit, rank
from flowlane.core.allocate.rebalance.moves import allowed, note, relocate
from flowlane.core.allocate.state import NOBODY, Move, demand_of
from flowlane.core.allocate.strategies import combined
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Group, PortState, Region, Slot

EARN = 1.25
"""How many times the mean load of a shared queue a flow must carry to get a queue alone while others wait."""

KEEP = 0.8
"""Below this part of the mean load of a shared queue an owner loses its queue while others wait."""

STRONGER = 1.25
"""How much heavier than an owner of the same priority a waiting flow must be to take over its queue."""


def promote_waiting(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Give queues to waiting flows, the most deserving first: free ones, then those of much lesser flows."""
    if not region.waiting:
        return
    if not division.suffices(region):
        region.short_at = now
    for row in _candidates(state, region):
        if not _take_free(state, region, row, now, moves):
            _take_over(state, region, row, now, moves)


def share_out(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Take queues back from the least deserving owners while more flows want one alone than there are queues.

    The flows that wait share queues of their own, apart from the flows that never asked to be alone; and an
    owner has to carry about what a shared queue carries, or the others would crowd for nothing; unless its
    priority is above theirs.
    """
    changed = False
    while region.waiting and not division.suffices(region):
        owned = [slot for slot in region.slots if slot.exclusive_row >= 0]
        if not owned:
            break
        slot = min(owned, key=lambda slot: rank(state, slot.exclusive_row))
        free = len(region.slots) - len(owned)
        first = rank(state, slot.exclusive_row)[0] > _rivals(state, region)
        earns = first or slot.load * free >= KEEP * _shared_load(region) or not _is_crowded(region)
        if free >= division.reserve(region, region.waiting) and (
            earns or not allowed(state, slot.exclusive_row, now)
        ):
            break
        moves.append(_stay(slot.exclusive_row, slot, Reason.EXCLUSIVE_UNAVAILABLE))
        disinherit(state, slot)
        changed = True
    if changed:
        pools.divide(region, now)


def _earns(state: PortState, region: Region, row: int) -> bool:
    """Whether a waiting flow would carry clearly more alone than each queue that the others are left with.

    One that comes before all others that wait, by priority, need not.
    """
    free = sum(slot.exclusive_row < 0 for slot in region.slots)
    priority, rate = rank(state, row)
    return priority > _rivals(state, region, row) or rate * (free - 1) >= EARN * (_shared_load(region) - rate)


def _is_crowded(region: Region, group: Group | None = None, slot: Slot | None = None) -> bool:
    """Whether somewhere more flows share than there are queues, and one queue more would help.

    With a group and a slot: whether that would be so if a flow of the group took the slot for itself.
    """
    for pool in region.pools:
        flows = sum(pools.spreadable(each) for each in pool.groups.values()) - (
            group is not None and group.pool is pool
        )
        left = len(pool.slots) - (slot is not None and slot.pool is pool)
        if flows > left and (left < len(pool.slots) or division.may_grow(region, pool)):
            return True
    return False


def _rivals(state: PortState, region: Region, row: int = NOBODY) -> int:
    """The highest priority among the flows that wait, but for one; -1 when there are none."""
    best = -1
    for cell in (cell for slot in region.slots for cell in slot.cells.values()):
        bands = (band for band in cell.heads if band >= cells.WAITING_BANDS)
        others = (band for band in bands if cell.heads[band] != row or state.columns.next[row] >= 0)
        best = max(best, max(others, default=0) // cells.WAITING_BANDS - 1)
    return best


def _has_idle(region: Region) -> bool:
    return any(slot.count == 0 for slot in region.slots)


def _shared_load(region: Region) -> int:
    return sum(slot.load for slot in region.slots if slot.exclusive_row < 0)


def _candidates(state: PortState, region: Region) -> list[int]:
    """Waiting flows, the most deserving first; of each chain only the first few."""
    rows: list[int] = []
    for slot in region.slots:
        for cell in slot.cells.values():
            mask = cell.mask >> cells.WAITING_BANDS
            while mask:
                band = mask.bit_length() - 1
                mask ^= 1 << band
                rows.extend(cells.first_rows(state, cell.heads[band + cells.WAITING_BANDS]))
    rows.sort(key=lambda row: (*rank(state, row), -row), reverse=True)
    return rows


def _take_free(state: PortState, region: Region, row: int, now: float, moves: list[Move]) -> bool:
    demand, current = demand_of(state, row), slot_of(state, row)
    slot = combined.slot_to_own(region, demand, current, 1)
    if slot is None or not (slot is current or allowed(state, row, now)):
        return False
    group = cells.group_of(state, row)
    enough = division.suffices(region) and now - region.short_at >= state.balance.window
    if (
        not enough
        and region.waiting > 1
        and _is_crowded(region, group, slot)
        and not _earns(state, region, row)
    ):
        return False
    _hand_over(state, region, row, slot, now, moves)
    return True


def _take_over(state: PortState, region: Region, row: int, now: float, moves: list[Move]) -> None:
    """Take the queue of the least deserving owner, if the row deserves it clearly more."""
    demand = demand_of(state, row)
    limit = demand.max_queues
    full = limit is not None and region.owned.get(demand.class_index, 0) >= limit
    owned = [
        slot
        for slot in region.slots
        if slot.exclusive_row >= 0
        and (not full or demand_of(state, slot.exclusive_row).class_index == demand.class_index)
    ]
    if not owned or not allowed(state, row, now):
        return
    slot = min(owned, key=lambda slot: rank(state, slot.exclusive_row))
    victim = slot.exclusive_row
    (mine, rate), (its, its_rate) = rank(state, row), rank(state, victim)
    if mine < its or (mine == its and rate <= STRONGER * its_rate) or not allowed(state, victim, now):
        return
    free = sum(other.exclusive_row < 0 for other in region.slots)
    left = _shared_load(region) - rate + its_rate
    if rate * free < KEEP * left and mine <= max(its, _rivals(state, region, row)):
        return
    disinherit(state, slot)
    _hand_over(state, region, row, slot, now, moves)
    group = pools.find_group(region, demand_of(state, victim))
    target = combined.slot_to_share(group, 0)
    relocate(state, victim, target, group, now, Reason.EXCLUSIVE_UNAVAILABLE, moves)


def _hand_over(state: PortState, region: Region, row: int, slot: Slot, now: float, moves: list[Move]) -> None:
    """Make a waiting row the owner of a slot."""
    current = slot_of(state, row)
    group = cells.group_of(state, row)
    demand = demand_of(state, row)
    cells.take(state, row)
    if group.count == 0:
        pools.drop_group(region, group)
    pools.own(region, slot, row, demand.class_index)
    cells.put(state, row, slot, region.alone, 0)
    if current is not slot:
        note(state, row, current, slot, now, Reason.EXCLUSIVE, moves)
    else:
        moves.append(_stay(row, slot, Reason.EXCLUSIVE))


def _stay(row: int, slot: Slot, reason: Reason) -> Move:
    """Tell that a flow stays on its queue for another reason than until now."""
    return Move(row, slot.queue.queue_id, slot.queue.queue_id, slot.queue.kind, reason)
