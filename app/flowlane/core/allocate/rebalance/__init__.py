"""Rebalancing of a port: a few moves a second, each for a reason, no flow twice in a window.

In this order: queues change shares; flows leave hardware on which the device put them against the policy; exclusive
queues are revoked, and granted to flows that wait; the queues are divided again where the load of groups has shifted;
strays return to their pools; flows overflow to software queues and are promoted back; inside each pool the busiest
queues give flows to the idlest. Each move pays a token: ``Balance.moves_per_second`` of the port's flows are added each
second, and the tokens of one second can be saved. Only classes that are on more queues than their ``max_queues``
come together without (``Reason.GATHERED``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate.budget import refill_tokens
from flowlane.core.allocate.rebalance import drain, exclusive, level, placement, strays
from flowlane.core.allocate.rebalance.regions import reapportion_if_due
from flowlane.core.allocate.strategies import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.allocate.state import Move, PortState


def rebalance(
    state: PortState,
    now: float,
    last_active: Sequence[float] | None = None,
    octets: Sequence[int] | None = None,
) -> list[Move]:
    """Move flows towards balance; to be called about once per ``Balance.interval``.

    Of moves that help as much, the one of the flow that has been quiet longest is made, since moving a busy
    flow can reorder its packets.

    Returns:
        The moves; with a strategy that does not rebalance only those off queues that are drained.
    """
    moves: list[Move] = []
    strategy = STRATEGIES[state.balance.strategy]
    if state.closed.count:
        refill_tokens(state, now)
        drain.empty(state, now, moves)
    if strategy.own_rebalance is not None:
        refill_tokens(state, now)
        strategy.own_rebalance(state, now, octets, moves)
    if not strategy.rebalances:
        return moves
    state.restless = False
    refill_tokens(state, now)
    reapportion_if_due(state, now, moves)
    placement.leave_misplaced(state, now, moves)
    regions = [*state.hardware, state.software]
    for region in regions:
        exclusive.revoke_missed(state, region, now, moves)
        exclusive.grant_to_waiting(state, region, now, moves)
        strays.redivide_if_due(state, region, now)
        strays.gather_spread(state, region, now, moves)
        strays.return_strays(state, region, now, moves)
        strays.empty_exclusive(state, region, now, moves, strays.WEIGHTY)
    placement.leave_wrong_regions(state, now, moves)
    for region in state.hardware:
        placement.overflow(state, region, now, moves)
    placement.promote(state, now, moves)
    for region in regions:
        for pool in region.pools:
            level.balance_pool(state, pool, now, last_active, moves)
        strays.return_strays(state, region, now, moves, 0.0)
        strays.empty_exclusive(state, region, now, moves)
    return moves
