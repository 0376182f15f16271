"""Priority by bytes sent: a flow begins on the queue of highest priority, and sinks as it sends, as in PIAS.

Source: Bai et al., "Information-Agnostic Flow Scheduling for Commodity Data Centers" (PIAS), NSDI 2015. Without knowing
how long flows will be, short ones end on the upper queues, and long ones wait for them on the lower ones.

The queues of a kind are divided into *levels* by their ``other-config:priority`` in OVSDB; a smaller number is
served first, and none is 0, as in Open vSwitch (ovs-vswitchd.conf.db(5), Queue). Where that is the same for all
queues, each is a level of its own, by its number. A flow that passes a level's threshold goes to the least loaded
queue of the level that its bytes ask for; it never rises.

Thresholds split flows equally: as many end on each level. The sizes of a port's flows are not known in advance, so
those of web search are taken. PIAS computes better thresholds where sizes and load are known.

These moves (``Reason.DEMOTED``) are limited by tokens and windows as others are. Those that have sent most sink first,
so heavy flows do not wait.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, pools
from flowlane.core.allocate.budget import has_tokens, may_move, move_row
from flowlane.core.allocate.state import HELD, demand_of
from flowlane.core.allocate.strategies.simple import candidates, choice
from flowlane.core.model import QueueKind, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.allocate.state import Demand, Move, PortState, Slot
    from flowlane.core.allocate.strategies.combined import Choice

SIZES = (
    (0, 0.0),
    (10_000, 0.15),
    (20_000, 0.2),
    (30_000, 0.3),
    (50_000, 0.4),
    (80_000, 0.53),
    (200_000, 0.6),
    (1_000_000, 0.7),
    (2_000_000, 0.8),
    (5_000_000, 0.9),
    (10_000_000, 0.97),
    (30_000_000, 1.0),
)
"""Points of the distribution of flow sizes: bytes, part of the flows that are no longer; between them it is linear.

Web search: Alizadeh et al., "Data Center TCP", SIGCOMM 2010, as used by HPCC (Li et al., SIGCOMM 2019).
"""


def place(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """Choose the least loaded queue of the highest level; a flow whose queue is gone begins there again."""
    slots = candidates(state, demand)
    return choice(current if current in slots else least_loaded(levels(slots)[0]), demand)


def highest(slots: list[Slot]) -> list[Slot]:
    """Return the queues on which a device itself puts new flows: those of the highest level."""
    return levels(slots)[0] if slots else []


def levels(slots: list[Slot]) -> list[list[Slot]]:
    """Divide queues by their priority, the highest first."""
    by_priority: dict[int, list[Slot]] = {}
    for slot in sorted(slots, key=lambda slot: slot.queue.queue_id):
        by_priority.setdefault(slot.queue.priority or 0, []).append(slot)
    if len(by_priority) == 1:
        return [[slot] for of_one in by_priority.values() for slot in of_one]
    return [by_priority[priority] for priority in sorted(by_priority)]


@lru_cache(maxsize=64)
def thresholds(count: int) -> tuple[int, ...]:
    """Return the bytes from which on a flow belongs below each of ``count`` levels but the last."""
    return tuple(_size(number / count) for number in range(1, count))


def _size(part: float) -> int:
    """Return the size in bytes that this part of the flows of :data:`SIZES` does not exceed."""
    above = next(number for number, (_, upper) in enumerate(SIZES) if upper >= part)
    (low, lower), (high, upper) = SIZES[max(0, above - 1)], SIZES[above]
    return round(low + (high - low) * (part - lower) / (upper - lower)) if upper > lower else high


def least_loaded(slots: list[Slot]) -> Slot:
    """Return the queue that carries least for its speed; of equals the one with fewest flows."""
    return min(slots, key=lambda slot: (slot.load * slot.scale, slot.count * slot.scale))


def rebalance(state: PortState, now: float, octets: Sequence[int] | None, moves: list[Move]) -> None:
    """Let flows sink that have sent more than their level's threshold, those that have sent most first.

    This looks at every flow that is not on the lowest level.
    """
    if octets is None:
        return
    due: list[tuple[int, int, list[Slot]]] = []
    for kind in (QueueKind.PHYSICAL, QueueKind.SOFTWARE):
        ladder = levels([slot for slot in state.slots if slot.queue.kind is kind])
        bounds = thresholds(len(ladder)) if ladder else ()
        for bound, level in zip(bounds, ladder, strict=False):
            rows = (
                row
                for slot in level
                for row in cells.rows_on(state, slot)
                if octets[row] >= bound and not state.columns.flags[row] & HELD
            )
            due += ((-octets[row], row, ladder[bisect_right(bounds, octets[row])]) for row in rows)
    due.sort(key=lambda entry: entry[:2])
    for _, row, level in due:
        if not has_tokens(state, 1):
            return
        if not may_move(state, row, now):
            continue
        state.tokens -= 1
        target, old = least_loaded(level), cells.group_of(state, row)
        group = pools.find_group(target.region, demand_of(state, row))
        move_row(state, row, target, group, now, Reason.DEMOTED, moves)
        if not old.count:
            pools.remove_group(old.region, old)
