"""Rate gates: hysteresis with a hold time for rules on a measured rate.

A gate opens once the rate was at least ``at_least`` bit/s in every measurement for ``hold`` s, and closes with the
first measurement below ``below`` bit/s. Between the two thresholds it stays as it is, so that a rate that swings
around one of them does not flap: it is never high for long enough to open the gate, or never low enough to close it.

A flow's state is one small integer and one time. The integer's low 12 bits are the gates that are open (bit i:
``gates[i]``). Its high 4 bits count the gates that are *watched*: since that time the rate has been at least the
threshold of the last of them. Gates are in ascending order of ``at_least``, so that a rate above one threshold is
above all lower ones, and one time serves all gates. When a rate climbs in steps, the time of a higher gate begins
only after the lower gates have opened: a gate may open late, by the holds of the lower gates at most, and never early.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowlane.core.policy import RateGate

MAX_GATES = 12
"""How many different gates a policy may have."""

OPEN_GATES = (1 << MAX_GATES) - 1
"""Mask of the open gates in a flow's state."""


def advance(
    gates: Sequence[RateGate], gate_state: int, since: float, rate: float, now: float
) -> tuple[int, float]:
    """Update a flow's gates with a new measurement of its rate.

    Args:
        gates: the policy's gates, ascending in ``at_least``.
        gate_state: the flow's state; 0 for a new flow, whose ``since`` has no meaning.
        since: the time (s) that belongs to the state.
        rate: bit/s, measured at ``now`` (s).

    Returns:
        The new state and its time.
    """
    opened = _close(gates, gate_state & OPEN_GATES, rate)
    reached = _reached(gates, rate)
    watched = min(gate_state >> MAX_GATES, reached)
    opened = _open(gates, opened, watched, now - since)
    if reached > watched and not (1 << watched) - 1 & ~opened:
        watched, since = reached, now
        opened = _open(gates, opened, watched, 0.0)
    return opened | watched << MAX_GATES, since


def _close(gates: Sequence[RateGate], opened: int, rate: float) -> int:
    if opened:
        for index, gate in enumerate(gates):
            if rate < gate.below:
                opened &= ~(1 << index)
    return opened


def _reached(gates: Sequence[RateGate], rate: float) -> int:
    count = 0
    for gate in gates:
        if rate < gate.at_least:
            break
        count += 1
    return count


def _open(gates: Sequence[RateGate], opened: int, watched: int, held: float) -> int:
    """Open the watched gates whose hold is over; the rate was above their thresholds for ``held`` s."""
    for index in range(watched):
        if held >= gates[index].hold:
            opened |= 1 << index
    return opened
