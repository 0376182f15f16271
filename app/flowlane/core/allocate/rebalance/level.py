"""Balance inside a pool: from the busiest queue to the idlest, the flow whose move helps most.

A flow whose rate is half the gap between two queues makes their loads equal; a flow heavier than the gap
would only make the other queue the busier one. Where every flow of the busiest queue is too heavy, two flows
whose rates differ by about half the gap change places.

An *elephant*, a flow that is a large share of a queue's load, often fits nowhere: moved alone it makes the
next queue the busiest. And flows that moved within the window can hold a queue above the mean. Then the
elephant goes to a queue whose lighter flows, the *mice*, may move, and these come back in exchange.

Loads are compared per speed of the queue. Here all loads of queues, ceilings and gains are *scaled*, that is
multiplied by the ``scale`` of the slot (:mod:`flowlane.core.allocate.speeds`); rates of flows are bit/s. A flow of
rate x that goes from slot i to slot j makes both equally full where x = gap / (scale of i + scale of j).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import pools, speeds
from flowlane.core.allocate.budget import flows_present, has_tokens, move_cell, move_row
from flowlane.core.allocate.rebalance.moves import (
    Candidate,
    best_move,
    best_swap,
    heaviest,
    heaviest_movable,
    may_use,
)
from flowlane.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.allocate.state import Move, Pool, PortState, Slot

ELEPHANT_SHARE = 0.4
"""Share of the mean load of a queue from which a flow is an elephant."""

MAX_MICE = 8
"""Mice that come back for an elephant, at most."""

MAX_ELEPHANTS = 3
"""Elephants of a queue that are looked at."""

MAX_TARGETS = 16
"""Queues that are looked at as the new place of an elephant, those with least load first."""

WORTH_TOKENS = 4
"""A move must gain at least the excess of the queue, divided by its flows or by this many times the tokens.

Smaller gains would balance nothing now, and a flow that has moved cannot move again when that is needed.
"""

SMALL_EXCESS = 1.05
"""Up to this many times what it should carry a queue gets only spare tokens."""

MAX_LIGHT = 32
"""Light flows of the busiest queue that are looked at before an elephant of it is exchanged."""

SPARE = 0.1
"""Share of the tokens that is spare. A flow that moves now cannot move when it matters more."""


def balance_pool(
    state: PortState, pool: Pool, now: float, last_active: Sequence[float] | None, moves: list[Move]
) -> None:
    """Move flows until no queue is above the mean by more than ``Balance.imbalance``, or nothing more helps.

    A queue may also be as full as its heaviest flow alone makes it. One that nothing helps, or only moving
    very many tiny flows, is left as it is. So are all while the busiest carries next to nothing.
    """
    _fill_idle(state, pool, now, last_active, moves)
    if pools.is_quiet(pool):
        return
    loads = list(pool.loads)
    ceiling = speeds.mean_load(pool) * (1 + state.balance.imbalance)
    while has_tokens(state, 1):
        busiest = max(loads)
        if busiest <= ceiling:
            return
        source = pool.slots[loads.index(busiest)]
        other = _relieve(state, pool, source, ceiling, now, last_active, moves)
        if other is None:
            loads[source.position] = -1
            continue
        for slot in (source, other):
            if loads[slot.position] >= 0:
                loads[slot.position] = pool.loads[slot.position]


def _fill_idle(
    state: PortState, pool: Pool, now: float, last_active: Sequence[float] | None, moves: list[Move]
) -> None:
    """Move a flow to each queue that has none while others have several, however light the flow is."""
    idle = sorted((slot for slot in pool.slots if slot.count == 0), key=lambda slot: -slot.scale)
    if not idle:
        return
    sources = (slot for slot in pool.slots if slot.count > 1)
    for source in sorted(sources, key=lambda slot: -pool.loads[slot.position]):
        while idle and source.count > 1 and has_tokens(state, 1):
            best = best_move(state, source, idle[-1], pool.loads[source.position], now, last_active)
            if best is None:
                break
            _apply(state, best, idle.pop(), now, moves)


def _relieve(
    state: PortState,
    pool: Pool,
    source: Slot,
    ceiling: float,
    now: float,
    last_active: Sequence[float] | None,
    moves: list[Move],
) -> Slot | None:
    """Make one move, swap or exchange off the busiest queue of a pool.

    Returns:
        The other queue whose load changed; None when nothing helps enough.
    """
    balance = state.balance
    slack = 1 + balance.imbalance
    mean = ceiling / slack
    load, heaviest_rate = pool.loads[source.position], heaviest(state, source)
    fastest = source.scale if pool.speed == len(pool.slots) else min(slot.scale for slot in pool.slots)
    attainable = max(mean, heaviest_rate * fastest)
    excess = load - attainable * slack
    not_spare = (1 - SPARE) * balance.moves_per_second * flows_present(state) * max(1.0, balance.interval)
    if excess <= 0 or (load <= SMALL_EXCESS * attainable and state.tokens < not_spare):
        return None
    idlest = pool.slots[pool.loads.index(min(pool.loads))]
    worth = excess / max(source.count, WORTH_TOKENS * state.tokens)
    if heaviest_rate * source.scale >= ELEPHANT_SHARE * mean and load > SMALL_EXCESS * mean:
        target = _exchange_elephant(state, source, idlest, pool, ceiling, now, moves)
        if target is not None:
            return target
    return idlest if _balance_two(state, source, idlest, worth, now, last_active, moves) else None


class Exchange(NamedTuple):
    """An elephant, its new queue, and the mice that come back; ``load`` is that of the fuller queue afterwards."""

    load: int
    elephant: Candidate
    target: Slot
    mice: tuple[Candidate, ...]


def _exchange_elephant(
    state: PortState, source: Slot, idlest: Slot, pool: Pool, ceiling: float, now: float, moves: list[Move]
) -> Slot | None:
    """Exchange an elephant of the busiest queue for mice of another queue, which is returned; None: it gains nothing.

    It gains nothing where the queue is far too full for a moment only: when its own light flows can go to the
    idlest.
    """
    mean = speeds.mean_load(pool)
    most_mice = min(MAX_MICE, int(state.tokens) - 1)
    if most_mice < 0:
        return None
    load_without = _load_without_light(state, source, idlest, mean, ceiling, now)
    if load_without <= SMALL_EXCESS * mean:
        return None
    best = best_exchange(state, source, pool, ceiling, most_mice, now)
    if best is None or best.load >= load_without or (best.target is idlest and not best.mice):
        return None
    _apply(state, best.elephant, best.target, now, moves)
    for mouse in best.mice:
        _apply(state, mouse, source, now, moves)
    return best.target


def _load_without_light(
    state: PortState, source: Slot, idlest: Slot, mean: float, ceiling: float, now: float
) -> int:
    """Return the load of a queue if its light flows went to the idlest queue."""
    load, idlest_load = source.load * source.scale, idlest.load * idlest.scale
    for light in heaviest_movable(
        state, source, min(MAX_LIGHT, int(state.tokens)), ELEPHANT_SHARE * mean / source.scale, now
    ):
        if load > ceiling and idlest_load + light.gain * idlest.scale < load:
            load -= light.gain * source.scale
    return load


def best_exchange(
    state: PortState, source: Slot, pool: Pool, ceiling: float, most_mice: int, now: float
) -> Exchange | None:
    """Return the exchange of an elephant of ``source`` that leaves the fuller of both queues with least load.

    None where ``source`` has no elephant that may move.

    Args:
        source: the queue that is to be relieved.
        pool: its pool.
        ceiling: the load that is low enough: no mice come back for less.
        most_mice: how many mice may come back.
    """
    least_rate = ELEPHANT_SHARE * speeds.mean_load(pool) / source.scale
    heaviest_flows = heaviest_movable(state, source, MAX_ELEPHANTS, source.load + 1, now)
    targets = sorted(
        (slot for slot in pool.slots if slot is not source),
        key=lambda slot: (pool.loads[slot.position], slot.position),
    )
    exchanges = [
        _exchange_with(state, source, elephant, target, ceiling, most_mice, now)
        for elephant in heaviest_flows
        if elephant.gain >= least_rate
        for target in targets[:MAX_TARGETS]
        if may_use(elephant.cell.group, source, target)
    ]
    return min(exchanges, key=lambda exchange: (exchange.load, len(exchange.mice)), default=None)


def _exchange_with(
    state: PortState,
    source: Slot,
    elephant: Candidate,
    target: Slot,
    ceiling: float,
    most_mice: int,
    now: float,
) -> Exchange:
    """Return the exchange with one queue: its heaviest mice come back while that lowers the fuller queue's load."""
    source_load = (source.load - elephant.gain) * source.scale
    target_load = (target.load + elephant.gain) * target.scale
    mice: list[Candidate] = []
    for mouse in (
        heaviest_movable(state, target, most_mice, elephant.gain, now) if target_load > ceiling else ()
    ):
        if target_load <= ceiling:
            break
        if source_load + mouse.gain * source.scale < target_load and may_use(
            mouse.cell.group, target, source
        ):
            source_load += mouse.gain * source.scale
            target_load -= mouse.gain * target.scale
            mice.append(mouse)
    return Exchange(max(source_load, target_load), elephant, target, tuple(mice))


def _balance_two(
    state: PortState,
    source: Slot,
    target: Slot,
    worth: float,
    now: float,
    last_active: Sequence[float] | None,
    moves: list[Move],
) -> bool:
    """Move one flow, or exchange two, between two queues; return False when that gains less than ``worth``."""
    gap = source.load * source.scale - target.load * target.scale
    best = best_move(state, source, target, gap, now, last_active)
    if best is not None and best.gain >= worth:
        _apply(state, best, target, now, moves)
        return True
    pair = best_swap(state, source, target, gap, now)
    if pair is None or pair[0].gain < worth or not has_tokens(state, 2):
        return False
    _apply(state, pair[0], target, now, moves)
    _apply(state, pair[1], source, now, moves)
    return True


def _apply(state: PortState, candidate: Candidate, target: Slot, now: float, moves: list[Move]) -> None:
    """Make a candidate's move, and pay for it."""
    cell = candidate.cell
    if candidate.row < 0:
        state.tokens -= cell.count
        move_cell(state, cell, target, now, Reason.REBALANCED, moves)
        return
    state.tokens -= 1
    move_row(state, candidate.row, target, cell.group, now, Reason.REBALANCED, moves)
