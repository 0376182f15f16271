"""Bounds and solvers, against each other and against all possible assignments."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from flowlane.simulation.bounds import lower_bound, lpt, optimum


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
