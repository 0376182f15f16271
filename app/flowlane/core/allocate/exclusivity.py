"""Which flows may have a queue to themselves: those whose queue the others do not miss.

A flow of an exclusive class that carries more than each queue that is left to the others costs them nothing: the
busiest queue is no busier for it. A lighter one takes from the others what it does not use. So a flow *earns* a queue
when it carries clearly more than the mean of the queues that are left, and exclusive queues are *kept* while the
others carry at most :data:`KEEP` times what they would carry without those that are too light. Where nobody has to
share, or all that share are next to idle, an exclusive queue is not missed either. A class whose priority is above
that of all who share has its queues while the others find room in theirs. Where queues are of unequal speed, no flow
is alone on a slow one that it fills more than the others are filled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import division, guarantees, pools
from flowlane.core.allocate.state import HELD_GROUP, NEVER, demand_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.allocate.state import Demand, PortState, Region, Slot

EARN = 1.1
"""How many times the mean load of the queues that are left to the others a flow must carry to get one."""

KEEP = 1.02
"""How many times the load that they would have without them the others bear before light flows lose their queues."""

QUIET = 0.2
"""Share of what their queues can carry below which the flows that share miss no queue."""

FULL = 1.0
"""Share of what their queues can carry up to which those that share make room for a class of higher priority."""

MOST = 2.0
"""The same where the rate of the port is unknown: how many times the mean load of all queues."""


def weight_of(slots: Iterable[Slot]) -> int:
    """Return what queues can carry together, in the unit of :attr:`Slot.weight`."""
    return sum(slot.weight for slot in slots)


def load_to_share(region: Region) -> int:
    """Return the load (bit/s) of all flows of a region that have no queue to themselves."""
    return region.load - region.exclusive_group.load


def may_have(region: Region, slot: Slot, demand: Demand, rate: int, present: bool) -> bool:
    """Return whether a flow may have a shared slot to itself.

    Args:
        region: the slot's region.
        slot: the queue in question.
        demand: what the flow asks for.
        rate: its rate in bit/s, 0 while it cannot be known whether it is heavy.
        present: whether the flow is in the region already.
    """
    left = [other for other in region.slots if other.exclusive_row < 0 and other is not slot]
    load = load_to_share(region) - (rate if present else 0)
    if load <= 0 or not _is_crowded(region, slot, demand, present):
        return True
    return rate > 0 and _earns(region, slot, demand, rate, load, weight_of(left))


def may_take_over(region: Region, slot: Slot, demand: Demand, rate: int, lower_rate: int) -> bool:
    """Return whether a flow that waits may have an exclusive slot in the place of its flow, of ``lower_rate`` bit/s."""
    load = load_to_share(region) - rate + lower_rate
    return not _is_too_slow(region, slot, rate, KEEP) and _earns(
        region, slot, demand, rate, load, weight_of(region.shared_slots())
    )


def _earns(region: Region, slot: Slot, demand: Demand, rate: int, load: int, weight: int) -> bool:
    """Return whether a flow earns a slot where queues of this weight are left to a load (bit/s)."""
    return weight > 0 and (
        rate * weight >= EARN * load * slot.weight
        or _is_quiet(region, load, weight)
        or (_is_above_others(region, demand) and _finds_room(region, load, weight))
    )


def find_slot(region: Region, demand: Demand, rate: int, current: Slot | None, present: bool) -> Slot | None:
    """Return the queue that can become exclusive to a flow: an idle one, else the one with fewest other flows.

    The current queue is preferred, since then the flow need not move. A queue on whose guarantee a class
    counts is not given away, and a class with a minimum gets a queue that guarantees it.

    Args:
        region: where to look.
        demand: what the flow asks for.
        rate: its rate in bit/s.
        current: the queue that it is on.
        present: whether it is counted on ``current`` already.

    Returns:
        The queue; None while the others would miss it, or when the class has its ``max_queues``.
    """
    if has_most(region, demand):
        return None
    shared = region.shared_slots()
    if len(shared) <= division.reserved_slots(region):
        return None

    def cost(slot: Slot) -> tuple[bool, int, bool, bool, int, int, int]:
        others = slot.count - (present and slot is current)
        last_of_pool = slot.pool is not None and len(slot.pool.slots) == 1
        moves = current is not None and slot is not current
        fit = guarantees.fit_rank(slot, demand.min_rate) if demand.min_rate else (False, 0)
        return *fit, others > 0, last_of_pool and others > 0, others + moves, -slot.weight, slot.index

    candidates = (
        slot
        for slot in shared
        if not guarantees.is_only_guarantee(slot)
        and not _is_too_slow(region, slot, rate, KEEP)
        and (HELD_GROUP, 0) not in slot.cells
    )
    slot = min(candidates, key=cost, default=None)
    return slot if slot is not None and may_have(region, slot, demand, rate, present) else None


def has_most(region: Region, demand: Demand) -> bool:
    """Return whether a class has as many exclusive queues as its ``max_queues`` allows."""
    most = demand.max_queues
    return most is not None and region.exclusive_queues.get(demand.class_index, 0) >= most


def missed_slots(state: PortState, region: Region) -> list[Slot]:
    """Return the exclusive queues that the flows that share miss, those of the lowest rank first."""
    exclusive = region.exclusive_slots()
    if not exclusive:
        return []
    shared = region.shared_slots()
    load, weight = load_to_share(region), weight_of(shared)
    if not weight:
        return exclusive
    slow = [slot for slot in exclusive if _is_too_slow(region, slot, rate_of(state, slot), EARN)]
    if slow:
        return slow
    light = [slot for slot in exclusive if rate_of(state, slot) * weight < load * slot.weight]
    if not light or _is_quiet(region, load, weight) or not _has_to_share(region):
        return []
    if _finds_room(region, load, weight):
        light = [slot for slot in light if not _is_above_others(region, demand_of(state, slot.exclusive_row))]
    lost = sum(rate_of(state, slot) for slot in light)
    kept = load * (weight + weight_of(light)) <= KEEP * (load + lost) * weight
    return [] if kept else sorted(light, key=lambda slot: _rank(state, slot))


def unused_capacity(region: Region) -> int:
    """Return what exclusive queues could carry beside their flows (bit/s): the others cannot have it."""
    if region.capacity is None or not region.exclusive_queues:
        return 0
    whole = weight_of(region.slots)
    return sum(
        max(0, region.capacity * slot.weight // whole - slot.load)
        for slot in region.slots
        if slot.exclusive_row >= 0
    )


def rate_of(state: PortState, slot: Slot) -> int:
    """Return the rate (bit/s) of the flow that has a queue to itself."""
    return state.columns.rate[slot.exclusive_row]


def may_again(state: PortState, region: Region, row: int, now: float) -> bool:
    """Return whether a flow that lost its exclusive queue may have one again: after a window."""
    return now - region.revoked_at.get(row, NEVER) >= state.balance.window


def _rank(state: PortState, slot: Slot) -> tuple[int, int]:
    return demand_of(state, slot.exclusive_row).priority, rate_of(state, slot)


def _is_quiet(region: Region, load: float, weight: int) -> bool:
    """Return whether queues of this weight together carry next to nothing of what they can; False: unknown."""
    if region.capacity is None:
        return False
    return load * weight_of(region.slots) <= QUIET * region.capacity * weight


def _finds_room(region: Region, load: float, weight: int) -> bool:
    """Return whether a load finds room although a higher priority takes the other queues.

    It does where it fits queues of this weight, and where what does not fit can go to software queues.
    """
    if region.overflows:
        return True
    if region.capacity is None:
        return load * weight_of(region.slots) <= MOST * region.load * weight
    return load * weight_of(region.slots) <= FULL * region.capacity * weight


def _is_too_slow(region: Region, slot: Slot, rate: int, factor: float) -> bool:
    """Return whether a flow would fill a queue more than all queues are on average, where there are faster ones.

    On a fast queue, beside others, it would not.
    """
    whole = weight_of(region.slots)
    fastest = max(other.weight for other in region.slots)
    if fastest == slot.weight or _is_quiet(region, rate, slot.weight):
        return False
    return rate * whole > factor * max(region.load * slot.weight, rate * whole * slot.weight // fastest)


def _is_above_others(region: Region, demand: Demand) -> bool:
    """Return whether flows of other classes share, and a class's priority is above that of all of them."""
    others = [
        group.demand.priority
        for group in region.groups.values()
        if group.count and group.demand.class_index != demand.class_index
    ]
    return bool(others) and max(others) < demand.priority


def _has_to_share(region: Region) -> bool:
    """Return whether in some pool more flows share than it has queues, and one queue more would help."""
    return any(
        sum(pools.max_useful_queues(member) for member in pool.groups.values()) > len(pool.slots)
        and division.may_grow(region, pool)
        for pool in region.pools
    )


def _is_crowded(region: Region, slot: Slot, demand: Demand, present: bool) -> bool:
    """Return whether flows would have to share, more than now, if a slot became exclusive to a flow."""
    group = region.groups.get(pools.group_key(demand)) if present else None
    for pool in region.pools:
        flows = sum(pools.max_useful_queues(member) for member in pool.groups.values())
        flows -= group is not None and group.pool is pool
        left = len(pool.slots) - (slot.pool is pool)
        if flows > left and (left < len(pool.slots) or division.may_grow(region, pool)):
            return True
    return False
