"""What happens to a flow: it arrives, is measured, changes its class, departs.

Each costs a time that does not depend on the number of flows. The row must be a flow of this port; nothing
else is checked here, the engine is the only caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, pools
from flowlane.core.allocate.state import ALONE, MEASURED, NEVER, Placement, hold_profile, release_profile
from flowlane.core.allocate.strategies import STRATEGIES, combined
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Cell, Demand, PortState, Slot


def arrive(state: PortState, row: int, demand: Demand, key: bytes = b"") -> Placement:
    """Place a new flow. ``key`` is its packed key, which only strategies that hash look at."""
    enter(state, row, demand)
    return choose(state, row, demand, key, None)


def place_on(state: PortState, row: int, demand: Demand, queue_id: int, key: bytes = b"") -> Placement:
    """Take a flow over where it is already, as after a restart; a queue that the port lacks: as ``arrive``.

    If the flow does not belong there, a later rebalance moves it.
    """
    slot = next((slot for slot in state.slots if slot.queue.queue_id == queue_id), None)
    if slot is None:
        return arrive(state, row, demand, key)
    enter(state, row, demand)
    region, queue = slot.region, slot.queue
    strategy = STRATEGIES[state.balance.strategy]
    if strategy.adopt is not None:
        strategy.adopt(state, demand, slot)
    if (
        strategy.moves
        and demand.exclusive
        and slot.count == 0
        and combined.slot_to_own(region, demand, slot, 0) is slot
    ):
        pools.own(region, slot, row, demand.class_index)
        cells.put(state, row, slot, region.alone, 0)
        return Placement(queue.queue_id, queue.kind, Reason.EXCLUSIVE)
    group = pools.find_group(region, demand)
    vm = demand.vm_number if demand.keep_vm_together else 0
    cells.put(state, row, slot, group, vm, demand.exclusive)
    return Placement(queue.queue_id, queue.kind, Reason.ADOPTED)


def enter(state: PortState, row: int, demand: Demand) -> None:
    """Fill the columns of a row that is about to be placed."""
    columns = state.columns
    if row >= len(columns.cell):
        columns.grow(row)
    columns.profile[row] = hold_profile(state, demand)
    columns.moved_at[row] = NEVER
    columns.rate[row] = 0
    columns.flags[row] &= ~MEASURED  # by a port that is no more
    rate = min(demand.rate, cells.MAX_RATE)
    if rate > 0:
        cells.learn(state, row, demand.class_index, rate)
    else:
        rate = cells.estimate(state, demand.class_index)
    columns.rate[row] = rate


def depart(state: PortState, row: int) -> None:
    """Undo the arrival of a flow."""
    profile = state.columns.profile[row]
    demand = state.demands[profile]
    cells.forget(state, row, demand.class_index)
    lift(state, row, demand)
    release_profile(state, profile)


def measure(state: PortState, row: int, rate: int) -> None:
    """Note the measured rate of a flow, in bit/s; it stays where it is until a rebalance."""
    rate = min(rate, cells.MAX_RATE)
    class_index = state.demands[state.columns.profile[row]].class_index
    cells.learn(state, row, class_index, rate)
    cells.set_rate(state, row, rate)


def change(state: PortState, row: int, demand: Demand, now: float, key: bytes = b"") -> Placement:
    """Give a flow another demand, as when its class changed; it stays on its queue where it can."""
    columns = state.columns
    old = state.demands[columns.profile[row]]
    if demand[1:] == old[1:]:
        if demand.rate > 0:
            measure(state, row, demand.rate)
        return where(state, row)
    slot = slot_of(state, row)
    cells.forget(state, row, old.class_index)
    lift(state, row, old)
    profile = hold_profile(state, demand)
    release_profile(state, columns.profile[row])
    columns.profile[row] = profile
    if demand.rate > 0:
        rate = min(demand.rate, cells.MAX_RATE)
        cells.learn(state, row, demand.class_index, rate)
        columns.rate[row] = rate
    placement = choose(state, row, demand, key, slot)
    group = cells.group_of(state, row)
    if group.key != ALONE and group.demand.class_index == demand.class_index:
        group.demand = demand  # A new policy tells it to every flow of the class.
    if placement.queue_id != slot.queue.queue_id:
        columns.moved_at[row] = now
    return placement


def choose(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Placement:
    """Place a row that is on no slot by the strategy in force; ``current`` is where it was until now."""
    slot, group, vm, reason = STRATEGIES[state.balance.strategy].place(state, row, demand, key, current)
    cells.put(state, row, slot, group, vm, demand.exclusive and slot.exclusive_row != row)
    queue = slot.queue
    return Placement(queue.queue_id, queue.kind, reason)


def lift(state: PortState, row: int, demand: Demand) -> None:
    """Take a row off its slot; a slot that it owned and a group that it was the last of go with it."""
    cell = cell_of(state, row)
    cells.take(state, row)
    slot, group = cell.slot, cell.group
    slot.region.peak -= state.columns.rate[row]
    if slot.exclusive_row == row:
        pools.disown(slot.region, slot, demand.class_index)
    elif group.count == 0 and group.key != ALONE:
        pools.drop_group(group.region, group)


def where(state: PortState, row: int) -> Placement:
    """Where a row is now; the reason is the general one for its position, or that a simple strategy chose it."""
    cell = cell_of(state, row)
    queue = cell.slot.queue
    reason = reason_of(cell, row) if STRATEGIES[state.balance.strategy].moves else Reason.STRATEGY
    return Placement(queue.queue_id, queue.kind, reason)


def reason_of(cell: Cell, row: int) -> Reason:
    """Why a row is in a cell."""
    if cell.slot.exclusive_row == row:
        return Reason.EXCLUSIVE
    return combined.sharing_reason(cell.slot.region, cell.group, cell.vm)


def cell_of(state: PortState, row: int) -> Cell:
    """The cell of a placed row."""
    cell = state.cells[state.columns.cell[row]]
    assert cell is not None
    return cell


def slot_of(state: PortState, row: int) -> Slot:
    """The slot of a placed row."""
    return cell_of(state, row).slot
