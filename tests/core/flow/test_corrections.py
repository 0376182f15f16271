"""New flows that the device put on a queue with too much are placed anew at once, within limits."""

from __future__ import annotations

from dataclasses import replace

from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.model import Reason
from flowlane.core.policy import Balance, Pins

STILL = Balance(interval=1e9)
RATE = 4_000_000


def uneven(pins: Pins | None = None, copy_rate: int = 1000) -> Scenario:
    """Four queues of 25 Mbit/s each; queue 0 carries four flows, the others one."""
    policy = small_policy(balance=STILL, rules=(), pins=pins or Pins(), copy_rate=copy_rate)
    scenario = Scenario(policy, caps=LEARNING)
    scenario.tick(6)
    for number, queue_id in enumerate((0, 0, 0, 0, 1, 2, 3)):
        scenario.flow(1, 1000 + number, queue_id=queue_id)
    flows = scenario.device.flows
    for second in range(1, 7):
        scenario.tick()
        items = tuple(
            ev.LearnedFlow(
                flows.keys[row] or b"", 1, UPLINK, 0x020000000001, flows.queue_id[row], 1, second * RATE // 8
            )
            for row in flows
        )
        scenario.do(ev.LearnedCounters(DPID, items))
    assert not scenario.pins
    return scenario


def test_a_new_flow_on_the_fullest_queue_goes_to_another_with_a_pin() -> None:
    scenario = uneven()
    row = scenario.flow(2, 1, queue_id=0)
    assert scenario.queue_of(row) != 0 and scenario.pins[row].queue_id == scenario.queue_of(row)
    assert scenario.device.flows.reason[row] == Reason.SHARED


def test_one_on_another_queue_stays_where_the_device_put_it() -> None:
    scenario = uneven()
    row = scenario.flow(2, 1, queue_id=1)
    assert scenario.queue_of(row) == 1 and not scenario.pins
    assert scenario.device.flows.reason[row] == Reason.DEVICE_CHOSE


def test_a_flow_that_only_a_reading_shows_stays_where_it_has_been_sending() -> None:
    """Its copy was lost; to move it now would be a move like any other, within the limits and reported."""
    scenario = uneven()
    flows = scenario.device.flows
    key = flows.keys[next(iter(flows))] or b""
    unseen = key[:8] + (99).to_bytes(2) + key[10:]
    found = ev.LearnedFlow(unseen, 1, UPLINK, 0x020000000001, 0, 1, 1000, seconds=1.0)
    scenario.do(ev.LearnedCounters(DPID, (found,)))
    row = next(row for row in flows if flows.keys[row] == unseen)
    assert scenario.queue_of(row) == 0 and not scenario.pins


def test_a_storm_is_left_to_the_device() -> None:
    """A part of the copies that the device may send in a second, and no more."""
    scenario = uneven(copy_rate=40)
    rows = [scenario.flow(2, number, queue_id=0) for number in range(200)]
    assert 0 < len(scenario.pins) <= 6
    assert scenario.queue_of(rows[-1]) == 0


def test_a_storm_that_lasts_is_left_to_the_device_also_later() -> None:
    """A hundred new flows a second, where six may be looked at: none but the first is placed anew."""
    scenario = uneven(copy_rate=40)
    for second in range(10):
        for number in range(100):
            scenario.flow(2, 100 * second + number, queue_id=0)
        scenario.tick()
    assert len(scenario.pins) <= 6
    scenario.tick(3)
    row = scenario.flow(3, 1, queue_id=0)
    assert scenario.queue_of(row) != 0, "after the storm flows are looked at again"


def test_half_of_the_pins_are_left_for_flows_that_need_them_more() -> None:
    scenario = uneven(Pins(budget=8))
    for number in range(100):
        scenario.flow(2, number, queue_id=0)
    assert len(scenario.pins) == 4


def test_where_next_to_nothing_is_sent_no_flow_is_touched() -> None:
    scenario = Scenario(small_policy(balance=STILL, rules=()), caps=LEARNING)
    scenario.tick(6)
    for number in range(6):
        scenario.flow(1, number, queue_id=0)
    assert not scenario.pins


def test_many_flows_of_which_nothing_is_known_are_spread_by_their_number() -> None:
    scenario = Scenario(small_policy(balance=STILL, rules=()), caps=LEARNING)
    scenario.tick(6)
    rows = [scenario.flow(1, number, queue_id=0) for number in range(40)]
    counts = [[scenario.queue_of(row) for row in rows].count(queue) for queue in range(4)]
    assert max(counts) <= 13


def test_a_device_that_does_not_learn_has_its_flows_placed_as_ever() -> None:
    scenario = Scenario(small_policy(balance=STILL, rules=()), caps=replace(LEARNING, learn=False))
    rows = [scenario.flow(1, number) for number in range(8)]
    assert len(scenario.pins) == len(rows)
