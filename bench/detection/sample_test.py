"""How soon samples show a high rate, and how often they take a low one for it: simulated, with a seed.

Usage: ``python -m bench.detection.sample_test [--one-in 64] [--flows 1000]``. Packets of 1400 bytes come at random
times. A flow counts as measured where counters have shown its rate, and then lives for a minute.
"""

from __future__ import annotations

import argparse
from random import Random

from flowlane.core.classify.gates import PortGate
from flowlane.core.flow.estimates import ENOUGH, ENOUGH_MEASURED, Estimate, rates_for

HIGH = 50_000_000
GATE = PortGate(HIGH, 0.0, HIGH // 2, 1)
PACKET = 1400 * 8
NEW_FOR, MEASURED_FOR = 1.0, 60.0
PARTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 2.0, 4.0)


def noticed(rate: float, one_in: int, seconds: float, seed: int, measured: float) -> float | None:
    """When samples show that a flow has the high rate; None: not within so many seconds."""
    rng, estimate, rates = Random(seed), Estimate(0), rates_for(GATE, measured)
    now = 0.0
    while (now := now + rng.expovariate(rate / PACKET / one_in)) < seconds:
        if estimate.take(PACKET * one_in, now, rates, ENOUGH_MEASURED if measured else ENOUGH):
            return now
    return None


def main() -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one-in", type=int, default=64)
    parser.add_argument("--flows", type=int, default=1000)
    given = parser.parse_args()
    print("| rate / threshold | new: noticed in 1 s (%) | median (s) | p95 (s) | measured: in a minute (%) |")
    print("|---|---|---|---|---|")
    for part in PARTS:
        rate, seeds = part * HIGH, range(given.flows)
        new = [noticed(rate, given.one_in, 10.0, seed, 0.0) for seed in seeds]
        times = sorted(when for when in new if when is not None)
        early = sum(when < NEW_FOR for when in times) / len(new)
        settled = "-"
        if part < 1:
            few = range(given.flows // 5)
            count = sum(noticed(rate, given.one_in, MEASURED_FOR, seed, rate) is not None for seed in few)
            settled = f"{100 * count / len(few):.1f}"
        shown = ["-", "-"]
        if part >= 1:
            shown = [f"{times[int(place * len(times))]:.2f}" for place in (0.5, 0.95)]
        print(f"| {part} | {100 * early:.1f} | {shown[0]} | {shown[1]} | {settled} |")


if __name__ == "__main__":
    main()
