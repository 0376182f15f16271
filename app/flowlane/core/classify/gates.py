"""Rate gates: when a measured rate counts as high, and when it stops counting.

A gate opens once the rate was at least ``at_least`` bit/s in every measurement for ``hold`` s, and closes
with the first measurement under ``below`` bit/s. Between the two thresholds it stays as it is, so a load
that swings around one of them every second does not flap: it is never above for long enough to open a gate,
or never low enough to close one, and after a close the whole hold has to pass again.

A flow's state is one small integer and one time. The integer's low 12 bits are the gates that are open
(bit i: ``gates[i]``), the high 4 bits say which gate the time is about: the rate has been at least that
gate's threshold since then. Gates stand in ascending order of ``at_least``, so a rate that held above one
threshold held above all the lower ones too, and one time serves them all. When a rate climbs in steps,
the higher gate's clock starts only after the lower gates have opened: a gate may open late by at most the
holds of the gates under it, and never early.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowlane.core.policy import RateGate

MAX_GATES = 12
"""Different rate gates that one policy may have."""

OPEN_GATES = (1 << MAX_GATES) - 1
"""The bits of a flow's level that say which gates are open."""


def advance(
    gates: Sequence[RateGate], level: int, since: float, rate: float, now: float
) -> tuple[int, float]:
    """Take a new measurement of a flow's rate (bit/s) at ``now`` (s); return its new level and since.

    ``gates`` ascend in ``at_least``. A flow starts with level 0; ``since`` has no meaning then.
    """
    opened = _without_closed(gates, level & OPEN_GATES, rate)
    reached = _reached(gates, rate)
    watched = min(level >> MAX_GATES, reached)
    opened = _with_held(gates, opened, watched, now - since)
    if reached > watched and not (1 << watched) - 1 & ~opened:
        watched, since = reached, now
        opened = _with_held(gates, opened, watched, 0.0)
    return opened | watched << MAX_GATES, since


def _without_closed(gates: Sequence[RateGate], opened: int, rate: float) -> int:
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


def _with_held(gates: Sequence[RateGate], opened: int, watched: int, held: float) -> int:
    """Open what has held long enough: the rate was at least the watched gate's, and so every lower one's."""
    for index in range(watched):
        if held >= gates[index].hold:
            opened |= 1 << index
    return opened
