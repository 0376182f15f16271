"""News of a device is put off, and worked off once for all that came together."""

from __future__ import annotations

from support.engine.required import required
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.model import Capabilities, PortReport
from flowlane.core.state.device import Due


def plans(effects: list[fx.Effect]) -> list[fx.DevicePlan]:
    return [effect.plan for effect in effects if isinstance(effect, fx.Program)]


def caught_up(there: Scenario) -> list[fx.Effect]:
    effects: list[fx.Effect] = []
    while there.engine.is_behind:
        effects += there.engine.step(ev.CatchUp(), there.now)
    return effects


def test_a_thousand_ports_make_one_plan_and_one_request_for_queues() -> None:
    there = Scenario(caps=LEARNING)
    for number in range(1000):
        assert (
            there.engine.step(ev.PortChanged(DPID, PortReport(1000 + number, f"tap{number}")), there.now)
            == []
        )
    effects = caught_up(there)
    (plan,) = plans(effects)
    assert len(plan.ports) == 1009
    assert [effect for effect in effects if isinstance(effect, fx.ReadQueues)] == [fx.ReadQueues(DPID)]


def test_a_port_that_comes_and_goes_at_once_leaves_nothing() -> None:
    there = Scenario(caps=LEARNING)
    before = there.device.plan
    there.engine.step(ev.PortChanged(DPID, PortReport(50, "tap50")), there.now)
    there.engine.step(ev.PortRemoved(DPID, 50), there.now)
    assert plans(caught_up(there)) == []
    assert there.device.plan == before


def test_a_packet_with_a_new_source_address_makes_no_plan_by_itself() -> None:
    there = Scenario(caps=LEARNING)
    packets = [ev.FlowSeen(DPID, vm, there.frame(vm, 1000 + vm), UPLINK, 0) for vm in range(1, 9)]
    effects = [effect for packet in packets for effect in there.engine.step(packet, there.now)]
    assert plans(effects) == []
    assert there.engine.state.due == {DPID: Due.HOSTS}
    (plan,) = plans(caught_up(there))
    assert {port_no for _, port_no in plan.hosts} == set(range(1, 9))
    assert plan.rules is required(there.device.plan).rules, "nothing but the destinations was made anew"


def test_more_important_news_are_not_lost_behind_an_address() -> None:
    there = Scenario(caps=LEARNING)
    there.engine.step(ev.PortChanged(DPID, PortReport(50, "tap50")), there.now)
    there.engine.step(ev.FlowSeen(DPID, 1, there.frame(1, 1000), UPLINK, 0), there.now)
    (plan,) = plans(caught_up(there))
    assert {50} < {port.port_no for port in plan.ports}
    assert plan.hosts


def test_one_device_is_caught_up_with_at_a_time() -> None:
    there = Scenario(caps=LEARNING)
    other = DPID + 1
    there.engine.step(ev.DeviceUp(other, Capabilities(), (PortReport(1, "p1"),), {}), there.now)
    for dpid in (DPID, other):
        there.engine.step(ev.PortChanged(dpid, PortReport(50, "tap50")), there.now)
    first = plans(there.engine.step(ev.CatchUp(), there.now))
    second = plans(there.engine.step(ev.CatchUp(), there.now))
    assert ([plan.dpid for plan in first], [plan.dpid for plan in second]) == ([DPID], [other])
    assert not there.engine.is_behind


def test_nothing_to_catch_up_with_is_no_fault() -> None:
    there = Scenario(caps=LEARNING)
    assert there.engine.step(ev.CatchUp(), there.now) == []
