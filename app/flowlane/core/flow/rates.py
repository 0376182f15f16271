"""Measured rates: from a counter's readings to bit/s.

Open vSwitch moves its flow counters in steps of up to half a second (the revalidators' interval), so a window
much below a second is noise; readings come every second or slower, and are smoothed exponentially.
"""

from __future__ import annotations

from math import exp

SHORTEST_WINDOW = 0.9
"""Seconds; a reading sooner after the last one is not turned into a rate yet.

A little less than the time between two readings, so that one that comes early does not have to wait for the next.
"""

RISE_WINDOW = 1.4
"""Seconds from when the sum of a group was last steady, after which the flows of the group are measured.

The rise began up to half a second later, and is shown up to half a second after that; a shorter window would show much
less than the rate of what has begun.
"""

SMOOTHING = 1.0
"""Seconds; time constant of the exponential smoothing."""


def grown(before: int, after: int) -> int:
    """Return by how much a counter grew; one that went back was reset, and counts from 0."""
    return after - before if after >= before else after


def smooth(rate: float, octets: int, seconds: float, first: bool) -> float:
    """Return the EWMA (bit/s) after ``octets`` more bytes in ``seconds`` (above 0); the first reading counts whole."""
    measured = octets * 8 / seconds
    if first:
        return measured
    return rate + (measured - rate) * (1 - exp(-seconds / SMOOTHING))


def band(rate: float, before: int | None = None) -> int:
    """Return the band of a rate: powers of 4 from 1 kbit/s, so that flows of one band differ by 4 times at most.

    With ``before``, the band only changes once the rate is a quarter beyond its edge, so that a flow at
    an edge stays where it is.
    """
    now = _band(rate)
    if before is None or now == before:
        return now
    beyond = rate / 1.25 if now > before else rate * 1.25
    return now if _band(beyond) != before else before


def _band(rate: float) -> int:
    kilo = int(rate) // 1000
    return (kilo.bit_length() + 1) // 2 if kilo > 0 else 0
