"""A rate counts once it held, and stops counting only when it has fallen well below (M4, M11)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.core.classify.gates import MAX_GATES, OPEN_GATES, advance, held_long_enough, is_near, resolve
from flowlane.core.policy import RateGate

M = 1_000_000
TEN = RateGate(10 * M, 2.0, 5 * M)
HUNDRED = RateGate(100 * M, 2.0, 50 * M)
SLOW = RateGate(10 * M, 10.0, 5 * M)


Samples = Sequence[tuple[float, int]]
"""Times and rates."""


def run(gates: tuple[RateGate, ...], samples: Samples) -> list[int]:
    """Feed (time, rate) samples; return the open gates after each."""
    level, since = 0, 0.0
    seen: list[int] = []
    for now, rate in samples:
        level, since = advance(resolve(gates, 0), level, since, rate, now)
        seen.append(level & OPEN_GATES)
    return seen


@pytest.mark.parametrize(
    ("gates", "samples", "expected"),
    [
        pytest.param((TEN,), [(0, 9 * M), (2, 9 * M), (9, 9 * M)], [0, 0, 0], id="never reached"),
        pytest.param(
            (TEN,),
            [(0, 10 * M), (1, 10 * M), (2, 10 * M)],
            [0, 0, 1],
            id="opens after the hold, at the threshold",
        ),
        pytest.param(
            (TEN,),
            [(0, 20 * M), (1, 9 * M), (2, 20 * M), (3, 20 * M), (4, 20 * M)],
            [0, 0, 0, 0, 1],
            id="a dip starts the hold anew",
        ),
        pytest.param(
            (TEN,),
            [(0, 20 * M), (2, 20 * M), (4, 6 * M), (6, 5 * M), (8, 4 * M)],
            [0, 1, 1, 1, 0],
            id="closes below the falling edge only",
        ),
        pytest.param(
            (TEN,),
            [(0, 20 * M), (2, 20 * M), (4, 0), (6, 20 * M), (8, 20 * M)],
            [0, 1, 0, 0, 1],
            id="after a close the whole hold again",
        ),
        pytest.param(
            (RateGate(M, 0.0, M),),
            [(0, M), (1, M - 1), (2, M)],
            [1, 0, 1],
            id="no hold and no gap: a plain threshold",
        ),
        pytest.param(
            (TEN, HUNDRED), [(0, 200 * M), (2, 200 * M)], [0, 3], id="one clock serves all the lower gates"
        ),
        pytest.param(
            (TEN, HUNDRED),
            [(0, 20 * M), (2, 20 * M), (4, 200 * M), (6, 200 * M), (8, 60 * M), (10, 40 * M)],
            [0, 1, 1, 3, 3, 1],
            id="climbs and falls in steps",
        ),
        pytest.param(
            (TEN, HUNDRED),
            [(0, 200 * M), (1, 20 * M), (2, 20 * M), (3, 200 * M), (4, 200 * M), (5, 200 * M)],
            [0, 0, 1, 1, 1, 3],
            id="time above the higher counts for the lower",
        ),
        pytest.param(
            (SLOW, HUNDRED),
            [(0, 200 * M), (2, 200 * M), (9, 200 * M), (10, 200 * M)],
            [0, 2, 2, 3],
            id="holds of different length open on their own",
        ),
        pytest.param(
            (SLOW, HUNDRED),
            [(0, 20 * M), (5, 200 * M), (7, 200 * M), (10, 200 * M), (12, 200 * M)],
            [0, 0, 0, 1, 3],
            id="the higher may be late by the lower's hold",
        ),
    ],
)
def test_gates_open_and_close(gates: tuple[RateGate, ...], samples: Samples, expected: list[int]) -> None:
    assert run(gates, samples) == expected


@pytest.mark.parametrize(("high", "low"), [(12 * M, 8 * M), (12 * M, 1), (11 * M, 9_999_999)])
def test_a_load_that_crosses_the_threshold_every_second_never_opens_the_gate(high: int, low: int) -> None:
    assert set(run((TEN,), [(t, high if t % 2 else low) for t in range(60)])) == {0}


def test_an_open_gate_stays_open_while_the_load_crosses_the_rising_threshold() -> None:
    assert set(
        run((TEN,), [(0, 12 * M), (2, 12 * M)] + [(3 + t, 12 * M if t % 2 else 6 * M) for t in range(60)])[1:]
    ) == {1}


@pytest.mark.parametrize("gap", [0.95, 1.0, 1.05])
def test_readings_that_come_early_or_late_do_not_double_the_wait(gap: float) -> None:
    for hold in (1.0, 2.0):
        gate = RateGate(10 * M, hold, 5 * M)
        level, since, waited = 0, 0.0, 0.0
        while not level & OPEN_GATES:
            waited += gap
            level, since = advance(resolve((gate,), 0), level, since, 20 * M, waited, gap)
        assert waited == pytest.approx(hold, abs=0.11), "the seconds of the first measurement count"


def test_a_measurement_counts_for_its_own_seconds_only() -> None:
    level, since = advance(resolve((TEN,), 0), 0, 0.0, 20 * M, 50.0, 1.0)
    assert (level & OPEN_GATES, since) == (0, 49.0)
    level, since = advance(resolve((TEN,), 0), level, since, 20 * M, 51.0, 1.0)
    assert level & OPEN_GATES == 1


@pytest.mark.parametrize(
    ("opened", "rate", "expected"), [(0, 4 * M, False), (0, 5 * M, True), (0, 90 * M, True), (1, 0, True)]
)
def test_a_flow_is_near_from_half_of_a_threshold_on(opened: int, rate: int, expected: bool) -> None:
    assert is_near(resolve((TEN, HUNDRED), 0), opened, rate) is expected
    assert not is_near((), 0, rate)


rates = st.integers(0, 300 * M)
gate_sets = st.lists(
    st.builds(
        lambda at, hold, part: RateGate(at, hold, at * part // 10),
        st.integers(1000, 200 * M),
        st.sampled_from([0.0, 1.0, 2.0, 5.0]),
        st.integers(1, 10),
    ),
    min_size=1,
    max_size=MAX_GATES,
    unique=True,
).map(lambda gates: tuple(sorted(gates, key=lambda gate: (gate.at_least, gate.hold, gate.below))))


@given(gate_sets, st.lists(st.tuples(st.sampled_from([0.5, 1.0, 2.0]), rates), max_size=40))
def test_a_gate_is_never_open_early_and_never_late_by_more_than_the_lower_holds(
    gates: tuple[RateGate, ...], steps: list[tuple[float, int]]
) -> None:
    now = 0.0
    samples: list[tuple[float, int]] = []
    for gap, rate in steps:
        now += gap
        samples.append((now, rate))
    for place, opened in enumerate(run(gates, samples)):
        for index, gate in enumerate(gates):
            held = _held(samples[: place + 1], gate.at_least)
            is_open = bool(opened >> index & 1)
            if samples[place][1] < gate.below:
                assert not is_open
            if is_open:
                assert any(
                    _held(samples[: p + 1], gate.at_least) >= held_long_enough(gate.hold)
                    for p in range(place + 1)
                )
            late = sum(lower.hold for lower in gates[:index]) + max(gap for gap, _ in steps) * (index + 1)
            if held >= gate.hold + late:
                assert is_open


def _held(samples: Samples, at_least: int) -> float:
    """Seconds for which the rate has been at least this; -1 when it is below now."""
    start = None
    for now, rate in samples:
        start = None if rate < at_least else (now if start is None else start)
    return -1.0 if start is None else samples[-1][0] - start


QUARTER = RateGate(250_000, 0.0, 100_000, of_queue=True)


def test_thresholds_that_are_parts_of_a_queue_follow_the_queue() -> None:
    for queue_rate in (10 * M, 1000 * M):
        quarter = queue_rate // 4
        samples = [(0.0, quarter - 1), (1.0, quarter), (2.0, queue_rate // 10), (3.0, queue_rate // 10 - 1)]
        level, seen = 0, []
        for now, rate in samples:
            level, _ = advance(resolve((QUARTER,), queue_rate), level, 0.0, rate, now)
            seen.append(level & OPEN_GATES)
        assert seen == [0, 1, 1, 0]


def test_a_gate_keeps_its_number_whatever_its_place_among_the_thresholds_of_a_port() -> None:
    """A quarter of a queue is above or below 10 Mbit/s, by the queue."""
    gates = (TEN, QUARTER)
    for queue_rate, rate, expected in (
        (4 * M, 2 * M, 0b10),
        (400 * M, 20 * M, 0b01),
        (400 * M, 200 * M, 0b11),
    ):
        level, since = 0, 0.0
        for now in range(6):
            level, since = advance(resolve(gates, queue_rate), level, since, rate, float(now))
        assert level & OPEN_GATES == expected
