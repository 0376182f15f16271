"""The ways to place flows: yardsticks against hand-made cases, the product against what its datapath saw."""

from dataclasses import replace

import numpy as np
import pytest
from bench.placement import ways
from bench.placement.ways import ONE_CLASS, Second
from bench.placement.workloads import WEB, WORKLOADS, Flow, Workload, flows_of

from flowlane.core.flowkey import IPV4, TCP
from flowlane.simulation.flowspec import FlowSpec


def flow(number: int, rate: float, start: float = 0.0, end: float = 99.0) -> Flow:
    spec = FlowSpec("vm-0", IPV4, TCP, bytes((10, 0, 0, 1)), bytes((192, 0, 2, 1)), 1000 + number, WEB, 0.0)
    return Flow(spec, start, end, ((start, rate),), float("inf"))


def port(*queues: int) -> Workload:
    return Workload("", lambda _rng, _seconds: [], queues)


def test_bytes_are_counted_in_the_second_in_which_they_flow() -> None:
    half = flow(0, 8e6, start=0.5, end=2.25)
    assert ways.octets_by_second([half], 4)[0] == pytest.approx([5e5, 1e6, 2.5e5, 0.0])
    limited = half._replace(limit=4e6)
    assert ways.octets_by_second([limited], 4)[0] == pytest.approx([5e5, 5e5, 2.5e5, 0.0])


def test_lpt_with_equal_and_unequal_speeds() -> None:
    assert sorted(ways.lpt(np.array([5.0, 4.0, 1.0]), np.array([1.0, 1.0]))) == [0, 1, 1]
    assert list(ways.lpt(np.array([8.0, 2.0]), np.array([2.0, 8.0]))) == [1, 0]


def test_a_yardstick_that_measures_acts_after_the_first_reading_and_no_sooner() -> None:
    flows = [flow(number, 8e6) for number in range(16)]
    seconds = ways.measured_lpt(port(1, 1), flows, 6)
    unmoved = ways.ways({})["hash"](port(1, 1), flows, 6)
    assert seconds[0].over_bound == unmoved[0].over_bound > 1.0
    assert [second.over_bound for second in seconds[2:]] == [1.0] * 4
    known = ways.knows_the_second(port(1, 1), flows, 6)
    assert [second.over_bound for second in known] == [1.0] * 6


def test_a_flow_whose_rate_grows_is_measured_only_after_it_has() -> None:
    grows = flow(0, 1e5)._replace(steps=((0.0, 1e5), (5.0, 8e7)))
    flows = [grows, *(flow(number, 4e6) for number in range(1, 21))]
    late, known = (way(port(1, 1), flows, 12) for way in (ways.measured_lpt, ways.knows_the_second))
    assert late[5].over_bound > 1.3 > known[5].over_bound
    assert late[11].over_bound == pytest.approx(known[11].over_bound, abs=0.06)


@pytest.mark.parametrize("state", [False, True])
def test_the_product_moves_what_it_reports_with_one_class(state: bool) -> None:
    workload = WORKLOADS["zipf-1.0"]
    seconds = ways.product(ONE_CLASS, workload, flows_of(workload, 15, state, 1), 15)
    assert sum(second.moved for second in seconds) > 0
    assert sum(second.unreported for second in seconds) == 0
    assert all(second.over_bound >= 1 - 1e-9 and second.software < 1e-9 for second in seconds)


def test_the_first_second_of_the_product_is_that_of_the_hash_where_no_flow_is_placed_anew() -> None:
    """Without copies the controller sees no flow in its first second."""
    workload = WORKLOADS["web-search"]
    flows = flows_of(workload, 3, False, 2)
    mine = ways.product(f"{ONE_CLASS}copy-rate: 1\n", workload, flows, 3)
    other = ways.ways({})["hash"](workload, flows, 3)
    assert mine[0].over_bound == pytest.approx(other[0].over_bound)


def test_the_rules_of_a_workload_come_before_those_of_the_policy() -> None:
    workload = replace(WORKLOADS["limited"], software=0)
    flows = flows_of(workload, 12, False, 1)
    seconds = ways.product(ways.POLICIES["built-in"], workload, flows, 12)
    assert all(isinstance(second, Second) for second in seconds)
    assert seconds[0].over_bound < 3, "9 Gbit/s would be 7 times the bound"


def test_every_strategy_that_is_no_yardstick_is_a_way() -> None:
    assert {"least-loaded", "hash", "round-robin", "LPT, measured"} <= set(ways.ways({}))
