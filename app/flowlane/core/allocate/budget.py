"""The budget of moves: tokens and windows, by which a flow may be moved now, and carrying a move out.

Each move pays a token: ``Balance.moves_per_second`` of the port's present flows are added each second, and the tokens
of one second can be saved. No flow moves twice within ``Balance.window``.
"""

from __future__ import annotations

from math import ceil, exp
from typing import TYPE_CHECKING

from flowlane.core.allocate import cells
from flowlane.core.allocate.state import NEVER, Move
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Cell, Group, PortState, Slot

EXEMPT = frozenset(
    (Reason.QUEUE_GONE, Reason.GATHERED, Reason.DEVICE_CHOSE, Reason.STRATEGY, Reason.PINNED_BY_HAND)
)
"""Reasons of changes of queue that are outside the limits on moves.

The queue is gone, or is of another kind now; a class is on more queues than it may have; the device itself chose the
queue; a strategy that does not rebalance follows the flow's class to the other kind of queue; or an operator has
pinned the flow.
"""

MEMORY = 30.0
"""Seconds (time constant) for which it counts what became of flows that sent nothing."""

LEAVING = 4.0
"""Flows that may leave exclusive queues of others in a second, where ``Balance.moves_per_second`` are fewer.

They are small flows beside a heavy one, that gain most by leaving; of 60 flows 2 % would take a quarter of a minute.
"""

LEAVING_SAVED = 5.0
"""Seconds whose tokens for leaving can be saved: where a heavy flow is new, those beside it leave at once."""

_EXACT = 1e-6
"""Part of a token by which a product of fractions may be above the whole number that it stands for."""

FEW = 25
"""Flows for which a port with fewer counts, so that ten flows are not one move in five seconds."""


def refill_tokens(state: PortState, now: float) -> None:
    """Add the tokens of the time since the last refill, as far as they can be saved."""
    per_second = state.balance.moves_per_second * max(FEW, flows_present(state))
    seconds = now - state.refilled_at if state.refilled_at != NEVER else 1.0
    seconds = max(0.0, seconds)
    state.tokens = min(most_tokens(state), state.tokens + seconds * per_second)
    leaving = max(0.0, LEAVING - per_second)
    state.leave_tokens = min(LEAVING_SAVED * leaving, state.leave_tokens + seconds * leaving)
    state.refilled_at = now
    fading = exp(-seconds / MEMORY)
    state.resumed *= fading
    state.ended *= fading


def flows_present(state: PortState) -> float:
    """Return how many of the port's flows have not ended, as far as that can be told.

    A flow that sends nothing may pause, or have ended while its entry is not idle for long enough yet. Quiet flows
    count by the part of them that has lately sent again, and not ended.
    """
    return state.count - state.quiet * (1 - state.resumed / (state.resumed + state.ended + 1))


def may_move(state: PortState, row: int, now: float) -> bool:
    """Return whether a flow has not moved within the window."""
    return now - state.columns.moved_at[row] >= state.balance.window


def may_all_move(state: PortState, cell: Cell, now: float) -> bool:
    """Return whether none of a cell's flows has moved within the window."""
    return all(may_move(state, row, now) for row in cells.rows_of(state, cell))


def most_tokens(state: PortState) -> float:
    """Return the most tokens that can be saved: those of one second, or of one interval if that is longer.

    Of a part of a token the whole can be saved: with 1.3 a second, three flows of ten would otherwise never move.
    """
    balance = state.balance
    return max(
        1.0, ceil(balance.moves_per_second * flows_present(state) * max(1.0, balance.interval) - _EXACT)
    )


def has_tokens(state: PortState, flows: int) -> bool:
    """Return whether there are tokens to move this many flows together; more than can be saved need all of them."""
    return state.tokens >= min(flows, most_tokens(state))


def move_row(
    state: PortState, row: int, target: Slot, group: Group, now: float, reason: Reason, moves: list[Move]
) -> None:
    """Move a row of any group to a slot, to be counted in ``group``; a flow that waits goes on waiting."""
    cell = cells.cell_of(state, row)
    source, vm = cell.slot, cell.vm
    waiting = state.columns.band[row] >= cells.WAITING_BANDS
    cells.remove(state, row)
    cells.insert(state, row, target, group, vm, waiting)
    if source is not target:
        record_move(state, row, source, target, now, reason, moves)


def move_cell(
    state: PortState, cell: Cell, target: Slot, now: float, reason: Reason, moves: list[Move]
) -> None:
    """Move all flows of a cell to another slot of the region, as those of a VM that keep together."""
    for row in cells.rows_of(state, cell):
        move_row(state, row, target, cell.group, now, reason, moves)


def record_move(
    state: PortState, row: int, source: Slot, target: Slot, now: float, reason: Reason, moves: list[Move]
) -> None:
    """Append a move to ``moves``, and set the time of the flow's last move."""
    state.columns.moved_at[row] = now
    queue = target.queue
    moves.append(Move(row, source.queue.queue_id, queue.queue_id, queue.kind, reason))
