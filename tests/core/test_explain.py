"""Explanations: every text about a flow's class, queue, meter and entry."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.engine.scenario import ABLE, DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.explain import REASONS, Explanation, explain
from flowlane.core.model import NO_PORT, NO_QUEUE, Admission, Hint, HintSource, QueueKind, Reason, Refusal
from flowlane.core.policy import (
    Alike,
    Balance,
    DeviceRules,
    DeviceSelector,
    LimitScope,
    Match,
    PathPreference,
    Pins,
    Policy,
    QueuesBy,
    RateGate,
    Rule,
    TrafficClass,
    Trust,
    VmSelector,
)

STILL = Balance(interval=1e9)
MBIT = 1_000_000


def why(scenario: Scenario, row: int) -> Explanation:
    return explain(scenario.engine.state, scenario.device, row)


def of_classes(*classes: TrafficClass, **changes: object) -> Policy:
    """Flows to port 5000 are of the second class; the others of the first."""
    rules = (Rule("to 5000", 0, Match(dst_ports=((5000, 5000),)), 1, 7),) if len(classes) > 1 else ()
    return small_policy(**{"classes": classes, "rules": rules, "gates": (), "balance": STILL, **changes})


def with_software(scenario: Scenario, hardware: int, software: int) -> Scenario:
    scenario.describe(hardware, software)
    scenario.do(ev.QueuesReported(DPID, {UPLINK: tuple(range(hardware + software))}))
    return scenario


def flows_of(scenario: Scenario, count: int) -> list[int]:
    return [scenario.flow(1, number) for number in range(count)]


# ---- the rule, and the rules before it


def test_the_rule_is_named_with_its_line_and_those_before_it_with_what_did_not_hold() -> None:
    rules = (
        Rule("voice", 0, Match(dst_ports=((5060, 5060),), protocols=(17,)), 1, 4),
        Rule("tagged", 1, Match(vlans=((7, 7),)), 1, 5),
        Rule("to 80", 2, Match(dst_ports=((80, 80),)), 0, 6),
        Rule("no line", 3, Match(dst_ports=((81, 81),)), 0),
    )
    classes = (TrafficClass("small", 0), TrafficClass("other", 1))
    scenario = Scenario(small_policy(classes=classes, rules=rules, gates=()))
    explanation = why(scenario, scenario.flow(1, 1))
    assert (explanation.class_name, explanation.rule) == ("small", "to 80 (line 6)")
    assert explanation.rules_before == (("voice", ("protocol", "dst-port")), ("tagged", ("vlan",)))
    assert why(scenario, scenario.flow(1, 1, 81)).rule == "no line"
    explanation = why(scenario, scenario.flow(1, 1, 99))
    assert explanation.rule == "the default: no rule matches"
    assert [before.rule for before in explanation.rules_before] == ["voice", "tagged", "to 80", "no line"]


# ---- the hint

TRUST = Trust(
    VmSelector(("vm1",)),
    frozenset((HintSource.DSCP, HintSource.REST)),
    frozenset((1,)),
    dscp=((46, 1), (34, 2)),
    gate=0,
)
HINTED = small_policy(
    classes=(TrafficClass("small", 0), TrafficClass("voice", 1), TrafficClass("video", 2)),
    rules=(),
    gates=(RateGate(5 * MBIT, 2.0, 4 * MBIT),),
    trust=(TRUST,),
    balance=STILL,
)


def hinted(vm: int = 1, dscp: int = 0, source: HintSource | None = None, name: str = "voice") -> Explanation:
    scenario = Scenario(HINTED)
    if source is not None:
        scenario.do(ev.HintGiven(Hint("h", f"vm{vm}", name, Match(), source)))
    return why(scenario, scenario.flow(vm, 1, dscp=dscp))


def test_what_became_of_a_hint() -> None:
    assert hinted().hint == "the VM gave no hint for this flow"
    assert hinted(dscp=12).hint == "DSCP 12: no trust entry of the policy makes a class of it for the VM"
    trusted = hinted(dscp=46)
    assert trusted.hint == "DSCP: the hint is trusted"
    assert (trusted.class_name, trusted.rule) == ("voice", "the VM's hint: no rule matches")
    assert hinted(source=HintSource.REST).hint == "REST: the hint is trusted"
    assert hinted(vm=2, source=HintSource.REST).hint == "REST: no trust entry of the policy covers the VM"
    untrusted = "OVSDB: the policy does not trust the VM's hints from this source"
    assert hinted(source=HintSource.OVSDB).hint == untrusted
    not_allowed = "REST: the policy does not let the VM ask for this class"
    assert hinted(source=HintSource.REST, name="video").hint == not_allowed
    assert (
        hinted(source=HintSource.REST, name="nonsense").hint == "REST: the policy has no class of this name"
    )


def test_a_hint_that_the_measured_rate_belies() -> None:
    scenario = Scenario(HINTED)
    row = scenario.flow(1, 1, dscp=46)
    scenario.send({row: 8 * MBIT}, 12)
    explanation = why(scenario, row)
    assert explanation.hint == "DSCP: the flow's measured rate is higher than the policy allows for this hint"
    assert (explanation.class_name, explanation.rule) == ("small", "the default: no rule matches")


# ---- the place, its reason and its alternatives


def unplaced(scenario: Scenario) -> int:
    row = scenario.flow(1, 1)
    scenario.device.flows.reason[row] = Reason.UNPLACED
    return row


def no_queues(scenario: Scenario) -> int:
    scenario.do(ev.QueuesReported(DPID, {}))
    return scenario.flow(1, 1)


def exclusive_unavailable(scenario: Scenario) -> int:
    rows = [scenario.flow(1, n, 5000) for n in range(6)]
    return rows[-1]


def queue_gone(scenario: Scenario) -> int:
    rows = [scenario.flow(1, n) for n in range(8)]
    row = next(row for row in rows if scenario.queue_of(row) == 3)
    scenario.do(ev.QueuesReported(DPID, {UPLINK: (0, 1, 2)}))
    return row


def adopted(scenario: Scenario) -> int:
    row = scenario.flow(1, 1)
    pin = scenario.pins[row]
    again = Scenario(scenario.engine.policy)
    found = ev.FoundPin(pin.ref, pin.key, 1, UPLINK, 2, 0, 1, 1)
    again.do(ev.DeviceDown(DPID))
    again.pins[row] = pin
    again.connect(4, ABLE, (found,))
    scenario.engine = again.engine
    return again.row(1, 1)


def overflown(scenario: Scenario) -> int:
    with_software(scenario, 2, 2)
    rows = [scenario.flow(1, n) for n in range(6)]
    return next(row for row in rows if why(scenario, row).kind is QueueKind.SOFTWARE)


def promoted(scenario: Scenario) -> int:
    row = overflown(scenario)
    for other in list(scenario.device.flows):
        if why(scenario, other).kind is QueueKind.PHYSICAL:
            scenario.end(other)
    scenario.tick(20)
    return row


def rebalanced(scenario: Scenario) -> int:
    rows = {scenario.flow(1, n): 3 * MBIT for n in range(12)}
    before = {row: scenario.queue_of(row) for row in rows}
    heavier = [row for row in rows if before[row] == before[min(rows)]]
    scenario.send({row: 12 * MBIT if row in heavier else rate for row, rate in rows.items()}, 30)
    return next(row for row in rows if scenario.queue_of(row) != before[row])


def demoted(scenario: Scenario) -> int:
    """A flow that has sent a lot, where the policy names priority by bytes."""
    row = scenario.flow(1, 1)
    scenario.send({row: 80 * MBIT}, 4)
    scenario.tick(2)
    return row


def gathered(scenario: Scenario) -> int:
    """Flows on several queues whose class may have one only, by a new policy."""
    rows = flows_of(scenario, 8)
    before = {row: scenario.queue_of(row) for row in rows}
    classes = (TrafficClass("small", 0, max_queues=1), *scenario.engine.policy.classes[1:])
    scenario.do(ev.PolicyReplaced(replace(scenario.engine.policy, classes=classes)))
    scenario.tick(8)
    return next(row for row in rows if scenario.queue_of(row) != before[row])


def vacated(scenario: Scenario) -> int:
    """Small flows on the queue that a heavy one has to itself from now on."""
    rows = flows_of(scenario, 12)
    heavy = scenario.flow(2, 1, 5000)
    before = {row: scenario.queue_of(row) for row in rows}
    scenario.send({**dict.fromkeys(rows, MBIT // 10), heavy: 20 * MBIT}, 8)
    return next(row for row in rows if scenario.queue_of(row) != before[row])


QUICK = Balance(moves_per_second=10.0, window=1.0)


def pinned_by_hand(scenario: Scenario) -> int:
    row = scenario.flow(1, 1)
    key = scenario.device.flows.keys[row]
    assert key is not None
    scenario.do(ev.FlowPinned(DPID, key, (scenario.queue_of(row) + 1) % 4, 60.0))
    return row


def drained(scenario: Scenario) -> int:
    row = scenario.flow(1, 1)
    scenario.do(ev.QueueCordoned(DPID, UPLINK, scenario.queue_of(row), Admission.DRAINING))
    scenario.tick(10)
    return row


FEW = Balance(flows_per_queue=1, moves_per_second=10.0, window=1.0)
ALONE = of_classes(TrafficClass("small", 0), TrafficClass("alone", 1, exclusive=True))


def no_one_port(scenario: Scenario) -> int:
    return scenario.flow(1, 1, egress=NO_PORT)


REACHED: dict[Reason, tuple[Policy, Callable[[Scenario], int]]] = {
    Reason.UNPLACED: (ALONE, unplaced),
    Reason.NO_QUEUES: (ALONE, no_queues),
    Reason.NO_ONE_PORT: (ALONE, no_one_port),
    Reason.SHARED: (ALONE, lambda scenario: scenario.flow(1, 1)),
    Reason.EXCLUSIVE: (ALONE, lambda scenario: scenario.flow(1, 1, 5000)),
    Reason.EXCLUSIVE_UNAVAILABLE: (ALONE, exclusive_unavailable),
    Reason.QUEUE_GONE: (ALONE, queue_gone),
    Reason.ADOPTED: (ALONE, adopted),
    Reason.GROUPED: (
        of_classes(TrafficClass("small", 0), TrafficClass("other", 1, alike=(Alike.PRIORITY,))),
        lambda scenario: [scenario.flow(1, n, dport) for n, dport in ((1, 80), (2, 5000), (3, 5000))][2],
    ),
    Reason.OVERFLOW_TO_SOFTWARE: (of_classes(TrafficClass("small", 0), balance=FEW), overflown),
    Reason.PROMOTED: (of_classes(TrafficClass("small", 0), balance=FEW), promoted),
    Reason.REBALANCED: (
        of_classes(TrafficClass("small", 0), balance=Balance(moves_per_second=1.0, window=1.0)),
        rebalanced,
    ),
    Reason.DEMOTED: (of_classes(TrafficClass("small", 0), balance=Balance("priority-by-bytes")), demoted),
    Reason.PINNED_BY_HAND: (ALONE, pinned_by_hand),
    Reason.DRAINED: (replace(ALONE, balance=QUICK), drained),
    Reason.VACATED: (replace(ALONE, balance=Balance()), vacated),
    Reason.GATHERED: (of_classes(TrafficClass("small", 0), TrafficClass("other", 1)), gathered),
    Reason.SOFTWARE_BY_RULE: (
        of_classes(TrafficClass("small", 0, path=PathPreference.SOFTWARE)),
        lambda scenario: with_software(scenario, 2, 2).flow(1, 1),
    ),
    Reason.HARDWARE_ONLY_FULL: (
        of_classes(TrafficClass("small", 0, path=PathPreference.HARDWARE), balance=FEW),
        lambda scenario: flows_of(with_software(scenario, 1, 2), 4)[3],
    ),
    Reason.VM_TOGETHER: (
        of_classes(TrafficClass("small", 0, keep_vm_together=True)),
        lambda scenario: [scenario.flow(1, n) for n in range(2)][1],
    ),
    Reason.STRATEGY: (
        of_classes(TrafficClass("small", 0), balance=Balance(strategy="round-robin")),
        lambda scenario: scenario.flow(1, 1),
    ),
    Reason.MARK_KEPT: (
        of_classes(
            TrafficClass("small", 0),
            devices=(DeviceRules(DeviceSelector(), queues_by=QueuesBy.DSCP, keep_marks=(46,)),),
        ),
        lambda scenario: scenario.flow(1, 1, dscp=46),
    ),
    Reason.METER_ONLY: (
        of_classes(TrafficClass("small", 0, rate_limit=MBIT, meter_only=True)),
        lambda scenario: scenario.flow(1, 1),
    ),
}


@pytest.mark.parametrize("reason", REACHED, ids=lambda reason: reason.name)
def test_a_place_is_given_with_its_reason(reason: Reason) -> None:
    policy, reach = REACHED[reason]
    scenario = Scenario(policy)
    row = reach(scenario)
    explanation = why(scenario, row)
    assert Reason(scenario.device.flows.reason[row]) is reason
    assert explanation.reason == REASONS[reason]
    assert explanation.queue_id == scenario.queue_of(row)


def test_every_reason_has_its_sentence_and_no_two_the_same() -> None:
    assert set(REASONS) == set(Reason)
    assert {*REACHED, Reason.DEVICE_CHOSE} == set(Reason), "each is reached in a test"
    assert len(set(REASONS.values())) == len(Reason)


def test_the_device_s_own_choice() -> None:
    scenario = Scenario(of_classes(TrafficClass("small", 0)), caps=LEARNING)
    explanation = why(scenario, scenario.flow(1, 1, queue_id=2))
    assert (explanation.queue_id, explanation.reason) == (2, REASONS[Reason.DEVICE_CHOSE])


def test_since_is_when_the_queue_changed_and_not_when_anything_else_did() -> None:
    scenario = Scenario(small_policy(balance=STILL))
    scenario.now = 500.0
    row = scenario.flow(1, 1)
    assert why(scenario, row).since == 500.0
    scenario.send({row: 1000}, 6)
    assert why(scenario, row).since == 500.0
    queue_id = scenario.queue_of(row)
    scenario.do(ev.QueuesReported(DPID, {UPLINK: tuple({0, 1, 2, 3} - {queue_id})}))
    assert scenario.queue_of(row) != queue_id
    assert why(scenario, row).since == 506.0


def test_the_other_queues_are_there_with_their_load_and_why_not() -> None:
    scenario = Scenario(ALONE)
    small, alone = scenario.flow(1, 1), scenario.flow(1, 2, 5000)
    found = {one.queue_id: one for one in why(scenario, small).alternatives}
    assert set(found) == {0, 1, 2, 3}
    assert found.pop(scenario.queue_of(small)).why == "", "its own"
    assert found[scenario.queue_of(alone)].why == "the exclusive queue of another flow"
    assert found[scenario.queue_of(alone)].flows == 1
    assert all(one.why for one in found.values())


def test_no_alternatives_where_there_are_no_queues() -> None:
    scenario = Scenario(ALONE)
    explanation = why(scenario, no_queues(scenario))
    assert (explanation.alternatives, explanation.queue_id, explanation.kind) == (
        (),
        NO_QUEUE,
        QueueKind.NONE,
    )
    assert explanation.not_hardware == REASONS[Reason.NO_QUEUES]
    assert explanation.would_change == ("queues on its egress port (flowlane qos apply)",)


# ---- why not hardware


def overflowing(path: PathPreference = PathPreference.PREFER_HARDWARE) -> tuple[Scenario, list[int]]:
    scenario = Scenario(of_classes(TrafficClass("small", 0, path=path), balance=Balance(flows_per_queue=1)))
    with_software(scenario, 2, 2)
    return scenario, [scenario.flow(1, n) for n in range(6)]


def test_why_a_flow_is_on_no_hardware_queue() -> None:
    scenario, rows = overflowing()
    explanation = {why(scenario, row).kind: why(scenario, row) for row in rows}
    assert explanation[QueueKind.PHYSICAL].not_hardware == ""
    assert explanation[QueueKind.SOFTWARE].not_hardware == REASONS[Reason.OVERFLOW_TO_SOFTWARE]
    assert "a hardware queue that becomes free" in explanation[QueueKind.SOFTWARE].would_change
    assert "a hardware queue that becomes free" not in explanation[QueueKind.PHYSICAL].would_change


def test_why_a_flow_of_a_class_for_software_is_there() -> None:
    scenario, rows = overflowing(PathPreference.SOFTWARE)
    explanation = why(scenario, rows[0])
    assert explanation.not_hardware == explanation.reason == REASONS[Reason.SOFTWARE_BY_RULE]
    assert explanation.would_change == ()


def test_no_hardware_where_there_is_none() -> None:
    scenario = Scenario(of_classes(TrafficClass("small", 0)))
    with_software(scenario, 0, 2)
    explanation = why(scenario, scenario.flow(1, 1))
    assert explanation.not_hardware == "its egress port has no physical queues"
    assert "a hardware queue that becomes free" not in explanation.would_change


def test_a_flow_that_is_limited_only_has_no_queue_for_that() -> None:
    policy, reach = REACHED[Reason.METER_ONLY]
    scenario = Scenario(policy)
    assert why(scenario, reach(scenario)).not_hardware == REASONS[Reason.METER_ONLY]


# ---- the meter


def limited(scope: LimitScope, **changes: object) -> Policy:
    limit = TrafficClass("limited", 1, rate_limit=2 * MBIT, limit_scope=scope)
    return of_classes(TrafficClass("small", 0), limit, **changes)


def test_the_meter_that_holds_a_flow_and_who_shares_it() -> None:
    scenario = Scenario(limited(LimitScope.FLOW))
    assert why(scenario, scenario.flow(1, 1)).meter == "its class has no limit"
    row = scenario.flow(1, 1, 5000)
    assert why(scenario, row).meter == "meter 1 holds it to 2Mbit/s of layer-2 bytes"
    scenario = Scenario(limited(LimitScope.VM))
    row = min([scenario.flow(1, n, 5000) for n in range(3)])
    assert why(scenario, row).meter == "meter 999 holds it to 2Mbit/s of layer-2 bytes, shared by 3 flows"
    scenario = Scenario(limited(LimitScope.CLASS))
    row = scenario.flow(1, 1, 5000)
    assert why(scenario, row).meter == "meter 1000 holds it to 2Mbit/s of layer-2 bytes"


def test_a_limit_that_nothing_holds_is_told_with_what_would_help() -> None:
    scenario = Scenario(limited(LimitScope.FLOW), caps=replace(ABLE, max_meters=1))
    explanation = [why(scenario, scenario.flow(1, n, 5000)) for n in range(2)][1]
    assert explanation.meter == "its class is limited to 2Mbit/s, but the device has no meter for it"
    assert explanation.would_change == ("a meter that becomes free: its limit would apply",)


def test_a_limit_of_another_class_by_the_device_s_own_rules() -> None:
    scenario = Scenario(limited(LimitScope.CLASS, pins=Pins(budget=0)), caps=LEARNING)
    explanation = why(scenario, scenario.flow(1, 1, queue_id=0, meter_id=1000))
    assert (
        explanation.meter
        == "its class has no limit, but by the device's standing rules meter 1000 holds it to 2Mbit/s"
    )
    scenario = Scenario(limited(LimitScope.CLASS), caps=LEARNING)
    assert why(scenario, scenario.flow(1, 1, queue_id=0, meter_id=1000)).meter == "its class has no limit"


# ---- the entry


def test_which_entry_a_flow_has() -> None:
    scenario = Scenario(of_classes(TrafficClass("small", 0)), caps=LEARNING)
    row = scenario.flow(1, 1, queue_id=2)
    assert why(scenario, row).entry == "the device's standing rules: a pin would change nothing"
    scenario = Scenario(limited(LimitScope.FLOW, pins=Pins(budget=1)), caps=LEARNING)
    first, second = scenario.flow(1, 1, 5000, queue_id=2), scenario.flow(1, 2, 5000, queue_id=2)
    assert why(scenario, first).entry == "a pin: an exact entry of its own"
    spent = "the device's standing rules: the budget of pins is spent on flows whose pins are worth more"
    explanation = why(scenario, second)
    assert explanation.entry == spent
    assert explanation.meter == "its class is limited to 2Mbit/s, but there is no room for its pin"
    assert explanation.would_change == ("room for a pin that becomes free: its limit would apply",)
    del scenario.pins[first]
    scenario.do(ev.RuleRefused(DPID, "pin", Refusal.TABLE_FULL, "full", scenario.device.flows.ref(first)))
    refused = "the device's standing rules: it refused a pin"
    assert why(scenario, first).entry == refused


# ---- what would change it


def test_what_rates_would_change() -> None:
    scenario = Scenario(small_policy(balance=STILL))
    row = scenario.flow(1, 1)
    above = "a rate of 10Mbit/s or more for 2 s makes it heavy"
    assert why(scenario, row).would_change == (above,)
    scenario.send({row: 20 * MBIT}, 10)
    explanation = why(scenario, row)
    assert explanation.class_name == "heavy"
    assert explanation.would_change == ("a rate below 5Mbit/s ends heavy and makes it small",)


def test_a_rule_after_the_one_that_takes_the_flow_is_not_named() -> None:
    """The flow is of a limited class by the first rule, whatever its rate."""
    scenario = Scenario(small_policy(balance=STILL))
    row = scenario.flow(1, 1, 5000)
    assert why(scenario, row).would_change == ()
    scenario.send({row: 20 * MBIT}, 10)
    assert scenario.class_of(row) == "limited"
    assert why(scenario, row).would_change == ()


def test_what_hints_would_change() -> None:
    scenario = Scenario(HINTED)
    row = scenario.flow(1, 1)
    asks = "a hint of the VM by REST for class voice makes it voice"
    assert why(scenario, row).would_change == (asks,), "video is not allowed, OVSDB not trusted"
    scenario.do(ev.HintGiven(Hint("h", "vm1", "voice", Match(), HintSource.REST)))
    above = "a rate of 5Mbit/s or more for 2 s makes it small"
    assert scenario.class_of(row) == "voice"
    assert why(scenario, row).would_change == (above, "the end of the VM's hint h makes it small")
    scenario.do(ev.HintWithdrawn("vm1", "h"))
    assert scenario.class_of(row) == "small"


def test_what_external_ids_would_change() -> None:
    labelled = VmSelector(("vm*",), (("tier", "gold*"),))
    other = VmSelector(("other",), (("tier", "gold*"),))
    rules = (Rule("other", 0, Match(vms=other), 1), Rule("gold", 1, Match(vms=labelled), 1))
    scenario = Scenario(small_policy(rules=rules, gates=(), balance=STILL))
    row = scenario.flow(1, 1)
    ids = "external_ids tier=gold* of the VM, for which rule gold asks, makes it heavy"
    assert why(scenario, row).would_change == (ids,)
    scenario.describe(4, ids={1: {"iface-id": "vm1", "tier": "golden"}})
    assert scenario.class_of(row) == "heavy"


def test_a_device_with_a_part_of_the_rules_names_the_rule_that_takes_the_flow() -> None:
    rules = (
        Rule("to 80", 0, Match(dst_ports=((80, 80),)), 1),
        Rule("tagged", 1, Match(vlans=((7, 7),)), 0),
        Rule("tcp", 2, Match(protocols=(6,)), 2),
    )
    subset = DeviceRules(DeviceSelector(), only=(2,))
    scenario = Scenario(small_policy(rules=rules, gates=(), balance=STILL, devices=(subset,)))
    explanation = why(scenario, scenario.flow(1, 1))
    assert (explanation.class_name, explanation.rule) == ("limited", "tcp")
    assert [before.rule for before in explanation.rules_before] == ["tagged"]


def test_a_flow_that_waits_for_a_queue_of_its_own() -> None:
    scenario = Scenario(ALONE)
    explanation = why(scenario, exclusive_unavailable(scenario))
    assert explanation.would_change == ("a hardware queue that becomes free",)
