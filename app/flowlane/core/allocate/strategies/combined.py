"""The default strategy: alone where it must be, with its like where it may, in software where it should.

What must be alone gets a queue while queues last; the rest is grouped by likeness, groups get queues by
demand, and inside a group a flow goes to the least loaded queue; what does not fit the hardware, or need
not use it, goes to software queues [0056, 0057; claims 2 to 6, 9].
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from flowlane.core.allocate import division, guarantees, pools
from flowlane.core.model import Reason
from flowlane.core.policy import PathPreference

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Demand, Group, PortState, Region, Slot

FILL = 0.9
"""Share of the hardware's capacity up to which flows that may do without it are let in."""

TIES = 8
"""Queues of equal load whose flows are counted for a newcomer; all where the load is nothing."""

FULL = 1.0
"""Share of the capacity above which such flows are moved out. The gap to ``FILL`` keeps them from flapping."""

Choice = tuple["Slot", "Group", int, Reason]
"""A slot, the group to count the flow in, the VM number if the VM's flows keep together, the reason."""


def place(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """Choose for a flow that is on no slot; ``current`` is the one it was on until now."""
    region, reason = region_for(state, demand, state.columns.rate[row], current)
    return place_in(region, row, demand, current, reason)


def place_in(
    region: Region, row: int, demand: Demand, current: Slot | None, reason: Reason | None = None
) -> Choice:
    """Choose within a region; ``reason`` says why this region, when there is something to say."""
    if demand.exclusive:
        slot = slot_to_own(region, demand, current, 0)
        if slot is not None:
            pools.own(region, slot, row, demand.class_index)
            return slot, region.alone, 0, Reason.EXCLUSIVE
    group = pools.find_group(region, demand)
    vm = demand.vm_number if demand.keep_vm_together else 0
    if current is None or not _may_stay(current, group, vm):
        current = slot_to_share(group, vm)
    return current, group, vm, reason or sharing_reason(region, group, vm)


def region_for(
    state: PortState, demand: Demand, rate: int, current: Slot | None = None
) -> tuple[Region, Reason | None]:
    """Where a flow's queue is to be looked for, and the reason when there is something to say of it."""
    hardware, software = hardware_of(state, demand), state.software
    if hardware is None:
        return _without_hardware(state, demand)
    if not software.slots:
        return hardware, None
    if demand.path is PathPreference.SOFTWARE:
        return software, Reason.SOFTWARE_BY_RULE
    home = _home_of(demand, hardware, software) if demand.keep_vm_together else None
    inside = current is not None and current.region is hardware
    if home is not None or fits(hardware, rate, FULL if inside else FILL):
        return home or hardware, None
    if demand.path is PathPreference.HARDWARE:
        return hardware, Reason.HARDWARE_ONLY_FULL
    return software, Reason.OVERFLOW_TO_SOFTWARE


def hardware_of(state: PortState, demand: Demand) -> Region | None:
    """The hardware that a flow may use by its share, if there is any."""
    return state.region_of.get(demand.share) or state.region_of.get(-1)


def _without_hardware(state: PortState, demand: Demand) -> tuple[Region, Reason]:
    if not state.software.slots:
        return state.limbo.region, Reason.NO_QUEUES
    by_rule = demand.path is PathPreference.SOFTWARE
    return state.software, Reason.SOFTWARE_BY_RULE if by_rule else Reason.OVERFLOW_TO_SOFTWARE


def _home_of(demand: Demand, *regions: Region) -> Region | None:
    """Where the other flows are of the VM with which a flow keeps together."""
    key = pools.group_key(demand)
    groups = ((region, region.groups.get(key)) for region in regions)
    return next((region for region, group in groups if group and demand.vm_number in group.homes), None)


def fits(region: Region, rate: int, fill: float) -> bool:
    """Whether one more flow fits the region; while it has more queues than flows, one always does."""
    if region.room is not None and region.count >= region.room:
        return False
    if region.capacity is None or region.count < len(region.slots):
        return True
    return region.load + rate <= fill * region.capacity


def slot_to_own(region: Region, demand: Demand, current: Slot | None, present: int) -> Slot | None:
    """The queue that a flow can have alone: an idle one, else the one with the fewest flows to move away.

    None while others must share what is left, when the class has as many as it may, or for a newcomer while
    others wait: a rebalance then decides who deserves one. A queue on whose guarantee a class counts is not
    given away, and a class with a minimum of its own gets a queue that guarantees it. ``current`` is where the
    flow is (``present`` 1) or was just now (0); it is preferred, since then the flow need not move.
    """
    if demand.max_queues is not None and region.owned.get(demand.class_index, 0) >= demand.max_queues:
        return None
    free = [slot for slot in region.slots if slot.exclusive_row < 0]
    others = region.waiting - present
    if len(free) <= division.reserve(region, others) or (others and not present):
        return None

    def cost(slot: Slot) -> tuple[bool, int, bool, bool, int, int]:
        others = slot.count - (present if slot is current else 0)
        last = slot.pool is not None and len(slot.pool.slots) == 1
        away = current is not None and slot is not current
        fit = guarantees.misfit(slot, demand.min_rate) if demand.min_rate else (False, 0)
        return *fit, others > 0, last and others > 0, others + away, slot.index

    return min((slot for slot in free if not guarantees.is_promised(slot)), key=cost, default=None)


def slot_to_share(group: Group, vm: int) -> Slot:
    """The least loaded slot of a group's pool, or where the VM's other flows of the group are."""
    pool = group.pool
    assert pool is not None
    if vm:
        home = group.homes.get(vm)
        if home is not None and home.slot.pool is pool:
            return home.slot
    if group.demand.min_rate > pool.floor:
        slots = guarantees.eligible(pool.slots, group.demand.min_rate)
        return min(slots, key=lambda slot: (slot.load, slot.count, slot.place))
    loads = pool.loads
    most = group.demand.max_queues
    if most is not None and most < len(loads):
        loads = loads[: max(1, most)]
    least = min(loads)
    slot = pool.slots[loads.index(least)]
    if slot.count > (least > 0) and loads.count(least) > 1:
        # Flows that nobody has measured yet weigh nothing: without this they would all sit on one queue.
        equal = (other for other, load in zip(pool.slots, loads, strict=False) if load == least)
        slot = min(islice(equal, TIES if least else None), key=lambda other: (other.count, other.place))
    return slot


def sharing_reason(region: Region, group: Group, vm: int) -> Reason:
    """Why a flow that shares is where it is."""
    if region.slots[0].queue.queue_id < 0:
        return Reason.NO_QUEUES
    if group.demand.exclusive:
        return Reason.EXCLUSIVE_UNAVAILABLE
    if vm:
        return Reason.VM_TOGETHER
    return Reason.GROUPED if len(region.groups) > 1 else Reason.SHARED


def _may_stay(current: Slot, group: Group, vm: int) -> bool:
    """Whether a flow may stay on a slot; an idle slot changes pools for it, as when it was owned until now."""
    if current.region is not group.region or current.exclusive_row >= 0:
        return False
    if vm and vm in group.homes:
        return group.homes[vm].slot is current and current.pool is group.pool
    if current.pool is group.pool:
        most = group.demand.max_queues
        return most is None or current.place < max(1, most)
    if current.count or group.pool is None or not division.may_take(current.region, group.pool, current):
        return False
    if current.pool is not None and len(current.pool.slots) == 1:
        return False
    pools.detach(current)
    pools.attach(current, group.pool)
    return True
