"""Pins by hand: they hold against rebalances and classes, expire, and are refused where they cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.scenario import ABLE, DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.explain import explain
from flowlane.core.flow import manual
from flowlane.core.flow.pins import Worth
from flowlane.core.model import NO_PORT, Admission, ManualPin, Reason
from flowlane.core.policy import Balance, Pins
from flowlane.core.state.flows import REFUSED

MBIT = 1_000_000
QUICK = small_policy(balance=Balance(moves_per_second=10.0, window=1.0))


def key_of(scenario: Scenario, row: int) -> bytes:
    key = scenario.device.flows.keys[row]
    assert key is not None
    return key


def pin(scenario: Scenario, row: int, queue_id: int, lifetime: float = 60.0) -> None:
    scenario.do(ev.FlowPinned(DPID, key_of(scenario, row), queue_id, lifetime))


def changes(scenario: Scenario, kind: str = "assignment") -> list[object]:
    return [report.data["change"] for report in scenario.reports if report.kind == kind]


@pytest.mark.parametrize("capabilities", [ABLE, LEARNING], ids=["all pinned", "learning"])
def test_a_pin_holds_against_rebalances_and_ends_with_its_lifetime(capabilities: object) -> None:
    scenario = Scenario(QUICK, caps=capabilities)  # type: ignore[arg-type]
    rows = [scenario.flow(1 + n % 4, n, queue_id=n % 4) for n in range(12)]
    # Three flows that send on one queue would be spread over the others.
    together = rows[:3]
    for row in together:
        pin(scenario, row, 0)
    scenario.send(dict.fromkeys(rows, MBIT), 20)
    assert [scenario.queue_of(row) for row in together] == [0, 0, 0]
    assert [scenario.pins[row].queue_id for row in together] == [0, 0, 0]
    assert {scenario.device.flows.reason[row] for row in together} == {Reason.PINNED_BY_HAND}
    why = explain(scenario.engine.state, scenario.device, rows[0])
    assert "an operator pinned it" in why.reason
    assert any("the end of its pin by hand" in text for text in why.would_change)
    scenario.send(dict.fromkeys(rows, MBIT), 60)
    assert not scenario.device.manual_pins
    reported = [text for text in changes(scenario) if text in ("pinned", "expired")]
    assert reported == ["pinned"] * 3 + ["expired"] * 3
    after = {scenario.device.flows.reason[row] for row in rows}
    assert after.isdisjoint((Reason.PINNED_BY_HAND, Reason.ADOPTED)), "nothing was found at a start"


def test_a_pin_comes_before_the_class_and_after_it_the_class_has_its_way() -> None:
    scenario = Scenario(QUICK)
    heavy, small = scenario.flow(1, 1), scenario.flow(2, 2)
    pin(scenario, heavy, scenario.queue_of(small))
    scenario.send({heavy: 20 * MBIT, small: MBIT}, 20)
    assert scenario.class_of(heavy) == "heavy"
    assert scenario.queue_of(heavy) == scenario.device.manual_pins[key_of(scenario, heavy)].queue_id
    scenario.do(ev.FlowReleased(DPID, key_of(scenario, heavy)))
    scenario.send({heavy: 20 * MBIT, small: MBIT}, 10)
    assert scenario.device.flows.reason[heavy] == Reason.EXCLUSIVE
    assert scenario.queue_of(heavy) != scenario.queue_of(small)


def test_a_limited_flow_keeps_its_meter_under_a_pin() -> None:
    scenario = Scenario(QUICK)
    row = scenario.flow(1, 1, 5000)
    meter = scenario.pins[row].meter_id
    assert meter
    pin(scenario, row, (scenario.queue_of(row) + 1) % 4)
    assert (scenario.pins[row].meter_id, scenario.pins[row].queue_id) == (meter, scenario.queue_of(row))


def test_a_flow_that_begins_again_is_on_its_queue_again() -> None:
    scenario = Scenario(QUICK)
    row = scenario.flow(1, 1)
    target = (scenario.queue_of(row) + 2) % 4
    pin(scenario, row, target)
    key = key_of(scenario, row)
    scenario.end(row)
    assert not manual.is_in_force(scenario.device, key)
    again = scenario.flow(1, 1)
    assert scenario.queue_of(again) == target and manual.is_in_force(scenario.device, key)


def test_pins_survive_a_new_policy_and_a_reconnection() -> None:
    scenario = Scenario(QUICK)
    rows = [scenario.flow(1, n) for n in range(8)]
    for row in rows:
        pin(scenario, row, 3)
    scenario.do(ev.PolicyReplaced(replace(QUICK, balance=Balance("round-robin"))))
    assert [scenario.queue_of(row) for row in rows] == [3] * 8
    found = tuple(
        ev.FoundPin(p.ref, p.key, p.in_port, p.egress_port, p.queue_id, p.meter_id, 1, 100)
        for p in scenario.pins.values()
    )
    scenario.do(ev.DeviceDown(DPID))
    scenario.connect(4, pins=found)
    scenario.tick(10)
    assert [scenario.queue_of(row) for row in rows] == [3] * 8
    assert len(scenario.device.manual_pins) == 8


def test_pins_end_with_their_queue_and_when_it_is_drained() -> None:
    scenario = Scenario(QUICK)
    gone, drained, kept = (scenario.flow(1, n) for n in range(3))
    for row, queue_id in ((gone, 3), (drained, 2), (kept, 1)):
        pin(scenario, row, queue_id)
    scenario.do(ev.QueueCordoned(DPID, UPLINK, 1, Admission.CORDONED))
    scenario.do(ev.QueueCordoned(DPID, UPLINK, 2, Admission.DRAINING))
    scenario.describe(3)
    scenario.do(ev.QueuesReported(DPID, {UPLINK: (0, 1, 2)}))
    scenario.tick(5)
    assert [scenario.queue_of(row) for row in (gone, drained, kept)] == [0, 0, 1]
    assert sorted(scenario.device.manual_pins) == [key_of(scenario, kept)]
    assert {"queue gone", "queue drained"} < set(changes(scenario))


def test_a_pin_is_never_evicted_and_refused_where_there_is_no_room() -> None:
    scenario = Scenario(small_policy(pins=Pins(budget=2, idle_timeout=10)), caps=LEARNING)
    by_hand = [scenario.flow(1, n, queue_id=0) for n in range(3)]
    for row in by_hand:
        pin(scenario, row, 0)
    assert sorted(scenario.pins) == by_hand[:2], "also where the device has it on the queue anyway"
    assert set(scenario.device.pins_by_worth[Worth.BY_HAND]) == set(by_hand[:2])
    assert "has no room" in scenario.reports[-1].text and scenario.reports[-1].kind == "error"
    limited = scenario.flow(2, 9, 5000, queue_id=1)
    assert limited not in scenario.pins and sorted(scenario.pins) == by_hand[:2]


def test_what_is_in_the_way_of_a_pin() -> None:
    scenario = Scenario()
    row = scenario.flow(1, 1)
    device = scenario.device
    assert manual.obstacle(device, row, 3) is None
    no_queue = manual.obstacle(device, row, 9)
    assert no_queue is not None and no_queue.is_queue
    assert no_queue.why == "port pf0 of br-int has no queue 9; its queues: 0, 1, 2, 3"
    scenario.do(ev.QueueCordoned(DPID, UPLINK, 3, Admission.CORDONED))
    assert "queue 3 of pf0 is cordoned" in str(manual.obstacle(device, row, 3))
    scenario.do(ev.DeviceDown(DPID))
    assert "is not connected" in str(manual.obstacle(device, row, 1))


def test_what_is_not_there_is_neither_pinned_nor_released() -> None:
    scenario = Scenario()
    row = scenario.flow(1, 1)
    key, before = key_of(scenario, row), len(scenario.reports)
    scenario.do(ev.FlowPinned(DPID + 1, key, 0, 60.0))
    scenario.do(ev.FlowPinned(DPID, bytes(len(key)), 0, 60.0))
    scenario.do(ev.FlowReleased(DPID + 1, key))
    scenario.do(ev.FlowReleased(DPID, key))
    assert not scenario.device.manual_pins
    assert len(scenario.reports) == before
    assert scenario.engine.state.pins_ahead == {
        DPID + 1: {},
        DPID: {bytes(len(key)): ManualPin(NO_PORT, 0, 100.0, 160.0)},
    }
    scenario.tick(60)
    assert not any(scenario.engine.state.pins_ahead.values())
    scenario.device.flows.egress_port[row] = 999
    assert "by which one port" in str(manual.obstacle(scenario.device, row, 0))


def test_a_flow_whose_entry_was_refused_is_not_pinned_and_says_so() -> None:
    scenario = Scenario(caps=LEARNING)
    row = scenario.flow(1, 1, queue_id=0)
    scenario.device.flows.flags[row] |= REFUSED
    assert "has refused an exact entry" in str(manual.obstacle(scenario.device, row, 1))
    pin(scenario, row, 1)
    assert not scenario.device.manual_pins
    assert "has refused" in scenario.reports[-1].text
