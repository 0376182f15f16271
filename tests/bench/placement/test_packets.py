"""Packets through a queue, against formulas and cases worked out by hand."""

from math import inf, isfinite

import numpy as np
import pytest
from bench.placement.packets import BUFFER, QUANTUM, Packet, by_priority, fair, fifo, in_turn
from hypothesis import given
from hypothesis import strategies as st

SMALL, HEAVY, RATE = 12_000.0, 524_288.0, 1e8


def poisson(load: float, count: int, flows: int = 1) -> list[Packet]:
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.exponential(SMALL / (load * RATE), count))
    return [(float(time), number % flows, SMALL) for number, time in enumerate(times)]


@pytest.mark.parametrize("queue", [fifo, fair])
@pytest.mark.parametrize("load", [0.3, 0.7])
def test_the_mean_delay_of_small_packets_is_that_of_m_d_1(queue: object, load: float) -> None:
    assert callable(queue)
    delays = queue(poisson(load, 60_000, flows=50), RATE)
    service = SMALL / RATE
    assert np.mean(delays) == pytest.approx(service + load * service / (2 * (1 - load)), rel=0.05)


def test_a_fifo_lets_a_small_packet_wait_for_all_before_it_and_fair_queueing_for_one_segment() -> None:
    burst = [(0.0, 1, HEAVY)] * 10 + [(1e-6, 2, SMALL)]
    assert fifo(burst, RATE)[-1] == pytest.approx((10 * HEAVY + SMALL) / RATE, rel=1e-3)
    assert fair(burst, RATE)[-1] == pytest.approx((HEAVY + SMALL) / RATE, rel=1e-3)


def test_a_full_fifo_drops() -> None:
    delays = fifo([(0.0, 1, SMALL)] * 5, RATE, buffer=3 * SMALL)
    assert delays == pytest.approx([SMALL / RATE, 2 * SMALL / RATE, 3 * SMALL / RATE, inf, inf])


def test_two_full_flows_get_equal_parts_whatever_the_size_of_their_packets() -> None:
    packets = sorted([(0.0, 1, HEAVY)] * 20 + [(0.0, 2, SMALL)] * 800)
    delays = fair(packets, RATE)
    half = 10 * HEAVY
    until = 2 * half / RATE
    served = zip(packets, delays, strict=True)
    done = [bits for (_, flow, bits), delay in served if flow == 2 and delay <= until]
    assert sum(done) == pytest.approx(half, abs=HEAVY + QUANTUM)


PACKETS = st.lists(
    st.tuples(st.floats(0, 0.01), st.integers(0, 3), st.sampled_from([SMALL, HEAVY])), max_size=40
)


@given(PACKETS)
def test_both_are_busy_at_the_same_times(packets: list[Packet]) -> None:
    """What is served first does not change when the queue is empty, nor how much it has served."""
    ordered = sorted(packets)
    delays = fifo(ordered, RATE, inf), fair(ordered, RATE)
    ends = [[packet[0] + delay for packet, delay in zip(ordered, found, strict=True)] for found in delays]
    assert max(ends[0], default=0.0) == pytest.approx(max(ends[1], default=0.0))


def test_queues_on_one_link_take_turns_or_the_first_goes_before() -> None:
    mouse, elephant = 12_000.0, 120_000.0
    queues = [[(0.05, 0, mouse), (0.3, 0, mouse)], [(0.0, 1, elephant), (0.0, 1, elephant)]]
    turns, first = in_turn(queues, 1e6), by_priority(queues, 1e6)
    assert first[0] == pytest.approx([0.12 + 0.012 - 0.05, 0.012])
    assert first[1] == pytest.approx([0.12, 0.24 + 0.012]), "a packet that is being sent is sent to its end"
    assert turns[0][0] == pytest.approx(first[0][0]) and turns[0][1] == pytest.approx(0.012)
    alone = [[(0.0, 0, mouse)] * 3, []]
    for serve in (in_turn, by_priority):
        assert serve(alone, 1e6)[0] == pytest.approx([0.012, 0.024, 0.036]), "the whole link is lent"


def test_of_two_queues_that_always_have_packets_the_second_waits_for_the_first() -> None:
    queues = [[(0.0, 0, 12_000.0)] * 50, [(0.0, 1, 12_000.0)] * 50]
    first = by_priority(queues, 1e6)
    assert max(first[0]) < min(first[1])
    turns = in_turn(queues, 1e6)
    assert max(turns[0]) == pytest.approx(max(turns[1]), abs=0.05)


def test_a_full_queue_drops_its_own_packets_and_no_others() -> None:
    burst = BUFFER / 2
    queues = [[(0.001, 0, 12_000.0)], [(0.0, 1, burst)] * 5]
    for serve in (in_turn, by_priority):
        first, second = serve(queues, 1e9)
        assert isfinite(first[0]) and sum(isfinite(delay) for delay in second) == 2
