"""Bringing flows to the region where they belong: the right road, and their own share of the hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, combined
from flowlane.core.allocate.moving import allowed, may_spend, note
from flowlane.core.allocate.operations import lift, slot_of
from flowlane.core.allocate.profiles import demand_of
from flowlane.core.model import Reason
from flowlane.core.policy import Road

if TYPE_CHECKING:
    from flowlane.core.allocate.model import Demand, Move
    from flowlane.core.allocate.state import Cell, PortState, Region


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
    if demand.road is Road.SOFTWARE and state.software.slots:
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
    cells.put(state, row, target, group, vm, demand.exclusive and target.owner != row)
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
