"""Flows come back from software queues: the most deserving first, while the hardware has room (M8).

They come back while that leaves the load at ``combined.FILL`` or below, and leave above ``combined.FULL``, so
that a load near the limit moves nobody to and fro. When the hardware is full, a flow that is more important,
or at least ``HEAVIER`` times as heavy, changes places with the least deserving flow there. A flow that has a software
queue alone leaves it for a hardware queue alone only: shared hardware is not what its class asks for.

Bringing flows to the region where they belong: the right path, and their own share of the hardware.

Hardware that is full: flows that prefer it, and can do without it, go to software queues (M8).

Hardware is full by the rates of its queues (``combined.FULL``) or by ``Balance.flows_per_queue``. The least
important flows go first; among equals those with whose rate the excess is gone at once. Rates alone move nobody
out while there are no more flows than queues: a hardware queue that nobody uses helps nobody. What comes back,
and when, is in :mod:`flowlane.core.allocate.rebalance.placement`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells
from flowlane.core.allocate.flow import lift, slot_of
from flowlane.core.allocate.port import rank
from flowlane.core.allocate.rebalance.moves import all_allowed, allowed, may_spend, note
from flowlane.core.allocate.state import demand_of
from flowlane.core.allocate.strategies import combined
from flowlane.core.model import Reason
from flowlane.core.policy import PathPreference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.allocate.state import Cell, Demand, Move, PortState, Region


def sort_out(state: PortState, now: float, moves: list[Move]) -> None:
    """After the queues were divided into other regions: move flows out of hardware that is not for them.

    This is the only work that grows with the number of flows; it is done once for each change of queues.
    """
    if not state.unsorted:
        return
    waiting = False
    for region in state.hardware:
        for slot in region.slots:
            for row in [row for cell in slot.cells.values() for row in cells.rows_of(state, cell)]:
                home, reason = _home(state, demand_of(state, row))
                if home is region:
                    continue
                if not allowed(state, row, now):
                    waiting = True
                elif not move_to(state, row, home, now, reason, moves):
                    return
    state.unsorted = waiting


def _home(state: PortState, demand: Demand) -> tuple[Region, Reason]:
    """The region that the policy gives a flow, whether or not there is room."""
    if demand.path is PathPreference.SOFTWARE and state.software.slots:
        return state.software, Reason.SOFTWARE_BY_RULE
    region = combined.hardware_of(state, demand)
    return (region, Reason.REBALANCED) if region else (state.software, Reason.OVERFLOW_TO_SOFTWARE)


def move_to(
    state: PortState, row: int, region: Region, now: float, reason: Reason, moves: list[Move]
) -> bool:
    """Move a row to the best slot of another region; False when the tokens have run out."""
    if not may_spend(state, 1):
        return False
    state.tokens -= 1
    demand, source = demand_of(state, row), slot_of(state, row)
    lift(state, row, demand)
    region.peak += state.columns.rate[row]
    target, group, vm, found = combined.place_in(region, row, demand, None)
    cells.put(state, row, target, group, vm, demand.exclusive and target.exclusive_row != row)
    note(state, row, source, target, now, found if found is Reason.EXCLUSIVE else reason, moves)
    return True


def move_cell(
    state: PortState, cell: Cell, region: Region, now: float, reason: Reason, moves: list[Move]
) -> bool:
    """Move the flows of a VM that keep together to another region; False when the tokens do not suffice."""
    if not may_spend(state, cell.count):
        return False
    after = state.tokens - cell.count
    for row in cells.rows_of(state, cell):
        state.tokens = max(1.0, state.tokens)
        move_to(state, row, region, now, reason, moves)
    state.tokens = after
    return True


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
            if cell.group is not region.alone and cell.group.demand.path is PathPreference.PREFER_HARDWARE:
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


HEAVIER = 2.0
"""How many times the rate of a flow in hardware a software flow of its priority must have to replace it."""

AT_ONCE = 64
"""Flows promoted in one rebalance at most."""


def promote(state: PortState, now: float, moves: list[Move]) -> None:
    """Bring flows back to the hardware while they fit, or in exchange for lesser ones."""
    if not state.hardware or not state.software.count:
        return
    for region in state.hardware:
        _note_peak(region, now, state.balance.window)
    _promote_vms(state, now, moves)
    for _ in range(AT_ONCE):
        rows = [row for row in _candidates(state) if allowed(state, row, now)]
        rows.sort(key=lambda row: (*rank(state, row), -row), reverse=True)
        if not any(_promote_one(state, row, now, moves) for row in rows):
            return


def _note_peak(region: Region, now: float, window: float) -> None:
    if region.load >= region.peak or now - region.peak_at > window:
        region.peak, region.peak_at = region.load, now


def _promote_one(state: PortState, row: int, now: float, moves: list[Move]) -> bool:
    demand = demand_of(state, row)
    region = combined.hardware_of(state, demand)
    if region is None or not _is_better(state, row, demand, region):
        return False
    if demand.path is PathPreference.HARDWARE or _has_room(region, state.columns.rate[row], 1):
        return move_to(state, row, region, now, Reason.PROMOTED, moves)
    return _exchange(state, row, region, now, moves)


def _is_better(state: PortState, row: int, demand: Demand, region: Region) -> bool:
    """Whether hardware has what a flow asks for: a queue alone, if it has one in software and may stay there."""
    owns = slot_of(state, row).exclusive_row == row
    return (
        demand.path is PathPreference.HARDWARE
        or not owns
        or bool(combined.slot_to_own(region, demand, None, 0))
    )


def _candidates(state: PortState) -> Iterator[int]:
    """Flows in software that would rather be in hardware: the heaviest of each cell, and some that could fit."""
    owners = (slot.exclusive_row for slot in state.software.slots if slot.exclusive_row >= 0)
    yield from (row for row in owners if demand_of(state, row).path is not PathPreference.SOFTWARE)
    for cell in _hopeful(state):
        if cell.vm:
            continue
        bands = [cell.mask.bit_length() - 1]
        region = combined.hardware_of(state, cell.group.demand)
        if region is not None and region.capacity is not None:
            gap = max(0, int(combined.FILL * region.capacity) - max(region.load, region.peak)).bit_length()
            bands.extend(sorted((band for band in cell.heads if band < gap), reverse=True)[:1])
        for band in dict.fromkeys(bands):
            yield from cells.first_rows(state, cell.heads[band])


def _hopeful(state: PortState) -> list[Cell]:
    """Where flows share software queues that would rather be in hardware."""
    return [
        cell
        for slot in state.software.slots
        for cell in slot.cells.values()
        if cell.group is not state.software.alone and cell.group.demand.path is not PathPreference.SOFTWARE
    ]


def _promote_vms(state: PortState, now: float, moves: list[Move]) -> None:
    """Bring back VMs whose flows keep together, all their flows or none."""
    for cell in _hopeful(state):
        if not cell.vm or not all_allowed(state, cell, now):
            continue
        demand = demand_of(state, next(iter(cell.heads.values())))
        region = combined.hardware_of(state, demand)
        if region is None:
            continue
        if demand.path is PathPreference.HARDWARE or _has_room(region, cell.load, cell.count):
            move_cell(state, cell, region, now, Reason.PROMOTED, moves)


def _has_room(region: Region, rate: int, flows: int) -> bool:
    """Whether flows would have fitted all through the last window; then they are not sent back at the next peak."""
    if region.room is not None and region.count + flows > region.room:
        return False
    if region.capacity is None or region.count == 0 or region.count + flows <= len(region.slots):
        return True
    return max(region.load, region.peak) + rate <= combined.FILL * region.capacity


def _exchange(state: PortState, row: int, region: Region, now: float, moves: list[Move]) -> bool:
    """Put a flow in the place of the least deserving one, if that deserves it clearly less and it then fits."""
    if not may_spend(state, 2):
        return False
    priority, rate = rank(state, row)
    rates = state.columns.rate
    rows = [
        other
        for other in near(state, region, 0)
        if allowed(state, other, now)
        and (
            demand_of(state, other).priority < priority
            or (demand_of(state, other).priority == priority and HEAVIER * rates[other] <= rate)
        )
    ]
    if not rows:
        return False
    other = min(rows, key=lambda row: (*rank(state, row), row))
    load = max(region.load, region.peak)
    if region.capacity is not None and load - rates[other] + rate > combined.FILL * region.capacity:
        return False
    return move_to(state, other, state.software, now, Reason.OVERFLOW_TO_SOFTWARE, moves) and move_to(
        state, row, region, now, Reason.PROMOTED, moves
    )
