"""The model of HTB against cases worked out by hand; the kernel itself is asked in tests/mininet/test_shaping.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine.required import required

from flowlane.core.allocate.speeds import carried_rates
from flowlane.core.model import Queue
from flowlane.simulation.shaping import Rates, transmitted

MBIT = 1_000_000


@pytest.mark.parametrize(
    ("offered", "queues", "port", "sent"),
    [
        ([30, 30], [Rates(), Rates()], 100, [30, 30]),
        ([90, 90], [Rates(), Rates()], 100, [50, 50]),
        ([90, 20, 90], [Rates()] * 3, 100, [40, 20, 40]),
        ([90, 90], [Rates(highest=20 * MBIT), Rates()], 100, [20, 80]),
        ([90, 90], [Rates(60 * MBIT), Rates(20 * MBIT)], 100, [70, 30]),
        ([90, 90], [Rates(80 * MBIT), Rates(80 * MBIT)], 100, [50, 50]),
        ([5, 90], [Rates(60 * MBIT), Rates()], 100, [5, 90]),
        ([90, 90], [Rates(8 * MBIT), Rates(4 * MBIT)], 36, [24, 12]),
        ([0, 0], [Rates(), Rates(10 * MBIT)], 100, [0, 0]),
        ([], [], 100, []),
    ],
)
def test_guarantees_first_then_the_rest_by_quantum_up_to_the_maximum(
    offered: list[float], queues: list[Rates], port: float, sent: list[float]
) -> None:
    bits = transmitted([value * MBIT for value in offered], queues, port * MBIT)
    assert [value / MBIT for value in bits] == pytest.approx(sent, rel=0.01)


@pytest.mark.parametrize(
    "queues",
    [
        [Rates()] * 4,
        [Rates(highest=20 * MBIT), Rates(highest=80 * MBIT)],
        [Rates(20 * MBIT), Rates(60 * MBIT), Rates(16 * MBIT)],
        [Rates(20 * MBIT, 25 * MBIT), Rates(20 * MBIT), Rates(20 * MBIT)],
    ],
)
def test_the_allocator_expects_of_a_queue_what_it_gets_when_all_are_full(queues: list[Rates]) -> None:
    """Where quanta are equal; decision 0023 says why it does not follow unequal ones."""
    described = [
        Queue(number, min_rate=rates.lowest, max_rate=rates.highest) for number, rates in enumerate(queues)
    ]
    expected = required(carried_rates(described, 100 * MBIT))
    assert transmitted([1e9] * len(queues), queues, 100 * MBIT) == pytest.approx(expected, rel=1e-6)


RATES = st.builds(
    Rates, st.none() | st.integers(1, 50 * MBIT), st.none() | st.integers(60 * MBIT, 200 * MBIT)
)


@given(st.lists(st.tuples(st.floats(0, 3e8), RATES), min_size=1, max_size=8), st.floats(1e6, 4e8))
def test_nothing_is_made_up_and_nothing_is_left_idle(queues: list[tuple[float, Rates]], port: float) -> None:
    offered, rates = [offer for offer, _ in queues], [rate for _, rate in queues]
    sent = transmitted(offered, rates, port)
    wanted = [
        min(offer, port if rate.highest is None else rate.highest)
        for offer, rate in zip(offered, rates, strict=True)
    ]
    assert all(0 <= got <= want * (1 + 1e-9) for got, want in zip(sent, wanted, strict=True))
    assert sum(sent) == pytest.approx(min(port, sum(wanted)), rel=1e-6, abs=1)
