"""Levelling the queues of a pool: from the fullest to the idlest, the flow that fixes most.

A flow whose rate is half the gap between two queues makes them equal; a flow heavier than the gap would only
swap their places. So the chains near half the gap are looked at, a fixed number of flows, and of those that
fix nearly as much as the best the quietest is moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import cells
from flowlane.core.allocate.moving import allowed, may_spend, relocate, relocate_cell
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowlane.core.allocate.model import Move
    from flowlane.core.allocate.state import Cell, Pool, PortState, Slot

LOOK = 8
"""Flows looked at per chain, and chains per cell."""


class Candidate(NamedTuple):
    """A flow (or a whole cell, ``row`` -1) that could move, and by how much the fuller queue would fall."""

    gain: int
    row: int
    cell: Cell


def level_pool(
    state: PortState, pool: Pool, now: float, last_active: Sequence[float] | None, moves: list[Move]
) -> None:
    """Move flows until the pool is level within ``Balance.imbalance``, or tokens or good moves run out.

    A queue that cannot be helped, such as one with a flow heavier than the mean, is left out of the mean.
    """
    loads = list(pool.loads)
    total, queues = sum(loads), len(loads)
    while queues > 1 and may_spend(state, 1):
        fullest = max(loads)
        if fullest * queues <= total * (1 + state.balance.imbalance):
            return
        source = loads.index(fullest)
        target = loads.index(min(load for load in loads if load >= 0))
        gap = fullest - loads[target]
        best = _best(state, pool.slots[source], gap, now, last_active)
        if best is None:
            loads[source] = -1
            total -= fullest
            queues -= 1
            continue
        _carry_out(state, best, pool.slots[target], now, moves)
        loads[source], loads[target] = pool.loads[source], pool.loads[target]


def _carry_out(state: PortState, best: Candidate, target: Slot, now: float, moves: list[Move]) -> None:
    cell = best.cell
    if best.row < 0:
        state.tokens -= cell.count
        relocate_cell(state, cell, target, now, Reason.REBALANCED, moves)
        return
    state.tokens -= 1
    relocate(state, best.row, target, cell.group, now, Reason.REBALANCED, moves)


def _best(
    state: PortState, slot: Slot, gap: int, now: float, last_active: Sequence[float] | None
) -> Candidate | None:
    """The move off a slot that fixes most of a gap; among nearly equal ones that of the quietest flow."""
    found = [
        candidate
        for cell in slot.cells.values()
        if cell.group.pool is slot.pool
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
    row = next(iter(cell.heads.values()))
    if gain > 0 and may_spend(state, cell.count) and allowed(state, row, now):
        yield Candidate(gain, -1, cell)


def _near(state: PortState, cell: Cell, gap: int, now: float) -> Iterator[Candidate]:
    """Flows of a cell with rates near half the gap, from the chains around it downwards."""
    columns = state.columns
    for band in _bands(cell, gap):
        row, seen = cell.heads[band], 0
        while row >= 0 and seen < LOOK:
            rate = columns.rate[row]
            gain = min(rate, gap - rate)
            if gain > 0 and allowed(state, row, now):
                yield Candidate(gain, row, cell)
            row, seen = columns.next[row], seen + 1


def _bands(cell: Cell, gap: int) -> Iterator[int]:
    """The chains whose flows may be lighter than the gap, nearest to half of it first; three with flows."""
    top = gap.bit_length()
    mask, base = cell.mask, 0
    while mask:
        part = mask & ((1 << cells.WAITING_BANDS) - 1) & ((2 << top) - 1)
        for _ in range(3):
            if not part:
                break
            band = part.bit_length() - 1
            part ^= 1 << band
            yield base + band
        mask >>= cells.WAITING_BANDS
        base += cells.WAITING_BANDS
