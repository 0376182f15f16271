"""The bench of first packets: what is sent when, and what is made of the waits."""

from __future__ import annotations

from itertools import pairwise

import pytest
from bench.first_packet import results as bench
from bench.first_packet import traffic
from bench.first_packet.results import Taken


def begins(arrivals: str, rate: int = 100) -> tuple[list[tuple[float, int, int]], dict[int, float]]:
    due = traffic.schedule(traffic.Load(rate, 1.0, 3, arrivals), 500)
    assert due == sorted(due)
    return due, {number: when for when, number, packet in due if packet == 0}


@pytest.mark.parametrize("arrivals", ["even", "random"])
def test_every_flow_sends_all_of_its_packets_with_a_gap_between(arrivals: str) -> None:
    due, first = begins(arrivals)
    assert sorted(first) == list(range(500, 700))
    sent = {(number, packet): when for when, number, packet in due}
    assert len(sent) == 600
    for (number, packet), when in sent.items():
        assert when == pytest.approx(first[number] + packet * traffic.GAP)


def test_flows_that_arrive_evenly_are_a_period_apart() -> None:
    _, first = begins("even")
    times = [first[number] for number in sorted(first)]
    assert all(after - before == pytest.approx(0.01) for before, after in pairwise(times))


def test_flows_that_arrive_at_random_are_as_far_apart_as_chance_has_it() -> None:
    """The gaps of a Poisson process are exponential: 63.2 % of them are below their mean."""
    _, first = begins("random", rate=2000)
    times = [first[number] for number in sorted(first)]
    gaps = [after - before for before, after in pairwise(times)]
    assert sum(gap < 1 / 2000 for gap in gaps) / len(gaps) == pytest.approx(0.632, abs=0.03)


def test_a_packet_is_one_that_a_connection_tracker_takes() -> None:
    frame = traffic.frame(70_001, 2)
    assert traffic.checksum(frame[14:34]) == 0
    assert frame[42:47] == (70_001).to_bytes(4, "big") + b"\x02"


def test_frames_of_different_flows_differ_in_what_tells_flows_apart() -> None:
    keys = {traffic.frame(number, 0)[26:36] for number in (0, 1, 59_999, 60_000, 119_999)}
    assert len(keys) == 5


def turn(*waits: float) -> Taken:
    return bench.Taken(list(waits), len(waits))


def test_all_turns_count_together() -> None:
    mine = [turn(*[10.0] * 99, 50.0), turn(*[10.0] * 99, 90.0)]
    other = [turn(*[10.0] * 100)] * 2
    load = traffic.Load(100, 1.0, 3, "even")
    found = bench.result("Flowlane", load, mine, other, 1.0)
    assert (found.flows, found.lost, found.p50) == (200, 0, 10.0)
    assert found.p99 == 50.0
    assert found.ratio == 5.0


def test_what_has_not_arrived_is_lost() -> None:
    mine = [bench.Taken([10.0] * 7, 10)]
    assert bench.result("way", traffic.Load(1, 1.0, 1, "even"), mine, mine, 0.0).lost == 3


def test_the_interval_holds_the_ratio_and_is_wide_when_rounds_differ() -> None:
    calm = [turn(*[10.0] * 100) for _ in range(10)]
    wild = [turn(*[10.0 * (place + 1)] * 100) for place in range(10)]
    assert bench.interval(calm, calm) == (1.0, 1.0)
    low, high = bench.interval(wild, calm)
    assert low < bench.p99_ratio(wild, calm) <= high


def test_a_way_against_itself_is_one_whatever_rounds_are_drawn() -> None:
    wild = [turn(*[10.0 * (place + 1)] * 100) for place in range(10)]
    assert bench.interval(wild, wild) == (1.0, 1.0)
