"""Passive switches: flows on them follow those of the device before, whose entries have the marks for them."""

from __future__ import annotations

from dataclasses import replace

from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.device.passive import dpid_of
from flowlane.core.dry_run import dry_run
from flowlane.core.explain import explain
from flowlane.core.marks import NO_MARK, join, split
from flowlane.core.model import NO_QUEUE, PortRole, Queue, Reason, Role
from flowlane.core.policy import (
    Behind,
    ClassChange,
    DeviceRules,
    DeviceSelector,
    Match,
    PassivePort,
    PassiveSwitch,
    Pins,
    Policy,
    QueuesBy,
    Rule,
    TrafficClass,
)
from flowlane.core.state.device import Device
from flowlane.core.topology.adjacency import links
from flowlane.core.topology.expected import Expected, deviations
from flowlane.core.topology.way import way

MBIT = 1_000_000
QUEUES = tuple(Queue(number, max_rate=50 * MBIT) for number in range(4))
TOR = PassiveSwitch(
    "tor",
    QueuesBy.DSCP,
    (PassivePort("uplink", QUEUES, 100 * MBIT), PassivePort("other", QUEUES[:1])),
    (Behind("br-*", "pf0"),),
    keep_marks=(46,),
)
GOLD = Rule("gold", 0, Match(dst_ports=((7000, 7000),)), 1)
CLASSES = (TrafficClass("small", 0), TrafficClass("gold", 1))
ONE_QUEUE = DeviceRules(DeviceSelector(names=("tor",)), changes=(ClassChange(1, max_queues=1),))


def policy(*switches: PassiveSwitch, **changes: object) -> Policy:
    return small_policy(**{
        "classes": CLASSES, "rules": (GOLD,), "gates": (), "devices": (ONE_QUEUE,),
        "passive_switches": switches or (TOR,), **changes,
    })  # fmt: skip


def tor(scenario: Scenario) -> Device:
    return scenario.engine.devices[dpid_of("tor")]


def queue_there(scenario: Scenario, row: int) -> int:
    found = scenario.device.passive_row(row)
    assert found is not None
    return found[0].flows.queue_id[found[1]]


def test_it_is_a_device_with_queues_and_rates_and_no_connection() -> None:
    device = tor(Scenario(policy(), caps=LEARNING))
    assert (device.name, device.role, device.connected) == ("tor", Role.SWITCH, False)
    assert {no: (port.name, port.role) for no, port in device.ports.items()} == {
        1: ("uplink", PortRole.UPLINK), 2: ("other", PortRole.UPLINK), 1001: ("to br-* pf0", PortRole.LINK),
    }  # fmt: skip
    assert device.ports[1].queues == dict(enumerate(QUEUES))
    assert (device.ports[1].rate, device.left_out) == (100 * MBIT, ())


def test_the_device_before_it_places_new_flows_on_both() -> None:
    scenario = Scenario(policy(), queues=2, caps=LEARNING)
    (rule,) = [
        rule for rule in scenario.plan.rules if rule.egress_port == UPLINK and rule.class_name == "small"
    ]
    assert {choice for choice, _ in rule.queues} == {
        join(queue_id, 8 * behind) for queue_id in range(2) for behind in range(4)
    }
    (uplink,) = [port for port in scenario.plan.ports if port.port_no == UPLINK]
    assert {*uplink.queues} >= {choice for choice, _ in rule.queues}
    assert uplink.keep_marks == (46,)


def test_without_queues_of_its_own_the_device_writes_the_mark_only() -> None:
    scenario = Scenario(policy(), queues=0, caps=LEARNING)
    choices = {
        choice for rule in scenario.plan.rules if rule.egress_port == UPLINK for choice, _ in rule.queues
    }
    assert {split(choice)[0] for choice in choices} == {NO_QUEUE}
    row = scenario.flow(1, 1, queue_id=join(NO_QUEUE, 16))
    assert (scenario.queue_of(row), queue_there(scenario, row), scenario.pins) == (NO_QUEUE, 2, {})


def test_a_flow_is_on_both_queues_that_its_choice_names_and_ends_on_both() -> None:
    scenario = Scenario(policy(), caps=LEARNING)
    row = scenario.flow(1, 1, queue_id=join(3, 8))
    assert (scenario.queue_of(row), queue_there(scenario, row)) == (3, 1)
    assert scenario.pins == {}
    (there,) = tor(scenario).flows
    assert Reason(tor(scenario).flows.reason[there]) is Reason.DEVICE_CHOSE
    assert "br-int writes" in explain(scenario.engine.state, tor(scenario), there).entry
    key = scenario.device.flows.keys[row]
    assert key is not None
    ended = ev.LearnedEnded(DPID, key, 1, UPLINK, 0x020000000001, 1, 100, idle=True)
    scenario.do(ended)
    assert (len(scenario.device.flows), len(tor(scenario).flows)) == (0, 0)


def test_the_way_of_a_flow_leads_through_it() -> None:
    scenario = Scenario(policy(), caps=LEARNING)
    row = scenario.flow(1, 1, queue_id=join(3, 8))
    flows = scenario.device.flows
    key = flows.keys[row]
    assert key is not None
    hops = way(scenario.engine.state, flows.parts(row), key)
    assert [(hop.dpid, hop.in_port, hop.out_port, hop.note) for hop in hops[:2]] == [
        (DPID, 1, UPLINK, ""), (dpid_of("tor"), 1001, 1, ""),
    ]  # fmt: skip


def test_another_queue_there_is_a_pin_with_its_mark_here() -> None:
    scenario = Scenario(policy(), caps=LEARNING)
    rows = [scenario.flow(1, number, 7000, queue_id=join(2, 8 * number)) for number in range(4)]
    (one,) = {queue_there(scenario, row) for row in rows}
    pinned = [row for row in rows if row in scenario.pins]
    assert len(pinned) == 3, "the one that is there already needs none"
    assert {scenario.pins[row].queue_id for row in pinned} == {join(2, 8 * one)}
    assert {scenario.queue_of(row) for row in rows} == {2}


def test_without_room_for_a_pin_it_stays_where_its_mark_leads() -> None:
    scenario = Scenario(policy(pins=Pins(budget=0)), caps=LEARNING)
    rows = [scenario.flow(1, number, 7000, queue_id=join(2, 8 * number)) for number in range(4)]
    assert [queue_there(scenario, row) for row in rows] == [0, 1, 2, 3]
    assert not scenario.pins


def test_the_load_there_is_what_was_counted_here() -> None:
    scenario = Scenario(policy(pins=Pins(which="all")), caps=LEARNING)
    row = scenario.flow(1, 1, queue_id=join(3, 8))
    scenario.send({row: 8 * MBIT}, 8)
    (there,) = tor(scenario).flows
    assert tor(scenario).flows.rate[there] == scenario.device.flows.rate[row] > 7 * MBIT
    loads = {slot.queue.queue_id: slot.load for slot in tor(scenario).ports[1].allocation.slots}  # type: ignore[union-attr]
    assert loads[queue_there(scenario, row)] > 7 * MBIT


def test_a_mark_that_is_kept_is_nobodys_choice() -> None:
    scenario = Scenario(policy(), caps=LEARNING)
    row = scenario.flow(1, 1, dscp=46, queue_id=join(3, 8))
    assert (scenario.queue_of(row), queue_there(scenario, row)) == (3, NO_QUEUE)
    assert scenario.device.flows.mark[row] == NO_MARK
    assert not scenario.pins


def test_one_mark_for_one_switch() -> None:
    second = replace(TOR, name="second")
    scenario = Scenario(policy(TOR, second), caps=LEARNING)
    (left,) = [left for left in scenario.device.left_out if "second" in left.what]
    assert "the mark is for tor" in left.why
    by_mark = DeviceRules(DeviceSelector(names=("br-int",)), queues_by=QueuesBy.DSCP)
    scenario = Scenario(policy(devices=(by_mark,)), caps=LEARNING)
    (left,) = [left for left in scenario.device.left_out if "tor" in left.what]
    assert "own queues are chosen by the mark" in left.why
    row = scenario.flow(1, 1, queue_id=join(NO_QUEUE, 8))
    assert scenario.device.passive_row(row) is None


def test_flows_follow_a_policy_that_declares_it_or_does_not() -> None:
    scenario = Scenario(policy(passive_switches=()), caps=LEARNING)
    rows = [scenario.flow(1, number, 7000, queue_id=2) for number in range(4)]
    assert dpid_of("tor") not in scenario.engine.devices
    scenario.do(ev.PolicyReplaced(policy(TOR)))
    assert len({queue_there(scenario, row) for row in rows}) == 1
    again = replace(TOR, marks=((0, 0), (10, 1), (20, 2), (30, 3)))
    scenario.do(ev.PolicyReplaced(policy(again)))
    here = {scenario.pins[row].queue_id for row in rows if row in scenario.pins}
    marks = {10 * queue_there(scenario, row) for row in rows}
    assert {split(choice)[1] for choice in here} <= marks
    scenario.do(ev.PolicyReplaced(policy(passive_switches=())))
    assert dpid_of("tor") not in scenario.engine.devices
    assert {scenario.pins[row].queue_id for row in rows if row in scenario.pins} <= {2}


def test_its_links_are_shown_and_are_no_matter_for_an_expected_network() -> None:
    scenario = Scenario(policy(), caps=LEARNING)
    state = scenario.engine.state
    known = links(state)
    assert [link.ends for link in known] == [((DPID, UPLINK), (dpid_of("tor"), 1001))]
    names = {DPID: "br-int", 0xC1: "tor"}
    expected = Expected("file", names, frozenset((0xC1,)), (((DPID, "pf0"), (0xC1, "down0")),))
    assert deviations(state, expected, known) == deviations(state, expected, [])


def test_a_policy_that_declares_it_or_no_longer_does_can_be_tried() -> None:
    scenario = Scenario(policy(), caps=LEARNING)
    for number in range(4):
        scenario.flow(1, number, 7000, queue_id=join(2, 8 * number))
    outcome = dry_run(scenario.engine.state, policy(passive_switches=()))
    assert outcome == dry_run(scenario.engine.state, policy(passive_switches=()))
    assert len(tor(scenario).flows) == 4, "the state is as it was"
    scenario = Scenario(policy(passive_switches=()), caps=LEARNING)
    scenario.flow(1, 1, 7000, queue_id=2)
    dry_run(scenario.engine.state, policy(TOR))
    assert dpid_of("tor") not in scenario.engine.devices
