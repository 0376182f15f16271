"""Overflow to software queues, promotion back to hardware, and flows on hardware that is not theirs.

Hardware is full by the rates of its queues (``combined.HIGH_WATERMARK``) or by ``Balance.flows_per_queue``.
Then flows that prefer hardware overflow (M8): the lowest priority first, among equals the one whose rate is
nearest to the excess. Rates alone move no flow out while there are no more flows than queues, since an idle
hardware queue helps no flow.

Flows are promoted while that leaves the load at ``combined.LOW_WATERMARK`` or below, by priority, then rate;
so a load near the limit does not make flows move back and forth. When the hardware is full, a flow of higher
priority, or of at least ``EXCHANGE_FACTOR`` times the rate, changes places with the flow of lowest rank
there. A flow leaves an exclusive software queue too: its class prefers hardware, and it waits there for a queue
of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, exclusivity
from flowlane.core.allocate.budget import has_tokens, may_all_move, may_move, record_move
from flowlane.core.allocate.flow import unplace_row
from flowlane.core.allocate.port import rank
from flowlane.core.allocate.state import HELD, demand_of
from flowlane.core.allocate.strategies import combined
from flowlane.core.model import Reason
from flowlane.core.policy import PathPreference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.allocate.state import Cell, Group, Move, PortState, Region

EXCHANGE_FACTOR = 2.0
"""How many times the rate of a flow in hardware a software flow of its priority must have to replace it."""

MAX_PROMOTIONS = 64
"""Flows promoted in one rebalance at most."""


def leave_wrong_regions(state: PortState, now: float, moves: list[Move]) -> None:
    """Move flows out of hardware that is not theirs, after the queues were divided into other regions.

    This is the only work that grows with the number of flows; it is done once for each change of queues.
    """
    if state.regions_changed:
        rows = [
            row
            for region in state.hardware
            for slot in region.slots
            for row in cells.rows_on(state, slot)
            if not state.columns.flags[row] & HELD
        ]
        state.regions_changed = not _leave(state, rows, now, moves)


def leave_misplaced(state: PortState, now: float, moves: list[Move]) -> None:
    """Move flows out of hardware that is not theirs where the device itself, or a controller before, put them.

    A flow for which no pin is to be had comes back, and is tried again.
    """
    if state.misplaced:
        _leave(state, sorted(state.misplaced), now, moves)


def _leave(state: PortState, rows: list[int], now: float, moves: list[Move]) -> bool:
    """Move each row to the region that the policy gives it; return False when some have to wait."""
    finished = True
    for row in rows:
        region, reason = combined.region_by_policy(state, demand_of(state, row))
        if region is cells.slot_of(state, row).region:
            state.misplaced.discard(row)
        elif not may_move(state, row, now):
            finished = False
        elif not move_to_region(state, row, region, now, reason, moves):
            return False
    return finished


def move_to_region(
    state: PortState, row: int, region: Region, now: float, reason: Reason, moves: list[Move]
) -> bool:
    """Move a row to the best slot of another region; return False when there are no tokens left."""
    if not has_tokens(state, 1):
        return False
    state.tokens -= 1
    demand, source = demand_of(state, row), cells.slot_of(state, row)
    unplace_row(state, row, demand)
    region.peak += state.columns.rate[row]
    target, group, vm, slot_reason = combined.place_in(region, row, demand, state.columns.rate[row], None)
    cells.insert(state, row, target, group, vm, demand.exclusive and target.exclusive_row != row)
    shown = slot_reason if slot_reason is Reason.EXCLUSIVE else reason
    record_move(state, row, source, target, now, shown, moves)
    return True


def move_vm_to_region(
    state: PortState, cell: Cell, region: Region, now: float, reason: Reason, moves: list[Move]
) -> bool:
    """Move the flows of a VM that keep together to another region; return False when the tokens do not suffice."""
    if not has_tokens(state, cell.count):
        return False
    tokens_left = state.tokens - cell.count
    for row in cells.rows_of(state, cell):
        state.tokens = max(1.0, state.tokens)
        move_to_region(state, row, region, now, reason, moves)
    state.tokens = tokens_left
    return True


def overflow(state: PortState, region: Region, now: float, moves: list[Move]) -> None:
    """Move flows from a region of hardware that is too full to software queues, if the port has any."""
    while state.software.slots:
        excess = _excess(region)
        too_many = region.max_flows is not None and region.count > region.max_flows
        if excess <= 0 and not too_many:
            return
        rows = [row for row in _flows_near_rate(state, region, excess) if may_move(state, row, now)]
        if not rows:
            moved = _overflow_vm(state, region, now, moves)
        else:
            row = min(
                rows, key=lambda row: (demand_of(state, row).priority, _rate_error(state, row, excess), row)
            )
            moved = move_to_region(state, row, state.software, now, Reason.OVERFLOW_TO_SOFTWARE, moves)
        if not moved:
            return


def _excess(region: Region) -> int:
    """Return by how much (bit/s) a region's load exceeds its capacity; 0 while it has no more flows than queues."""
    if region.capacity is None or region.count <= len(region.slots):
        return 0
    taken = region.load + exclusivity.unused_capacity(region)
    return taken - int(combined.HIGH_WATERMARK * region.capacity)


def _flows_near_rate(state: PortState, region: Region, rate: int) -> Iterator[int]:
    """Yield some flows that prefer hardware, from each cell of a region those with rates near the given one."""
    wanted_band = max(rate, 0).bit_length()
    for cell in _cells_to_overflow(region, state.held):
        if not cell.vm:
            band = min(cell.heads, key=lambda band: abs(band % cells.WAITING_BANDS - wanted_band))
            yield from cells.first_rows(state, cell.heads[band])


def _cells_to_overflow(region: Region, held: Group) -> Iterator[Cell]:
    for slot in region.slots:
        for cell in slot.cells.values():
            group = cell.group
            movable = group is not region.exclusive_group and group is not held
            if movable and group.demand.path is PathPreference.PREFER_HARDWARE:
                yield cell


def _rate_error(state: PortState, row: int, excess: int) -> int:
    """Return how far a flow's rate is from an excess (bit/s): too light is as bad as too heavy."""
    return abs(state.columns.rate[row] - max(excess, 0))


def _overflow_vm(state: PortState, region: Region, now: float, moves: list[Move]) -> bool:
    """Move out all flows of a VM that keep together, of the lowest priority with the fewest flows.

    They stay if they are all that the hardware has. Returns False when no VM was moved.
    """
    whole_vms = [
        cell
        for cell in _cells_to_overflow(region, state.held)
        if cell.vm and cell.count < region.count and may_all_move(state, cell, now)
    ]
    if not whole_vms:
        return False
    cell = min(whole_vms, key=lambda cell: (cell.group.demand.priority, cell.count, cell.index))
    return move_vm_to_region(state, cell, state.software, now, Reason.OVERFLOW_TO_SOFTWARE, moves)


def promote(state: PortState, now: float, moves: list[Move]) -> None:
    """Move flows back to the hardware while they fit, or in exchange for flows of lower rank."""
    if not state.hardware or not state.software.count:
        return
    for region in state.hardware:
        _update_peak(region, now, state.balance.window)
    _promote_vms(state, now, moves)
    for _ in range(MAX_PROMOTIONS):
        rows = [row for row in _candidates(state) if may_move(state, row, now)]
        rows.sort(key=lambda row: (*rank(state, row), -row), reverse=True)
        if not any(_promote_row(state, row, now, moves) for row in rows):
            return


def _update_peak(region: Region, now: float, window: float) -> None:
    if region.load >= region.peak or now - region.peak_at > window:
        region.peak, region.peak_at = region.load, now


def _promote_row(state: PortState, row: int, now: float, moves: list[Move]) -> bool:
    demand = demand_of(state, row)
    region = combined.hardware_of(state, demand)
    if region is None:
        return False
    if demand.path is PathPreference.HARDWARE or _has_room(region, state.columns.rate[row], 1):
        return move_to_region(state, row, region, now, Reason.PROMOTED, moves)
    return _exchange(state, row, region, now, moves)


def _candidates(state: PortState) -> Iterator[int]:
    """Yield flows on software queues that prefer hardware: of each cell the heaviest, and some that could fit."""
    exclusive_rows = (slot.exclusive_row for slot in state.software.exclusive_slots())
    yield from (row for row in exclusive_rows if demand_of(state, row).path is not PathPreference.SOFTWARE)
    for cell in _promotable_cells(state):
        if cell.vm:
            continue
        bands = [cell.mask.bit_length() - 1]
        region = combined.hardware_of(state, cell.group.demand)
        if region is not None and region.capacity is not None:
            room = max(0, int(combined.LOW_WATERMARK * region.capacity) - _taken(region))
            bands.extend(sorted((band for band in cell.heads if band < room.bit_length()), reverse=True)[:1])
        for band in dict.fromkeys(bands):
            yield from cells.first_rows(state, cell.heads[band])


def _promotable_cells(state: PortState) -> list[Cell]:
    """Return the cells of flows that share software queues and prefer hardware."""
    exclusive_group = state.software.exclusive_group
    return [
        cell
        for slot in state.software.slots
        for cell in slot.cells.values()
        if cell.group not in (exclusive_group, state.held)
        and cell.group.demand.path is not PathPreference.SOFTWARE
    ]


def _promote_vms(state: PortState, now: float, moves: list[Move]) -> None:
    """Promote VMs whose flows keep together: all their flows or none."""
    for cell in _promotable_cells(state):
        if not cell.vm or not may_all_move(state, cell, now):
            continue
        demand = demand_of(state, next(iter(cell.heads.values())))
        region = combined.hardware_of(state, demand)
        if region is None:
            continue
        if demand.path is PathPreference.HARDWARE or _has_room(region, cell.load, cell.count):
            move_vm_to_region(state, cell, region, now, Reason.PROMOTED, moves)


def _has_room(region: Region, rate: int, flows: int) -> bool:
    """Return whether flows of ``rate`` bit/s together would have fitted all through the last window.

    Then the next peak does not send them back.
    """
    if region.max_flows is not None and region.count + flows > region.max_flows:
        return False
    if region.capacity is None or region.count == 0 or region.count + flows <= len(region.slots):
        return True
    return _taken(region) + rate <= combined.LOW_WATERMARK * region.capacity


def _taken(region: Region) -> int:
    """Return what a region has carried at most within the last window, and what its exclusive queues do not use."""
    return max(region.load, region.peak) + exclusivity.unused_capacity(region)


def _exchange(state: PortState, row: int, region: Region, now: float, moves: list[Move]) -> bool:
    """Promote a flow in the place of the one of lowest rank in hardware, if that is clearly lower and the flow fits."""
    if not has_tokens(state, 2):
        return False
    priority, rate = rank(state, row)

    def is_clearly_lower(other: int) -> bool:
        other_priority, other_rate = rank(state, other)
        return other_priority < priority or (
            other_priority == priority and other_rate * EXCHANGE_FACTOR <= rate
        )

    replaceable = [
        other
        for other in _flows_near_rate(state, region, 0)
        if may_move(state, other, now) and is_clearly_lower(other)
    ]
    if not replaceable:
        return False
    lowest = min(replaceable, key=lambda other: (*rank(state, other), other))
    load = _taken(region) - rank(state, lowest)[1] + rate
    if region.capacity is not None and load > combined.LOW_WATERMARK * region.capacity:
        return False
    return move_to_region(state, lowest, state.software, now, Reason.OVERFLOW_TO_SOFTWARE, moves) and (
        move_to_region(state, row, region, now, Reason.PROMOTED, moves)
    )
