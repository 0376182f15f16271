from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from support.engine.controller import FakeController, world
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy
from webob import Request

from flowlane import hub
from flowlane.cli.lists import FLOWS
from flowlane.core.events import DeviceDown, DpidShared, LearnedCounters, LearnedFlow, QueueCounters
from flowlane.core.model import HintSource, QueueKind, Reason, Role
from flowlane.core.model import PortRole as CorePortRole
from flowlane.core.pacing import BETWEEN
from flowlane.core.policy import (
    Balance,
    ClassChange,
    DeviceRules,
    DeviceSelector,
    ExtraAddresses,
    Match,
    PassiveSwitch,
    Pins,
    Policy,
    PolicyOrigin,
    PortSecurity,
    QueuesBy,
    RateGate,
    Rule,
    Share,
    TrafficClass,
    Trust,
    VmSelector,
)
from flowlane.northbound import query, views
from flowlane.northbound.app import make_app
from flowlane.northbound.controller import Clock
from flowlane.northbound.views import policy_change, policy_view

HEAVY, LIGHT = 40_000_000, 100_000


class Busy(Scenario):
    """A host, and the rows of two of its flows."""

    heavy: int
    limited: int


@pytest.fixture
def scenario() -> Busy:
    """A flow with an exclusive queue, twelve that share, one with a limit; then the device's counters."""
    busy = Busy(queues=4)
    heavy = busy.flow(1, 1000)
    rows = [busy.flow(vm, 2000 + vm) for vm in range(1, 9)]
    busy.limited = busy.flow(3, 3000, dport=5000)
    busy.send({heavy: HEAVY, **dict.fromkeys(rows, LIGHT)}, 12)
    busy.do(QueueCounters(DPID, {(UPLINK, busy.queue_of(heavy)): (7, 7000, 1)}))
    busy.heavy = heavy
    return busy


def ask(scenario: Scenario, path: str) -> Any:
    return Request.blank(path).get_response(make_app(FakeController(scenario.engine, now=scenario.now))).json


def test_queues_tell_what_the_flow_table_holds(scenario: Busy) -> None:
    """Counts and loads come from the allocator; the flow table is the other way to know them."""
    queues = {queue["queue_id"]: queue for queue in ask(scenario, f"/v1/devices/{DPID:016x}/queues")["items"]}
    flows = scenario.device.flows
    for number, queue in queues.items():
        rows = [row for row in flows if flows.queue_id[row] == number]
        assert queue["flows"] == len(rows)
        classes = sorted({flows.class_index[row] for row in rows})
        assert queue["classes"] == [scenario.device.policy.classes[index].name for index in classes]
        assert queue["load"] == pytest.approx(sum(flows.rate[row] for row in rows), rel=0.2, abs=LIGHT)
    assert sum(queue["flows"] for queue in queues.values()) == len(flows) == 10


def test_a_heavy_flow_has_an_exclusive_queue(scenario: Busy) -> None:
    queues = {queue["queue_id"]: queue for queue in ask(scenario, f"/v1/devices/{DPID:016x}/queues")["items"]}
    mine = queues[scenario.queue_of(scenario.heavy)]
    assert (mine["exclusive"], mine["flows"], mine["class"]) == (True, 1, "heavy")
    assert (mine["tx_packets"], mine["tx_bytes"], mine["tx_errors"]) == (7, 7000, 1)
    assert [queue["exclusive"] for queue in queues.values()].count(True) == 1
    assert {queue["class"] for queue in queues.values()} <= {"heavy", "small", "limited", None}


def test_devices_count_free_queues(scenario: Busy) -> None:
    device = ask(scenario, f"/v1/devices/{DPID:016x}")
    used = {scenario.queue_of(row) for row in scenario.device.flows}
    assert device["queues"]["physical"] == {"total": 4, "free": 4 - len(used)}
    assert device["queues"]["software"] == {"total": 0, "free": 0}
    assert (device["role"], device["connected"], device["version"], device["meters"]) == (
        "nic",
        True,
        "1.3",
        1,
    )
    assert {port["role"] for port in device["ports"]} == {"vm", "uplink"}
    scenario.do(DeviceDown(DPID))
    assert ask(scenario, f"/v1/devices/{DPID:016x}")["connected"] is False


def test_a_device_shows_who_else_has_its_dpid(scenario: Busy) -> None:
    for peers in (("192.0.2.1", "192.0.2.2"), ()):
        scenario.do(DpidShared(DPID, peers))
        assert ask(scenario, f"/v1/devices/{DPID:016x}")["dpid_shared_by"] == list(peers)


def test_a_limit_shows_on_flow_and_assignment(scenario: Busy) -> None:
    flow = ask(scenario, "/v1/flows?dst_port=5000")["items"][0]
    meter = flow["assignments"][0]["meter"]
    assert flow["limit"] == meter["rate"] == 2_000_000
    assert scenario.meters == {meter["id"]: (meter["rate"], meter["burst"])}


def test_assignments_are_the_pins(scenario: Busy) -> None:
    items = ask(scenario, "/v1/assignments?limit=1000")["items"]
    pins = {(pin.key.hex(), pin.queue_id, pin.meter_id) for pin in scenario.pins.values()}
    assert {
        (i["flow"], i["queue_id"], i["meter"]["id"] if i["meter"] else 0) for i in items if i["pinned"]
    } == pins
    assert pins


def test_what_places_a_flow_is_shown(scenario: Busy) -> None:
    """From the device's tables: a pin, a learned entry, or only the standing rules."""
    assert {item["entry"] for item in ask(scenario, "/v1/assignments")["items"] if item["pinned"]} == {"pin"}
    policy = small_policy(balance=Balance(interval=1e9), track_above=0)
    learning = Scenario(policy, caps=replace(LEARNING, conntrack=True))
    row = learning.flow(1, 1000, queue_id=2)
    assert [item["entry"] for item in ask(learning, "/v1/assignments")["items"]] == ["standing"]
    key = learning.device.flows.keys[row]
    learning.tick(2)
    assert key is not None
    learning.do(LearnedCounters(DPID, (LearnedFlow(key, 1, UPLINK, 0, 2, 3, 3000),)))
    assert [item["entry"] for item in ask(learning, "/v1/assignments")["items"]] == ["learned"]


def test_vms_count_their_flows(scenario: Busy) -> None:
    counts = {vm["id"]: vm["flows"] for vm in ask(scenario, "/v1/vms")["items"]}
    assert counts == {"vm1": 2, "vm2": 1, "vm3": 2, **{f"vm{n}": 1 for n in range(4, 9)}}


def test_status_adds_up(scenario: Busy) -> None:
    status = ask(scenario, "/v1/status")
    assert status["flows"] == sum(status["assignments"].values()) == 10
    assert status["assignments"]["physical"] == 10
    scenario.end(scenario.heavy)
    status = ask(scenario, "/v1/status")
    assert status["flows"] == sum(status["assignments"].values()) == 9


def test_since_is_when_it_was_placed() -> None:
    clock = Clock(now=50.0, wall=1_800_000_000.0)
    assert views.moment(clock, 40.5) == "2027-01-15T07:59:50.500Z"
    assert views.moment(clock, 50.0) == "2027-01-15T08:00:00.000Z"


def test_every_word_of_the_core_has_a_word_in_rest() -> None:
    """A new kind, reason or role must not end a request with an error."""
    assert set(views.KIND_WORDS) == set(QueueKind)
    assert set(views.HINT_WORDS) == set(HintSource) - {HintSource.NONE}
    assert set(query.REASONS.values()) == set(Reason)
    document = Request.blank("/openapi.json").get_response(make_app(world())).json["components"]["schemas"]
    assert document["DeviceView"]["properties"]["role"]["enum"] == [role.value for role in Role]
    assert document["PortView"]["properties"]["role"]["enum"] == [role.value for role in CorePortRole]


BASE = Policy(
    classes=(TrafficClass("default", 0), TrafficClass("bulk", 1, rate_limit=5)),
    rules=(Rule("a", 0, Match(dst_ports=((80, 80),)), 1, line=3), Rule("b", 1, Match(gate=0), 1, line=4)),
    gates=(RateGate(100, 2.0, 80),),
    text="text",
)


def test_others_are_served_while_long_policies_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[int] = []

    class Slice:
        """A slice of time that is always used up."""

        def check(self) -> None:
            served.append(0)

    monkeypatch.setattr(hub, "TimeSlice", Slice)
    rules = tuple(Rule(f"r{number}", number, Match(), 0) for number in range(4 * BETWEEN))
    change = policy_change(BASE, replace(BASE, rules=rules), applied=False)
    assert len(change["rules_added"]) >= len(rules) - len(BASE.rules)
    assert len(served) >= 2 * 4 - 1


def changes(new: Policy) -> dict[str, object]:
    change = policy_change(BASE, new, applied=False)
    return {name: value for name, value in change.items() if value}


def test_the_same_policy_changes_nothing() -> None:
    assert changes(BASE) == {}


def test_places_in_the_file_and_numbers_do_not_matter() -> None:
    """Another order of classes renumbers them: what rules, trust and devices mean stays."""
    first, bulk, voice = (*BASE.classes, TrafficClass("voice", 2))

    def policy(classes: tuple[TrafficClass, ...], bulk_index: int, line: int) -> Policy:
        rules = tuple(replace(rule, class_index=bulk_index, line=line) for rule in BASE.rules)
        of = frozenset((HintSource.DSCP,))
        trust = (Trust(VmSelector(), of, frozenset((bulk_index,)), dscp=((46, bulk_index),)),)
        change = ClassChange(bulk_index, exclusive=True)
        devices = (DeviceRules(DeviceSelector(), (bulk_index,), (change,)),)
        return replace(BASE, classes=classes, rules=rules, trust=trust, devices=devices)

    before = policy((first, bulk, voice), 1, 3)
    after = policy((first, replace(voice, index=1), replace(bulk, index=2)), 2, 99)
    change = policy_change(before, after, applied=False)
    assert {name: value for name, value in change.items() if value} == {}


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("default", {"classes": (replace(BASE.classes[1], index=0), replace(BASE.classes[0], index=1))}),
        ("shares", {"shares": (Share("a", VmSelector(), 1.0),)}),
        ("trust", {"trust": (Trust(VmSelector(), frozenset(), frozenset((1,))),)}),
        ("devices", {"devices": (DeviceRules(DeviceSelector(), only=(1,)),)}),
        (
            "passive-switches",
            {"passive_switches": (PassiveSwitch("s", QueuesBy.PCP, (), ()),)},
        ),
        ("balance", {"balance": Balance(window=3.0)}),
        ("pins", {"pins": Pins(budget=7)}),
        ("copy-rate", {"copy_rate": 9}),
        ("port-security", {"port_security": PortSecurity.STRICT}),
        ("extra-addresses", {"extra_addresses": (ExtraAddresses(VmSelector(), (1,)),)}),
        ("learn-after", {"learn_after": 3}),
        ("track-above", {"track_above": 1}),
    ],
)
def test_another_key_that_differs_is_named(key: str, change: dict[str, Any]) -> None:
    rules = tuple(replace(rule, class_index=0) for rule in BASE.rules) if key == "default" else BASE.rules
    assert changes(replace(BASE, rules=rules, **change)) == {"settings_changed": [key]}


def test_every_key_of_the_language_is_compared() -> None:
    schema = json.loads(files("flowlane.policy").joinpath("schema.json").read_text())
    keys = set(schema["properties"]) - {"version", "classes", "rules"}
    assert set(views._settings(BASE)) == keys


def test_what_differs_is_named() -> None:
    classes = (BASE.classes[0], TrafficClass("bulk", 1, rate_limit=6), TrafficClass("voice", 2))
    assert changes(replace(BASE, classes=classes)) == {
        "classes_added": ["voice"],
        "classes_changed": ["bulk"],
    }
    assert changes(replace(BASE, rules=BASE.rules[:1])) == {"rules_removed": ["b"]}
    assert changes(replace(BASE, gates=(RateGate(200, 2.0, 80),))) == {"rules_changed": ["b"]}
    order = (replace(BASE.rules[1], index=0), replace(BASE.rules[0], index=1))
    assert changes(replace(BASE, rules=order)) == {"rules_changed": ["b", "a"]}


def test_a_flow_is_shown_with_the_id_and_the_name_of_its_vm() -> None:
    flows = Request.blank("/v1/flows").get_response(make_app(world())).json["items"]
    assert {("uuid-web", "web"), ("ns/db", "db")} <= {(flow["vm"], flow["vm_name"]) for flow in flows}
    (column,) = [column for column in FLOWS.columns if column.head == "VM"]
    assert {column.read(flow) for flow in flows if flow["vm"]} == {"web", "db"}


def test_the_policy_in_force() -> None:
    view = policy_view(BASE, PolicyOrigin("file", "ab", 0.0, file="/p.yaml"), True)
    assert (view["text"], view["rules"], view["strategy"]) == ("text", ["a", "b"], "combined")
    assert [(item["name"], item["rate_limit"]) for item in view["classes"]] == [
        ("default", None),
        ("bulk", 5),
    ]
    assert (view["hash"], view["origin"]["file"], view["origin"]["by"]) == ("ab", "/p.yaml", None)
    assert view["origin"]["time"] == "1970-01-01T00:00:00.000Z"
