import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.core.flow.rates import band, grown, smooth


def test_a_counter_that_went_back_counts_from_zero() -> None:
    assert grown(1000, 1500) == 500
    assert grown(1000, 300) == 300


def test_the_first_reading_counts_whole_and_the_next_are_smoothed() -> None:
    rate = smooth(0.0, 250_000, 2.0, first=True)
    assert rate == 1_000_000
    assert 0 < smooth(rate, 0, 2.0, first=False) < 500_000


@given(st.floats(0, 1e10), st.integers(0, 10**10), st.floats(1.0, 60.0))
def test_smoothing_stays_between_the_old_and_the_measured_rate(
    rate: float, octets: int, seconds: float
) -> None:
    measured = octets * 8 / seconds
    low, high = sorted((rate, measured))
    assert low * 0.999 - 1 <= smooth(rate, octets, seconds, first=False) <= high * 1.001 + 1


@pytest.mark.parametrize(
    ("rate", "expected"), [(0, 0), (999, 0), (1000, 1), (3999, 1), (4000, 2), (15_999, 2), (16_000, 3)]
)
def test_bands_are_powers_of_four_from_one_kilobit(rate: int, expected: int) -> None:
    assert band(rate) == expected


def test_a_rate_at_an_edge_stays_in_its_band() -> None:
    assert band(4000, before=1) == 1
    assert band(5001, before=1) == 2
    assert band(3900, before=2) == 2
    assert band(3100, before=2) == 1
