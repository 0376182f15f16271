"""Flows that are pinned by hand: they stay on their queue, whatever the policy says, and count there as any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells
from flowlane.core.allocate.flow import current_placement, enter_row, put_held, stay_on, take_off, unplace_row
from flowlane.core.allocate.port import revoke_exclusive
from flowlane.core.allocate.state import HELD, demand_of

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Demand, Placement, PortState


def hold(state: PortState, row: int, demand: Demand, queue_id: int, now: float) -> Placement:
    """Put a flow, placed or not, on a queue of the port, and keep it there until :func:`let_go` or its departure.

    An exclusive queue of another flow is shared from then on. It costs no token, and does not wait for a window.
    """
    slot, columns = state.slot_of_queue(queue_id), state.columns
    assert slot is not None, "the caller has checked that the port has the queue"
    before = None
    if columns.is_placed(row):
        before = take_off(state, row, demand)
    else:
        enter_row(state, row, demand)
    columns.flags[row] |= HELD
    if slot.exclusive_row >= 0:
        revoke_exclusive(state, slot)
    if before is not None and before is not slot:
        columns.moved_at[row] = now
    state.restless = True
    return put_held(state, row, slot)


def let_go(state: PortState, row: int, key: bytes = b"") -> Placement:
    """Keep a flow on its queue no longer: it stays there until a rebalance moves it, as the policy asks."""
    slot, demand = cells.slot_of(state, row), demand_of(state, row)
    unplace_row(state, row, demand)
    state.columns.flags[row] &= ~HELD
    state.restless = True
    stay_on(state, row, demand, slot, key)
    return current_placement(state, row)
