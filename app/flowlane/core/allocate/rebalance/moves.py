"""Which flow of a queue to move: the chains near the wanted rate are looked at, a fixed number of flows.

So a choice costs the same however many flows there are. Of flows that fix nearly as much as the best, the
quietest is taken.

One move: whether a flow may be moved now, carrying it out in the state, and writing it down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import cells, guarantees
from flowlane.core.allocate.state import Move

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


DEPTH = 32
"""Flows of a chain that are looked at when the first ones were moved lately."""

BANDS = 3
"""Chains of a cell that are looked at, of those with flows that may move: moved flows hide none behind them."""


class Candidate(NamedTuple):
    """A flow (or a whole cell, ``row`` -1) that could move, and by how much the fuller queue would fall."""

    gain: int
    row: int
    cell: Cell


def best_move(
    state: PortState, slot: Slot, target: Slot, gap: int, now: float, last_active: Sequence[float] | None
) -> Candidate | None:
    """The move from slot to slot that fixes most of a gap; among nearly equal ones that of the quietest flow."""
    found = [
        candidate
        for cell in slot.cells.values()
        if cell.group.pool is slot.pool and _may_go(cell.group, slot, target)
        for candidate in (_whole(state, cell, gap, now) if cell.vm else _near(state, cell, gap, now))
    ]
    if not found:
        return None
    best = max(found, key=lambda candidate: candidate.gain)
    if last_active is None or best.row < 0:
        return best
    good = [candidate for candidate in found if candidate.row >= 0 and 4 * candidate.gain >= 3 * best.gain]
    return min(good, key=lambda candidate: last_active[candidate.row])


def _whole(state: PortState, cell: Cell, gap: int, now: float) -> Iterator[Candidate]:
    gain = min(cell.load, gap - cell.load)
    if gain > 0 and may_spend(state, cell.count) and all_allowed(state, cell, now):
        yield Candidate(gain, -1, cell)


def _near(state: PortState, cell: Cell, gap: int, now: float) -> Iterator[Candidate]:
    """Flows of a cell with rates near half the gap, from the chains around it downwards."""
    columns = state.columns
    bands = 0
    for band in _bands(cell, gap):
        seen = found = 0
        row = cell.heads[band]
        while row >= 0 and found < cells.LOOK and seen < DEPTH:
            rate = columns.rate[row]
            gain = min(rate, gap - rate)
            if gain > 0 and allowed(state, row, now):
                yield Candidate(gain, row, cell)
                found += 1
            row, seen = columns.next[row], seen + 1
        bands += found > 0
        if bands == BANDS:
            return


def _bands(cell: Cell, gap: int, most: int = cells.WAITING_BANDS) -> Iterator[int]:
    """The chains whose flows may be lighter than the gap, nearest to half of it first; ``most`` of each priority."""
    top = gap.bit_length()
    mask, base = cell.mask, 0
    while mask:
        part = mask & ((1 << cells.WAITING_BANDS) - 1) & ((2 << top) - 1)
        for _ in range(most):
            if not part:
                break
            band = part.bit_length() - 1
            part ^= 1 << band
            yield base + band
        mask >>= cells.WAITING_BANDS
        base += cells.WAITING_BANDS


def _may_go(group: Group, source: Slot, target: Slot) -> bool:
    """Whether flows of a group may move within their pool.

    A class with a maximum that is a guest in a larger pool keeps to the pool's first queues; levelling it over
    all of them would only be undone when it gets queues of its own.
    """
    most = group.demand.max_queues
    return (most is None or target.place < max(1, most)) and guarantees.may_go(group, source, target)


def heaviest(state: PortState, slot: Slot) -> int:
    """About the rate of the heaviest flow of a slot: that of the first few in its highest chains."""
    rates = state.columns.rate
    return max(
        (
            max(rates[row] for row in cells.first_rows(state, cell.heads[band]))
            for cell in slot.cells.values()
            for band in _bands(cell, slot.load, BANDS)
        ),
        default=0,
    )


def best_swap(
    state: PortState, source: Slot, target: Slot, gap: int, now: float
) -> tuple[Candidate, Candidate] | None:
    """The flows of two queues, one each, whose exchange lowers the fuller one most; None when none does."""
    best: tuple[Candidate, Candidate] | None = None
    rate_of = state.columns.rate
    for first in _flows(state, source, target, source.load, now):
        wanted = rate_of[first.row] - gap // 2
        if wanted <= 0:
            continue
        for second in _flows(state, target, source, 2 * wanted, now):
            less = rate_of[first.row] - rate_of[second.row]
            gain = min(less, gap - less)
            if gain > 0 and (best is None or gain > best[0].gain):
                best = Candidate(gain, first.row, first.cell), Candidate(gain, second.row, second.cell)
    return best


def _flows(state: PortState, slot: Slot, target: Slot, below: int, now: float) -> Iterator[Candidate]:
    for cell in slot.cells.values():
        if cell.group.pool is slot.pool and not cell.vm and _may_go(cell.group, slot, target):
            yield from _near(state, cell, below, now)


def movable(state: PortState, slot: Slot, most: int, below: float, now: float) -> list[Candidate]:
    """The heaviest flows of a slot that may move and are lighter than ``below`` bit/s; ``gain`` is a flow's rate."""
    rates = state.columns.rate
    found: list[Candidate] = []
    for cell in slot.cells.values():
        if cell.group.pool is not slot.pool or cell.vm:
            continue
        rows: list[int] = []
        for band in _bands(cell, int(below)):
            chain = cells.first_rows(state, cell.heads[band], DEPTH)
            rows.extend(row for row in chain if 0 < rates[row] < below and allowed(state, row, now))
            if len(rows) >= most:
                break
        found.extend(Candidate(rates[row], row, cell) for row in rows)
    found.sort(key=lambda each: (-each.gain, each.row))
    return found[:most]
