"""Division of the queues among groups again when that pays, and the return of strays to their groups' queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, guarantees, pools, speeds
from flowlane.core.allocate.budget import has_tokens, may_all_move, most_tokens, move_cell, move_row
from flowlane.core.allocate.division import inversion
from flowlane.core.allocate.state import HELD_GROUP, NEVER, NO_ROW
from flowlane.core.allocate.strategies import combined
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from flowlane.core.allocate.division import Part
    from flowlane.core.allocate.state import Cell, Move, Pool, PortState, Region, Slot

GATHERED_SHARE = 0.1
"""Share of the port's flows that one rebalance may move to bring classes with ``max_queues`` together."""

WEIGHTY = 0.02
"""Part of the mean load of a queue from which a flow leaves an exclusive queue before pools are balanced."""

UNEVEN, KEPT = 1.5, 0.5
"""How many times the mean load a queue carries from which on a part of the tokens is kept for relieving it."""

DUE_INTERVALS = 3
"""Intervals for which a new division must be due, so that a group that comes and goes moves no other flows."""

MAX_TOGETHER = 256
"""Flows of a class with ``max_queues`` that move together from a queue, at most; of more each moves for itself."""

REDIVIDE_FACTOR = 1.25
"""How many times the load per queue of the best division the busiest pool must have for a new division."""


def redivide_if_due(state: PortState, region: Region, now: float) -> None:
    """Divide the region's queues again if groups have come to stay, if their load has shifted, or for new queues.

    New queues are divided at once: they come seldom, and a class could not use them until then. There are tokens to
    give each of them a flow; of few flows those of a second are less than one.
    """
    pause = DUE_INTERVALS * state.balance.interval
    if not region.groups or not region.slots:
        return
    if not region.grown:
        if now - region.divided_at < state.balance.window:
            return
        if region.outdated_since == NEVER and now - region.checked_at < pause:
            return
    grown, region.grown = region.grown, False
    if grown:
        idle = sum(slot.count == 0 for slot in region.slots)
        state.tokens = max(state.tokens, most_tokens(state), idle)
    region.checked_at = now
    parts, shared = pools.best_parts(region)
    if _is_outdated(region, parts):
        if region.outdated_since == NEVER:
            region.outdated_since = now
        if now - region.outdated_since < pause and not grown:
            return
    elif not _is_unbalanced(region, parts):
        region.outdated_since = NEVER
        return
    region.outdated_since = NEVER
    pools.apply_parts(region, parts, shared, now)


def _is_outdated(region: Region, parts: list[Part]) -> bool:
    """Return whether groups share that could be apart, lack a guarantee, or leave slots idle that they could use."""
    if any(group.provisional for group in region.groups.values()) or len(parts) > len(region.pools):
        return True
    if pools.waits_alone(region) or pools.is_served_late(region):
        return True
    pool_of_part = [(part, _pool_of(region, part)) for part in parts]
    if any(
        guarantees.guaranteed_rate(slot) < part.floor for part, pool in pool_of_part for slot in pool.slots
    ):
        return True
    has_idle = any(slot.count == 0 and slot.exclusive_row < 0 for slot in region.slots)
    return has_idle and any(part.slot_count > len(pool.slots) for part, pool in pool_of_part)


def _pool_of(region: Region, part: Part) -> Pool:
    pool = region.groups[part.groups[0]].pool
    assert pool is not None
    return pool


def _is_unbalanced(region: Region, parts: list[Part]) -> bool:
    """Return whether the busiest pool has much more load per slot than under a new division, or a higher priority has.

    That is, clearly more than a lower one, where the new division gives it clearly less.
    """
    current = pools.parts_of(region)
    highest = max(part.load / pool.speed for part, pool in zip(current, region.pools, strict=True))
    if highest > REDIVIDE_FACTOR * speeds.highest_part(parts, region.shared_slots()):
        return True
    inverted = inversion(current)
    return inverted > REDIVIDE_FACTOR and inverted > REDIVIDE_FACTOR * inversion(parts)


def gather_spread(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Bring classes that are on more queues than their ``max_queues`` together, up to ``GATHERED_SHARE`` at once.

    That costs no tokens, and does not wait for the flows' windows: on more queues they take from the others what the
    policy does not give them.
    """
    spread = _spread_classes(region)
    if not spread:
        return
    tokens, state.tokens = state.tokens, max(16.0, GATHERED_SHARE * state.count)
    for slot in region.slots:
        if slot.exclusive_row < 0 and slot.count:
            _return_from_slot(state, slot, NEVER, now, moves, spread)
    state.tokens = tokens


def empty_exclusive(
    state: PortState, region: Region, now: float, moves: list[Move], least_part: float = 0.0
) -> None:
    """Move the flows of others off exclusive queues, the heaviest first; for that there are tokens beside the others.

    Args:
        least_part: only flows of at least this part of the mean load of a queue.
    """
    tokens, extra = state.tokens, state.leave_tokens
    state.tokens += extra
    _empty_exclusive(state, region, now, moves, least_part)
    spent = tokens + extra - state.tokens
    state.leave_tokens = max(0.0, extra - spent)
    state.tokens = tokens - max(0.0, spent - extra)


def _empty_exclusive(
    state: PortState, region: Region, now: float, moves: list[Move], least_part: float
) -> None:
    least = int(least_part * region.load / len(region.slots)) if region.slots else 0
    latest = now - state.balance.window
    for slot in region.slots:
        if (
            slot.exclusive_row >= 0
            and slot.count > 1
            and not _return_from_slot(state, slot, latest, now, moves, least=least)
        ):
            return


def return_strays(
    state: PortState, region: Region, now: float, moves: list[Move], part: float = KEPT
) -> None:
    """Move strays to the queues of their groups, the heaviest first.

    Args:
        part: of the tokens that are kept for relieving a queue that carries far more than the others, if one does.
    """
    latest = now - state.balance.window
    kept = max(0.0, state.tokens * part) if part and _is_uneven(region) else 0.0
    state.tokens -= kept
    _return_strays(state, region, latest, now, moves)
    state.tokens += kept


def _is_uneven(region: Region) -> bool:
    """Return whether a shared queue carries far more than the mean, per speed."""
    shared = region.shared_slots()
    if not shared or not region.load:
        return False
    speed = sum(1 / slot.scale for slot in shared)
    load = sum(slot.load for slot in shared)
    return max(slot.load * slot.scale for slot in shared) * speed > UNEVEN * load


def _return_strays(state: PortState, region: Region, latest: float, now: float, moves: list[Move]) -> None:
    for slot in region.slots:
        if slot.exclusive_row < 0 and not _return_from_slot(state, slot, latest, now, moves):
            return


def _spread_classes(region: Region) -> set[int]:
    """Return the classes that share queues and are on more of them than their ``max_queues``."""
    limits = {
        group.demand.class_index: max(1, group.max_queues)
        for group in region.groups.values()
        if group.max_queues is not None and not group.demand.exclusive
    }
    if not limits:
        return set()
    queues = dict.fromkeys(limits, 0)
    for slot in region.slots:
        classes = {
            cell.group.demand.class_index
            for cell in slot.cells.values()
            if not cell.group.demand.exclusive and cell.group.key != HELD_GROUP
        }
        for class_index in classes & queues.keys():
            queues[class_index] += 1
    return {class_index for class_index, count in queues.items() if count > limits[class_index]}


def is_stray(slot: Slot, cell: Cell) -> bool:
    """Return whether the flows of a cell are strays on their slot."""
    if cell.group.key == HELD_GROUP:
        return False
    if slot.exclusive_row >= 0:
        return cell.group is not slot.region.exclusive_group
    if cell.group.provisional and cell.group.max_queues is None and not cell.vm and slot.pool is not None:
        return False
    return cell.group.pool is not slot.pool or _is_beyond_most(slot, cell) or _is_apart(cell)


def _is_beyond_most(slot: Slot, cell: Cell) -> bool:
    """Return whether a slot is none of those of its pool that a class with ``max_queues`` uses: the first ones."""
    most = cell.group.max_queues
    return most is not None and not cell.vm and slot.position >= max(1, most)


def _is_apart(cell: Cell) -> bool:
    """Return whether a VM's flows that keep together are on another queue too, as they may be after a restart."""
    return cell.vm > 0 and cell.group.vm_cells.get(cell.vm, cell) is not cell


def _return_from_slot(
    state: PortState,
    slot: Slot,
    latest: float,
    now: float,
    moves: list[Move],
    only: Collection[int] | None = None,
    least: int = 0,
) -> bool:
    """Move the strays of a slot that have not moved since ``latest`` (NEVER: all); return False when tokens run out.

    Args:
        only: indices of the classes whose strays are moved; None: of all.
        least: the rate (bit/s) of the lightest stray that is moved.
    """
    for cell in [cell for cell in slot.cells.values() if is_stray(slot, cell)]:
        demand = cell.group.demand
        if only is not None and (demand.exclusive or demand.class_index not in only):
            continue
        if cell.vm or _moves_whole(cell):
            if cell.load >= least and not _return_whole(state, cell, latest, now, moves):
                return False
        elif not _return_flows(state, cell, latest, now, moves, least):
            return False
    return True


def _moves_whole(cell: Cell) -> bool:
    """Return whether the flows of a cell move together, since one by one they would be on too many queues meanwhile."""
    demand = cell.group.demand
    return demand.max_queues is not None and not demand.exclusive and cell.count <= MAX_TOGETHER


def _return_whole(state: PortState, cell: Cell, latest: float, now: float, moves: list[Move]) -> bool:
    """Move the flows of a cell together, those of a VM to one queue; return False when the tokens do not suffice."""
    if latest != NEVER and not may_all_move(state, cell, now):
        return True
    if not has_tokens(state, cell.count):
        return False
    state.tokens -= cell.count
    reason = _reason(cell, latest)
    if cell.vm:
        move_cell(state, cell, _home_of_vm(cell), now, reason, moves)
        return True
    for row in sorted(cells.rows_of(state, cell), key=lambda row: (-state.columns.rate[row], row)):
        move_row(state, row, combined.slot_to_share(cell.group, 0), cell.group, now, reason, moves)
    return True


def _home_of_vm(cell: Cell) -> Slot:
    """Return the queue of the other flows of a VM that keep together; where there are none, a new one for them."""
    home = cell.group.vm_cells.pop(cell.vm, cell)
    if home is cell:
        return combined.slot_to_share(cell.group, 0)
    cell.group.vm_cells[cell.vm] = home
    return home.slot


def _return_flows(
    state: PortState, cell: Cell, latest: float, now: float, moves: list[Move], least: int = 0
) -> bool:
    """Move the flows of a cell one by one, from the heaviest band down; return False when tokens run out."""
    columns, reason = state.columns, _reason(cell, latest)
    for row in _heaviest_first(state, cell, least):
        if latest != NEVER and columns.moved_at[row] > latest:
            continue
        if not has_tokens(state, 1):
            return False
        state.tokens -= 1
        move_row(state, row, combined.slot_to_share(cell.group, 0), cell.group, now, reason, moves)
    return True


def _heaviest_first(state: PortState, cell: Cell, least: int) -> Iterator[int]:
    """Yield the rows of a cell, band by band from the heaviest down to that of ``least`` bit/s."""
    bands = sorted(
        (band for band in cell.heads if band % cells.WAITING_BANDS >= least.bit_length()),
        key=lambda band: -(band % cells.WAITING_BANDS),
    )
    for band in bands:
        row = cell.heads.get(band, NO_ROW)
        while row >= 0:
            following = state.columns.next[row]
            yield row
            row = following


def _reason(cell: Cell, latest: float) -> Reason:
    if latest == NEVER:
        return Reason.GATHERED
    if cell.group.demand.exclusive:
        return Reason.EXCLUSIVE_UNAVAILABLE
    return Reason.VACATED if cell.slot.exclusive_row >= 0 else Reason.REBALANCED
