"""Draining: flows leave the queues that the operator empties, the heaviest first, as other moves are made.

Each pays a token and waits for its window; where no other queue takes flows they stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells
from flowlane.core.allocate.budget import has_tokens, may_move, record_move
from flowlane.core.allocate.flow import place_row, unplace_row
from flowlane.core.allocate.state import demand_of
from flowlane.core.model import Admission, Reason

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Move, PortState


def empty(state: PortState, now: float, moves: list[Move]) -> None:
    """Move flows off the queues that are drained, as far as there are tokens; each goes where a new flow would go."""
    if not state.slots:
        return
    rates = state.columns.rate
    for slot in state.closed.slots:
        if slot.queue.admission is not Admission.DRAINING:
            continue
        for row in sorted(cells.rows_on(state, slot), key=lambda row: (-rates[row], row)):
            if not has_tokens(state, 1):
                return
            if not may_move(state, row, now):
                continue
            state.tokens -= 1
            demand = demand_of(state, row)
            unplace_row(state, row, demand)
            place_row(state, row, demand, b"", None)
            record_move(state, row, slot, cells.slot_of(state, row), now, Reason.DRAINED, moves)
