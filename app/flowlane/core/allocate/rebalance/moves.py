"""Candidates: which flow of a queue to move to another one of its pool.

Candidates are looked for in the rate bands near the wanted rate, a bounded number of flows, so a choice costs
the same however many flows there are. Of flows whose moves help nearly as much as the best, the quietest is
taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import cells, guarantees
from flowlane.core.allocate.budget import has_tokens, may_all_move, may_move

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowlane.core.allocate.state import Cell, Group, PortState, Slot


MAX_DEPTH = 32
"""Flows of a list that are looked at where the first ones may not move."""

MAX_BANDS = 3
"""Bands of a cell that are looked at, of those in which flows may move: flows that may not move hide none."""


class Candidate(NamedTuple):
    """A flow that could move, or all flows of ``cell`` (``row`` -1).

    ``gain`` is by how much the load of the fuller queue falls, multiplied by the queue's scale.
    """

    gain: int
    row: int
    cell: Cell


def best_move(
    state: PortState, source: Slot, target: Slot, gap: int, now: float, last_active: Sequence[float] | None
) -> Candidate | None:
    """Return the move between two slots that closes most of a gap in load (scaled); None when none does.

    Of moves that close nearly as much, it is the one of the flow that has been quiet longest.
    """
    candidates = [
        candidate
        for cell in source.cells.values()
        if cell.group.pool is source.pool and may_use(cell.group, source, target)
        for candidate in (
            _cell_candidate(state, cell, target, gap, now)
            if cell.vm
            else _row_candidates(state, cell, target, gap, now)
        )
    ]
    if not candidates:
        return None
    best = max(candidates, key=lambda candidate: candidate.gain)
    if last_active is None or best.row < 0:
        return best
    good = [
        candidate for candidate in candidates if candidate.row >= 0 and 4 * candidate.gain >= 3 * best.gain
    ]
    return min(good, key=lambda candidate: last_active[candidate.row])


def _cell_candidate(state: PortState, cell: Cell, target: Slot, gap: int, now: float) -> Iterator[Candidate]:
    gain = min(cell.load * cell.slot.scale, gap - cell.load * target.scale)
    if gain > 0 and has_tokens(state, cell.count) and may_all_move(state, cell, now):
        yield Candidate(gain, -1, cell)


def _row_candidates(state: PortState, cell: Cell, target: Slot, gap: int, now: float) -> Iterator[Candidate]:
    """Yield flows of a cell that close a part of the gap (scaled) to ``target``, from the heaviest band downwards.

    Two equal queues are level after a flow of half the gap; a slow and a fast one after a much lighter flow, so
    that more bands are looked at.
    """
    rates, scale = state.columns.rate, cell.slot.scale
    more = ((scale + target.scale) // (2 * target.scale)).bit_length() - 1
    for row in _movable_rows(state, cell, -(-gap // target.scale), MAX_BANDS + max(0, more), now):
        gain = min(rates[row] * scale, gap - rates[row] * target.scale)
        if gain > 0:
            yield Candidate(gain, row, cell)


def _movable_rows(state: PortState, cell: Cell, below: int, most_bands: int, now: float) -> Iterator[int]:
    """Yield flows of a cell that may move and are lighter than ``below`` bit/s, from the heaviest band downwards."""
    columns = state.columns
    bands = 0
    for band in _bands(cell, below):
        seen = count = 0
        row = cell.heads[band]
        while row >= 0 and count < cells.SCAN and seen < MAX_DEPTH:
            if 0 < columns.rate[row] < below and may_move(state, row, now):
                yield row
                count += 1
            row, seen = columns.next[row], seen + 1
        bands += count > 0
        if bands == most_bands:
            return


def _bands(cell: Cell, gap: int, most: int = cells.WAITING_BANDS) -> Iterator[int]:
    """Yield the bands whose flows may be lighter than the gap, the heaviest first; at most ``most`` of a priority."""
    top = gap.bit_length()
    mask, base = cell.mask, 0
    while mask:
        left = mask & ((1 << cells.WAITING_BANDS) - 1) & ((2 << top) - 1)
        for _ in range(most):
            if not left:
                break
            band = left.bit_length() - 1
            left ^= 1 << band
            yield base + band
        mask >>= cells.WAITING_BANDS
        base += cells.WAITING_BANDS


def may_use(group: Group, source: Slot, target: Slot) -> bool:
    """Return whether flows of a group may move to a slot of their pool.

    A class with a maximum that is in a larger pool for now keeps to the pool's first queues: to spread it
    over all of them would have to be undone when it gets queues of its own.
    """
    most = group.max_queues
    within = most is None or target.position < max(1, most)
    return within and guarantees.keeps_guarantee(group, source, target)


def heaviest(state: PortState, slot: Slot) -> int:
    """Return about the rate of the heaviest flow of a slot: the highest of the first few in its highest bands."""
    rates = state.columns.rate
    return max(
        (
            max(rates[row] for row in cells.first_rows(state, cell.heads[band]))
            for cell in slot.cells.values()
            for band in _bands(cell, slot.load, MAX_BANDS)
        ),
        default=0,
    )


def best_swap(
    state: PortState, source: Slot, target: Slot, gap: int, now: float
) -> tuple[Candidate, Candidate] | None:
    """Return the flows of two slots, one each, whose exchange closes most of a gap (scaled); None when none does."""
    best: tuple[Candidate, Candidate] | None = None
    rates = state.columns.rate
    for first in _swappable(state, source, target, source.load, now):
        ideal_rate = rates[first.row] - gap // (source.scale + target.scale)
        if ideal_rate <= 0:
            continue
        for second in _swappable(state, target, source, 2 * ideal_rate, now):
            difference = rates[first.row] - rates[second.row]
            gain = min(difference * source.scale, gap - difference * target.scale)
            if gain > 0 and (best is None or gain > best[0].gain):
                best = Candidate(gain, first.row, first.cell), Candidate(gain, second.row, second.cell)
    return best


def _swappable(state: PortState, source: Slot, target: Slot, below: int, now: float) -> Iterator[Candidate]:
    for cell in source.cells.values():
        if cell.group.pool is source.pool and not cell.vm and may_use(cell.group, source, target):
            for row in _movable_rows(state, cell, below, MAX_BANDS, now):
                yield Candidate(0, row, cell)


def heaviest_movable(state: PortState, slot: Slot, most: int, below: float, now: float) -> list[Candidate]:
    """Return the heaviest flows of a slot that may move and are lighter than ``below`` bit/s, at most ``most``.

    The ``gain`` of each is its rate.
    """
    rates = state.columns.rate
    candidates: list[Candidate] = []
    for cell in slot.cells.values():
        if cell.group.pool is not slot.pool or cell.vm:
            continue
        rows: list[int] = []
        for band in _bands(cell, int(below)):
            in_band = cells.first_rows(state, cell.heads[band], MAX_DEPTH)
            rows.extend(row for row in in_band if 0 < rates[row] < below and may_move(state, row, now))
            if len(rows) >= most:
                break
        candidates.extend(Candidate(rates[row], row, cell) for row in rows)
    candidates.sort(key=lambda candidate: (-candidate.gain, candidate.row))
    return candidates[:most]
