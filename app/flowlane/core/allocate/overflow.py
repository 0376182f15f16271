"""Keeping hardware and software queues in balance: who does not fit goes to software, and comes back (M8).

Hardware is full by the rates of its queues (``combined.FULL``) or by ``Balance.flows_per_queue``. Flows that
prefer hardware leave it in the order of priority, and only above ``FULL``; they come back, heaviest first,
while that leaves the load at ``FILL`` or below, so that a load near the limit moves nobody to and fro. When
hardware is full by number, a software flow at least ``HEAVIER`` times as heavy as the lightest flow in
hardware changes places with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, combined
from flowlane.core.allocate.moving import allowed, may_spend, note
from flowlane.core.allocate.operations import lift, slot_of
from flowlane.core.allocate.profiles import demand_of
from flowlane.core.allocate.regions import rank
from flowlane.core.model import Reason
from flowlane.core.policy import Road

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.allocate.model import Move
    from flowlane.core.allocate.state import PortState, Region

HEAVIER = 2.0
"""How many times the rate of the lightest flow in hardware a software flow must have to take its place."""

LOOK = 8
"""Flows looked at in a chain."""


def settle_overflow(state: PortState, now: float, moves: list[Move]) -> None:
    """Bring flows that are on the wrong road home, those that do not fit out, and those that fit back in."""
    software = state.software
    if not software.slots or not state.hardware:
        return
    for region in state.hardware:
        _send_by_rule(state, region, now, moves)
        _demote(state, region, now, moves)
    _promote(state, now, moves)


def _send_by_rule(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Flows whose class says software leave the hardware, as when the port gets its first software queue."""
    for slot in region.slots:
        for cell in list(slot.cells.values()):
            if cell.group.demand.road is not Road.SOFTWARE:
                continue
            for row in cells.rows_of(state, cell):
                if not _move(state, row, state.software, now, Reason.SOFTWARE_BY_RULE, moves):
                    return


def _demote(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    while True:
        excess = 0 if region.capacity is None else region.load - int(combined.FULL * region.capacity)
        crowd = 0 if region.room is None else region.count - region.room
        if excess <= 0 and crowd <= 0:
            return
        rows = [row for row in _ends(state, region, excess) if allowed(state, row, now)]
        if not rows:
            return
        row = min(rows, key=lambda row: (demand_of(state, row).priority, _misfit(state, row, excess), row))
        if not _move(state, row, state.software, now, Reason.OVERFLOW_TO_SOFTWARE, moves):
            return


def _misfit(state: PortState, row: int, excess: int) -> int:
    """How badly moving a row would fix an excess: not enough is as bad as too much."""
    return abs(state.columns.rate[row] - max(excess, 0))


def _ends(state: PortState, region: Region, rate: int) -> Iterator[int]:
    """Some flows that prefer hardware with rates about a given one, from every cell of a region."""
    want = max(rate, 0).bit_length()
    for slot in region.slots:
        for cell in slot.cells.values():
            demand = cell.group.demand
            if cell.vm or cell.group is region.alone or demand.road is not Road.PREFER_HARDWARE:
                continue
            band = min(cell.heads, key=lambda band: abs(band % cells.WAITING_BANDS - want))
            yield from _chain(state, cell.heads[band])


def _promote(state: PortState, now: float, moves: list[Move]) -> None:
    """Bring the heaviest flows back to the hardware while they fit, or in exchange for much lighter ones."""
    tried = 0
    while tried < LOOK:
        row = max(_heaviest(state, now), key=lambda row: (*rank(state, row), -row), default=None)
        if row is None:
            return
        demand = demand_of(state, row)
        region = state.region_of.get(demand.share) or state.region_of.get(-1)
        if region is None:
            return
        rate = state.columns.rate[row]
        if demand.road is Road.HARDWARE or combined.fits(region, rate, combined.FILL):
            if not _move(state, row, region, now, Reason.PROMOTED, moves):
                return
        elif not _exchange(state, row, region, now, moves):
            return
        tried += 1


def _heaviest(state: PortState, now: float) -> Iterator[int]:
    """The heaviest flows of each cell in software that would rather be in hardware and may be moved."""
    for slot in state.software.slots:
        for cell in slot.cells.values():
            demand = cell.group.demand
            if cell.vm or cell.group is state.software.alone or demand.road is Road.SOFTWARE:
                continue
            top = cell.heads[cell.mask.bit_length() - 1]
            yield from (row for row in _chain(state, top) if allowed(state, row, now))


def _exchange(state: PortState, row: int, region: Region, now: float, moves: list[Move]) -> bool:
    """Put a much heavier flow in the place of the lightest that is not more important."""
    if region.room is None or not may_spend(state, 2):
        return False
    priority, rate = rank(state, row)
    rows = [
        other
        for other in _ends(state, region, 0)
        if allowed(state, other, now)
        and demand_of(state, other).priority <= priority
        and HEAVIER * state.columns.rate[other] <= rate
    ]
    if not rows:
        return False
    other = min(rows, key=lambda row: (*rank(state, row), row))
    if (
        region.capacity is not None
        and region.load - state.columns.rate[other] + rate > region.capacity * combined.FILL
    ):
        return False
    return _move(state, other, state.software, now, Reason.OVERFLOW_TO_SOFTWARE, moves) and _move(
        state, row, region, now, Reason.PROMOTED, moves
    )


def _move(state: PortState, row: int, region: Region, now: float, reason: Reason, moves: list[Move]) -> bool:
    """Move a row to the best slot of another region; False when the tokens have run out."""
    if not may_spend(state, 1):
        return False
    state.tokens -= 1
    demand, source = demand_of(state, row), slot_of(state, row)
    lift(state, row, demand)
    target, group, vm, found = combined.place_in(region, row, demand, None)
    cells.put(state, row, target, group, vm, demand.exclusive and target.owner != row)
    note(state, row, source, target, now, found if found is Reason.EXCLUSIVE else reason, moves)
    return True


def _chain(state: PortState, head: int) -> Iterator[int]:
    after = state.columns.next
    row, seen = head, 0
    while row >= 0 and seen < LOOK:
        yield row
        row, seen = after[row], seen + 1
