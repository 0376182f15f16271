"""The queues of an egress port: slots and regions, made at first and fitted again when queues come and go.

The hardware is divided among the shares of VMs by weight (:mod:`flowlane.core.allocate.shares`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, division, pools, shares, speeds
from flowlane.core.allocate.flow import place_row, stay_on, unplace_row
from flowlane.core.allocate.shares import NO_SHARE
from flowlane.core.allocate.state import HELD, Move, PortState, Region, Slot, demand_of
from flowlane.core.model import NO_QUEUE, Admission, QueueKind, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.allocate.state import Columns
    from flowlane.core.model import Queue
    from flowlane.core.policy import Balance


Drained = tuple[int, Slot]
"""A row that was taken off its slot, and that slot."""


def new_port(
    columns: Columns,
    queues: Sequence[Queue],
    balance: Balance,
    shares: tuple[float, ...] = (),
    speed: int | None = None,
) -> PortState:
    """Return the state of a port without flows.

    Args:
        columns: the columns of the device's flows.
        queues: the port's queues.
        balance: which strategy the policy names, and how much flows are moved.
        shares: the weights of the policy's shares, in their order.
        speed: what the port carries, in bit/s; None when unknown.
    """
    state = PortState(columns, balance, shares, speed)
    update_queues(state, queues, ())
    return state


def update_queues(state: PortState, queues: Sequence[Queue], keys: Sequence[bytes | None]) -> list[Move]:
    """Fit the port to the queues that it has now; only flows move whose queue is gone or is not for them any more.

    A queue that is cordoned, or open again, keeps its flows, and so does every queue those that are pinned by hand.

    Args:
        queues: all queues of the port.
        keys: the flows' packed keys by row, for strategies that hash.

    Returns:
        The moves that this makes necessary.
    """
    slots, removed = _match_slots(state, queues)
    old_regions = state.region_of, bool(state.software.slots)
    regions = _assign_regions(state, slots)
    reassigned = [
        slot for slot in slots if slot.region is not regions[slot.index] or slot not in slot.region.slots
    ]
    changed = {slot.index for slot in reassigned if state.closed in (slot.region, regions[slot.index])}
    drained = [entry for slot in (*removed, *reassigned) for entry in _drain(state, slot)]
    for slot in (*removed, *reassigned):
        remove_slot(slot)
    state.slots = [slot for slot in slots if regions[slot.index] is not state.closed]
    for slot in reassigned:
        add_slot(slot, regions[slot.index])
    state.regions_changed |= old_regions != (state.region_of, bool(state.software.slots))
    fit_regions(state)
    flags, gone = state.columns.flags, set(map(id, removed))
    leaving: list[Drained] = []
    for row, slot in drained:
        if id(slot) in gone or not (slot.index in changed or flags[row] & HELD):
            leaving.append((row, slot))
            continue
        stay_on(state, row, demand_of(state, row), slot, (keys[row] if row < len(keys) else None) or b"")
        state.restless = True
    return _place_drained(state, leaving, keys)


def fit_regions(state: PortState) -> None:
    """Bring up to date what follows from the slots that the regions have now."""
    for region in (*state.hardware, state.software):
        region.slots.sort(key=lambda slot: slot.index)
    speeds.set_weights(state)
    for region in (*state.hardware, state.software):
        _set_capacity(state, region)
        _reserve_slots(state, region)
        pools.assign_missing(region)


def _match_slots(state: PortState, queues: Sequence[Queue]) -> tuple[list[Slot], list[Slot]]:
    """Return the slots of the queues, new ones where there were none, and the slots whose flows have to leave."""
    old_slots = {slot.queue.queue_id: slot for slot in state.all_slots}
    slots = [
        old_slots.pop(queue.queue_id) if queue.queue_id in old_slots else Slot(queue, 0, state.software)
        for queue in queues
    ]
    for index, (slot, queue) in enumerate(zip(slots, queues, strict=True)):
        slot.queue, slot.index = queue, index
    removed = list(old_slots.values())
    if state.unqueued.count and any(slot.queue.admission is Admission.OPEN for slot in slots):
        removed.append(state.unqueued)
    return slots, removed


def _assign_regions(state: PortState, slots: list[Slot]) -> list[Region]:
    """Return the region of each slot by its index; a hardware slot stays in its region while that may keep it."""
    usable = [slot for slot in slots if slot.queue.admission is Admission.OPEN]
    hardware = [slot for slot in usable if slot.queue.kind is not QueueKind.SOFTWARE]
    counts = shares.current_counts(state)
    if not state.shares or sum(counts.values()) != len(hardware):
        has_others = NO_SHARE in counts or shares.has_others(state)
        counts = shares.wanted_counts(state, len(hardware), has_others)
    old_regions = {region.key: region for region in state.hardware}
    regions = {key: old_regions.get(key) or Region(key) for key in counts}
    state.hardware = list(regions.values())
    state.region_of = shares.region_of_shares(state, regions, counts, len(usable) > len(hardware))
    left = dict(counts)
    assigned = [state.software if slot.queue.admission is Admission.OPEN else state.closed for slot in slots]
    others: list[Slot] = []
    for slot in hardware:
        key = slot.region.key
        if left.get(key, 0) and slot.region is regions[key]:
            left[key] -= 1
            assigned[slot.index] = slot.region
        else:
            others.append(slot)
    for slot in others:
        key = next(key for key, count in left.items() if count)
        left[key] -= 1
        assigned[slot.index] = regions[key]
    return assigned


def redivide(state: PortState, now: float) -> None:
    """Divide the queues among the groups again; they stay with those that have most flows on them. No flow moves."""
    for region in dict.fromkeys(slot.region for slot in state.slots):
        pools.divide(region, now)


def _drain(state: PortState, slot: Slot) -> list[Drained]:
    """Take every row off a slot, the heaviest first: that is the order to place them again."""
    rows = cells.rows_on(state, slot)
    rows.sort(key=lambda row: (-state.columns.rate[row], row))
    for row in rows:
        unplace_row(state, row, demand_of(state, row))
    return [(row, slot) for row in rows]


def remove_slot(slot: Slot) -> None:
    """Take a slot out of its pool and region."""
    pools.detach(slot)
    region = slot.region
    if slot in region.slots and slot.queue.queue_id != NO_QUEUE:
        region.slots.remove(slot)


def add_slot(slot: Slot, region: Region) -> None:
    """Add a slot to a region, and to one of its pools if it has any."""
    slot.region = region
    region.grown = True
    region.slots.append(slot)
    if region.pools:
        pools.assign_slot(region, slot)


def set_speed(state: PortState, speed: int | None) -> None:
    """Set what the port carries, in bit/s; what exceeds it leaves the hardware at the next rebalance."""
    if speed == state.speed:
        return
    state.speed = speed
    speeds.set_weights(state)
    for region in state.hardware:
        _set_capacity(state, region)


def _set_capacity(state: PortState, region: Region) -> None:
    """Set the capacity of a region of hardware in bit/s and in flows (``flows_per_queue`` of the policy).

    The capacity is the sum of its queues' ``max-rate`` or its part of the port's rate, whichever is less:
    queues may be allowed more together than their port carries.
    """
    region.capacity = region.max_flows = None
    region.overflows = region is not state.software and bool(state.software.slots)
    if region is state.software:
        return
    rates = [slot.queue.max_rate for slot in region.slots]
    known_rates = [rate for rate in rates if rate is not None]
    limits = [sum(known_rates)] if len(known_rates) == len(rates) else []
    if state.speed is not None:
        whole = sum(other.speed for other in state.hardware)
        limits.append(int(state.speed * region.speed / whole) if whole else 0)
    region.capacity = min(limits, default=None)
    flows_per_queue = state.balance.flows_per_queue
    if flows_per_queue is not None:
        region.max_flows = flows_per_queue * len(region.slots)


def _reserve_slots(state: PortState, region: Region) -> None:
    """Revoke exclusive queues, those of the lowest rank first, until flows that share have the reserved ones."""
    while region.slots:
        exclusive = region.exclusive_slots()
        if len(region.slots) - len(exclusive) >= division.reserved_slots(region):
            return
        revoke_exclusive(state, min(exclusive, key=lambda slot: rank(state, slot.exclusive_row)))


def rank(state: PortState, row: int) -> tuple[int, int]:
    """Return the rank of a flow where not all can have a queue: its priority, then its rate in bit/s."""
    return demand_of(state, row).priority, state.columns.rate[row]


def revoke_exclusive(state: PortState, slot: Slot) -> None:
    """Make an exclusive queue a shared one; its flow stays there, and waits for another exclusive queue."""
    row, region = slot.exclusive_row, slot.region
    demand = demand_of(state, row)
    cells.remove(state, row)
    pools.make_shared(region, slot, demand.class_index)
    group = pools.find_group(region, demand)
    cells.insert(state, row, slot, group, demand.vm_number if demand.keep_vm_together else 0, True)


def _place_drained(state: PortState, drained: list[Drained], keys: Sequence[bytes | None]) -> list[Move]:
    """Place flows anew that had to leave their queue; that does not count as the move that a window allows."""
    moves: list[Move] = []
    for row, slot in drained:
        old = slot.queue.queue_id
        current = slot if old != NO_QUEUE and slot in state.slots else None
        key = (keys[row] if row < len(keys) else None) or b""
        state.columns.flags[row] &= ~HELD
        placement = place_row(state, row, demand_of(state, row), key, current)
        if placement.queue_id != old:
            is_shared = placement.reason in (Reason.SHARED, Reason.GROUPED) and old != NO_QUEUE
            reason = Reason.QUEUE_GONE if is_shared else placement.reason
            moves.append(Move(row, old, placement.queue_id, placement.kind, reason))
    return moves
