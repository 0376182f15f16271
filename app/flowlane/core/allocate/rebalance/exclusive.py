"""Exclusive queues: granted to flows that wait, revoked while there are too few, preempted by flows of higher rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, division, pools
from flowlane.core.allocate.port import rank, revoke_exclusive
from flowlane.core.allocate.rebalance.moves import may_move, move_row, record_move
from flowlane.core.allocate.state import NO_ROW, Move, demand_of
from flowlane.core.allocate.strategies import combined
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Group, PortState, Region, Slot

GRANT_FACTOR = 1.25
"""How many times the mean load of a shared queue a waiting flow must carry to get a queue while others wait."""

REVOKE_FACTOR = 0.8
"""Below this share of the mean load of a shared queue an exclusive flow loses its queue while others wait."""

PREEMPT_FACTOR = 1.25
"""How many times the rate of an exclusive flow of its priority a waiting flow must have to take over its queue."""


def grant_to_waiting(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Give exclusive queues to waiting flows, the highest rank first: free queues, then those of lower rank."""
    if not region.waiting:
        return
    if not division.slots_suffice(region):
        region.shortage_at = now
    for row in _waiting_rows(state, region):
        if not _grant_free_queue(state, region, row, now, moves):
            _preempt(state, region, row, now, moves)


def revoke_excess(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Revoke exclusive queues, the lowest rank first, while more flows ask for one than there are queues.

    The waiting flows share queues of their own, apart from the flows of classes that share. An exclusive flow
    keeps its queue if it carries about what a shared queue carries, if its priority is above that of all who
    wait, or if its queue is of no use to others.
    """
    revoked = False
    while region.waiting and not division.slots_suffice(region):
        exclusive = region.exclusive_slots()
        if not exclusive:
            break
        slot = min(exclusive, key=lambda slot: rank(state, slot.exclusive_row))
        row = slot.exclusive_row
        shared_count = len(region.slots) - len(exclusive)
        keeps = (
            rank(state, row)[0] > _highest_waiting_priority(state, region)
            or slot.load * shared_count >= REVOKE_FACTOR * _shared_load(region)
            or not _is_crowded(region)
        )
        has_reserved = shared_count >= division.reserved_slots(region, region.waiting)
        if has_reserved and (keeps or not may_move(state, row, now)):
            break
        moves.append(_new_reason(row, slot, Reason.EXCLUSIVE_UNAVAILABLE))
        revoke_exclusive(state, slot)
        revoked = True
    if revoked:
        pools.divide(region, now)


def _is_heavy_enough(state: PortState, region: Region, row: int) -> bool:
    """Return whether a waiting flow would carry clearly more than each queue that is left to the others.

    A flow whose priority is above that of all others that wait need not.
    """
    priority, rate = rank(state, row)
    if priority > _highest_waiting_priority(state, region, row):
        return True
    left = len(region.shared_slots()) - 1
    return rate * left >= GRANT_FACTOR * (_shared_load(region) - rate)


def _is_crowded(region: Region, group: Group | None = None, slot: Slot | None = None) -> bool:
    """Return whether in some pool more flows share than it has queues, and one queue more would help.

    With a group and a slot: whether that would be so if the slot became exclusive to a flow of the group.
    """
    for pool in region.pools:
        flows = sum(pools.max_useful_queues(member) for member in pool.groups.values())
        flows -= group is not None and group.pool is pool
        left = len(pool.slots) - (slot is not None and slot.pool is pool)
        if flows > left and (left < len(pool.slots) or division.may_grow(region, pool)):
            return True
    return False


def _highest_waiting_priority(state: PortState, region: Region, row: int = NO_ROW) -> int:
    """Return the highest priority of the waiting flows other than ``row``; -1 when there are none."""
    highest = -1
    for cell in (cell for slot in region.slots for cell in slot.cells.values()):
        bands = (band for band in cell.heads if band >= cells.WAITING_BANDS)
        others = (band for band in bands if cell.heads[band] != row or state.columns.next[row] >= 0)
        highest = max(highest, max(others, default=0) // cells.WAITING_BANDS - 1)
    return highest


def _shared_load(region: Region) -> int:
    return sum(slot.load for slot in region.slots if slot.exclusive_row < 0)


def _waiting_rows(state: PortState, region: Region) -> list[int]:
    """Return waiting flows, the highest rank first; of each rate band only the first few."""
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


def _grant_free_queue(state: PortState, region: Region, row: int, now: float, moves: list[Move]) -> bool:
    """Give a waiting flow an exclusive queue if one is free for it; return whether it was."""
    demand, current = demand_of(state, row), cells.slot_of(state, row)
    slot = combined.slot_for_exclusive(region, demand, current, 1)
    if slot is None or not (slot is current or may_move(state, row, now)):
        return False
    for_all = division.slots_suffice(region) and now - region.shortage_at >= state.balance.window
    if (
        not for_all
        and region.waiting > 1
        and _is_crowded(region, cells.group_of(state, row), slot)
        and not _is_heavy_enough(state, region, row)
    ):
        return False
    _grant(state, region, row, slot, now, moves)
    return True


def _preempt(state: PortState, region: Region, row: int, now: float, moves: list[Move]) -> None:
    """Give a waiting flow the queue of the exclusive flow of lowest rank, if its own rank is clearly higher."""
    demand = demand_of(state, row)
    most = demand.max_queues
    at_most = most is not None and region.exclusive_queues.get(demand.class_index, 0) >= most
    preemptible = [
        slot
        for slot in region.exclusive_slots()
        if not at_most or demand_of(state, slot.exclusive_row).class_index == demand.class_index
    ]
    if not preemptible or not may_move(state, row, now):
        return
    slot = min(preemptible, key=lambda slot: rank(state, slot.exclusive_row))
    victim = slot.exclusive_row
    (priority, rate), (victim_priority, victim_rate) = rank(state, row), rank(state, victim)
    higher = priority > victim_priority or (
        priority == victim_priority and rate > PREEMPT_FACTOR * victim_rate
    )
    if not higher or not may_move(state, victim, now):
        return
    load_left = _shared_load(region) - rate + victim_rate
    light = rate * len(region.shared_slots()) < REVOKE_FACTOR * load_left
    if light and priority <= max(victim_priority, _highest_waiting_priority(state, region, row)):
        return
    revoke_exclusive(state, slot)
    _grant(state, region, row, slot, now, moves)
    group = pools.find_group(region, demand_of(state, victim))
    target = combined.slot_to_share(group, 0)
    move_row(state, victim, target, group, now, Reason.EXCLUSIVE_UNAVAILABLE, moves)


def _grant(state: PortState, region: Region, row: int, slot: Slot, now: float, moves: list[Move]) -> None:
    """Make a slot exclusive to a waiting flow."""
    current = cells.slot_of(state, row)
    group = cells.group_of(state, row)
    demand = demand_of(state, row)
    cells.remove(state, row)
    if group.count == 0:
        pools.remove_group(region, group)
    pools.make_exclusive(region, slot, row, demand.class_index)
    cells.insert(state, row, slot, region.exclusive_group, 0)
    if current is not slot:
        record_move(state, row, current, slot, now, Reason.EXCLUSIVE, moves)
    else:
        moves.append(_new_reason(row, slot, Reason.EXCLUSIVE))


def _new_reason(row: int, slot: Slot, reason: Reason) -> Move:
    """Return the move of a flow that stays on its queue, for another reason than until now."""
    return Move(row, slot.queue.queue_id, slot.queue.queue_id, slot.queue.kind, reason)
