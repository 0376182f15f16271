"""Limits that flows share: each VM has its meter before it sends, and of several devices one enforces a limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.engine.scenario import ABLE, DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device.limits import enforced_by, numbers
from flowlane.core.engine import Engine
from flowlane.core.explain import explain
from flowlane.core.model import LIMIT_BY_VM, UNRESOLVED_VM, Capabilities, PortFacts, PortReport
from flowlane.core.policy import LimitScope, Match, Policy, Rule, TrafficClass, VmSelector
from flowlane.core.state.device import Device

SLOW = TrafficClass("slow", 1, rate_limit=2_000_000, limit_scope=LimitScope.VM)


def policy(slow: TrafficClass = SLOW, match: Match | None = None) -> Policy:
    rules = (Rule("slow", 0, match or Match(dst_ports=((22, 22),)), 1),)
    return small_policy(classes=(TrafficClass("small", 0), slow), rules=rules, gates=())


def of_vms(scenario: Scenario) -> dict[str, int]:
    """VM -> its meter in the plan."""
    vms = scenario.engine.state.vms
    return {vms[number].id: meter_id for _, number, meter_id in scenario.plan.vm_meters}


# ---- a meter for each VM


def test_each_vm_has_a_meter_before_any_flow_comes() -> None:
    scenario = Scenario(policy(), caps=LEARNING)
    limit = numbers(scenario.device.policy)["slow"]
    assert limit >= LIMIT_BY_VM
    named = {(rule.class_name, rule.meter_id) for rule in scenario.plan.rules}
    assert named == {("small", 0), ("slow", limit)}
    assert set(of_vms(scenario)) == {f"vm{n}" for n in range(1, 9)}
    assert len(set(of_vms(scenario).values())) == 8, "each has its own"
    assert {meter.meter_id for meter in scenario.plan.meters} == set(of_vms(scenario).values())


def test_only_vms_that_a_rule_may_put_into_the_class_have_one() -> None:
    scenario = Scenario(policy(match=Match(vms=VmSelector(("vm1", "vm2")))), caps=LEARNING)
    assert set(of_vms(scenario)) == {"vm1", "vm2"}


def test_a_flow_that_the_device_put_under_the_meter_of_its_vm_needs_no_pin() -> None:
    scenario = Scenario(policy(), caps=LEARNING)
    row = scenario.flow(1, 1000, 22, queue_id=2, meter_id=numbers(scenario.device.policy)["slow"])
    assert scenario.device.flows.meter_id[row] == of_vms(scenario)["vm1"]
    assert scenario.pins == {}
    other = scenario.flow(1, 1001, 22, queue_id=2)
    assert scenario.pins[other].meter_id == of_vms(scenario)["vm1"], "one that it did not, by its pin"


def test_a_vm_that_comes_gets_a_meter_and_one_that_goes_gives_it_back() -> None:
    scenario = Scenario(policy(), vms=2, caps=LEARNING)
    before = of_vms(scenario)
    scenario.vms = 3
    scenario.describe(4)
    scenario.do(ev.PortChanged(DPID, PortReport(3, "pf0vf3")))
    assert of_vms(scenario) == before | {"vm3": of_vms(scenario)["vm3"]}
    scenario.do(ev.PortRemoved(DPID, 3))
    assert of_vms(scenario) == before
    assert len(scenario.device.meters) == 2


def test_a_limit_that_ends_leaves_no_meter() -> None:
    scenario = Scenario(policy(), caps=LEARNING)
    row = scenario.flow(1, 1000, 22, queue_id=2, meter_id=numbers(scenario.device.policy)["slow"])
    scenario.do(ev.PolicyReplaced(policy(replace(SLOW, rate_limit=None))))
    assert (scenario.plan.meters, scenario.plan.vm_meters, dict(scenario.device.meters)) == ((), (), {})
    assert scenario.device.flows.meter_id[row] == 0


def test_a_vm_keeps_the_id_of_its_meter_over_a_restart_in_which_vms_come_in_another_order() -> None:
    many = replace(LEARNING, max_meters=100_000)
    first, second = Scenario(policy(), caps=many), Scenario(policy(), vms=1, caps=many)
    second.vms = 8
    second.describe(4)
    for number in range(8, 1, -1):
        second.do(ev.PortChanged(DPID, PortReport(number, f"pf0vf{number}")))
    assert of_vms(first) == of_vms(second)


def test_with_few_meters_some_vms_are_limited_from_their_pins_on_and_listed() -> None:
    scenario = Scenario(policy(), caps=replace(LEARNING, max_meters=4))
    with_meter = of_vms(scenario)
    assert len(with_meter) == 3, "a quarter is left to flows"
    (left,) = scenario.device.left_out
    assert left.what.startswith("limit of class slow from the first packet on, for ")
    assert left.what.endswith(" and 2 more VMs")
    number = next(number for number in range(1, 9) if f"vm{number}" not in with_meter)
    row = scenario.flow(number, 1000, 22, queue_id=2, meter_id=numbers(scenario.device.policy)["slow"])
    assert scenario.pins[row].meter_id not in {0, *with_meter.values()}


def test_a_vm_gets_a_meter_that_stands_with_the_rules_when_there_are_enough() -> None:
    scenario = Scenario(policy(), vms=5, caps=replace(LEARNING, max_meters=4))
    with_meter = of_vms(scenario)
    number = next(number for number in range(1, 6) if f"vm{number}" not in with_meter)
    row = scenario.flow(number, 1000, 22, queue_id=2)
    of_pin = scenario.pins[row].meter_id
    gone = [int(name.removeprefix("vm")) for name in with_meter][:2]
    for port_no in gone:
        scenario.do(ev.PortRemoved(DPID, port_no))
    scenario.tick()
    assert set(of_vms(scenario)) == {f"vm{n}" for n in range(1, 6)} - {f"vm{n}" for n in gone}
    assert scenario.pins[row].meter_id == of_vms(scenario)[f"vm{number}"] != of_pin
    assert scenario.meters == {}, "the meter of its pin is gone"
    assert scenario.device.left_out == ()


# ---- on several devices

INT, EX, TOR = 1, 2, 3
MAC = 0x020000000001
FRAME = (
    bytes.fromhex("020000000099020000000001")
    + bytes.fromhex("0800450000200000000040110000")
    + bytes((10, 0, 0, 1, 10, 0, 0, 9))
    + bytes.fromhex("03e90016000c0000")
    + bytes(20)
)


def patch(name: str, peer: str) -> PortFacts:
    return PortFacts(name, interface_type="patch", options={"peer": peer}, port=name)


VM_PORT = PortFacts("a", {"iface-id": "a", "attached-mac": "02:00:00:00:00:01"}, port="a")
OUT = PortFacts("eth0", {"flowlane-port": "uplink"}, port="eth0")
NETWORK = {
    INT: {1: VM_PORT, 9: patch("int-ex", "ex-int")},
    EX: {8: patch("ex-int", "int-ex"), 9: patch("ex-tor", "tor-ex")},
    TOR: {8: patch("tor-ex", "ex-tor"), 10: OUT},
}
UDP_22 = Match(protocols=(17,))


class Chain:
    """br-int with a VM, br-ex, and br-tor with the uplink, one behind the other."""

    def __init__(self, scope: LimitScope, **meters: int) -> None:
        self.engine = Engine(policy(replace(SLOW, limit_scope=scope), UDP_22))
        self.caps = {
            dpid: replace(LEARNING, normal=True, max_meters=meters.get(name, 10))
            for dpid, name in ((INT, "int"), (EX, "ex"), (TOR, "tor"))
        }
        for dpid, facts in NETWORK.items():
            self.do(ev.DeviceDescribed(dpid, f"br-{dpid}", "nic", {}, "system", facts))
        for dpid in NETWORK:
            self.connect(dpid)

    def connect(self, dpid: int, caps: Capabilities | None = None) -> list[fx.Effect]:
        reports = tuple(PortReport(number, port.name) for number, port in NETWORK[dpid].items())
        return self.do(ev.DeviceUp(dpid, caps or self.caps[dpid], reports, {}))

    def do(self, event: ev.Event) -> list[fx.Effect]:
        return self.engine.step_and_catch_up(event, 10.0)

    def device(self, dpid: int) -> Device:
        return self.engine.devices[dpid]

    def send(self) -> None:
        for dpid, facts in NETWORK.items():
            self.do(ev.FlowSeen(dpid, min(facts), FRAME, max(facts)))

    def limited(self) -> list[int]:
        """The devices on which the flow is under a meter."""
        devices = self.engine.devices.values()
        return [device.dpid for device in devices for row in device.flows if device.flows.meter_id[row]]


@pytest.mark.parametrize("scope", LimitScope)
def test_a_limit_is_enforced_once_on_the_device_nearest_to_the_vm(scope: LimitScope) -> None:
    chain = Chain(scope)
    chain.send()
    assert [len(device.flows) for device in chain.engine.devices.values()] == [1, 1, 1]
    assert chain.limited() == [INT]
    for dpid in (EX, TOR):
        plan = chain.device(dpid).plan
        assert plan is not None
        vms = {number for _, number, _ in plan.vm_meters} - {UNRESOLVED_VM}
        assert vms == set(), "nor by its standing rules"
        assert all(rule.meter_id in (0, numbers(chain.device(dpid).policy)["slow"]) for rule in plan.rules)


@pytest.mark.parametrize("scope", LimitScope)
def test_where_the_nearest_device_has_no_meters_the_next_one_enforces_it(scope: LimitScope) -> None:
    chain = Chain(scope, int=0)
    chain.send()
    assert chain.limited() == [EX]
    far = Chain(scope, int=0, ex=0)
    far.send()
    assert far.limited() == [TOR]


@pytest.mark.parametrize("scope", LimitScope)
def test_when_the_nearest_device_is_gone_the_next_one_takes_over_and_gives_back(scope: LimitScope) -> None:
    chain = Chain(scope)
    chain.send()
    chain.do(ev.DeviceDown(INT))
    assert set(chain.limited()) == {INT, EX}, "what stands in a device without a connection stays"
    chain.connect(INT)
    chain.do(ev.FlowSeen(INT, 1, FRAME, 9))
    assert chain.limited() == [INT]


def test_a_device_without_a_meter_for_the_flow_leaves_it_to_the_next() -> None:
    chain = Chain(LimitScope.FLOW, int=1)
    other = FRAME.replace(bytes((10, 0, 0, 9)), bytes((10, 0, 0, 8)))
    chain.do(ev.FlowSeen(INT, 1, other, 9))
    chain.send()
    assert chain.limited() == [INT, EX], "the other flow on br-int, this one on br-ex"


def test_an_explanation_names_the_device_that_enforces_the_limit() -> None:
    chain = Chain(LimitScope.VM)
    chain.send()
    state = chain.engine.state
    meters = [explain(state, device, row).meter for device in state.devices.values() for row in device.flows]
    assert meters[0].endswith("holds it to 2Mbit/s of layer-2 bytes")
    enforced = "its class is limited to 2Mbit/s, which br-1 enforces: it is nearer to the VM"
    assert meters[1:] == [enforced] * 2


def test_what_is_not_behind_a_link_is_enforced_here() -> None:
    scenario = Scenario(policy(), caps=ABLE)
    row = scenario.flow(1, 1000, 22, queue_id=0)
    number = scenario.device.flows.vm_number[row]
    assert enforced_by(scenario.engine.state, scenario.device, number, "slow") is None
    assert scenario.device.flows.egress_port[row] == UPLINK


def test_where_the_vm_of_a_class_is_limited_elsewhere_the_others_still_share_the_meter() -> None:
    chain = Chain(LimitScope.CLASS)
    facts: dict[int, Any] = {**NETWORK[EX], 3: PortFacts("b", {"iface-id": "b"}, port="b")}
    chain.do(ev.DeviceDescribed(EX, "br-2", "nic", {}, "system", facts))
    chain.do(ev.PortChanged(EX, PortReport(3, "b")))
    plan, device = chain.device(EX).plan, chain.device(EX)
    assert plan is not None
    assert {number for _, number, _ in plan.vm_meters} == {device.port_vm[3], UNRESOLVED_VM}
    assert {meter_id for _, _, meter_id in plan.vm_meters} == set(device.meters)


def test_a_limited_flow_of_a_vm_that_turns_out_to_have_two_nics_keeps_its_meter() -> None:
    """The number of its meter is free for a moment, and the device has the meter all the time."""
    slow = TrafficClass("slow", 1, rate_limit=2_000_000)
    host = Scenario(policy(slow, Match()))
    rows = [host.flow(vm, 1000) for vm in (1, 2)]
    before, meters = [host.pins[row].meter_id for row in rows], dict(host.meters)
    assert len(set(before)) == 2
    host.meter_writes.clear()
    host.describe(4, ids={vm: {"iface-id": f"vm{vm}", "vm-uuid": "one"} for vm in (1, 2)})
    first = min(host.device.port_vm[vm] for vm in (1, 2))
    assert [host.device.limit_owner(host.device.port_vm[vm]) for vm in (1, 2)] == [first, first]
    assert [host.device.flows.meter_id[row] for row in rows] == before
    assert (host.meters, host.meter_writes) == (meters, {})
