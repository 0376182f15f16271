"""How many queues each share has: by weight, the odd one by demand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.core.allocate.shares import apportion


@pytest.mark.parametrize(
    ("shares", "queues", "has_others", "expected"),
    [
        ((), 4, True, {-1: 4}),
        ((0.5, 0.25), 4, True, {0: 2, 1: 1, -1: 1}),
        ((0.5, 0.25), 4, False, {0: 2, 1: 1, -1: 1}),
        ((0.5, 0.5), 4, True, {0: 2, 1: 2}),
        ((5, 3, 2), 10, False, {0: 5, 1: 3, 2: 2}),
        ((0.5, 0.3, 0.2), 10, True, {0: 5, 1: 3, 2: 2}),
        ((3, 1), 10, True, {0: 6, 1: 2, -1: 2}),
        ((3, 1), 8, False, {0: 6, 1: 2}),
        ((0.9, 0.05), 4, True, {0: 2, 1: 1, -1: 1}),
        ((0.5, 0.3), 2, True, {-1: 2}),
        ((2, 1), 2, True, {0: 1, 1: 1}),
        ((2, 1, 1), 2, True, {-1: 2}),
    ],
)
def test_hardware_is_divided_by_weight(
    shares: tuple[float, ...], queues: int, has_others: bool, expected: dict[int, int]
) -> None:
    assert apportion(shares, queues, has_others) == expected


def test_the_odd_queue_goes_where_the_load_per_queue_is_highest() -> None:
    assert apportion((1, 1, 1), 4, False, {0: 5, 1: 9, 2: 8}) == {0: 1, 1: 2, 2: 1}
    assert apportion((3, 1), 5, False, {0: 9, 1: 9}) == {0: 3, 1: 2}
    assert apportion((3, 1), 5, False, {0: 90, 1: 9}) == {0: 4, 1: 1}
    assert apportion((5, 3, 2), 10, False, {0: 0, 1: 0, 2: 99}) == {0: 5, 1: 3, 2: 2}, "none is odd"


@given(
    st.lists(st.floats(0.01, 50), min_size=1, max_size=8),
    st.integers(1, 64),
    st.booleans(),
    st.dictionaries(st.integers(-1, 7), st.integers(0, 10**10)),
)
def test_a_part_is_exact_to_one_queue(
    shares: list[float], queues: int, has_others: bool, loads: dict[int, int]
) -> None:
    counts = apportion(shares, queues, has_others, loads)
    assert sum(counts.values()) == queues and min(counts.values()) >= 1
    if -1 in counts and len(counts) == 1:
        return
    total = sum(shares)
    rest = (1 - total if total <= 1 else 1.0) if -1 in counts else 0
    exact = {key: weight * queues / (total + rest) for key, weight in enumerate(shares)}
    if min(exact.values()) >= 1:
        assert all(abs(counts[key] - amount) < 1 + 1e-6 for key, amount in exact.items())
