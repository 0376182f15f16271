"""Dividing the queues among groups anew when it is worth it, and bringing home the flows that this uproots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, guarantees, pools
from flowlane.core.allocate.rebalance.moves import all_allowed, may_spend, relocate, relocate_cell
from flowlane.core.allocate.state import NEVER
from flowlane.core.allocate.strategies import combined
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from flowlane.core.allocate.division import Part
    from flowlane.core.allocate.state import Cell, Move, Pool, PortState, Region, Slot

CLEARED = 0.1
"""Part of the port's flows that may be moved in one rebalance out of queues that one flow is to have alone."""

PATIENCE = 3
"""Intervals for which a new division must have been due: a group that comes and goes stirs nobody."""

WORSE = 1.25
"""How much more loaded per queue the fullest pool must be than under a new division, for the new to be taken."""


def divide_again(state: PortState, region: Region, now: float) -> None:
    """Divide the region's queues anew if groups have come to stay, or if their demand has shifted for good."""
    pause = PATIENCE * state.balance.interval
    if not region.groups or not region.slots or now - region.planned_at < state.balance.window:
        return
    if region.restless_since == NEVER and now - region.checked_at < pause:
        return
    region.checked_at = now
    parts, free = pools.parts_of(region)
    if _is_restless(region, parts):
        if region.restless_since == NEVER:
            region.restless_since = now
        if now - region.restless_since < pause:
            return
    elif not _is_lopsided(region, parts):
        region.restless_since = NEVER
        return
    region.restless_since = NEVER
    pools.rebuild(region, parts, free, now)


def _is_restless(region: Region, parts: list[Part]) -> bool:
    """Whether groups share that could be apart, or lack a guarantee, or slots lie idle that could be used."""
    if any(group.guest for group in region.groups.values()) or len(parts) > len(region.pools):
        return True
    if any(guarantees.rate_of(slot) < part.floor for part in parts for slot in _pool_of(region, part).slots):
        return True
    idle = any(slot.count == 0 and slot.exclusive_row < 0 for slot in region.slots)
    return idle and any(part.slots > len(_pool_of(region, part).slots) for part in parts)


def _pool_of(region: Region, part: Part) -> Pool:
    pool = region.groups[part.groups[0]].pool
    assert pool is not None
    return pool


def _is_lopsided(region: Region, parts: list[Part]) -> bool:
    """Whether the fullest pool has much more load per slot than under a new division."""
    worst = max(sum(group.load for group in pool.groups.values()) / len(pool.slots) for pool in region.pools)
    return worst > WORSE * max(part.load / part.slots for part in parts)


def bring_home(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Move strays to the queues of their groups, heaviest first.

    A queue that somebody is to have alone is a promise: emptying it costs no tokens, up to ``CLEARED``, and
    does not wait for the flows' windows.
    """
    left = max(16.0, CLEARED * state.count)
    for slot in region.slots:
        if slot.exclusive_row >= 0 and slot.count > 1:
            saved, state.tokens = state.tokens, left
            _clear(state, slot, NEVER, now, moves)
            left, state.tokens = state.tokens, saved
    latest = now - state.balance.window
    for slot in region.slots:
        if slot.exclusive_row < 0 and not _clear(state, slot, latest, now, moves):
            return


def is_stray(slot: Slot, cell: Cell) -> bool:
    """Whether the flows of a cell do not belong on its slot."""
    if slot.exclusive_row >= 0:
        return cell.group is not slot.region.alone
    return cell.group.pool is not slot.pool or _is_apart(cell)


def _is_apart(cell: Cell) -> bool:
    """Whether the flows of a VM that keep together are on another queue too, as where they were taken over."""
    return cell.vm > 0 and cell.group.homes.get(cell.vm, cell) is not cell


def _clear(state: PortState, slot: Slot, latest: float, now: float, moves: list[Move]) -> bool:
    """Move the strays of a slot that have not moved since ``latest`` (NEVER: all); False when tokens run out."""
    for cell in [cell for cell in slot.cells.values() if is_stray(slot, cell)]:
        done = _clear_vm if cell.vm else _clear_cell
        if not done(state, cell, latest, now, moves):
            return False
    return True


def _clear_vm(state: PortState, cell: Cell, latest: float, now: float, moves: list[Move]) -> bool:
    if latest != NEVER and not all_allowed(state, cell, now):
        return True
    if not may_spend(state, cell.count):
        return False
    state.tokens -= cell.count
    home = cell.group.homes.pop(cell.vm, cell)
    if home is cell:
        target = combined.slot_to_share(cell.group, 0)
    else:
        target, cell.group.homes[cell.vm] = home.slot, home
    relocate_cell(state, cell, target, now, _reason(cell), moves)
    return True


def _clear_cell(state: PortState, cell: Cell, latest: float, now: float, moves: list[Move]) -> bool:
    rows = [
        row for row in cells.rows_of(state, cell) if latest == NEVER or state.columns.moved_at[row] <= latest
    ]
    rates = state.columns.rate
    for row in sorted(rows, key=lambda row: (-rates[row], row)):
        if not may_spend(state, 1):
            return False
        state.tokens -= 1
        target = combined.slot_to_share(cell.group, 0)
        relocate(state, row, target, cell.group, now, _reason(cell), moves)
    return True


def _reason(cell: Cell) -> Reason:
    return Reason.EXCLUSIVE_UNAVAILABLE if cell.group.demand.exclusive else Reason.REBALANCED
