"""The default strategy, ``combined``: exclusive queues, groups of flows that are alike, overflow to software queues.

A flow of an exclusive class gets a queue to itself while queues last. The other flows are grouped by what the
policy calls alike, groups get queues by their load, and inside a group a flow goes to the least loaded queue.
What does not fit the hardware, or need not use it, goes to software queues [0056, 0057; claims 2 to 6, 9].
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from flowlane.core.allocate import division, exclusivity, guarantees, pools
from flowlane.core.model import Reason
from flowlane.core.policy import PathPreference

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Demand, Group, PortState, Region, Slot

LOW_WATERMARK = 0.9
"""Share of the hardware's capacity up to which flows that need no hardware are placed there."""

HIGH_WATERMARK = 1.0
"""Share of the capacity above which such flows overflow; the gap to ``LOW_WATERMARK`` is a hysteresis."""

MAX_TIES = 8
"""Queues of equal load of which the one with fewest flows is taken; where that load is 0, all are compared."""

Choice = tuple["Slot", "Group", int, Reason]
"""A slot, the group to count the flow in, the VM number if the VM's flows keep together, the reason."""


def place(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """Choose a slot of the region that the flow's path and the room in the hardware ask for."""
    rate = state.columns.rate[row]
    region, reason = region_for(state, demand, rate, current)
    known = demand.rate or demand.class_index in state.measured_rates
    return place_in(region, row, demand, rate if known else 0, current, reason)


def place_in(
    region: Region, row: int, demand: Demand, rate: int, current: Slot | None, reason: Reason | None = None
) -> Choice:
    """Choose a slot of a region for a flow of ``rate`` bit/s; ``reason`` is why this region, if there is one."""
    if demand.exclusive:
        slot = exclusivity.find_slot(region, demand, rate, current, False)
        if slot is not None:
            pools.make_exclusive(region, slot, row, demand.class_index)
            return slot, region.exclusive_group, 0, Reason.EXCLUSIVE
    group = pools.find_group(region, demand)
    vm = demand.vm_number if demand.keep_vm_together else 0
    if current is None or not _may_stay(current, group, vm):
        current = slot_to_share(group, vm)
    return current, group, vm, reason or sharing_reason(region, group, vm)


def region_for(
    state: PortState, demand: Demand, rate: int, current: Slot | None = None
) -> tuple[Region, Reason | None]:
    """Return the region for a flow of ``rate`` bit/s, and the reason for it; None for no particular reason."""
    hardware, software = hardware_of(state, demand), state.software
    if hardware is None:
        return _without_hardware(state, demand)
    if not software.slots:
        return hardware, None
    if demand.path is PathPreference.SOFTWARE:
        return software, Reason.SOFTWARE_BY_RULE
    region_of_vm = _region_of_vm(demand, hardware, software) if demand.keep_vm_together else None
    inside = current is not None and current.region is hardware
    if region_of_vm is not None or fits(hardware, rate, HIGH_WATERMARK if inside else LOW_WATERMARK):
        return region_of_vm or hardware, None
    if demand.path is PathPreference.HARDWARE:
        return hardware, Reason.HARDWARE_ONLY_FULL
    return software, Reason.OVERFLOW_TO_SOFTWARE


def region_by_policy(state: PortState, demand: Demand) -> tuple[Region, Reason]:
    """Return the region that the policy gives a flow, whether or not there is room, and the reason to move there."""
    if demand.path is PathPreference.SOFTWARE and state.software.slots:
        return state.software, Reason.SOFTWARE_BY_RULE
    region = hardware_of(state, demand)
    return (region, Reason.REBALANCED) if region else (state.software, Reason.OVERFLOW_TO_SOFTWARE)


def hardware_of(state: PortState, demand: Demand) -> Region | None:
    """Return the hardware region of the flow's share; None where the port has none for it."""
    return state.region_of.get(demand.share) or state.region_of.get(-1)


def _without_hardware(state: PortState, demand: Demand) -> tuple[Region, Reason]:
    if not state.software.slots:
        return state.unqueued.region, Reason.NO_QUEUES
    by_rule = demand.path is PathPreference.SOFTWARE
    return state.software, Reason.SOFTWARE_BY_RULE if by_rule else Reason.OVERFLOW_TO_SOFTWARE


def _region_of_vm(demand: Demand, *regions: Region) -> Region | None:
    """Return the region in which the flows are that the flow's VM keeps together; None: there are none."""
    key = pools.group_key(demand)
    groups = ((region, region.groups.get(key)) for region in regions)
    return next((region for region, group in groups if group and demand.vm_number in group.vm_cells), None)


def fits(region: Region, rate: int, fill: float) -> bool:
    """Return whether one more flow of ``rate`` bit/s fits a region that is filled up to the share ``fill``.

    While the region has fewer flows than queues, one more always fits.
    """
    if region.max_flows is not None and region.count >= region.max_flows:
        return False
    if region.capacity is None or region.count < len(region.slots):
        return True
    return region.load + exclusivity.unused_capacity(region) + rate <= fill * region.capacity


def slot_to_share(group: Group, vm: int) -> Slot:
    """Return the least loaded slot of a group's pool, or the slot of the VM's other flows where they keep together."""
    pool = group.pool
    assert pool is not None
    vm_cell = group.vm_cells.get(vm) if vm else None
    if vm_cell is not None and vm_cell.slot.pool is pool:
        return vm_cell.slot
    if group.demand.min_rate > pool.floor:
        slots = guarantees.eligible(pool.slots, group.demand.min_rate)
        return min(slots, key=lambda slot: (slot.load * slot.scale, slot.count, slot.position))
    loads = pool.loads
    most = group.demand.max_queues
    if most is not None and most < len(loads) and not group.is_guest:
        loads = loads[: max(1, most)]
    least = min(loads)
    slot = pool.slots[loads.index(least)]
    if slot.count > (least > 0) and loads.count(least) > 1:
        # Flows that send nothing add no load: without this they would all go to one queue.
        equal = (other for other, load in zip(pool.slots, loads, strict=False) if load == least)
        compared = islice(equal, MAX_TIES if least else None)
        slot = min(compared, key=lambda other: ((other.count + 1) * other.scale, other.position))
    return slot


def sharing_reason(region: Region, group: Group, vm: int) -> Reason:
    """Return the reason of a flow on a shared queue."""
    if region.slots[0].queue.queue_id < 0:
        return Reason.NO_QUEUES
    if group.demand.exclusive:
        return Reason.EXCLUSIVE_UNAVAILABLE
    if vm:
        return Reason.VM_TOGETHER
    return Reason.GROUPED if len(region.groups) > 1 else Reason.SHARED


def _may_stay(current: Slot, group: Group, vm: int) -> bool:
    """Return whether a flow may stay on a slot; an idle slot changes pools for it, as one that was exclusive."""
    if current.region is not group.region or current.exclusive_row >= 0:
        return False
    if vm and vm in group.vm_cells:
        return group.vm_cells[vm].slot is current and current.pool is group.pool
    if current.pool is group.pool:
        most = group.max_queues
        return most is None or current.position < max(1, most)
    if current.count or group.pool is None or not division.may_take(current.region, group.pool, current):
        return False
    if current.pool is not None and len(current.pool.slots) == 1:
        return False
    pools.detach(current)
    pools.attach(current, group.pool)
    return True
