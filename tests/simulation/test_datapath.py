"""The simulated datapath: buckets, standing rules, meters, counters."""

from collections import Counter

import pytest
from support.engine.example_policies import spec

from flowlane.core.effects import DevicePlan, StandingMatch, StandingRule
from flowlane.core.model import MeterSpec, PinRef
from flowlane.simulation.datapath import Datapath, Sending, bucket, matches

PORT = 9
EVEN = ((0, 4), (1, 4), (2, 4), (3, 4))


def sending(rate: float, number: int = 0, queue_id: int = -1, meter_id: int = 0) -> Sending:
    flow = Sending(bytes([number]), spec("a", number, 80, rate), 1, b"", 7, number, rate)
    flow.queue_id, flow.meter_id = queue_id, meter_id
    return flow


def plan(*rules: StandingRule) -> DevicePlan:
    return DevicePlan(1, (), (), PORT, rules)


def test_buckets_follow_the_weights() -> None:
    assert [bucket(EVEN, value) for value in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]
    counts = Counter(bucket(((5, 1), (6, 3)), value) for value in range(16))
    assert counts == {5: 4, 6: 12}
    assert bucket((), 3) == -1


@pytest.mark.parametrize(
    ("match", "is_met"),
    [
        (StandingMatch(), True),
        (StandingMatch((7,), 0x0800, 6), True),
        (StandingMatch((8,)), False),
        (StandingMatch((), 0x86DD), False),
        (StandingMatch((), 0x0800, 17), False),
        (StandingMatch(src=(bytes((10, 0, 0, 0)), 8)), True),
        (StandingMatch(dst=(bytes((10, 0, 0, 0)), 8)), False),
        (StandingMatch(dst_ports=((1, 79), (80, 80))), True),
        (StandingMatch(dst_ports=((81, 90),)), False),
        (StandingMatch(dscp=46), False),
        (StandingMatch(vlan=5), False),
    ],
)
def test_standing_rules_match_on_fields(match: StandingMatch, is_met: bool) -> None:
    assert matches(match, spec("a", 0, 80, 1e6), 7) is is_met


def test_the_rule_of_highest_order_places_a_flow() -> None:
    datapath = Datapath(PORT)
    datapath.program(
        plan(
            StandingRule(0, StandingMatch(), PORT, "rest", EVEN),
            StandingRule(3, StandingMatch(dst_ports=((80, 80),), ip_proto=6), PORT, "web", ((2, 1),), 11),
            StandingRule(9, StandingMatch(), PORT + 1, "elsewhere", ((3, 1),)),
        )
    )
    flow = sending(1e6)
    datapath.place(flow, 0.0)
    assert (flow.queue_id, flow.meter_id) == (2, 11)


def test_bytes_are_those_of_the_queue_that_the_flow_was_on_at_the_time() -> None:
    datapath = Datapath(PORT)
    datapath.program(plan(StandingRule(0, StandingMatch(), PORT, "all", ((0, 1),))))
    flow = sending(8e6)
    datapath.flows[flow.key] = flow
    datapath.place(flow, 0.0)
    datapath.use_pin(flow, PinRef(1, 1), 1, 0, 0.25)
    second = datapath.end_second(1.0)
    assert second.by_queue == pytest.approx({0: 0.25e6, 1: 0.75e6})
    assert second.by_flow == pytest.approx({flow.key: 1e6})
    assert datapath.end_second(1.0).by_queue == {}


def test_counters_are_those_of_the_present_entry_as_of_the_last_dump() -> None:
    datapath = Datapath(PORT)
    flow = sending(8e6)
    datapath.flows[flow.key] = flow
    datapath.show_counters(0.5)
    datapath.settle(flow, 0.75)
    assert (flow.shown, flow.octets) == (0.5e6, 0.75e6)
    datapath.use_pin(flow, PinRef(1, 1), 1, 0, 1.0)
    assert (flow.shown, flow.octets) == (0, 0)
    datapath.use_pin(flow, PinRef(1, 1), 2, 0, 1.5)
    assert flow.octets == 0.5e6, "a pin whose actions change counts on"


def test_a_meter_passes_its_rate_and_its_burst_once() -> None:
    datapath = Datapath(PORT)
    datapath.meters[5] = MeterSpec(5, 2_000_000, 800_000)
    flows = [sending(6e6, 1, meter_id=5, queue_id=0), sending(2e6, 2, meter_id=5, queue_id=1)]
    for flow in flows:
        datapath.flows[flow.key] = flow
        datapath.recount(flow, 0.0)
    passed = [datapath.end_second(second + 1.0).by_queue for second in range(3)]
    assert sum(passed[0].values()) * 8 == pytest.approx(2_800_000)
    assert sum(passed[2].values()) * 8 == pytest.approx(2_000_000)
    assert passed[2][0] == pytest.approx(3 * passed[2][1])
