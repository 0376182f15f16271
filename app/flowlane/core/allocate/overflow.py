"""Hardware that is full: flows that prefer it, and can do without it, go to software queues (M8).

Hardware is full by the rates of its queues (``combined.FULL``) or by ``Balance.flows_per_queue``. The least
important flows go first; among equals those with whose rate the excess is gone at once. Rates alone move nobody
out while there are no more flows than queues: a hardware queue that nobody uses helps nobody. What comes back,
and when, is in :mod:`flowlane.core.allocate.promotion`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, combined
from flowlane.core.allocate.moving import all_allowed, allowed
from flowlane.core.allocate.profiles import demand_of
from flowlane.core.allocate.roads import move_cell, move_to
from flowlane.core.model import Reason
from flowlane.core.policy import Road

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.allocate.model import Move
    from flowlane.core.allocate.state import Cell, PortState, Region


def demote(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Move flows out of a region of hardware while it is over full."""
    while state.software.slots:
        excess = _excess(region)
        crowd = 0 if region.room is None else region.count - region.room
        if excess <= 0 and crowd <= 0:
            return
        rows = [row for row in near(state, region, excess) if allowed(state, row, now)]
        if rows:
            row = min(
                rows, key=lambda row: (demand_of(state, row).priority, _misfit(state, row, excess), row)
            )
            gone = move_to(state, row, state.software, now, Reason.OVERFLOW_TO_SOFTWARE, moves)
        else:
            gone = _demote_vm(state, region, now, moves)
        if not gone:
            return


def _excess(region: Region) -> int:
    """By how much (bit/s) the flows send more than the hardware takes; nothing while there are no more than queues."""
    if region.capacity is None or region.count <= len(region.slots):
        return 0
    return region.load - int(combined.FULL * region.capacity)


def near(state: PortState, region: Region, rate: int) -> Iterator[int]:
    """Some flows that prefer hardware, with rates about a given one, from every cell of a region."""
    want = max(rate, 0).bit_length()
    for cell in _movable(region):
        if not cell.vm:
            band = min(cell.heads, key=lambda band: abs(band % cells.WAITING_BANDS - want))
            yield from cells.first_rows(state, cell.heads[band])


def _movable(region: Region) -> Iterator[Cell]:
    for slot in region.slots:
        for cell in slot.cells.values():
            if cell.group is not region.alone and cell.group.demand.road is Road.PREFER_HARDWARE:
                yield cell


def _misfit(state: PortState, row: int, excess: int) -> int:
    """How badly moving a row would fix an excess: not enough is as bad as too much."""
    return abs(state.columns.rate[row] - max(excess, 0))


def _demote_vm(state: PortState, region: Region, now: float, moves: list[Move]) -> bool:
    """Move out the flows of a VM that keep together, all of them; the least important, the fewest first.

    If they are all that the hardware has, they stay.
    """
    whole = [
        cell
        for cell in _movable(region)
        if cell.vm and cell.count < region.count and all_allowed(state, cell, now)
    ]
    if not whole:
        return False
    cell = min(whole, key=lambda cell: (cell.group.demand.priority, cell.count, cell.index))
    return move_cell(state, cell, state.software, now, Reason.OVERFLOW_TO_SOFTWARE, moves)
