"""Rates of flows from samples of their packets: whether one has reached a threshold, as soon as the samples show it.

Of a flow that sends r bit/s in packets of s bits each, a switch that samples one packet in n reports r / (n s) packets
a second, at random times, and each stands for n s bits. The question is which of two rates the flow has: the threshold
of its rate condition, or half of that. Page's test (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954)
answers it with the fewest samples; for counted events (J. M. Lucas, "Counted data CUSUM's", Technometrics 27, 1985) it
is a leaky bucket:

- Each sample pours in what it stands for. The bucket leaks (high - low) / ln(high / low) bit/s, a rate between the two.
- The rate is reached when the bucket holds :data:`ENOUGH` / ln(high / low) samples' worth.

What lies between the two rates may be taken for either; counters decide about it later (see :mod:`.samples`). A flow
that has been measured exactly is at that rate already: the low rate is no less, and the high one is twice that. So the
samples of such a flow show sudden rises only, and small ones are left to its counters.

A datapath may hand over a large packet (TSO, GSO) as its segments, all of them or none. Samples of one flow within
:data:`CLUMP` s are therefore one larger sample, and a sample's worth is the mean of their sizes weighted by size, by
which their sum is as uncertain as that of so many equal ones.

Times are those of the switch's clock, since datagrams may wait for the controller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, log
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flowlane.core.classify.gates import PortGate

ENOUGH, ENOUGH_MEASURED = 3.7, 10.0
"""Logarithm of how many times likelier the high rate has to be than the low one: for a flow that no counter has
measured (40 times), and for one that has been, which lives long enough to be taken for heavy by chance many times.
"""

HIGHER = 2.0
"""The high rate is so many times the low one. The closer they are, the more samples it takes."""

SHORTEST = 0.1
"""Seconds that the rate lasts at least: a burst of an ended flow is not heavy."""

CLUMP = 0.001
"""Seconds within which samples of a flow count as one."""

FORGOTTEN = 5.0
"""Seconds without a sample after which what was known of a flow is forgotten."""

MOST = 4096
"""Flows of a device about which something is known from samples."""

_FADES = 0.95
"""What is left of the weight of earlier samples, in a sample's worth, with each new one."""

UNSETTLED, SETTLED = 1.5, 3.0
"""Seconds for which a reading closes no gate that samples have opened, and after which one decides whether it stays.

The first readings of an entry show less than has passed: counters are up to half a second old, and a new pin's begin
at 0.
"""

SURE = 0.9
"""Part of a gate's threshold that a settled reading has to show."""


class Rates(NamedTuple):
    """The two rates, in bit/s, that samples are to tell apart."""

    low: float
    high: float

    @property
    def leak(self) -> float:
        """What the bucket loses, in bit/s."""
        return (self.high - self.low) / log(self.high / self.low)


def rates_for(gate: PortGate, measured: float) -> Rates:
    """Return the rates to tell apart for a gate and a flow of which counters show ``measured`` bit/s so far."""
    low = max(gate.at_least / HIGHER, measured, 1.0)
    return Rates(low, HIGHER * low)


@dataclass(slots=True)
class Estimate:
    """What samples show of one flow.

    ``level``: bits in the bucket. ``since``: when it began to fill. ``at``: time of the last sample. ``clump``: bits
    of the samples that count as one with it. ``poured``: bits since ``since``, but for the first clump. ``total``,
    ``squares``: sums of the clumps' bits and of their squares, in which earlier ones fade. ``bit``: the gate that
    samples have opened and no settled reading has confirmed, 0 for none; ``opened_at``: when, by the engine's clock.
    """

    generation: int
    level: float = 0.0
    since: float = 0.0
    at: float = -inf
    clump: float = 0.0
    poured: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    bit: int = 0
    opened_at: float = 0.0

    @property
    def worth(self) -> float:
        """A sample's worth, in bits."""
        return self.squares / self.total if self.total else 0.0

    @property
    def lasts(self) -> float:
        """For how long the bucket has not been empty, in seconds."""
        return self.at - self.since

    @property
    def rate(self) -> float:
        """The rate since the bucket began to fill, in bit/s; 0 where there is no saying."""
        return self.poured / self.lasts if self.lasts > 0 else 0.0

    def take(self, bits: float, at: float, rates: Rates, enough: float) -> bool:
        """Take in a sample that stands for so many bits; return whether the high rate is reached."""
        seconds = at - self.at
        if not -CLUMP <= seconds <= FORGOTTEN:
            self.level = self.total = self.squares = 0.0
            seconds = FORGOTTEN
        if seconds > CLUMP:
            self.level -= rates.leak * seconds
            self.total, self.squares = self.total * _FADES, self.squares * _FADES
            self.at = at
            if self.level <= 0:
                self.level, self.since, self.poured = 0.0, at, -bits
            self.clump = 0.0
        elif self.since == self.at:
            self.poured -= bits
        self.squares += (self.clump + bits) ** 2 - self.clump**2
        self.clump += bits
        self.total += bits
        self.poured += bits
        full = enough / log(rates.high / rates.low) * self.worth
        self.level = min(self.level + bits, 2 * full)
        return self.level >= full and self.lasts >= SHORTEST


@dataclass(slots=True)
class Samples:
    """What samples show of a device's flows. ``taken``, ``noticed``: how many samples, and flows heavy by them."""

    flows: dict[int, Estimate] = field(default_factory=dict)
    """Row -> what is known; the longest unchanged first."""
    taken: int = 0
    noticed: int = 0

    def of(self, row: int, generation: int) -> Estimate:
        """Return what is known of a flow, and count it as the one that was changed last."""
        estimate = self.flows.pop(row, None)
        if estimate is None or estimate.generation != generation:
            estimate = Estimate(generation)
        self.flows[row] = estimate
        if len(self.flows) > MOST:
            del self.flows[next(iter(self.flows))]
        return estimate
