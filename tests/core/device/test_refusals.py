"""Refusals: the fallback for each kind of entry that a device refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.engine.scenario import DPID, LEARNING, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.device import refusals
from flowlane.core.effects import UnpinFlow
from flowlane.core.model import NO_QUEUE, Refusal
from flowlane.core.policy import Balance, LimitScope, Pins, TrafficClass
from flowlane.core.state.audit import RETRY
from flowlane.core.state.flows import PINNED, REFUSED

LIMITED = 5000
TABLE_FULL, NO_METER = Refusal.TABLE_FULL, Refusal.NO_SUCH_METER


def host(**pins: Any) -> Scenario:
    pins_of = Pins(idle_timeout=1000, **pins)
    return Scenario(small_policy(pins=pins_of, balance=Balance(interval=1e9)), caps=LEARNING)


def limited(scenario: Scenario, count: int, first: int = 1000) -> list[int]:
    return [scenario.flow(1, first + number, dport=LIMITED, queue_id=1) for number in range(count)]


def refuse_pin(scenario: Scenario, row: int, refusal: Refusal) -> None:
    scenario.pins.pop(row, None)
    scenario.do(ev.RuleRefused(DPID, "pin", refusal, f"<{refusal.name}>", scenario.device.flows.ref(row)))


def refuse_meter(scenario: Scenario, meter_id: int) -> None:
    """The device has neither the meter nor the pins that name it, which it refuses afterwards."""
    users = [row for row, pin in scenario.pins.items() if pin.meter_id == meter_id]
    for row in users:
        del scenario.pins[row]
    scenario.meters.pop(meter_id, None)
    scenario.do(ev.RuleRefused(DPID, "meter", Refusal.OTHER, "out of meters", meter_id=meter_id))
    for row in users:
        refuse_pin(scenario, row, NO_METER)


def end(scenario: Scenario, row: int) -> None:
    """The flow's pin idles out."""
    del scenario.pins[row]
    scenario.do(ev.PinEnded(DPID, scenario.device.flows.ref(row), 1, 100, idle=True))


def test_a_refused_meter_leaves_its_flow_without_a_limit_and_is_told() -> None:
    scenario = host()
    (row,) = limited(scenario, 1)
    refuse_meter(scenario, scenario.pins[row].meter_id)
    assert scenario.device.flows.meter_id[row] == 0
    assert scenario.device.meter_pool.specs == {}
    assert not scenario.device.flows.flags[row] & REFUSED
    assert all(pin.meter_id == 0 for pin in scenario.pins.values())
    assert [left.what for left in scenario.device.left_out] == ["limits of flows beyond 0 meters"]


def test_no_further_meter_is_asked_for_until_one_is_given_back() -> None:
    scenario = host()
    rows = limited(scenario, 3)
    refuse_meter(scenario, scenario.pins[rows[2]].meter_id)
    before = scenario.counts["SetMeter"]
    limited(scenario, 5, first=2000)
    assert scenario.counts["SetMeter"] == before
    assert len(scenario.device.meters) == 2
    end(scenario, rows[0])
    (row,) = limited(scenario, 1, first=3000)
    assert scenario.device.flows.meter_id[row]


def test_a_device_that_refused_a_meter_is_tried_again() -> None:
    """Others may have had the room for a while only."""
    scenario = host()
    rows = limited(scenario, 2)
    refused = scenario.pins.pop(rows[1]).meter_id
    del scenario.meters[refused]
    scenario.do(ev.RuleRefused(DPID, "meter", Refusal.OTHER, "out of meters", meter_id=refused))
    assert scenario.pins[rows[1]].meter_id == 0
    scenario.tick(int(RETRY) - 5)
    assert not scenario.device.flows.meter_id[rows[1]]
    scenario.tick(10)
    meter_id = scenario.device.flows.meter_id[rows[1]]
    assert meter_id
    assert scenario.pins[rows[1]].meter_id == meter_id
    assert meter_id in scenario.meters
    assert scenario.device.left_out == ()


def test_a_meter_of_a_class_is_tried_again() -> None:
    whole = TrafficClass("limited", 2, rate_limit=1_000_000, limit_scope=LimitScope.CLASS)
    policy = small_policy(pins=Pins(idle_timeout=1000), balance=Balance(interval=1e9))
    scenario = Scenario(replace(policy, classes=(*policy.classes[:2], whole)), caps=LEARNING)
    (meter_id,) = scenario.device.meter_pool.ids.values()
    refuse_meter(scenario, meter_id)
    scenario.tick(5)
    assert scenario.device.meters_left_out
    scenario.tick(int(RETRY))
    assert len(scenario.device.meter_pool.ids) == 1
    assert scenario.device.left_out == ()


def test_a_flow_whose_pin_was_refused_is_tried_again_and_the_old_pin_deleted() -> None:
    scenario = host()
    (row,) = limited(scenario, 1)
    ref = scenario.device.flows.ref(row)
    out = scenario.do(ev.RuleRefused(DPID, "pin", Refusal.OTHER, "<OTHER>", ref))
    assert [effect.ref for effect in out if isinstance(effect, UnpinFlow)] == [ref]
    assert row not in scenario.pins
    scenario.tick(int(RETRY) - 5)
    assert scenario.device.flows.flags[row] & REFUSED
    scenario.tick(10)
    assert scenario.pins[row].meter_id
    assert scenario.device.audit.refused_retry is None


def test_flows_whose_pins_were_refused_wait_until_a_full_table_is_tried_again() -> None:
    scenario = host()
    rows = limited(scenario, 2)
    refuse_pin(scenario, rows[0], Refusal.OTHER)
    scenario.now += RETRY / 2
    refuse_pin(scenario, rows[1], TABLE_FULL)
    scenario.now += RETRY / 2
    scenario.tick(2)
    assert not scenario.pins
    scenario.tick(int(RETRY))
    assert scenario.pins.keys() == set(rows)


def test_the_pins_of_a_full_table_are_its_budget_until_it_is_tried_again() -> None:
    scenario = host()
    small = [scenario.flow(1, 500 + number, dport=LIMITED, queue_id=1) for number in range(4)]
    refuse_pin(scenario, small[3], TABLE_FULL)
    assert (scenario.device.pinned, scenario.device.pin_budget) == (3, 3)
    assert any("(<TABLE_FULL>)" in left.why for left in scenario.device.left_out)
    before = scenario.counts["PinFlow"]
    limited(scenario, 20)
    assert scenario.counts["PinFlow"] == before
    assert all(
        scenario.device.flows.meter_id[row] == 0 for row in scenario.device.flows if row not in scenario.pins
    )
    scenario.tick(int(RETRY) + 1)
    assert scenario.device.pin_budget == scenario.device.policy.pins.budget
    assert scenario.counts["PinFlow"] == before + 21, (
        "those that got none meanwhile, and the one that was refused"
    )
    limited(scenario, 1, first=4000)
    assert scenario.counts["PinFlow"] == before + 22


def test_flows_that_got_no_pin_while_the_table_was_full_get_one_when_it_is_tried_again() -> None:
    """Their device put them on no queue meanwhile, and nothing about them is new any more."""
    scenario = host()
    (first,) = limited(scenario, 1)
    others = [scenario.flow(2, 2000 + number, queue_id=1) for number in range(3)]
    flows = scenario.device.flows
    refuse_pin(scenario, first, TABLE_FULL)
    queues = [flows.queue_id[row] for row in others]
    entries = [
        ev.LearnedFlow(key, flows.in_port[row], flows.egress_port[row], 0, NO_QUEUE, 5, 500)
        for row in others
        if (key := flows.keys[row]) is not None
    ]
    scenario.do(ev.LearnedCounters(DPID, tuple(entries)))
    assert not scenario.pins
    scenario.tick(int(RETRY) + 1)
    assert [flows.queue_id[row] for row in others] == queues
    assert {row: scenario.pins[row].queue_id for row in others} == dict(zip(others, queues, strict=True))


def test_a_table_that_was_full_is_filled_some_flows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST_AT_ONCE", 4)
    scenario = host()
    (first,) = limited(scenario, 1)
    refuse_pin(scenario, first, TABLE_FULL)
    rows = limited(scenario, 10, first=3000)
    assert not scenario.pins
    scenario.tick(int(RETRY) + 1)
    assert 4 <= len(scenario.pins) < 10
    scenario.tick(3)
    assert scenario.pins.keys() >= set(rows)
    assert scenario.device.pins_when_full is None


def test_in_a_full_table_what_is_worth_more_takes_the_place_of_what_is_worth_less() -> None:
    scenario = host()
    rows = limited(scenario, 2)
    refuse_pin(scenario, rows[1], TABLE_FULL)
    end(scenario, rows[0])
    assert scenario.device.pin_budget == 1
    (row,) = limited(scenario, 1, first=3000)
    assert scenario.device.flows.flags[row] & PINNED


def test_a_connection_makes_everything_new() -> None:
    scenario = host()
    rows = limited(scenario, 2)
    refuse_meter(scenario, scenario.pins[rows[0]].meter_id)
    refuse_pin(scenario, rows[1], TABLE_FULL)
    assert scenario.device.left_out
    scenario.do(ev.DeviceDown(DPID))
    scenario.connect(4, LEARNING)
    assert scenario.device.left_out == ()
    assert scenario.device.pin_budget == scenario.device.policy.pins.budget
    assert not scenario.device.meter_pool.is_full
