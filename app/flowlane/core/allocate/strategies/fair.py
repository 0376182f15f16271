"""Spreading by number: each new flow goes to the queue with fewest flows, and never moves.

Meant for ports whose queues have a fair scheduler inside, as the fq_codel leaves that ``flowlane qos apply`` makes
(RFC 8290): there a heavy flow delays no other flow of its queue, and takes no more than its part of the queue's rate.
All that is left to placement is that each flow divides its queue with as few others as possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate.strategies.simple import candidates, choice

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Demand, PortState, Slot
    from flowlane.core.allocate.strategies.combined import Choice


def place(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """Choose the queue with fewest flows for what it carries; of equals the one with least load."""
    slots = candidates(state, demand)
    if current in slots:
        return choice(current, demand)
    return choice(
        min(slots, key=lambda slot: ((slot.count + 1) * slot.scale, slot.load * slot.scale)), demand
    )
