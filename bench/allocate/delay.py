"""A queueing model: the delay of small flows' packets behind others in the same queue.

``docs/engineers/strategies.md`` explains the model. Each queue is a FIFO that is served at an equal part of
the link. Flows send bursts at Poisson times: heavy flows 65,536 bytes, the largest segment that Linux hands
to a NIC (``GSO_MAX_SIZE``, include/linux/netdevice.h), small flows one packet of 1,500 bytes. The mean wait
is Pollaczek and Khinchine's, ``load * mean residual service / (1 - load)``; the tail is taken as exponential,
which is Kingman's heavy-traffic limit: P(wait > t) = load * exp(-t * load / mean wait). A queue whose load is
1 or more is full: 1,000 packets (Linux's default txqueuelen) stand in it, and no delay is above that.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf

HEAVY_BURST = 65_536 * 8
SMALL_BURST = 1_500 * 8
BUFFER = 1_000 * 1_500 * 8
TAIL = 0.01


@dataclass(frozen=True, slots=True)
class Mix:
    """What one queue carries, in bit/s."""

    small: float
    heavy: float


def small_p99(mixes: list[Mix], link: float) -> float:
    """Return the delay in seconds that 99 of 100 packets of small flows stay below, over all queues of a link.

    ``link`` is the rate of the link in bit/s, of which each queue gets an equal part.
    """
    served = link / len(mixes)
    low, high = 0.0, BUFFER / served
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _share_above(mixes, served, middle) > TAIL else (low, middle)
    return high + SMALL_BURST / served


def _share_above(mixes: list[Mix], served: float, delay: float) -> float:
    packets = sum(mix.small for mix in mixes)
    return sum(mix.small * _above(mix, served, delay) for mix in mixes) / packets


def _above(mix: Mix, served: float, delay: float) -> float:
    """Return the probability that a packet waits longer than ``delay`` seconds in a queue."""
    load = (mix.small + mix.heavy) / served
    if load >= 1:
        return 1.0 if delay < BUFFER / served else 0.0
    wait = _mean_wait(mix, served, load)
    return load * exp(-delay * load / wait if wait else -inf)


def _mean_wait(mix: Mix, served: float, load: float) -> float:
    residual = (mix.small * SMALL_BURST + mix.heavy * HEAVY_BURST) / (2 * served * served)
    return residual / (1 - load)
