"""Rates from samples: how soon a high one is known, how seldom a low one is taken for it; simulated with a seed."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from random import Random

import pytest

from flowlane.core.classify.gates import PortGate
from flowlane.core.flow import estimates
from flowlane.core.flow.estimates import (
    CLUMP,
    ENOUGH,
    ENOUGH_MEASURED,
    SHORTEST,
    Estimate,
    Samples,
    rates_for,
)

ONE_IN, PACKET = 64, 1400 * 8
HIGH, LOW = 50e6, 20e6
GATE = PortGate(int(HIGH), 0.0, int(LOW), 1)


def passing(rate: float, seconds: float, rng: Random, segments: int = 1) -> Iterator[float]:
    """Times of the samples of a flow whose packets come at random times, in groups that are sampled together."""
    now = 0.0
    while (now := now + rng.expovariate(rate / (PACKET * segments) / ONE_IN)) < seconds:
        yield from (now + number * 1e-5 for number in range(segments))


def reached(rate: float, seconds: float, seed: int, measured: float = 0.0, segments: int = 1) -> float | None:
    """When the samples of a flow show that its rate is the high one; None: never."""
    estimate, rates = Estimate(0), rates_for(GATE, measured)
    enough = ENOUGH_MEASURED if measured else ENOUGH
    for at in passing(rate, seconds, Random(seed), segments):
        if estimate.take(PACKET * ONE_IN, at, rates, enough):
            return at
    return None


def times(rate: float, count: int, measured: float = 0.0) -> list[float]:
    found = [reached(rate, 10.0, seed, measured) for seed in range(count)]
    assert None not in found
    return sorted(at for at in found if at is not None)


@pytest.mark.parametrize(
    ("rate", "measured", "median", "p95"),
    [
        (HIGH, 0.0, 0.27, 0.75),
        (2 * HIGH, 0.0, 0.13, 0.2),
        (10 * HIGH, 0.0, 0.11, 0.12),
        (2 * HIGH, 1e6, 0.25, 0.4),
        (4 * HIGH, 1e6, 0.12, 0.15),
    ],
)
def test_a_high_rate_is_known_soon(rate: float, measured: float, median: float, p95: float) -> None:
    found = times(rate, 200, measured)
    assert statistics.median(found) <= median
    assert found[int(0.95 * len(found))] <= p95
    assert found[0] >= SHORTEST


@pytest.mark.parametrize(
    ("rate", "measured", "seconds", "most"),
    [
        (LOW / 2, 0.0, 1.0, 0.005),
        (0.75 * LOW, 0.0, 1.0, 0.005),
        (LOW, 0.0, 1.0, 0.03),
        (0.5 * HIGH, 0.0, 1.0, 0.16),
        (LOW, LOW, 30.0, 0.05),
        (0.9 * HIGH, 0.9 * HIGH, 30.0, 0.05),
    ],
)
def test_a_low_rate_is_seldom_taken_for_a_high_one(
    rate: float, measured: float, seconds: float, most: float
) -> None:
    """Within a second that is without counters, and in half a minute of a flow that counters have measured."""
    count = 1000 if not measured else 60
    wrong = sum(reached(rate, seconds, seed, measured) is not None for seed in range(count))
    assert wrong / count <= most


def test_segments_of_large_packets_are_one_sample() -> None:
    """64 kB in 44 segments, all sampled or none: counted one by one they would show five samples in an instant."""
    wrong = [reached(LOW, 1.0, seed, segments=44) for seed in range(500)]
    assert sum(at is not None for at in wrong) <= 5
    estimate, rates = Estimate(0), rates_for(GATE, 0.0)
    for number in range(44):
        assert not estimate.take(PACKET * ONE_IN, 5.0 + number * CLUMP / 100, rates, ENOUGH)
    assert estimate.worth == pytest.approx(44 * PACKET * ONE_IN)


def test_a_burst_that_is_over_is_not_a_rate() -> None:
    estimate, rates = Estimate(0), rates_for(GATE, 0.0)
    burst = [estimate.take(PACKET * ONE_IN, 1.0 + 0.002 * number, rates, ENOUGH) for number in range(8)]
    later = [estimate.take(PACKET * ONE_IN, 2.0 + number, rates, ENOUGH) for number in range(8)]
    assert not any(burst + later)


def test_the_estimated_rate_is_about_the_flows() -> None:
    estimate, rates = Estimate(0), rates_for(GATE, 0.0)
    for at in passing(4 * HIGH, 1.0, Random(3)):
        estimate.take(PACKET * ONE_IN, at, rates, ENOUGH)
    assert estimate.rate == pytest.approx(4 * HIGH, rel=0.2)


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_clock_that_is_set_begins_anew(step: float) -> None:
    estimate, rates = Estimate(0), rates_for(GATE, 0.0)
    at = 1000.0
    for number in range(50):
        at = 1000.0 + 0.003 * number
        estimate.take(PACKET * ONE_IN, at, rates, ENOUGH)
    assert not estimate.take(PACKET * ONE_IN, at + step, rates, ENOUGH)
    assert estimate.lasts == 0.0


@pytest.mark.parametrize(("at_least", "below"), [(0, 0), (1, 1), (100, 100), (100, 0)])
def test_any_thresholds_of_a_gate_give_two_rates(at_least: int, below: int) -> None:
    rates = rates_for(PortGate(at_least, 0.0, below, 1), 0.0)
    assert 0 < rates.low < rates.leak < rates.high


def test_what_is_known_of_flows_is_bounded_and_a_row_that_another_flow_has_begins_anew() -> None:
    samples = Samples()
    for row in range(estimates.MOST + 100):
        samples.of(row, 1).level = 5.0
    assert len(samples.flows) == estimates.MOST
    assert samples.of(estimates.MOST, 1).level == 5.0
    assert samples.of(estimates.MOST, 2).level == 0.0
