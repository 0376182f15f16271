"""Speeds of queues: what each queue of a port carries while all are busy, and the weights that follow from it.

Linux's HTB serves every class up to its rate (OVSDB's ``min-rate``) first, and then lets the classes borrow what is
left of the port, each up to its ceiling (``max-rate``). What is left goes to the classes in turn, by their quantum.
Open vSwitch sets none (htb_setup_class__() in lib/netdev-linux.c), so the kernel takes a tenth of the class's rate a
second, but not more than 200,000 bytes (htb_change_class() in net/sched/sch_htb.c): from a min-rate of 16 Mbit/s on
quanta are equal. So an equal part of what is left is counted for every queue (decision 0023).

Loads of queues are compared per weight. So that no fraction is needed, a load is multiplied by the slot's ``scale``,
which is the higher the slower the queue is; products of integers are exact, and can be added and subtracted. Where all
queues carry the same, or it is not known what they carry, weight and scale are 1.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from flowlane.core.model import QueueKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.allocate.division import Part
    from flowlane.core.allocate.state import Pool, PortState, Slot
    from flowlane.core.model import Queue

SAME = 1.01
"""Queues whose speeds differ by no more than this factor count as equally fast."""

FRACTION_BITS = 16
"""Binary digits that a scale has behind the point, where the speeds are no multiples of each other."""

NEARLY_NEEDIEST = 0.8
"""A part of the queues gets one on which its flows are already, if it needs a queue at least this much as another."""


def carried_rates(queues: Sequence[Queue], speed: int | None) -> list[int] | None:
    """Return what each queue carries in bit/s while all are busy; None where that is not known.

    Args:
        queues: all queues of a port.
        speed: what the port carries, in bit/s; None when unknown: then the sum of the ``max-rate``.
    """
    maxima = [queue.max_rate for queue in queues]
    if speed is None:
        known = [rate for rate in maxima if rate is not None]
        if len(known) < len(queues):
            return None
        speed = sum(known)
    ceilings = [speed if rate is None else min(rate, speed) for rate in maxima]
    guaranteed = fill(
        speed, [min(queue.min_rate or 0, top) for queue, top in zip(queues, ceilings, strict=True)]
    )
    left = [top - rate for top, rate in zip(ceilings, guaranteed, strict=True)]
    borrowed = fill(speed - sum(guaranteed), left)
    return [int(rate + more) for rate, more in zip(guaranteed, borrowed, strict=True)]


def fill(amount: float, limits: Sequence[float]) -> list[float]:
    """Divide an amount into equal parts, of which none is above its limit (max-min fairness, "water-filling")."""
    level, left = 0.0, amount
    ordered = sorted(limits)
    for number, limit in enumerate(ordered):
        level = left / (len(ordered) - number)
        if level <= limit:
            break
        left -= limit
        level = limit
    return [min(level, limit) for limit in limits]


def set_weights(state: PortState) -> None:
    """Set the weight and the scale of every slot by what its queue carries, and what follows from them."""
    rates = carried_rates([slot.queue for slot in state.slots], state.speed)
    place = {id(slot): number for number, slot in enumerate(state.slots)}
    software = [slot for slot in state.slots if slot.queue.kind is QueueKind.SOFTWARE]
    hardware = [slot for slot in state.slots if slot.queue.kind is not QueueKind.SOFTWARE]
    for slots in (hardware, software):
        weights = [1] * len(slots) if rates is None else _reduced([rates[place[id(slot)]] for slot in slots])
        top = max(weights, default=1)
        unit = top if all(top % weight == 0 for weight in weights) else top << FRACTION_BITS
        for slot, weight in zip(slots, weights, strict=True):
            slot.weight, slot.scale = weight, unit // weight
    for region in (*state.hardware, state.software):
        region.speed = sum(1 / slot.scale for slot in region.slots)
        for pool in region.pools:
            recount(pool)


def _reduced(rates: list[int]) -> list[int]:
    """Return whole numbers in the proportion of the rates, all 1 where they are about the same."""
    rates = [max(1, rate) for rate in rates]
    if not rates or max(rates) <= SAME * min(rates):
        return [1] * len(rates)
    divisor = gcd(*rates)
    return [rate // divisor for rate in rates]


def recount(pool: Pool) -> None:
    """Bring a pool's copy of its slots' loads, and its speed, up to date."""
    pool.loads[:] = [slot.load * slot.scale for slot in pool.slots]
    pool.speed = sum(1 / slot.scale for slot in pool.slots)


def mean_load(pool: Pool) -> float:
    """Return the load (scaled) that each slot of a pool would have if all were equally full for their speed."""
    if pool.speed == len(pool.slots):
        return sum(pool.loads) / len(pool.slots)
    return sum(slot.load for slot in pool.slots) / pool.speed


def are_equal(slots: Sequence[Slot]) -> bool:
    """Return whether slots are equally fast."""
    return all(slot.scale == slots[0].scale for slot in slots)


def deal(
    parts: Sequence[Part],
    missing: Sequence[int],
    slots: Sequence[Slot],
    overlaps: list[tuple[int, int, Slot]],
) -> list[tuple[int, int, Slot]]:
    """Deal out unequal slots, the fastest first, each to the part that has most load for its speed so far.

    Of parts that need a slot nearly as much the one is taken that has most flows on it, so that few flows move.

    Args:
        parts: the pools to be.
        missing: how many slots each of them lacks.
        slots: the slots to deal out.
        overlaps: (flows, number of the part, slot) for each part that has flows on a slot.

    Returns:
        Such tuples, one for each slot, in the order in which they are dealt out.
    """
    flows = {(number, slot.index): count for count, number, slot in overlaps}
    left, speeds = list(missing), [0.0] * len(parts)
    dealt: list[tuple[int, int, Slot]] = []
    for slot in sorted(slots, key=lambda slot: (slot.scale, slot.index)):
        open_parts = [number for number, count in enumerate(left) if count]
        if not open_parts:
            break
        need = {number: parts[number].load / (speeds[number] + 1 / slot.scale) for number in open_parts}
        enough = NEARLY_NEEDIEST * max(need.values())
        number = max(
            (number for number in open_parts if need[number] >= enough),
            key=lambda number: (flows.get((number, slot.index), 0), need[number], -number),
        )
        left[number] -= 1
        speeds[number] += 1 / slot.scale
        dealt.append((flows.get((number, slot.index), 0), number, slot))
    return dealt


def highest_part(parts: Sequence[Part], slots: Sequence[Slot]) -> float:
    """Return the load per speed (scaled) of the fullest of the pools to be, on these slots."""
    if not slots or are_equal(slots):
        scale = slots[0].scale if slots else 1
        return max(part.load * scale / part.slot_count for part in parts)
    speeds = [0.0] * len(parts)
    for _, number, slot in deal(parts, [part.slot_count for part in parts], slots, []):
        speeds[number] += 1 / slot.scale
    return max(part.load / speed for part, speed in zip(parts, speeds, strict=True))
