"""Rate gates: hysteresis with a hold time for rules on a measured rate.

A gate opens once the rate was at least ``at_least`` bit/s in every measurement for ``hold`` s, or a little less
(:func:`held_long_enough`), since measurements come early and late. The seconds over which a rate was measured count.
It closes with the first measurement below ``below`` bit/s. Between the two thresholds it stays as it is, so that a
rate that swings around one of them does not flap: it is never high for long enough to open the gate, or never low
enough to close it.

A flow's state is one small integer and one time. The integer's low 12 bits are the gates that are open (bit i: gate i
of the policy). Its high 4 bits count the gates that are *watched*: since that time the rate has been at least the
threshold of the last of them. Gates are in ascending order of ``at_least``, so that a rate above one threshold is
above all lower ones, and one time serves all gates. Thresholds that are parts of a queue's rate are different on each
port, and so is the order (:func:`resolve`). When a rate climbs in steps, the time of a higher gate begins
only after the lower gates have opened: a gate may open late, by the holds of the lower gates at most, and never early.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.policy import RateGate

MAX_GATES = 12
"""How many different gates a policy may have."""

OPEN_GATES = (1 << MAX_GATES) - 1
"""Mask of the open gates in a flow's state."""


class PortGate(NamedTuple):
    """A gate on one port: thresholds in bit/s, hold in seconds, and the bit of the policy's gate in a flow's state."""

    at_least: int
    hold: float
    below: int
    bit: int


@lru_cache(maxsize=1024)
def resolve(gates: tuple[RateGate, ...], queue_rate: int) -> tuple[PortGate, ...]:
    """Return a policy's gates on a port whose queues can carry ``queue_rate`` bit/s each, ascending in ``at_least``."""
    unit = {False: 10**6, True: queue_rate}
    return tuple(
        sorted(
            PortGate(
                gate.at_least * unit[gate.of_queue] // 10**6,
                gate.hold,
                gate.below * unit[gate.of_queue] // 10**6,
                1 << index,
            )
            for index, gate in enumerate(gates)
        )
    )


EARLY, EARLY_PART = 0.2, 0.1
"""Seconds, and part of its hold, by which a gate may open early, the less of them: readings come early and late."""

NEAR = 0.5
"""Part of a gate's threshold from which on a rate is near it."""


def held_long_enough(hold: float) -> float:
    """Return the seconds after which a hold counts as over."""
    return hold - min(EARLY, EARLY_PART * hold)


def is_near(gates: Sequence[PortGate], gate_state: int, rate: float) -> bool:
    """Whether a flow's next measurements matter: a gate is open, or its rate is near one."""
    return bool(gate_state & OPEN_GATES) or (bool(gates) and rate >= NEAR * gates[0].at_least)


def advance(
    gates: Sequence[PortGate], gate_state: int, since: float, rate: float, now: float, window: float = 0.0
) -> tuple[int, float]:
    """Update a flow's gates with a new measurement of its rate.

    Args:
        gates: the policy's gates on the flow's egress port, as :func:`resolve` returns them.
        gate_state: the flow's state; 0 for a new flow, whose ``since`` has no meaning.
        since: the time (s) that belongs to the state.
        rate: bit/s, measured at ``now`` (s).
        window: for how many seconds before ``now`` it was measured; they count for the hold.

    Returns:
        The new state and its time.
    """
    opened = _close(gates, gate_state & OPEN_GATES, rate)
    reached = _reached(gates, rate)
    watched = min(gate_state >> MAX_GATES, reached)
    opened = _open(gates[:watched], opened, now - since)
    if reached > watched and all(opened & gate.bit for gate in gates[:watched]):
        watched, since = reached, now - window
        opened = _open(gates[:watched], opened, window)
    return opened | watched << MAX_GATES, since


def _close(gates: Sequence[PortGate], opened: int, rate: float) -> int:
    if opened:
        for gate in gates:
            if rate < gate.below:
                opened &= ~gate.bit
    return opened


def _reached(gates: Sequence[PortGate], rate: float) -> int:
    count = 0
    for gate in gates:
        if rate < gate.at_least:
            break
        count += 1
    return count


def _open(watched: Sequence[PortGate], opened: int, held: float) -> int:
    """Open the watched gates whose hold is over; the rate was above their thresholds for ``held`` s."""
    for gate in watched:
        if held >= held_long_enough(gate.hold):
            opened |= gate.bit
    return opened
