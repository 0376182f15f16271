"""A port's queues: made into slots and regions at first, and fitted again when queues come and go.

The hardware is divided among the shares of VMs by weight [0056]. Weights that sum to 1 or less are parts of
the whole, and VMs without a share have the rest; larger weights are relative to each other and to 1 for the
VMs without a share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, division, pools
from flowlane.core.allocate.flow import choose, lift
from flowlane.core.allocate.state import Move, PortState, Region, Slot, demand_of
from flowlane.core.model import NO_QUEUE, QueueKind, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.allocate.state import Columns
    from flowlane.core.model import Queue
    from flowlane.core.policy import Balance


Lifted = tuple[int, Slot]
"""A row that was taken off, and the slot that it was on."""


def new_port(
    columns: Columns,
    queues: Sequence[Queue],
    balance: Balance,
    shares: tuple[float, ...] = (),
    speed: int | None = None,
) -> PortState:
    """An empty port with these queues.

    ``shares`` are the weights of the policy's shares, in their order; ``speed`` is what the port can carry in
    bit/s, None when unknown.
    """
    state = PortState(columns, balance, shares, speed)
    update_queues(state, queues, (), 0.0)
    return state


def update_queues(
    state: PortState, queues: Sequence[Queue], keys: Sequence[bytes | None], now: float
) -> list[Move]:
    """Fit the port to the queues that it has now. Returns the moves that this makes necessary at once.

    Only flows move whose queue is gone, or is no longer one that they may use. ``keys`` are the flows' packed
    keys by row, which only strategies that hash need.
    """
    known = {slot.queue.queue_id: slot for slot in state.slots}
    slots = [
        known.pop(queue.queue_id) if queue.queue_id in known else Slot(queue, 0, state.software)
        for queue in queues
    ]
    for index, (slot, queue) in enumerate(zip(slots, queues, strict=True)):
        slot.queue, slot.index = queue, index
    gone = list(known.values())
    if slots and state.limbo.count:
        gone.append(state.limbo)
    before = state.region_of, bool(state.software.slots)
    homes = _assign(state, slots)
    strangers = [
        slot for slot in slots if slot.region is not homes[slot.index] or slot not in slot.region.slots
    ]
    lifted = [entry for slot in (*gone, *strangers) for entry in _evacuate(state, slot)]
    for slot in (*gone, *strangers):
        _leave(slot)
    state.slots = slots
    for slot in strangers:
        _enter(slot, homes[slot.index])
    state.unsorted |= before != (state.region_of, bool(state.software.slots))
    for region in (*state.hardware, state.software):
        region.slots.sort(key=lambda slot: slot.index)
        _limit(state, region)
        _make_room(state, region)
    return _rehome(state, lifted, now, keys)


def _assign(state: PortState, slots: list[Slot]) -> list[Region]:
    """The region of each slot by its index; hardware slots stay in theirs while its part is not exceeded."""
    hardware = [slot for slot in slots if slot.queue.kind is not QueueKind.SOFTWARE]
    software = len(slots) - len(hardware)
    parts = apportion(state.shares, len(hardware))
    old = {region.key: region for region in state.hardware}
    regions = {key: old.get(key) or Region(key) for key, count in parts.items() if count}
    state.hardware = list(regions.values())
    state.region_of = _region_of(state, regions, parts, software)
    left = {key: count for key, count in parts.items() if count}
    result = [state.software] * len(slots)
    movers: list[Slot] = []
    for slot in hardware:
        key = slot.region.key
        if left.get(key, 0) and slot.region is regions[key]:
            left[key] -= 1
            result[slot.index] = slot.region
        else:
            movers.append(slot)
    for slot in movers:
        key = next(key for key, count in left.items() if count)
        left[key] -= 1
        result[slot.index] = regions[key]
    return result


def redivide(state: PortState, now: float) -> None:
    """Divide the queues among the groups anew; they stay with those that have most flows on them. Nothing moves."""
    for region in dict.fromkeys(slot.region for slot in state.slots):
        pools.divide(region, now)


def apportion(shares: Sequence[float], queues: int) -> dict[int, int]:
    """Share index (-1: VMs without one) -> its number of queues, by largest remainder, at least one each.

    Fewer queues than parts: one part, -1, has them all.
    """
    total = sum(shares)
    weights = dict(enumerate(shares))
    rest = 1 - total if total <= 1 else 1.0
    if rest > 1e-9:
        weights[-1] = rest
    if len(weights) > queues or not shares:
        return {-1: queues}
    exact = {key: weight * queues / (total + max(rest, 0.0)) for key, weight in weights.items()}
    counts = {key: max(1, int(amount)) for key, amount in exact.items()}
    while sum(counts.values()) < queues:
        key = max(counts, key=lambda key: exact[key] - counts[key])
        counts[key] += 1
    while sum(counts.values()) > queues:
        key = min((key for key in counts if counts[key] > 1), key=lambda key: exact[key] - counts[key])
        counts[key] -= 1
    return counts


def _region_of(
    state: PortState, regions: dict[int, Region], parts: dict[int, int], software: int
) -> dict[int, Region]:
    """Which hardware each share uses. Without a part of their own VMs use software queues, or the largest part."""
    result = dict(regions)
    if len(regions) == 1 and -1 in regions:
        result.update(dict.fromkeys(range(len(state.shares)), regions[-1]))
    elif regions and -1 not in regions and not software:
        result[-1] = regions[max(regions, key=lambda key: parts[key])]
    return result


def _evacuate(state: PortState, slot: Slot) -> list[Lifted]:
    """Take every row off a slot; heaviest first, as they are to be placed again."""
    rows = [row for cell in slot.cells.values() for row in cells.rows_of(state, cell)]
    rows.sort(key=lambda row: (-state.columns.rate[row], row))
    for row in rows:
        lift(state, row, demand_of(state, row))
    return [(row, slot) for row in rows]


def _leave(slot: Slot) -> None:
    pools.detach(slot)
    region = slot.region
    if slot in region.slots and slot.queue.queue_id != NO_QUEUE:
        region.slots.remove(slot)


def _enter(slot: Slot, region: Region) -> None:
    slot.region = region
    region.slots.append(slot)
    if region.pools:
        pools.give(region, slot)


def set_speed(state: PortState, speed: int | None) -> None:
    """Note what the port can carry now, in bit/s: what is too much for it leaves the hardware at the next rebalance."""
    state.speed = speed
    for region in state.hardware:
        _limit(state, region)


def _limit(state: PortState, region: Region) -> None:
    """Set what a region of hardware can take: its queues' rates, its part of the port's, flows per queue by policy.

    The least of them counts: queues may be allowed more together than their port (QoS ``max-rate``) can carry.
    """
    region.capacity = region.room = None
    if region is state.software:
        return
    rates = [slot.queue.max_rate for slot in region.slots]
    known = [rate for rate in rates if rate is not None]
    limits = [sum(known)] if len(known) == len(rates) else []
    if state.speed is not None:
        queues = sum(len(other.slots) for other in state.hardware)
        limits.append(state.speed * len(region.slots) // max(1, queues))
    region.capacity = min(limits, default=None)
    most = state.balance.flows_per_queue
    if most is not None:
        region.room = most * len(region.slots)


def _make_room(state: PortState, region: Region) -> None:
    """Take queues from those who own them, the least important first, until those who share have theirs."""
    while region.slots and sum(slot.exclusive_row < 0 for slot in region.slots) < division.reserve(region):
        slot = min(
            (slot for slot in region.slots if slot.exclusive_row >= 0),
            key=lambda slot: rank(state, slot.exclusive_row),
        )
        disinherit(state, slot)


def rank(state: PortState, row: int) -> tuple[int, int]:
    """How much a flow deserves a queue: by priority, then by rate."""
    return demand_of(state, row).priority, state.columns.rate[row]


def disinherit(state: PortState, slot: Slot) -> None:
    """Make the owner of a slot one that waits for another; it stays on the slot, which others share now."""
    row, region = slot.exclusive_row, slot.region
    demand = demand_of(state, row)
    cells.take(state, row)
    pools.disown(region, slot, demand.class_index)
    group = pools.find_group(region, demand)
    cells.put(state, row, slot, group, demand.vm_number if demand.keep_vm_together else 0, True)


def _rehome(state: PortState, lifted: list[Lifted], now: float, keys: Sequence[bytes | None]) -> list[Move]:
    moves: list[Move] = []
    for row, slot in lifted:
        there = slot.queue.queue_id != NO_QUEUE and slot in state.slots
        key = (keys[row] if row < len(keys) else None) or b""
        old = slot.queue.queue_id
        placement = choose(state, row, demand_of(state, row), key, slot if there else None)
        if placement.queue_id != old:
            state.columns.moved_at[row] = now
            plain = placement.reason in (Reason.SHARED, Reason.GROUPED) and old != NO_QUEUE
            reason = Reason.QUEUE_GONE if plain else placement.reason
            moves.append(Move(row, old, placement.queue_id, placement.kind, reason))
    return moves
