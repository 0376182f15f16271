"""Meters that a whole class shares: they stand with the rules, and limit flows that the controller never pins."""

from __future__ import annotations

from dataclasses import replace

from support.engine.required import required
from support.engine.scenario import ABLE, DPID, LEARNING, NO_PLAN, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.model import NO_PORT, Capabilities, PinRef
from flowlane.core.policy import LimitScope, Match, Pins, Policy, Rule, TrafficClass

BACKUP = TrafficClass("backup", 1, rate_limit=5_000_000, limit_scope=LimitScope.CLASS)
SINGLE = TrafficClass("single", 2, rate_limit=1_000_000)
CLASSES = (TrafficClass("small", 0), BACKUP, SINGLE)
RULES = (
    Rule("backup", 0, Match(dst_ports=((873, 873),)), 1),
    Rule("single", 1, Match(dst_ports=((22, 22),)), 2),
)


def policy(*classes: TrafficClass, **changes: object) -> Policy:
    kept = tuple(rule for rule in RULES if rule.class_index < len(classes or CLASSES))
    return small_policy(classes=classes or CLASSES, rules=kept, gates=(), **changes)


ONE_METER = replace(LEARNING, max_meters=1)


def host(caps: Capabilities = LEARNING) -> Scenario:
    return Scenario(policy(), caps=caps)


def meters(scenario: Scenario) -> dict[int, int]:
    return {meter.meter_id: meter.rate for meter in scenario.plan.meters}


def standing(scenario: Scenario, port_no: int, name: str) -> set[int]:
    rules = [rule for rule in scenario.plan.rules if (rule.egress_port, rule.class_name) == (port_no, name)]
    assert rules
    return {rule.meter_id for rule in rules}


def test_the_standing_rules_have_the_meter_before_any_flow_comes() -> None:
    scenario = host()
    assert meters(scenario) == {1000: 5_000_000}
    assert standing(scenario, UPLINK, "backup") == {1000}
    assert standing(scenario, 1, "backup") == {1000}, (
        "also where a port has no queues: the limit is the device's"
    )
    assert standing(scenario, UPLINK, "small") == {0}


def test_a_flow_that_the_device_put_under_the_meter_needs_no_pin() -> None:
    scenario = host()
    row = scenario.flow(1, 1000, 873, queue_id=2, meter_id=1000)
    assert scenario.device.flows.meter_id[row] == 1000
    assert scenario.pins == {}
    assert scenario.counts["SetMeter"] == 0


def test_a_flow_that_the_device_did_not_put_under_it_is_pinned_to_it() -> None:
    scenario = host()
    row = scenario.flow(1, 1000, 873, queue_id=2)
    assert scenario.pins[row].meter_id == 1000


def test_a_flow_that_the_device_limits_and_should_not_is_pinned_without_a_meter() -> None:
    scenario = host()
    row = scenario.flow(1, 1000, 80, queue_id=2, meter_id=1000)
    assert scenario.pins[row].meter_id == 0


def test_what_the_learned_entry_says_later_counts() -> None:
    scenario = host()
    row = scenario.flow(1, 1000, 873, queue_id=2, meter_id=1000)
    key = required(scenario.device.flows.keys[row])
    scenario.now += 2
    learned = ev.LearnedFlow(key, 1, UPLINK, 0x0200_0000_0001, 2, 9, 9000, 0, 0, 0)
    scenario.do(ev.LearnedCounters(DPID, (learned,)))
    assert scenario.pins[row].meter_id == 1000


def test_a_device_that_does_not_learn_has_pins_under_the_same_meter() -> None:
    scenario = host(ABLE)
    rows = [scenario.flow(1, 1000 + n, 873, queue_id=n) for n in range(3)]
    assert {scenario.pins[row].meter_id for row in rows} == {1000}
    for row in rows:
        scenario.end(row)
    assert meters(scenario) == {1000: 5_000_000}, "it stays when its last flow ends"
    assert scenario.counts["DeleteMeter"] == 0


def test_a_new_limit_changes_the_meter_in_place_and_an_unchanged_one_is_not_written() -> None:
    scenario = host()
    row = scenario.flow(1, 1000, 873, queue_id=2, meter_id=1000)
    scenario.tick()
    programs = scenario.counts["Program"]
    scenario.do(ev.PolicyReplaced(policy()))
    assert scenario.counts["Program"] == programs
    scenario.do(ev.PolicyReplaced(policy(CLASSES[0], replace(BACKUP, rate_limit=3_000_000), SINGLE)))
    assert meters(scenario) == {1000: 3_000_000}
    assert scenario.device.flows.meter_id[row] == 1000
    assert scenario.pins == {}


def test_a_limit_that_is_lifted_takes_the_meter_with_it_and_nothing_is_pinned_for_that() -> None:
    scenario = host()
    row = scenario.flow(1, 1000, 873, queue_id=2, meter_id=1000)
    out = scenario.do(ev.PolicyReplaced(policy(CLASSES[0], replace(BACKUP, rate_limit=None), SINGLE)))
    assert meters(scenario) == {}
    assert scenario.device.flows.meter_id[row] == 0
    assert scenario.pins == {}
    deleted = {effect.egress_port for effect in out if isinstance(effect, fx.DeleteLearned)}
    assert deleted == {NO_PORT, *scenario.device.ports}, (
        "what was learned names a number that may mean another class soon"
    )
    plan = next(n for n, effect in enumerate(out) if isinstance(effect, fx.Program))
    assert all(n > plan for n, effect in enumerate(out) if isinstance(effect, fx.DeleteLearned))


def test_a_limit_for_the_class_that_was_one_for_each_flow() -> None:
    scenario = host(ABLE)
    row = scenario.flow(1, 1000, 22, queue_id=2)
    assert scenario.pins[row].meter_id == 1
    scenario.do(ev.PolicyReplaced(policy(*CLASSES[:2], replace(SINGLE, limit_scope=LimitScope.CLASS))))
    assert meters(scenario) == {999: 1_000_000, 1000: 5_000_000}
    assert scenario.pins[row].meter_id == 999
    assert scenario.meters == {}, "the flow's own is cleared"


def test_what_the_device_has_no_meter_for_is_told_and_gets_one_when_one_is_free() -> None:
    scenario = Scenario(
        policy(CLASSES[0], replace(BACKUP, rate_limit=None), SINGLE), caps=replace(LEARNING, max_meters=2)
    )
    rows = [scenario.flow(vm, 1000, 22, queue_id=0) for vm in (1, 2)]
    limited = scenario.flow(3, 1000, 873, queue_id=1)
    scenario.do(ev.PolicyReplaced(policy()))
    left = [left for left in scenario.device.left_out if left.what == "limit of class backup"]
    assert [one.why for one in left] == ["all 2 meters of the device are in use"]
    assert meters(scenario) == {}
    scenario.end(rows[1])
    scenario.tick()
    assert meters(scenario) == {2: 5_000_000}
    assert not scenario.device.left_out
    assert scenario.device.flows.meter_id[limited] == 2
    assert scenario.pins[limited].meter_id == 2, "the device learned it without"


def test_a_device_without_meters_has_the_limit_left_out() -> None:
    scenario = host(replace(LEARNING, max_meters=0))
    assert [left.what for left in scenario.device.left_out] == [
        "limit of class backup",
        "limit of class single",
    ]
    assert meters(scenario) == {}


def test_the_numbers_are_the_same_after_a_restart_and_the_pins_keep_them() -> None:
    scenario = host(ABLE)
    rows = [scenario.flow(1, 1000 + n, 873, queue_id=0) for n in range(2)]
    single = scenario.flow(1, 999, 22, queue_id=0)
    pins = [scenario.pins[row] for row in (*rows, single)]
    again = Scenario(policy(), caps=ABLE)
    again.pins, again.meters = dict(scenario.pins), dict(scenario.meters)
    found = tuple(
        ev.FoundPin(pin.ref, pin.key, pin.in_port, pin.egress_port, pin.queue_id, pin.meter_id, 1, 1)
        for pin in pins
    )
    written = again.counts["PinFlow"]
    again.do(ev.DeviceDown(DPID))
    again.connect(4, ABLE, found)
    assert again.plan.meters == scenario.plan.meters
    assert again.counts["PinFlow"] == written
    assert {again.device.flows.meter_id[row] for row in rows} == {1000}


def test_meters_given_up_while_the_device_was_away_are_cleared_when_it_is_back() -> None:
    scenario = host(ABLE)
    single = scenario.flow(1, 999, 22, queue_id=0)
    assert scenario.pins[single].meter_id == 1
    scenario.do(ev.DeviceDown(DPID))
    scenario.pins.clear()
    replaced = ev.PolicyReplaced(policy(CLASSES[0], pins=Pins(idle_timeout=10)))
    scenario.engine.step_and_catch_up(replaced, scenario.now)
    scenario.plan = NO_PLAN
    reports = tuple(required(port.report) for port in scenario.device.ports.values())
    out = scenario.engine.step(ev.DeviceUp(DPID, ABLE, reports, {UPLINK: (0, 1, 2, 3)}), scenario.now)
    assert [effect.meter_id for effect in out if isinstance(effect, fx.DeleteMeter)] == [1, 1000]
    again = scenario.engine.step(ev.DeviceUp(DPID, ABLE, reports, {UPLINK: (0, 1, 2, 3)}), scenario.now)
    assert not [effect for effect in again if isinstance(effect, fx.DeleteMeter)], "once"


def test_a_meter_of_a_pin_that_nobody_knows_goes_with_the_pin() -> None:
    scenario = host(ABLE)
    scenario.do(ev.DeviceDown(DPID))
    stranger = ev.FoundPin(PinRef(7, 1), b"\0" * 4 + scenario.frame(1, 5)[:12], UPLINK, 1, 0, 44, 1, 1)
    reports = tuple(required(port.report) for port in scenario.device.ports.values())
    out = scenario.engine.step(
        ev.DeviceUp(DPID, ABLE, reports, {UPLINK: (0, 1, 2, 3)}, (stranger,)), scenario.now
    )
    kinds = [type(effect) for effect in out if isinstance(effect, fx.UnpinFlow | fx.DeleteMeter)]
    assert kinds == [fx.UnpinFlow, fx.DeleteMeter]


def test_a_class_gets_the_meter_that_the_same_policy_takes_from_single_flows() -> None:
    scenario = Scenario(policy(CLASSES[0], replace(BACKUP, limit_scope=LimitScope.FLOW)), caps=ONE_METER)
    scenario.flow(1, 1000, 873, queue_id=2)
    assert meters(scenario) == {}
    scenario.do(
        ev.PolicyReplaced(policy(replace(CLASSES[0], rate_limit=9_000_000, limit_scope=LimitScope.CLASS)))
    )
    assert list(meters(scenario).values()) == [9_000_000]
    assert scenario.device.meters_left_out == ()


def test_each_vm_gets_its_meter_at_once_where_classes_had_them_all_before() -> None:
    """Flows have taken a VM's meter, and with those of the classes none is left, until the classes' are released."""
    of_classes = tuple(
        TrafficClass(name, index, rate_limit=5_000_000, limit_scope=LimitScope.CLASS)
        for index, name in enumerate(("limited", "second", "third"))
    )
    of_vms = TrafficClass("limited", 0, rate_limit=5_000_000, limit_scope=LimitScope.VM)
    scenario = Scenario(policy(*of_classes), vms=4, caps=replace(LEARNING, max_meters=5))
    for vm in (1, 2):
        scenario.flow(vm, 1000)
    scenario.do(ev.PolicyReplaced(policy(of_vms)))
    assert len(scenario.plan.meters) == 4
    assert scenario.device.meters_left_out == ()
    assert scenario.meters == {}, "none is left that only pins use"
