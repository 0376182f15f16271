"""Measures against figures worked out by hand, bounds against each other and against all assignments."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlane.simulation.measures import jain, lower_bound, lpt, optimum, over_bound


def test_grahams_example_where_longest_first_is_not_best() -> None:
    rates = [5, 5, 4, 4, 3, 3, 3]
    assert (lpt(rates, 3), optimum(rates, 3), lower_bound(rates, 3)) == (11, 9, 9)


def test_the_heaviest_flow_bounds_too() -> None:
    assert lower_bound([100, 1, 1], 3) == 100 == optimum([100, 1, 1], 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=7), st.integers(1, 3))
def test_the_optimum_is_the_least_of_all_assignments(rates: list[int], queues: int) -> None:
    def busiest(places: tuple[int, ...]) -> int:
        return max(sum(r for r, p in zip(rates, places, strict=True) if p == q) for q in range(queues))

    best = min(busiest(places) for places in product(range(queues), repeat=len(rates)))
    assert optimum(rates, queues) == best
    assert (
        lower_bound(rates, queues) <= best <= lpt(rates, queues) <= (4 / 3 - 1 / (3 * queues)) * best + 1e-9
    )


@pytest.mark.parametrize(
    ("values", "index"),
    [
        ([1, 1, 1, 1], 1.0),
        ([4, 0, 0, 0], 0.25),
        ([1, 3], 16 / 20),
        ([2, 2, 0], 2 / 3),
        ([0, 0], 1.0),
        ([], 1.0),
    ],
)
def test_jains_index(values: list[int], index: float) -> None:
    assert jain(values) == pytest.approx(index)


@pytest.mark.parametrize(
    ("loads", "heaviest", "ratio"),
    [
        ([5, 5], 1, 1.0),
        ([6, 4], 1, 1.2),
        ([8, 2], 8, 1.0),
        ([8, 2], 6, 8 / 6),
        ([0, 0], 0, 1.0),
        ([], 0, 1.0),
    ],
)
def test_the_busiest_queue_over_what_no_placement_can_beat(
    loads: list[int], heaviest: int, ratio: float
) -> None:
    assert over_bound(loads, heaviest) == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("loads", "heaviest", "speeds", "ratio"),
    [
        ([2, 8], 1, [2, 8], 1.0),
        ([8, 2], 1, [2, 8], 4.0),
        ([0, 8], 8, [2, 8], 1.0),
        ([3, 7], 9, [5, 5], 1.0),
    ],
)
def test_a_load_is_weighed_by_the_speed_of_its_queue(
    loads: list[float], heaviest: float, speeds: list[float], ratio: float
) -> None:
    assert over_bound(loads, heaviest, speeds) == pytest.approx(ratio)
