"""The life of a flow in the allocator: arrival, adoption on a queue, measurement, change of class, departure.

Each costs a time that does not depend on the number of flows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, division, exclusivity, guarantees, pools
from flowlane.core.allocate.state import (
    EXCLUSIVE_GROUP,
    HELD,
    HELD_GROUP,
    QUIET,
    Placement,
    hold_profile,
    release_profile,
)
from flowlane.core.allocate.strategies import STRATEGIES, combined
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Cell, Demand, PortState, Slot


def arrive(state: PortState, row: int, demand: Demand, key: bytes = b"") -> Placement:
    """Place a new flow by the strategy of the policy."""
    enter_row(state, row, demand)
    return place_row(state, row, demand, key, None)


def place_on(
    state: PortState, row: int, demand: Demand, queue_id: int, key: bytes = b"", *, may_be_alone: bool = True
) -> Placement:
    """Place a new flow on the queue where it is already, as after a restart of the controller.

    Where the policy gives it another queue, a later rebalance moves it. A flow on a queue that the port does
    not have is placed as by :func:`arrive`.

    Args:
        may_be_alone: False for a flow that is known to share its queue with flows that are not placed yet.
    """
    slot = state.slot_of_queue(queue_id)
    if slot is None:
        return arrive(state, row, demand, key)
    enter_row(state, row, demand)
    return stay_on(state, row, demand, slot, key, may_be_alone=may_be_alone)


def stay_on(
    state: PortState, row: int, demand: Demand, slot: Slot, key: bytes = b"", *, may_be_alone: bool = True
) -> Placement:
    """Put a row that is on no slot on that of the queue where it is already; rebalances move what does not fit."""
    if is_held(state, row, slot):
        return put_held(state, row, slot)
    region, queue = slot.region, slot.queue
    strategy = STRATEGIES[state.balance.strategy]
    if not strategy.rebalances:
        number = strategy.adopt(state, row, demand, slot, key) if strategy.adopt is not None else 0
        cells.insert(state, row, slot, pools.find_group(region, demand), number, demand.exclusive)
        return Placement(queue.queue_id, queue.kind, Reason.ADOPTED)
    if (
        may_be_alone
        and demand.exclusive
        and not slot.count
        and len(region.shared_slots()) > division.reserved_slots(region)
        and not (exclusivity.has_most(region, demand) or guarantees.is_only_guarantee(slot))
    ):
        # It was alone there before, and its rate is not known yet: a rebalance revokes what it does not earn.
        pools.make_exclusive(region, slot, row, demand.class_index)
        cells.insert(state, row, slot, region.exclusive_group, 0)
        return Placement(queue.queue_id, queue.kind, Reason.EXCLUSIVE)
    placement = put_on(state, row, demand, slot, may_be_alone=may_be_alone)
    return placement._replace(reason=Reason.ADOPTED)


def is_held(state: PortState, row: int, slot: Slot) -> bool:
    """Return whether no rebalance is to move a row off a slot: it is pinned by hand, or the queue is cordoned."""
    return slot.region is state.closed or bool(state.columns.flags[row] & HELD)


def put_held(state: PortState, row: int, slot: Slot) -> Placement:
    """Put a row that is on no slot where no rebalance moves it."""
    cells.insert(state, row, slot, state.held, 0)
    reason = Reason.PINNED_BY_HAND if state.columns.flags[row] & HELD else Reason.SHARED
    return Placement(slot.queue.queue_id, slot.queue.kind, reason)


def put_on(state: PortState, row: int, demand: Demand, slot: Slot, *, may_be_alone: bool = True) -> Placement:
    """Put a row that is on no slot where it is in the device, whatever the policy says; rebalances move it.

    A flow of an exclusive class that is alone there has the queue to itself if it may. Else the reason is the general
    one for a flow there.
    """
    if is_held(state, row, slot):
        return put_held(state, row, slot)
    region, queue = slot.region, slot.queue
    rate = state.columns.rate[row]
    if (
        may_be_alone
        and demand.exclusive
        and not slot.count
        and exclusivity.find_slot(region, demand, rate, slot, False) is slot
    ):
        pools.make_exclusive(region, slot, row, demand.class_index)
        cells.insert(state, row, slot, region.exclusive_group, 0)
        return Placement(queue.queue_id, queue.kind, Reason.EXCLUSIVE)
    if region not in (state.software, combined.region_by_policy(state, demand)[0]):
        state.misplaced.add(row)
    group = pools.find_group(region, demand)
    vm = demand.vm_number if demand.keep_vm_together else 0
    home = group.vm_cells.get(vm)
    cells.insert(state, row, slot, group, vm, demand.exclusive)
    if home is not None:
        group.vm_cells[vm] = home
    return Placement(queue.queue_id, queue.kind, combined.sharing_reason(region, group, vm))


def enter_row(state: PortState, row: int, demand: Demand) -> None:
    """Fill the columns of a row that is about to be placed."""
    columns = state.columns
    state.arrived += 1
    if row >= len(columns.cell):
        columns.grow(row)
    columns.profile[row] = hold_profile(state, demand)
    columns.moved_at.pop(row, None)
    columns.rate[row] = 0
    columns.flags[row] &= cells.LEFT_OVER
    rate = min(demand.rate, cells.MAX_RATE)
    if rate > 0:
        cells.add_measured_rate(state, row, demand.class_index, rate)
    else:
        rate = cells.estimate_rate(state, demand.class_index)
    columns.rate[row] = rate


def depart(state: PortState, row: int) -> None:
    """Remove a flow: undo its arrival."""
    profile = state.columns.profile[row]
    demand = state.demands[profile]
    if state.columns.flags[row] & QUIET:
        state.ended += 1
        state.quiet -= 1
    state.columns.moved_at.pop(row, None)
    cells.remove_measured_rate(state, row, demand.class_index)
    unplace_row(state, row, demand)
    release_profile(state, profile)


def measure(state: PortState, row: int, rate: int, is_quiet: bool | None = None) -> None:
    """Set the measured rate of a flow, in bit/s; it stays where it is until a rebalance.

    Args:
        is_quiet: whether it has sent nothing for a while; None: as before.
    """
    if is_quiet is not None:
        _set_quiet(state, row, is_quiet)
    rate = min(rate, cells.MAX_RATE)
    class_index = state.demands[state.columns.profile[row]].class_index
    cells.add_measured_rate(state, row, class_index, rate)
    cells.set_rate(state, row, rate)


def _set_quiet(state: PortState, row: int, is_quiet: bool) -> None:
    flags = state.columns.flags
    if bool(flags[row] & QUIET) != is_quiet:
        flags[row] ^= QUIET
        state.quiet += 1 if is_quiet else -1
        state.resumed += not is_quiet


def change(state: PortState, row: int, demand: Demand, now: float, key: bytes = b"") -> Placement:
    """Give a flow another demand, as when its class changed; it stays on its queue until a rebalance moves it.

    So a change of many flows' classes is as many moves as any other, and no more in a second. Strategies that do
    not rebalance move a flow at once, where its class asks for queues of the other kind.
    """
    columns = state.columns
    old_demand = state.demands[columns.profile[row]]
    if demand[1:] == old_demand[1:]:
        if demand.rate > 0:
            measure(state, row, demand.rate)
        return current_placement(state, row)
    slot = take_off(state, row, demand)
    placement = replace_row(state, row, demand, key, slot)
    group = cells.group_of(state, row)
    if group.key not in (EXCLUSIVE_GROUP, HELD_GROUP) and group.demand.class_index == demand.class_index:
        group.demand = demand  # A new policy changes the demand of every flow of the class.
    if placement.queue_id != slot.queue.queue_id:
        columns.moved_at[row] = now
    return placement


def take_off(state: PortState, row: int, demand: Demand) -> Slot:
    """Take a row off its slot and give it another demand, before it is placed again; return the slot."""
    columns = state.columns
    old_demand, slot = state.demands[columns.profile[row]], cells.slot_of(state, row)
    cells.remove_measured_rate(state, row, old_demand.class_index)
    unplace_row(state, row, old_demand)
    profile = hold_profile(state, demand)
    release_profile(state, columns.profile[row])
    columns.profile[row] = profile
    if demand.rate > 0:
        rate = min(demand.rate, cells.MAX_RATE)
        cells.add_measured_rate(state, row, demand.class_index, rate)
        columns.rate[row] = rate
    return slot


def replace_row(state: PortState, row: int, demand: Demand, key: bytes, slot: Slot) -> Placement:
    """Place a row that was on a slot until now, under another demand."""
    if is_held(state, row, slot):
        return put_held(state, row, slot)
    if slot is state.unqueued or not STRATEGIES[state.balance.strategy].rebalances:
        return place_row(state, row, demand, key, slot)
    state.restless = True
    return put_on(state, row, demand, slot)


def place_row(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Placement:
    """Place a row that is on no slot, by the strategy of the policy."""
    slot, group, vm, reason = STRATEGIES[state.balance.strategy].place(state, row, demand, key, current)
    cells.insert(state, row, slot, group, vm, demand.exclusive and slot.exclusive_row != row)
    queue = slot.queue
    return Placement(queue.queue_id, queue.kind, reason)


def unplace_row(state: PortState, row: int, demand: Demand) -> None:
    """Take a row off its slot; its exclusive queue becomes a shared one, a group without flows is removed."""
    cell = cells.cell_of(state, row)
    cells.remove(state, row)
    state.misplaced.discard(row)
    slot, group = cell.slot, cell.group
    slot.region.peak -= state.columns.rate[row]
    if slot.exclusive_row == row:
        pools.make_shared(slot.region, slot, demand.class_index)
    elif group.count == 0 and group.key not in (EXCLUSIVE_GROUP, HELD_GROUP):
        pools.remove_group(group.region, group)


def current_placement(state: PortState, row: int) -> Placement:
    """Return where a row is now, with the general reason for a flow there."""
    cell = cells.cell_of(state, row)
    queue = cell.slot.queue
    if state.columns.flags[row] & HELD:
        return Placement(queue.queue_id, queue.kind, Reason.PINNED_BY_HAND)
    rebalances = STRATEGIES[state.balance.strategy].rebalances
    return Placement(queue.queue_id, queue.kind, reason_of(cell, row) if rebalances else Reason.STRATEGY)


def reason_of(cell: Cell, row: int) -> Reason:
    """Return why a row is in a cell, by the strategy ``combined``."""
    if cell.slot.exclusive_row == row:
        return Reason.EXCLUSIVE
    return combined.sharing_reason(cell.slot.region, cell.group, cell.vm)
