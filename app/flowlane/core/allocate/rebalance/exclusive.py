"""Exclusive queues: granted to flows that wait, revoked where others miss them, taken over by flows of higher rank.

Which flow may have one is the rule of :mod:`flowlane.core.allocate.exclusivity`. A flow that has to move to its queue
pays a token, as the flows that leave the queue do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, division, exclusivity, pools
from flowlane.core.allocate.budget import has_tokens, may_move, move_row, record_move
from flowlane.core.allocate.port import rank, revoke_exclusive
from flowlane.core.allocate.state import Move, demand_of
from flowlane.core.allocate.strategies import combined
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from flowlane.core.allocate.state import PortState, Region, Slot

TAKE_OVER = 1.25
"""How many times the rate of an exclusive flow of its priority a waiting flow must have to take over its queue."""


def grant_to_waiting(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Give exclusive queues to waiting flows, the highest rank first: free queues, then those of lower rank."""
    if not region.waiting:
        return
    for row in _waiting_rows(state, region):
        if exclusivity.may_again(state, region, row, now) and not _grant_queue(
            state, region, row, now, moves
        ):
            _take_over(state, region, row, now, moves)


def revoke_missed(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Revoke exclusive queues that the flows that share miss, those of the lowest rank first; no flow moves yet."""
    _forget_revoked(state, region, now)
    while len(region.shared_slots()) < division.reserved_slots(region) and region.exclusive_slots():
        _revoke(
            state,
            min(region.exclusive_slots(), key=lambda slot: rank(state, slot.exclusive_row)),
            now,
            moves,
        )
    while missed := exclusivity.missed_slots(state, region):
        _revoke(state, missed[0], now, moves)


def _revoke(state: PortState, slot: Slot, now: float, moves: list[Move]) -> None:
    row = slot.exclusive_row
    slot.region.revoked_at[row] = now
    revoke_exclusive(state, slot)
    moves.append(_new_reason(row, slot, Reason.EXCLUSIVE_UNAVAILABLE))


def _forget_revoked(state: PortState, region: Region, now: float) -> None:
    """Forget what was revoked before the window, and rows that are of other flows by now."""
    for row, when in list(region.revoked_at.items()):
        if now - when >= state.balance.window or state.columns.band[row] < cells.WAITING_BANDS:
            del region.revoked_at[row]


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


def _grant_queue(state: PortState, region: Region, row: int, now: float, moves: list[Move]) -> bool:
    """Give a waiting flow an exclusive queue if it may have one; return whether it was given one."""
    demand, current, rate = demand_of(state, row), cells.slot_of(state, row), state.columns.rate[row]
    slot = exclusivity.find_slot(region, demand, rate, current, True)
    if slot is None:
        return False
    if slot is not current and not (may_move(state, row, now) and has_tokens(state, 1)):
        if current.exclusive_row >= 0 or not exclusivity.may_have(region, current, demand, rate, True):
            return False
        slot = current
    _grant(state, region, row, slot, now, moves)
    return True


def _take_over(state: PortState, region: Region, row: int, now: float, moves: list[Move]) -> None:
    """Give a waiting flow the queue of the exclusive flow of lowest rank, if its own rank is clearly higher."""
    demand = demand_of(state, row)
    at_most = exclusivity.has_most(region, demand)
    slots = [
        slot
        for slot in region.exclusive_slots()
        if not at_most or demand_of(state, slot.exclusive_row).class_index == demand.class_index
    ]
    if not slots or not may_move(state, row, now) or not has_tokens(state, 2):
        return
    slot = min(slots, key=lambda slot: rank(state, slot.exclusive_row))
    loser = slot.exclusive_row
    (priority, rate), (lower_priority, lower_rate) = rank(state, row), rank(state, loser)
    higher = priority > lower_priority or (priority == lower_priority and rate > TAKE_OVER * lower_rate)
    if not higher or not may_move(state, loser, now):
        return
    if not exclusivity.may_take_over(region, slot, demand, rate, lower_rate):
        return
    revoke_exclusive(state, slot)
    region.revoked_at[loser] = now
    _grant(state, region, row, slot, now, moves)
    group = pools.find_group(region, demand_of(state, loser))
    target = combined.slot_to_share(group, 0)
    state.tokens -= 1
    move_row(state, loser, target, group, now, Reason.EXCLUSIVE_UNAVAILABLE, moves)


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
        state.tokens -= 1
        record_move(state, row, current, slot, now, Reason.EXCLUSIVE, moves)
    else:
        moves.append(_new_reason(row, slot, Reason.EXCLUSIVE))


def _new_reason(row: int, slot: Slot, reason: Reason) -> Move:
    """Return the move of a flow that stays on its queue, for another reason than until now."""
    return Move(row, slot.queue.queue_id, slot.queue.queue_id, slot.queue.kind, reason)
