"""Flows that a device placed by itself: what its learned entries tell of them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from pytest import approx
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.events import LearnedFlow
from flowlane.core.flow.readings import GROUP_SIZE, Group
from flowlane.core.flowkey import IPV4, TCP, FlowParts, pack
from flowlane.core.model import NO_QUEUE, PortReport, Reason
from flowlane.core.policy import Balance, Match, Rule

STILL = Balance(interval=1e9)


def host() -> Scenario:
    return Scenario(small_policy(balance=STILL), caps=LEARNING)


def learned(
    there: Scenario, vm: int, sport: int, queue_id: int, octets: int = 0, dport: int = 80
) -> LearnedFlow:
    source, destination = ip_address(f"10.0.0.{vm}").packed, ip_address("10.0.0.254").packed
    number = there.device.port_vm[vm]
    key = pack(FlowParts(number, None, IPV4, TCP, sport, dport, source, destination))
    return ev.LearnedFlow(key, vm, UPLINK, 0x0200_0000_0000 + vm, queue_id, octets // 1000, octets)


def ended(flow: ev.LearnedFlow, *, idle: bool) -> ev.LearnedEnded:
    return ev.LearnedEnded(DPID, flow.key, flow.in_port, flow.egress_port, flow.eth_src, 3, 3000, idle)


def test_what_no_copy_told_is_learnt_from_the_counters() -> None:
    there = host()
    there.do(ev.LearnedCounters(DPID, (learned(there, 1, 1000, 2),)))
    row = there.row(1, 1000)
    assert (there.queue_of(row), there.device.flows.reason[row]) == (2, Reason.DEVICE_CHOSE)
    assert there.pins == {}


def test_a_flow_that_grows_heavy_is_found_and_gets_its_own_queue() -> None:
    there = host()
    row = there.flow(1, 1000, queue_id=2)
    octets = 0
    for _ in range(6):
        there.tick(2)
        octets += 20_000_000 // 8 * 2
        there.do(ev.LearnedCounters(DPID, (learned(there, 1, 1000, 2, octets),)))
    assert there.class_of(row) == "heavy"
    assert there.device.flows.reason[row] == Reason.EXCLUSIVE
    assert there.queue_of(row) == 2 or there.pins[row].queue_id == there.queue_of(row)


@pytest.mark.parametrize("gap", [0.95, 1.0, 1.05])
def test_a_heavy_flow_waits_for_its_hold_and_not_for_more(gap: float) -> None:
    there = host()
    row = there.flow(1, 1000, queue_id=2)
    there.now += gap
    there.do(ev.LearnedCounters(DPID, (learned(there, 1, 1000, 2, int(gap * 20_000_000 / 8)),)))
    assert there.class_of(row) == "small", "the policy asks for 2 s"
    there.now += gap
    there.do(ev.LearnedCounters(DPID, (learned(there, 1, 1000, 2, int(2 * gap * 20_000_000 / 8)),)))
    assert there.class_of(row) == "heavy"


def test_an_old_flow_that_becomes_heavy_is_measured_from_when_the_sum_of_its_group_rose() -> None:
    there = host()
    row = there.flow(1, 1000, queue_id=2)
    there.now += 1.0
    there.do(ev.LearnedCounters(DPID, (learned(there, 1, 1000, 2, 1000),)))
    begin, octets = there.now, 1000
    for _ in range(40):  # 20 s in which only the sum is read
        there.now += 0.5
        octets += 500
        there.do(ev.GroupsCounted(DPID, {0: octets}))
    steady = there.now
    for _ in range(3):
        there.now += 0.5
        octets += 1_250_000
        there.do(ev.GroupsCounted(DPID, {0: octets}))
        there.do(ev.LearnedCounters(DPID, (learned(there, 1, 1000, 2, octets),)))
    flows = there.device.flows
    assert flows.rate[row] == approx(20_000_000, rel=0.01), (
        "neither its mean since the last reading nor smoothed"
    )
    assert there.now - steady == approx(1.5)
    assert flows.counted_at[row] == there.now > begin
    assert flows.octets[row] == octets, "every byte counts once"


def test_a_flow_found_late_has_the_rate_of_its_entrys_whole_life() -> None:
    there = host()
    flow = learned(there, 1, 1000, 2, 20_000_000)._replace(seconds=40.0)
    there.do(ev.LearnedCounters(DPID, (flow,)))
    row = there.row(1, 1000)
    assert there.device.flows.rate[row] == 4_000_000
    assert there.device.flows.first_seen[row] == there.now - 40.0
    there.tick()
    there.do(ev.LearnedCounters(DPID, (flow._replace(octets=20_500_000),)))
    assert there.device.flows.rate[row] == approx(4_000_000)
    assert there.device.flows.octets[row] == 20_500_000


def test_flows_of_which_nothing_was_read_for_long_are_not_taken_for_ended() -> None:
    there = host()
    there.do(ev.LearnedCounters(DPID, (learned(there, 1, 1000, 2, 1000),)))
    there.device.readings.groups = {0: Group(entries=100_000, asked=there.now, read=there.now)}
    there.tick(40)
    assert len(there.device.flows) == 1, "its counters were not read since"
    there.device.readings.groups[0].read = there.now
    there.tick(10)
    assert len(there.device.flows) == 0


def polled(there: Scenario, seconds: float) -> list[fx.ReadCounters]:
    """What is requested in so many seconds; every reading ends at once with one entry."""
    found: list[fx.ReadCounters] = []
    for _ in range(round(seconds * 10)):
        there.now += 0.1
        requested = [effect for effect in there.do(ev.Poll()) if isinstance(effect, fx.ReadCounters)]
        for request in requested:
            for number in request.groups:
                there.do(ev.ReadingEnded(DPID, number, 1, 0.001))
        found += requested
    return found


def test_counters_are_requested_of_the_group_that_grows_twice_and_of_others_once_a_second() -> None:
    there = host()
    assert len(polled(there, 19.0)) == 2, "there is no flow"
    there.flow(1, 1000, queue_id=2)
    requests = polled(there, 4.0)
    assert 7 <= sum(request.groups == (0,) for request in requests) <= 9
    assert sum(request.others for request in requests) == 2
    assert not any(request.pins for request in requests)
    there.do(ev.DeviceDown(DPID))
    assert polled(there, 4.0) == []


def test_a_full_group_is_followed_by_the_next() -> None:
    there = host()
    there.flow(1, 1000, queue_id=2)
    polled(there, 1.0)
    assert there.do(ev.ReadingEnded(DPID, 0, GROUP_SIZE, 0.001)) == [fx.BeginGroup(DPID, 1, (0,))]
    polled(there, 4.0)
    requests = polled(there, 2.0)
    assert sum(1 in request.groups for request in requests) == approx(4, abs=1)
    assert sum(0 in request.groups for request in requests) == approx(2, abs=1)


def test_a_connection_goes_on_with_the_group_that_the_device_has() -> None:
    there = host()
    flow = learned(there, 1, 1000, 2)._replace(group=9)
    up = ev.DeviceUp(DPID, LEARNING, (), {}, learned=(flow,), group=7)
    assert not any(isinstance(effect, fx.BeginGroup) for effect in there.do(up))
    assert there.device.readings.present == 7
    assert there.device.readings.groups.keys() == {7, 9}


def test_an_idle_entry_ends_its_flow_and_a_deleted_one_does_not() -> None:
    there = host()
    there.flow(1, 1000, queue_id=2)
    flow = learned(there, 1, 1000, 2)
    there.do(ended(flow, idle=False))
    assert len(there.device.flows) == 1
    there.do(ended(flow, idle=True))
    assert len(there.device.flows) == 0


def test_the_entry_under_a_pin_ends_nothing() -> None:
    there = host()
    row = there.flow(1, 1000, dport=5000, queue_id=2)
    there.do(ended(learned(there, 1, 1000, 2, dport=5000), idle=True))
    assert row in there.pins
    assert len(there.device.flows) == 1


def test_queues_that_go_are_forgotten_after_the_new_plan_and_their_flows_placed_anew() -> None:
    there = host()
    rows = [there.flow(1, 1000 + n, queue_id=n % 4) for n in range(8)]
    out = there.do(ev.QueuesReported(DPID, {UPLINK: (0, 1)}))
    (program,) = [effect for effect in out if isinstance(effect, fx.Program)]
    forgets = [effect for effect in out if isinstance(effect, fx.DeleteLearned)]
    assert forgets == [fx.DeleteLearned(DPID, UPLINK)]
    assert out.index(program) < out.index(forgets[0])
    assert there.pins == {}
    for n, row in enumerate(rows):
        there.do(ev.FlowSeen(DPID, 1, there.frame(1, 1000 + n), UPLINK, n // 4))
        assert there.queue_of(row) == n // 4
    assert there.pins == {}


def test_a_controller_that_comes_back_takes_learned_flows_over_and_sends_no_pin() -> None:
    before = host()
    flows = tuple(learned(before, 1, 1000 + n, n % 4, 5000) for n in range(8))
    there = host()
    ports = [PortReport(n, f"pf0vf{n}") for n in range(1, 9)] + [PortReport(UPLINK, "pf0")]
    out = there.do(ev.DeviceUp(DPID, LEARNING, tuple(ports), {UPLINK: (0, 1, 2, 3)}, learned=flows))
    assert [there.queue_of(there.row(1, 1000 + n)) for n in range(8)] == [0, 1, 2, 3] * 2
    assert not [effect for effect in out if isinstance(effect, fx.PinFlow | fx.DeleteLearned)]


def test_what_a_reconnected_device_no_longer_knows_has_ended() -> None:
    there = host()
    there.flow(1, 1000, queue_id=2)
    there.connect(4, LEARNING)
    assert len(there.device.flows) == 0


def test_frames_of_nobody_and_of_other_ports_make_no_flow() -> None:
    there = host()
    flow = learned(there, 1, 1000, NO_QUEUE)
    there.do(ev.LearnedCounters(DPID, (flow._replace(in_port=UPLINK), flow._replace(in_port=77))))
    assert len(there.device.flows) == 0


TRACKING = replace(LEARNING, conntrack=True)


def test_a_young_flow_ends_with_the_idle_timeout_for_no_entry_will_tell_of_it() -> None:
    there = Scenario(small_policy(balance=STILL), caps=TRACKING)
    assert there.plan.learn_after == 8
    there.flow(1, 1000, queue_id=2)
    there.tick(9)
    assert len(there.device.flows) == 1
    there.tick(12)
    assert len(there.device.flows) == 0


def test_a_flow_whose_entry_was_not_read_yet_is_not_taken_for_a_young_one_that_has_ended() -> None:
    there = Scenario(small_policy(balance=STILL), caps=TRACKING)
    there.flow(1, 1000, queue_id=2)
    there.do(ev.Poll())
    there.tick(30)
    assert len(there.device.flows) == 1, "no reading has come since it began"
    there.do(ev.Poll())
    there.do(ev.ReadingEnded(DPID, 0, 0, 0.001))
    there.tick(12)
    assert len(there.device.flows) == 0


def test_a_flow_that_has_its_entry_is_not_swept_before_its_word_could_be_lost() -> None:
    there = Scenario(small_policy(balance=STILL), caps=TRACKING)
    there.flow(1, 1000, queue_id=2)
    there.tick(2)
    there.do(ev.LearnedCounters(DPID, (learned(there, 1, 1000, 2, 9000),)))
    there.tick(12)
    assert len(there.device.flows) == 1


def test_a_young_flow_outlives_a_lost_connection() -> None:
    """The device has nothing that tells of it, and still carries it."""
    there = Scenario(small_policy(balance=STILL, track_above=0), caps=TRACKING)
    young = there.flow(1, 1000, queue_id=2)
    there.flow(2, 1000, queue_id=1)
    there.tick(2)
    there.do(ev.LearnedCounters(DPID, (learned(there, 2, 1000, 1, 9000),)))
    there.do(ev.DeviceDown(DPID))
    there.connect(4, TRACKING)
    assert list(there.device.flows) == [young]


def test_without_a_tracker_no_flow_is_young() -> None:
    there = host()
    there.flow(1, 1000, queue_id=2)
    there.tick(12)
    assert len(there.device.flows) == 1


def test_what_an_entry_counted_before_the_pin_came_is_not_missed_in_the_rate() -> None:
    """The pin counts from its own beginning: the time before it is no time without traffic."""
    there = Scenario(small_policy(balance=STILL), caps=LEARNING)
    row = there.flow(1, 1000, queue_id=2)
    for seconds in (2, 4, 6):
        there.tick(2)
        there.do(ev.LearnedCounters(DPID, (learned(there, 1, 1000, 2, seconds * 100_000),)))
    there.tick(1)
    there.do(ev.PolicyReplaced(small_policy(rules=(Rule("all", 0, Match(), 2),), balance=STILL)))
    assert row in there.pins
    there.tick(1)
    flows = there.device.flows
    there.do(ev.PinCounters(DPID, ((row, flows.generation[row], 100, 100_000),)))
    assert flows.rate[row] == approx(800_000, rel=0.01)
