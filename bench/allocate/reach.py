"""A bound on what few moves can reach: separates what a strategy missed from what no strategy could have reached."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from flowlane.core.allocate import Move
from flowlane.core.allocate.cells import rows_of
from flowlane.core.allocate.state import PortState


def within_reach(queues: Sequence[Sequence[int]], moves: int) -> int:
    """Return a load (bit/s) below which no choice of so many moves brings the busiest queue.

    ``queues`` are the rates of the flows on each. That flows may not move twice in a window is not counted.
    """
    return least_after_two(queues, moves) if moves <= 2 else lower_bound_after(queues, moves)


def lower_bound_after(queues: Sequence[Sequence[int]], moves: int) -> int:
    """Return a lower bound: the heaviest flow of a queue stays or goes.

    If it stays, the heaviest others can leave; if it goes, the queue that gets it can lose its heaviest, by
    one move less.
    """
    ordered = [sorted(rates, reverse=True) for rates in queues]
    rests = [sum(rates[max(0, moves - 1) :]) for rates in ordered]
    lightest = sorted(range(len(rests)), key=rests.__getitem__)[:2]

    def least(place: int) -> int:
        rates = ordered[place]
        others = [other for other in lightest if other != place]
        if not rates or not moves or not others:
            return sum(rates)
        stays = rates[0] + sum(rates[moves + 1 :])
        goes = max(sum(rates[moves:]), rates[0] + rests[others[0]])
        return min(stays, goes)

    return max(least(place) for place in range(len(ordered)))


def least_after_two(queues: Sequence[Sequence[int]], moves: int) -> int:
    """Return the least load of the busiest queue after at most two moves, by trying all off the busiest queue."""
    loads = [sum(rates) for rates in queues]
    best = max(loads)
    if not moves or len(queues) == 1:
        return best
    if moves == 1:
        return _one_move(queues, loads)
    busiest = loads.index(best)
    for rate, target in product(set(queues[busiest]), range(len(queues))):
        after = [list(rates) for rates in queues]
        after[busiest].remove(rate)
        after[target].append(rate)
        best = min(best, _one_move(after, [sum(rates) for rates in after]))
    return best


def _one_move(queues: Sequence[Sequence[int]], loads: Sequence[int]) -> int:
    """Return the least load of the busiest queue after the best single move off it."""
    busiest = max(range(len(loads)), key=loads.__getitem__)
    others = [load for place, load in enumerate(loads) if place != busiest]
    lightest, rest = min(others), max(others)
    return min(
        [max(loads[busiest] - rate, lightest + rate, rest) for rate in queues[busiest]] + [loads[busiest]]
    )


def queues_before(state: PortState, moves: Sequence[Move]) -> list[list[int]]:
    """Return the rates on each queue as they were before ``moves``, the last ones that were made."""
    came_from = {move.row: move.old for move in reversed(moves)}
    queues: dict[int, list[int]] = {slot.queue.queue_id: [] for slot in state.slots}
    for slot in state.slots:
        for row in (row for cell in slot.cells.values() for row in rows_of(state, cell)):
            queues[came_from.get(row, slot.queue.queue_id)].append(state.columns.rate[row])
    return list(queues.values())
