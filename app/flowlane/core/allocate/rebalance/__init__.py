"""Moving flows later: few, for a reason, never the same flow twice in a window, quiet ones first.

In this order: flows that wait for a queue of their own get one that has become free (few, at once); the
queues are divided anew where the demand of groups has shifted; strays are brought home; the hardware and
software queues are kept in balance; inside each pool the busiest queues give flows to the idlest. All but
the first pay a token for each flow: ``Balance.moves_per_second`` of the port's flows come in per second, and
tokens of one second can be saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate.rebalance import exclusive, level, placement, strays
from flowlane.core.allocate.state import NEVER
from flowlane.core.allocate.strategies import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.allocate.state import Move, PortState


def rebalance(state: PortState, now: float, last_active: Sequence[float] | None = None) -> list[Move]:
    """Bring the port nearer to balance; call it about once per ``Balance.interval``.

    ``last_active`` is, by row, when the flow last sent: of flows that do as well the quietest moves, since
    moving a busy flow can reorder its packets. A strategy that does not move flows gets no moves.
    """
    if not STRATEGIES[state.balance.strategy].moves:
        return []
    refill(state, now)
    moves: list[Move] = []
    regions = [*state.hardware, state.software]
    for region in regions:
        exclusive.promote_waiting(state, region, now, moves)
        exclusive.share_out(state, region, now, moves)
        strays.divide_again(state, region, now)
        strays.bring_home(state, region, now, moves)
    placement.sort_out(state, now, moves)
    for region in state.hardware:
        placement.demote(state, region, now, moves)
    placement.promote(state, now, moves)
    for region in regions:
        for pool in region.pools:
            level.level_pool(state, pool, now, last_active, moves)
    return moves


def refill(state: PortState, now: float) -> None:
    """Add the tokens of the time that has passed; at most those of one second, at least of one move."""
    rate = state.balance.moves_per_second * state.count
    most = max(1.0, rate * max(1.0, state.balance.interval))
    passed = now - state.refilled_at if state.refilled_at != NEVER else 1.0
    state.tokens = min(most, state.tokens + max(0.0, passed) * rate)
    state.refilled_at = now
