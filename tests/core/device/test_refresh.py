"""News of a device is put off, and worked off once for all that came together."""

from __future__ import annotations

from typing import Any

import pytest
from support.engine.required import required
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device import refresh
from flowlane.core.device.plan import EVEN, make_plan
from flowlane.core.model import Capabilities, PortReport
from flowlane.core.state.device import Due


def plans(effects: list[fx.Effect]) -> list[fx.DevicePlan]:
    return [effect.plan for effect in effects if isinstance(effect, fx.Program)]


def caught_up(scenario: Scenario) -> list[fx.Effect]:
    effects: list[fx.Effect] = []
    while scenario.engine.is_behind:
        effects += scenario.engine.step(ev.CatchUp(), scenario.now)
    return effects


def test_a_thousand_ports_make_one_plan_and_one_request_for_queues() -> None:
    scenario = Scenario(caps=LEARNING)
    for number in range(1000):
        assert (
            scenario.engine.step(
                ev.PortChanged(DPID, PortReport(1000 + number, f"tap{number}")), scenario.now
            )
            == []
        )
    effects = caught_up(scenario)
    (plan,) = plans(effects)
    assert len(plan.ports) == 1009
    assert [effect for effect in effects if isinstance(effect, fx.ReadQueues)] == [fx.ReadQueues(DPID)]


def test_a_port_that_comes_and_goes_at_once_leaves_nothing() -> None:
    scenario = Scenario(caps=LEARNING)
    before = scenario.device.plan
    scenario.engine.step(ev.PortChanged(DPID, PortReport(50, "tap50")), scenario.now)
    scenario.engine.step(ev.PortRemoved(DPID, 50), scenario.now)
    assert plans(caught_up(scenario)) == []
    assert scenario.device.plan == before


def test_a_packet_with_a_new_source_address_makes_no_plan_by_itself() -> None:
    scenario = Scenario(caps=LEARNING)
    packets = [ev.FlowSeen(DPID, vm, scenario.frame(vm, 1000 + vm), UPLINK, 0) for vm in range(1, 9)]
    effects = [effect for packet in packets for effect in scenario.engine.step(packet, scenario.now)]
    assert plans(effects) == []
    assert scenario.engine.state.due == {DPID: Due.HOSTS}
    (plan,) = plans(caught_up(scenario))
    assert {port_no for _, port_no in plan.hosts} == set(range(1, 9))
    assert plan.rules is required(scenario.device.plan).rules, "nothing but the destinations was made anew"


def test_more_important_news_are_not_lost_behind_an_address() -> None:
    scenario = Scenario(caps=LEARNING)
    scenario.engine.step(ev.PortChanged(DPID, PortReport(50, "tap50")), scenario.now)
    scenario.engine.step(ev.FlowSeen(DPID, 1, scenario.frame(1, 1000), UPLINK, 0), scenario.now)
    (plan,) = plans(caught_up(scenario))
    assert {50} < {port.port_no for port in plan.ports}
    assert plan.hosts


def test_one_device_is_caught_up_with_at_a_time() -> None:
    scenario = Scenario(caps=LEARNING)
    other = DPID + 1
    scenario.engine.step(ev.DeviceUp(other, Capabilities(), (PortReport(1, "p1"),), {}), scenario.now)
    for dpid in (DPID, other):
        scenario.engine.step(ev.PortChanged(dpid, PortReport(50, "tap50")), scenario.now)
    first = plans(scenario.engine.step(ev.CatchUp(), scenario.now))
    second = plans(scenario.engine.step(ev.CatchUp(), scenario.now))
    assert ([plan.dpid for plan in first], [plan.dpid for plan in second]) == ([DPID], [other])
    assert not scenario.engine.is_behind


def test_nothing_to_catch_up_with_is_no_fault() -> None:
    scenario = Scenario(caps=LEARNING)
    assert scenario.engine.step(ev.CatchUp(), scenario.now) == []


def test_a_device_without_flows_has_its_plan_made_once_when_it_connects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario, made = Scenario(caps=LEARNING), []

    def counted(*args: Any) -> fx.DevicePlan:
        made.append(args)
        return make_plan(*args)

    monkeypatch.setattr(refresh, "make_plan", counted)
    ports = (PortReport(1, "tap1"), PortReport(UPLINK, "eth0"))
    up = ev.DeviceUp(DPID + 1, LEARNING, ports, {1: (0,), UPLINK: (0, 1)})
    out = scenario.engine.step(up, scenario.now)
    (plan,) = plans(out)
    assert len(made) == 1
    of_port = [rule.queues for rule in plan.rules if rule.egress_port == 1]
    assert of_port
    assert set(of_port) == {((0, EVEN),)}, "a single queue has the weight of one with most room"
