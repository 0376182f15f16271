"""A policy tried on a copy: what it foretells, and that nothing comes of it."""

from dataclasses import replace

from support.engine.required import required
from support.engine.scenario import DPID, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.dry_run import SETTLING, Outcome, dry_run
from flowlane.core.model import Hint, HintSource
from flowlane.core.policy import Balance, Match, Rule, Share, TrafficClass, VmSelector

BASE = small_policy()


def host() -> Scenario:
    scenario = Scenario(BASE)
    scenario.do(ev.HintGiven(Hint("h", "vm1", "heavy", Match(), HintSource.REST)))
    for vm in (1, 2, 3, 4):
        for n in range(5):
            scenario.flow(vm, 1000 + n)
    scenario.tick(6)
    return scenario


def picture(scenario: Scenario) -> object:
    device, flows = scenario.device, scenario.device.flows
    rows = [
        (flows.queue_id[row], flows.class_index[row], flows.reason[row], flows.flags[row]) for row in flows
    ]
    loads = [(slot.load, slot.count) for slot in required(device.ports[UPLINK].allocation).slots]
    return (
        rows,
        loads,
        dict(scenario.pins),
        device.plan,
        device.policy,
        scenario.engine.state.policy_changes,
        scenario.now,
    )


def test_the_same_policy_does_nothing() -> None:
    scenario = host()
    assert dry_run(scenario.engine.state, BASE) == Outcome(20, 0, 0)


def test_a_rule_that_takes_some_flows() -> None:
    scenario = host()
    limit = Rule("vm2 is limited", 0, Match(vms=VmSelector(("vm2",))), 2)
    outcome = dry_run(scenario.engine.state, replace(BASE, rules=(limit,)))
    assert (outcome.flows, outcome.reclassified) == (20, 5)


def test_what_it_foretells_comes_true_and_the_trial_itself_changes_nothing() -> None:
    shares = (Share("one", VmSelector(("vm1",)), 1.0), Share("rest", VmSelector(("vm*",)), 1.0))
    new = replace(BASE, shares=shares, balance=Balance(moves_per_second=0.2))
    scenario = host()
    before = picture(scenario)
    foretold = dry_run(scenario.engine.state, new)
    assert picture(scenario) == before
    flows = scenario.device.flows
    places = {row: flows.queue_id[row] for row in flows}
    scenario.do(ev.PolicyReplaced(new))
    scenario.tick(SETTLING)
    moved = sum(flows.queue_id[row] != queue_id for row, queue_id in places.items())
    assert foretold == Outcome(20, 0, moved)
    assert moved > 0


def test_all_devices_count_together() -> None:
    scenario = host()
    step, state = scenario.engine.step, scenario.engine.state
    facts = required(scenario.device.described)
    ports = {
        number: replace(port, external_ids={key: f"far-{text}" for key, text in port.external_ids.items()})
        for number, port in facts.ports.items()
        if number != UPLINK
    }
    ports[UPLINK] = facts.ports[UPLINK]
    step(replace(facts, dpid=DPID + 1, name="br-2", ports=ports), scenario.now)
    reports = tuple(required(port.report) for port in scenario.device.ports.values())
    step(ev.DeviceUp(DPID + 1, scenario.device.capabilities, reports, {UPLINK: (0, 1)}), scenario.now)
    step(ev.FlowSeen(DPID + 1, 5, scenario.frame(5, 1), UPLINK), scenario.now)
    renamed = replace(BASE, classes=(TrafficClass("other", 0), *BASE.classes[1:]))
    total = sum(len(device.flows) for device in state.devices.values())
    assert dry_run(state, renamed)[:2] == (total, total)


def test_a_policy_is_put_in_force_one_device_after_the_other() -> None:
    scenario = host()
    engine = scenario.engine
    engine.step(ev.DeviceUp(0x99, scenario.device.capabilities, (), {}), scenario.now)
    new = replace(BASE, rules=())
    engine.step(ev.PolicyReplaced(new), scenario.now)
    assert engine.policy == new
    assert [device.policy == new for device in engine.devices.values()] == [False, False]
    engine.step(ev.CatchUp(), scenario.now)
    assert [device.policy.rules for device in engine.devices.values()].count(()) == 1
    assert len(engine.state.policy_awaited) == 1
    engine.step(ev.CatchUp(), scenario.now)
    assert [device.policy.rules for device in engine.devices.values()] == [(), ()]
    assert not engine.state.policy_awaited
