"""Views of the state: the queues that were considered for a flow, and the queues for new flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import cells, guarantees
from flowlane.core.allocate.cells import estimate_rate
from flowlane.core.allocate.pools import first_slots, group_key, is_quiet
from flowlane.core.allocate.state import HELD, Alternative, Cell, Demand, Slot, demand_of
from flowlane.core.allocate.strategies import STRATEGIES, combined
from flowlane.core.allocate.strategies.simple import candidates
from flowlane.core.model import QueueKind
from flowlane.core.policy import PathPreference
from flowlane.units import counted, format_rate

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Group, PortState


def alternatives(state: PortState, row: int) -> list[Alternative]:
    """Return all queues of the port as they are now, each with why a placed flow is not on it."""
    cell = cells.cell_of(state, row)
    return [
        Alternative(
            slot.queue.queue_id,
            slot.queue.kind,
            slot.load,
            slot.count,
            "" if slot is cell.slot else _why_not(state, row, cell, slot),
        )
        for slot in state.all_slots
    ]


def _why_not(state: PortState, row: int, cell: Cell, slot: Slot) -> str:
    by_order = _why_not_by_order(state, row, cell, slot)
    if by_order:
        return by_order
    strategy = state.balance.strategy
    if slot not in candidates(state, demand_of(state, row)):
        return _why_not_path(state, row, slot)
    if not STRATEGIES[strategy].rebalances:
        return f"strategy {strategy} chose another queue"
    if cell.slot.region is not slot.region:
        return _why_not_region(state, row, slot)
    return next(text for applies, text in _REASONS if applies(row, cell, slot))


def _why_not_by_order(state: PortState, row: int, cell: Cell, slot: Slot) -> str:
    """Say which order of an operator keeps a flow off a queue; '': none does."""
    if state.columns.flags[row] & HELD:
        return "the flow is pinned to another queue by hand"
    if slot.region is state.closed:
        return "it is cordoned: no flow is placed there"
    return "the flow was on its queue before that was cordoned" if cell.slot.region is state.closed else ""


_REASONS: tuple[tuple[Callable[[int, Cell, Slot], bool], str], ...] = (
    (lambda _row, _cell, slot: slot.exclusive_row >= 0, "the exclusive queue of another flow"),
    (lambda row, cell, _slot: cell.slot.exclusive_row == row, "the flow has an exclusive queue"),
    (lambda _row, cell, _slot: cell.vm > 0, "the flows of its VM keep together on another queue"),
    (lambda _row, cell, slot: slot.pool is not cell.group.pool, "serves flows that are less like it"),
    (
        lambda _row, cell, slot: not guarantees.keeps_guarantee(cell.group, cell.slot, slot),
        "guarantees less than its class's minimum",
    ),
    (
        lambda _row, cell, slot: slot.load * slot.scale >= cell.slot.load * cell.slot.scale,
        "has as much load or more",
    ),
    (lambda _row, _cell, _slot: True, "has less load, but the difference is too small to move the flow"),
)
"""Why not a queue of the flow's own region; the first that applies counts."""


def _why_not_path(state: PortState, row: int, slot: Slot) -> str:
    if slot.queue.kind is QueueKind.SOFTWARE:
        return "a software queue, and hardware has room"
    region = combined.hardware_of(state, demand_of(state, row))
    return "its class uses software queues" if region else "hardware of another VM's share"


def _why_not_region(state: PortState, row: int, slot: Slot) -> str:
    demand = demand_of(state, row)
    if demand.path is PathPreference.SOFTWARE:
        return "its class uses software queues"
    region = combined.hardware_of(state, demand)
    if slot.region is not region:
        return "hardware of another VM's share"
    rate = state.columns.rate[row]
    if not combined.fits(slot.region, rate, combined.LOW_WATERMARK):
        return f"hardware is full: {counted(slot.region.count, 'flow')} with {format_rate(slot.region.load)} on it"
    return "hardware has room again; the flow comes back at the next rebalance"


def queues_for_new_flows(
    state: PortState,
    path: PathPreference,
    group: int = -1,
    min_rate: int = 0,
    limited: Demand | None = None,
) -> tuple[int, ...]:
    """Return the ids of the queues over which a device's standing rules may spread flows that are new to it.

    They are the shared queues of the class's path; of those, the ones that the ``group`` of alike flows uses
    already, where there is one; of those, the ones that guarantee ``min_rate`` (bit/s). A strategy may name others.

    Args:
        limited: the demand of a class with ``max_queues``. Its rules name no more queues than that, from the first flow
            on: those that its flows use or, where it has none, those that the allocator would give it.
    """
    kind = QueueKind.SOFTWARE if path is PathPreference.SOFTWARE else QueueKind.PHYSICAL
    slots = [slot for slot in state.slots if slot.queue.kind is kind] or state.slots
    newcomers = STRATEGIES[state.balance.strategy].newcomers
    if newcomers is not None:
        return tuple(slot.queue.queue_id for slot in newcomers(slots))
    key = group_key(Demand(group=group, path=path))
    of_group = [slot for slot in slots if _uses(slot.region.groups.get(key), slot)]
    if limited is not None and not of_group:
        of_group = _slots_of_limited(slots, limited)
    slots = of_group or slots
    shared = [slot for slot in slots if slot.exclusive_row < 0]
    return tuple(slot.queue.queue_id for slot in guarantees.eligible(shared, min_rate))


def _slots_of_limited(slots: list[Slot], demand: Demand) -> list[Slot]:
    """Return the slots that a class with ``max_queues`` uses, by whatever makes its flows alike, or would use."""
    used = [
        slot
        for slot in slots
        if any(
            _uses(group, slot)
            for group in slot.region.groups.values()
            if group.demand.class_index == demand.class_index
        )
    ]
    if used:
        return used
    most = max(1, demand.max_queues or 1)
    regions = dict.fromkeys(slot.region for slot in slots)
    return [slot for region in regions for slot in first_slots(region, demand)[:most] if slot in slots]


def begins_limited(state: PortState, row: int) -> bool:
    """Return whether a placed flow is the only one of its group, which may have so many queues only (``max_queues``).

    The standing rules have to follow at once: what the device places by the former ones is to be gathered later.
    """
    group = cells.cell_of(state, row).group
    return group.max_queues is not None and group.count == 1


def _uses(group: Group | None, slot: Slot) -> bool:
    """Return whether flows of a group go to a slot: to those of its pool, up to its ``max_queues``."""
    if group is None or group.pool is None or slot.pool is None:
        return False
    if slot.pool is not group.pool:
        return group.provisional and group.max_queues is None
    return group.max_queues is None or slot.position < max(1, group.max_queues)


def queue_rate(state: PortState, least: int) -> int:
    """Return what a queue of the port can carry, in bit/s: of its hardware queues, of all where it has none.

    Where no rate is known it is the mean load of these queues, but no less than ``least``.
    """
    regions = [region for region in state.hardware if region.slots] or [state.software]
    queues = max(1, sum(len(region.slots) for region in regions))
    capacities = [region.capacity for region in regions if region.capacity is not None]
    if len(capacities) == len(regions):
        return sum(capacities) // queues
    if state.speed is not None:
        return state.speed // queues
    return max(least, sum(region.load for region in regions) // queues)


class Room(NamedTuple):
    """What the queues of one kind carry (bit/s), what they can (None: not known), and if one more flow fits."""

    load: int
    capacity: int | None
    fits: bool


def room(state: PortState, rate: int) -> dict[QueueKind, Room]:
    """Return, for each kind of queue of a port, whether a flow of ``rate`` bit/s that comes fits as well."""
    kinds = {QueueKind.PHYSICAL: state.hardware, QueueKind.SOFTWARE: [state.software]}
    found: dict[QueueKind, Room] = {}
    for kind, all_regions in kinds.items():
        regions = [region for region in all_regions if region.slots]
        if not regions:
            continue
        load = sum(region.load for region in regions)
        capacities = [region.capacity for region in regions if region.capacity is not None]
        capacity = sum(capacities) if len(capacities) == len(regions) else state.speed
        fits = any(combined.fits(region, rate, combined.LOW_WATERMARK) for region in regions)
        is_free = capacity is None or load + rate <= combined.LOW_WATERMARK * capacity
        found[kind] = Room(load, capacity, fits and is_free)
    return found


def is_above_others(state: PortState, queue_id: int, demand: Demand) -> bool:
    """Return whether a shared queue carries so much that a new flow is better off on another of its group's pool.

    A group for which the queues were not divided yet has one queue for now, where not all its flows are to meet. While
    the port carries next to nothing no queue carries too much, since no packet waits: unless only because few of
    many flows have been measured.
    """
    slot = next((slot for slot in state.slots if slot.queue.queue_id == queue_id), None)
    pool = slot.pool if slot is not None else None
    if (
        slot is None
        or pool is None
        or _waits_for_division(slot, demand)
        or (is_quiet(pool) and not _is_unknown(state))
    ):
        return False
    rate = estimate_rate(state, demand.class_index)
    total = sum(other.load for other in pool.slots)
    weight = sum(other.weight for other in pool.slots)
    least = min(other.load / other.weight for other in pool.slots)
    return (
        slot.load * weight > (1 + 2 * state.balance.imbalance) * total * slot.weight
        and slot.load >= least * slot.weight + rate
    )


def _waits_for_division(slot: Slot, demand: Demand) -> bool:
    group = slot.region.groups.get(group_key(demand))
    return group is not None and group.provisional and group.pool is not slot.pool


def _is_unknown(state: PortState) -> bool:
    """Return whether there are many flows, of which most have not been measured yet."""
    measured = sum(count for _, count in state.measured_rates.values())
    return state.count > 2 * len(state.slots) and 2 * measured < state.count
