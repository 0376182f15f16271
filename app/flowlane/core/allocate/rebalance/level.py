"""Levelling the queues of a pool: from the fullest to the idlest, the flow that fixes most.

A flow whose rate is half the gap between two queues makes them equal; a flow heavier than the gap would only
swap their places. Where every flow of the fullest queue is too heavy, two flows whose rates differ by about
half the gap change places; where one is a large part of the queue, it goes for several (see
:mod:`flowlane.core.allocate.rebalance.level`).

Exchanging a heavy flow for several lighter ones of another queue, where moving flows one by one would not do.

A flow that is a large part of a queue's load fits nowhere as it is: moved alone it only makes the next queue the
fullest. And flows that moved lately, which may not move again, can hold a queue above its part. Then the heavy flow
goes to a queue of flows that may leave, and these come back in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import guarantees
from flowlane.core.allocate.rebalance.moves import (
    Candidate,
    best_move,
    best_swap,
    heaviest,
    may_spend,
    movable,
    relocate,
    relocate_cell,
)
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.allocate.state import Move, Pool, PortState, Slot

LUMP = 0.4
"""Part of the mean load of a queue from which a flow is a lump."""

MOST = 8
"""Flows that come back for a lump, at most."""

LUMPS = 3
"""Lumps of a queue that are looked at."""

TRIES = 16
"""Queues that are looked at as the new place of a lump, those with least load first."""


class Exchange(NamedTuple):
    """A lump, its new queue, and what comes back for it; ``load`` is that of the fuller of both queues then."""

    load: int
    lump: Candidate
    target: Slot
    back: tuple[Candidate, ...]


def best_exchange(
    state: PortState, source: Slot, pool: Pool, roof: float, most: int, now: float
) -> Exchange | None:
    """The exchange of a lump of ``source`` for up to ``most`` flows that leaves the fuller queue with least.

    No queue is emptied below what brings the other to ``roof`` (bit/s). None where there is no lump that may move.
    """
    least = LUMP * sum(pool.loads) / len(pool.loads)
    lumps = [each for each in movable(state, source, LUMPS, source.load + 1, now) if each.gain >= least]
    targets = sorted(
        (slot for slot in pool.slots if slot is not source), key=lambda slot: (slot.load, slot.place)
    )
    found = [
        _swap(state, source, lump, target, roof, most, now)
        for lump in lumps
        for target in targets[:TRIES]
        if guarantees.may_go(lump.cell.group, source, target)
    ]
    return min(found, key=lambda each: (each.load, len(each.back)), default=None)


def _swap(
    state: PortState, source: Slot, lump: Candidate, target: Slot, roof: float, most: int, now: float
) -> Exchange:
    """The lump to the target, and of the target's flows the heaviest back while that makes the fuller queue emptier."""
    here, there = source.load - lump.gain, target.load + lump.gain
    back: list[Candidate] = []
    for each in movable(state, target, most, lump.gain, now) if there > roof else ():
        if there <= roof:
            break
        if here + each.gain < there and guarantees.may_go(each.cell.group, target, source):
            here, there = here + each.gain, there - each.gain
            back.append(each)
    return Exchange(max(here, there), lump, target, tuple(back))


WORTH = 4
"""Moves of less than the excess spread over all flows of a queue, or over this many times the tokens, are left.

They would level nothing now, and a flow that has moved cannot move again when it is needed.
"""

LEAST = 0.05
"""Part of what one queue can carry below which the fullest is left as it is: nobody waits there, and moves cost."""

ALARM = 1.05
"""Up to this many times what it should carry a queue is levelled only by moves to spare."""

LIGHT = 32
"""Light flows of the fullest queue that are looked at before one of its heavy flows is exchanged."""

SPARE = 0.1
"""Part of the moves of a second that is to spare. A flow that moves now cannot move when it matters more."""


def level_pool(
    state: PortState, pool: Pool, now: float, last_active: Sequence[float] | None, moves: list[Move]
) -> None:
    """Move flows until no queue is above the mean by more than ``Balance.imbalance``, or nothing more helps.

    A queue may also be as full as its heaviest flow alone makes it. One that cannot be helped, or only by
    moving a host of tiny flows, is left as it is; so are all while the fullest carries next to nothing.
    """
    _fill_idle(state, pool, now, last_active, moves)
    if _is_quiet(pool):
        return
    loads = list(pool.loads)
    slack = 1 + state.balance.imbalance
    roof = sum(loads) * slack / max(1, len(loads))
    full = (1 - SPARE) * state.balance.moves_per_second * state.count * max(1.0, state.balance.interval)
    while may_spend(state, 1):
        fullest = max(loads)
        if fullest <= roof:
            return
        place = loads.index(fullest)
        idlest = pool.loads.index(min(pool.loads))
        source, target = pool.slots[place], pool.slots[idlest]
        lump = heaviest(state, source)
        least = max(roof / slack, lump)
        excess = fullest - least * slack
        worth = excess / max(source.count, WORTH * state.tokens)
        if excess <= 0 or (fullest <= ALARM * least and state.tokens < full):
            loads[place] = -1
            continue
        heavy = lump >= LUMP * roof / slack and fullest > ALARM * roof / slack
        other = _exchange(state, source, target, pool, roof, now, moves) if heavy else None
        if other is not None:
            idlest = other.place
        elif not _level_two(state, source, target, worth, now, last_active, moves):
            loads[place] = -1
            continue
        for changed in (place, idlest):
            if loads[changed] >= 0:
                loads[changed] = pool.loads[changed]


def _is_quiet(pool: Pool) -> bool:
    """Whether no queue carries enough to matter; where the rate of the port is unknown, any load does."""
    region = pool.slots[0].region if pool.slots else None
    if region is None or region.capacity is None:
        return False
    return max(pool.loads) * len(region.slots) < LEAST * region.capacity


def _fill_idle(
    state: PortState, pool: Pool, now: float, last_active: Sequence[float] | None, moves: list[Move]
) -> None:
    """Put a flow on each queue that has none while others are shared, however light the flow is."""
    idle = [slot for slot in pool.slots if slot.count == 0]
    shared = (
        sorted((slot for slot in pool.slots if slot.count > 1), key=lambda slot: -slot.load) if idle else []
    )
    for source in shared:
        while idle and source.count > 1 and may_spend(state, 1):
            best = best_move(state, source, idle[-1], source.load, now, last_active)
            if best is None:
                break
            _carry_out(state, best, idle.pop(), now, moves)


def _exchange(
    state: PortState, source: Slot, idlest: Slot, pool: Pool, roof: float, now: float, moves: list[Move]
) -> Slot | None:
    """Exchange a lump of the fullest queue for lighter flows of another, which is returned; None if that gains nothing.

    It gains nothing where the queue is far too full only for a moment: when its own light flows can go to the idlest.
    """
    mean = sum(pool.loads) / len(pool.loads)
    most = min(MOST, int(state.tokens) - 1)
    if most < 0:
        return None
    alone = source.load
    for each in movable(state, source, min(LIGHT, int(state.tokens)), LUMP * mean, now):
        if alone > roof and idlest.load + each.gain < alone:
            alone -= each.gain
    best = best_exchange(state, source, pool, roof, most, now) if alone > ALARM * mean else None
    if best is None or best.load >= alone or (best.target is idlest and not best.back):
        return None
    _carry_out(state, best.lump, best.target, now, moves)
    for each in best.back:
        _carry_out(state, each, source, now, moves)
    return best.target


def _level_two(
    state: PortState,
    source: Slot,
    target: Slot,
    worth: float,
    now: float,
    last_active: Sequence[float] | None,
    moves: list[Move],
) -> bool:
    """Move one flow, or exchange two, between two queues; False when that gains too little."""
    gap = source.load - target.load
    best = best_move(state, source, target, gap, now, last_active)
    if best is not None and best.gain >= worth:
        _carry_out(state, best, target, now, moves)
        return True
    pair = best_swap(state, source, target, gap, now)
    if pair is None or pair[0].gain < worth or not may_spend(state, 2):
        return False
    _carry_out(state, pair[0], target, now, moves)
    _carry_out(state, pair[1], source, now, moves)
    return True


def _carry_out(state: PortState, best: Candidate, target: Slot, now: float, moves: list[Move]) -> None:
    cell = best.cell
    if best.row < 0:
        state.tokens -= cell.count
        relocate_cell(state, cell, target, now, Reason.REBALANCED, moves)
        return
    state.tokens -= 1
    relocate(state, best.row, target, cell.group, now, Reason.REBALANCED, moves)
