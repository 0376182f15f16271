"""One move: whether a flow may be moved now, carrying it out in the state, and writing it down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells
from flowlane.core.allocate.model import Move

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Cell, Group, PortState, Slot
    from flowlane.core.model import Reason


def allowed(state: PortState, row: int, now: float) -> bool:
    """Whether the last move of a flow is a window ago."""
    return now - state.columns.moved_at[row] >= state.balance.window


def all_allowed(state: PortState, cell: Cell, now: float) -> bool:
    """Whether the flows of a VM that keep together may all be moved now."""
    return all(allowed(state, row, now) for row in cells.rows_of(state, cell))


def relocate(
    state: PortState, row: int, target: Slot, group: Group, now: float, reason: Reason, moves: list[Move]
) -> None:
    """Move a row of any group to a slot, to be counted in ``group``; a flow that waits goes on waiting."""
    cell = state.cells[state.columns.cell[row]]
    assert cell is not None
    source, vm = cell.slot, cell.vm
    waiting = state.columns.band[row] >= cells.WAITING_BANDS
    cells.take(state, row)
    cells.put(state, row, target, group, vm, waiting)
    if source is not target:
        note(state, row, source, target, now, reason, moves)


def relocate_cell(
    state: PortState, cell: Cell, target: Slot, now: float, reason: Reason, moves: list[Move]
) -> None:
    """Move all flows of a cell, as those of a VM that keep together."""
    for row in cells.rows_of(state, cell):
        relocate(state, row, target, cell.group, now, reason, moves)


def note(
    state: PortState, row: int, source: Slot, target: Slot, now: float, reason: Reason, moves: list[Move]
) -> None:
    """Write a move down, where the engine reads it and where the flow remembers it."""
    state.columns.moved_at[row] = now
    queue = target.queue
    moves.append(Move(row, source.queue.queue_id, queue.queue_id, queue.kind, reason))


def may_spend(state: PortState, flows: int) -> bool:
    """Whether the tokens allow moving this many flows together; more than one second's worth needs all."""
    most = max(1.0, state.balance.moves_per_second * state.count * max(1.0, state.balance.interval))
    return state.tokens >= min(flows, most)
