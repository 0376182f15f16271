"""How the bench judges what it has measured."""

import pytest
from bench.lab import latency as bench


def rounds_of(**times_ms: list[float]) -> list[dict[str, object]]:
    """One round of each placement; heavy flows got 4 and 6 Mbit/s."""
    return [
        {
            "placement": name.replace("_", " "),
            "latency_s": [value / 1000 for value in values],
            "heavy_bit_s": [] if name == "nothing_heavy" else [4e6, 6e6],
            "cpu_share": 0.5,
        }
        for name, values in times_ms.items()
    ]


def test_jain_is_one_for_equals_and_one_nth_for_one_that_has_all() -> None:
    assert bench.jain([3.0, 3.0, 3.0]) == pytest.approx(1)
    assert bench.jain([9.0, 0.0, 0.0]) == pytest.approx(1 / 3)


def test_quantiles_are_over_all_rounds_together() -> None:
    hundred = [float(value) for value in range(1, 101)]
    summary = bench.summarise(rounds_of(hash=hundred) + rounds_of(hash=[1000.0] * 100))
    assert (summary["hash"]["p50_ms"], summary["hash"]["p99_ms"]) == pytest.approx((1000, 1000))
    assert summary["hash"]["requests"] == 200
    assert summary["hash"]["heavy_mbit_s"] == pytest.approx(10)


def test_unanswered_requests_are_counted_as_lost_and_as_long() -> None:
    summary = bench.summarise(rounds_of(hash=[1.0] * 98 + [2000.0] * 2))
    assert summary["hash"]["lost"] == 2
    assert summary["hash"]["p99_ms"] == pytest.approx(2000)


def test_each_bar_is_reached_or_missed_by_itself() -> None:
    def said(**times: list[float]) -> list[bool]:
        return [
            line.endswith("reached") for line in bench.bars(bench.summarise(rounds_of(**times))).splitlines()
        ]

    good = {"nothing_heavy": [2.0], "one_queue": [80.0], "hash": [60.0], "flowlane": [3.0]}
    assert said(**good) == [True, True, True, True]
    assert said(**{**good, "nothing_heavy": [1.9]}) == [False, True, True, True]
    assert said(**{**good, "one_queue": [11.0]}) == [True, False, True, True]
    assert said(**{**good, "hash": [8.0]}) == [True, True, False, True]
