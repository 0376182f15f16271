"""A flow that its VM sends by its other interface: known there at once, ended where it was, shown to people."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.engine.controller import FakeController
from support.engine.scenario import HEAVY_GATE, small_policy
from webob import Request

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.model import Capabilities, Hint, HintSource, PortFacts, PortReport, QueueFacts, QueueKind
from flowlane.core.policy import Balance, Match, Rule, TrafficClass, Trust, VmSelector
from flowlane.core.state.device import Device
from flowlane.northbound.app import make_app

DIRECT, SOFT = 0xA1, 0xB1
PORT, UPLINK = 1, 9
MACS = {DIRECT: 0x020000000001, SOFT: 0x020000000011}
TEXTS = {DIRECT: "02:00:00:00:00:01", SOFT: "02:00:00:00:00:11"}
ABLE = Capabilities(
    max_meters=100, meter_burst=True, select_groups=True, max_groups=100, learn=True, normal=True
)
POLICY = small_policy(
    classes=(TrafficClass("small", 0), TrafficClass("heavy", 1, exclusive=True), TrafficClass("asked", 2)),
    rules=(Rule("heavy", 0, Match(gate=0), 1),),
    trust=(Trust(VmSelector(), frozenset((HintSource.REST,)), frozenset((2,))),),
    gates=(HEAVY_GATE,),
)
SOFTWARE_QUEUE = QueueFacts(QueueKind.SOFTWARE)
QUEUES = {**dict.fromkeys(range(4), QueueFacts(QueueKind.PHYSICAL)), 4: SOFTWARE_QUEUE}
HEAVY = 5_000_000
"""Bytes a second of a flow that is heavy."""

KINDS: dict[str, dict[int, dict[str, str]]] = {
    "vm-uuid": {
        dpid: {"iface-id": f"nic-{dpid}", "vm-uuid": "u", "attached-mac": TEXTS[dpid]} for dpid in MACS
    },
    "one address": {dpid: {"iface-id": f"nic-{dpid}", "attached-mac": TEXTS[DIRECT]} for dpid in MACS},
    "one iface-id": {dpid: {"iface-id": "vm", "attached-mac": TEXTS[DIRECT]} for dpid in MACS},
}


class Paths:
    """A host with a bridge of role nic and one of role vswitch; a VM has a port on each."""

    def __init__(
        self, kind: str = "vm-uuid", *, learn: bool = False, tags: tuple[int, int] = (0, 0), **changes: Any
    ) -> None:
        self.engine, self.now = Engine(replace(POLICY, **changes)), 100.0
        self.ids, self.reports = dict(KINDS[kind]), list[fx.Report]()
        self.tags = dict(zip(MACS, tags, strict=True))
        for dpid in MACS:
            self.describe(dpid)
            able = replace(ABLE, learn=learn)
            ports = (PortReport(PORT, f"tap{dpid}"), PortReport(UPLINK, f"up{dpid}"))
            self.do(ev.DeviceUp(dpid, able, ports, {UPLINK: tuple(QUEUES)}))
        self.tick(5)

    def do(self, event: ev.Event) -> None:
        out = self.engine.step_and_catch_up(event, self.now)
        self.reports += [effect for effect in out if isinstance(effect, fx.Report)]

    def describe(self, dpid: int) -> None:
        facts = {
            PORT: PortFacts(f"tap{dpid}", self.ids[dpid], tag=self.tags[dpid] or None),
            UPLINK: PortFacts(
                f"up{dpid}",
                {"flowlane-port": "uplink"},
                queues=QUEUES if dpid == DIRECT else dict.fromkeys(QUEUES, SOFTWARE_QUEUE),
            ),
        }
        if not self.ids[dpid]:
            del facts[PORT]
        role = "nic" if dpid == DIRECT else "vswitch"
        self.do(ev.DeviceDescribed(dpid, role, role, {}, "system", facts, host="h"))

    def send(self, dpid: int, sport: int = 1000, queue: int | None = 0) -> None:
        mac = MACS[DIRECT] if "vm-uuid" not in self.ids[dpid] else MACS[dpid]
        head = bytes.fromhex("020000000099") + mac.to_bytes(6)
        ip = bytes.fromhex("0800450000200000000040110000") + bytes((10, 0, 0, 1, 10, 0, 0, 9))
        self.do(
            ev.FlowSeen(
                dpid, PORT, head + ip + sport.to_bytes(2) + bytes((7, 208)) + bytes(20), UPLINK, queue
            )
        )

    def second(self, **octets: int) -> None:
        """Let a second pass in which the flow's entry on each device counts so many bytes; a pin without any, too."""
        self.now += 1
        for name, dpid in (("direct", DIRECT), ("soft", SOFT)):
            flows = self.device(dpid).flows
            for row in flows if self.device(dpid).pinned or name in octets else ():
                more = octets.get(name, 0)
                counted = flows.entry_counters(row)
                count = counted[0] + more // 1000, counted[1] + more
                self.do(ev.PinCounters(dpid, ((row, flows.generation[row], *count),)))
        self.tick(0)

    def tick(self, seconds: int = 1) -> None:
        self.now += seconds
        self.do(ev.Tick())

    def link(self, dpid: int, up: bool) -> None:
        self.do(ev.PortChanged(dpid, PortReport(PORT, f"tap{dpid}", up=up)))

    def device(self, dpid: int) -> Device:
        return self.engine.devices[dpid]

    def classes(self) -> tuple[str | None, str | None]:
        """Class of the flow on the direct and on the software path; None where it is not."""
        found: list[str | None] = []
        for dpid in MACS:
            device = self.device(dpid)
            names = [device.policy.classes[device.flows.class_index[row]].name for row in device.flows]
            found.append(names[0] if names else None)
        return found[0], found[1]

    def moves(self) -> list[tuple[object, object, object]]:
        paths = [one.data for one in self.reports if one.data.get("change") == "path"]
        return [(data["from_device"], data["device"], data["link_down"]) for data in paths]

    def get(self, path: str) -> Any:
        controller = FakeController(self.engine)
        controller.now = self.now
        answer = Request.blank(path).get_response(make_app(controller))
        assert answer.status_code == 200, answer.text
        return answer.json


TO_SOFT = (f"{DIRECT:016x}", f"{SOFT:016x}")


def heavy_on_direct(kind: str = "vm-uuid", **options: Any) -> Paths:
    paths = Paths(kind, **options)
    paths.send(DIRECT)
    for _ in range(5):
        paths.second(direct=HEAVY)
    assert paths.classes() == ("heavy", None)
    return paths


@pytest.mark.parametrize("kind", KINDS)
def test_a_heavy_flow_is_heavy_at_its_first_packet_on_the_other_path(kind: str) -> None:
    paths = heavy_on_direct(kind)
    paths.send(SOFT)
    assert paths.classes() == ("heavy", "heavy"), "both, until the first is known to be silent"
    flows = paths.device(SOFT).flows
    (row,) = flows
    assert flows.rate[row] > 10_000_000
    assert flows.first_seen[row] == 105.0
    paths.second(direct=HEAVY // 2, soft=HEAVY // 2)
    paths.second(soft=HEAVY)
    assert paths.classes() == ("heavy", "heavy"), "one reading without packets is not enough"
    paths.second(soft=HEAVY)
    assert paths.classes() == (None, "heavy")
    assert paths.moves() == [(*TO_SOFT, False)]
    assert not paths.engine.state.path_moves
    assert not paths.engine.state.conflicts


@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_that_is_sent_by_both_interfaces_stays_on_both(kind: str) -> None:
    paths = heavy_on_direct(kind)
    paths.send(SOFT)
    for _ in range(20):
        paths.second(direct=HEAVY, soft=HEAVY)
    assert paths.classes() == ("heavy", "heavy")
    paths.send(DIRECT, 2000)
    paths.send(SOFT, 3000)
    assert [len(paths.device(dpid).flows) for dpid in MACS] == [2, 2]
    assert not paths.engine.state.conflicts
    assert not [one for one in paths.reports if one.data.get("change") == "conflict"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interface_whose_link_is_down_loses_the_flow_at_once(kind: str) -> None:
    paths = heavy_on_direct(kind)
    paths.link(DIRECT, up=False)
    assert paths.classes() == (None, None), "it cannot send"
    paths.send(SOFT)
    assert paths.classes() == (None, "heavy")
    assert paths.moves() == [(*TO_SOFT, True)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_that_comes_up_again_has_the_flow_when_it_is_sent_there(kind: str) -> None:
    paths = heavy_on_direct(kind)
    paths.link(DIRECT, up=False)
    paths.send(SOFT)
    paths.second(soft=HEAVY)
    paths.link(DIRECT, up=True)
    assert paths.classes() == (None, "heavy")
    paths.send(DIRECT)
    for _ in range(3):
        paths.second(direct=HEAVY)
    assert paths.classes() == ("heavy", None)
    assert paths.moves() == [(*TO_SOFT, True), (*TO_SOFT[::-1], False)]


def test_an_interface_that_is_unplugged_hands_its_flows_on() -> None:
    """As before a live migration: the VF is taken away, the standby takes over."""
    paths = heavy_on_direct()
    paths.ids[DIRECT] = {}
    paths.do(ev.PortRemoved(DIRECT, PORT))
    paths.describe(DIRECT)
    assert paths.classes() == (None, None)
    paths.send(SOFT)
    assert paths.classes() == (None, "heavy")
    assert paths.moves() == [(*TO_SOFT, True)]


def test_a_flow_that_goes_back_before_it_was_ended_is_where_it_was() -> None:
    paths = heavy_on_direct()
    paths.send(SOFT)
    for _ in range(4):
        paths.second(direct=HEAVY)
    assert paths.classes() == ("heavy", None)
    assert [move[:2] for move in paths.moves()] == [TO_SOFT, TO_SOFT[::-1]]


def test_the_same_addresses_in_another_vlan_are_another_flow() -> None:
    paths = heavy_on_direct(tags=(10, 20))
    paths.send(SOFT)
    assert paths.classes() == ("heavy", "small")
    assert paths.moves() == []


def test_a_learned_entry_that_is_left_behind_is_no_flow_until_it_counts_again() -> None:
    paths = Paths(learn=True)
    paths.send(DIRECT)
    paths.now += 1
    device = paths.device(DIRECT)
    (key,) = device.flows.rows
    entry = ev.LearnedFlow(key, PORT, UPLINK, MACS[DIRECT], 0, 10, 10_000)

    def read(octets: int) -> None:
        paths.do(ev.LearnedCounters(DIRECT, (entry._replace(octets=octets, packets=octets // 1000),)))

    read(10_000)
    paths.now += 1
    paths.send(SOFT)
    for _ in range(3):
        paths.second(soft=1000)
        read(10_000)
    paths.tick()
    assert [len(paths.device(dpid).flows) for dpid in MACS] == [0, 1]
    read(10_000)
    assert len(device.flows) == 0
    read(12_000)
    assert len(device.flows) == 1, "it is sent there again"
    assert [move[:2] for move in paths.moves()] == [TO_SOFT, TO_SOFT[::-1]]


def test_the_hints_of_the_interface_come_along_and_no_others_change() -> None:
    paths = Paths()
    given = Hint("h", f"nic-{DIRECT}", "asked", Match(src_ports=((1000, 1000),)), HintSource.REST)
    paths.do(ev.HintGiven(given))
    paths.send(SOFT)
    assert paths.classes() == (None, "small"), "the hint is not for this interface"
    paths.send(DIRECT, 1000)
    paths = Paths()
    paths.do(ev.HintGiven(given))
    paths.send(DIRECT)
    paths.send(SOFT)
    assert paths.classes() == ("asked", "asked")
    (flow,) = [key.hex() for key in paths.device(SOFT).flows.rows]
    (why,) = paths.get(f"/v1/flows/{flow}/explain")["devices"]
    assert "rest" in why["hint"].lower()


def test_people_see_where_a_flow_came_from_and_both_paths() -> None:
    paths = heavy_on_direct()
    direct = paths.device(DIRECT).flows
    queue = direct.queue_id[next(iter(direct))]
    paths.link(DIRECT, up=False)
    paths.send(SOFT)
    (flow,) = [key.hex() for key in paths.device(SOFT).flows.rows]
    (why,) = paths.get(f"/v1/flows/{flow}/explain")["devices"]
    came = why["came_from"]
    assert (came["device_name"], came["in_port"], came["queue_id"]) == ("nic", f"tap{DIRECT}", queue)
    assert came["why"] == f"the VM sends it by its other interface, since the link of tap{DIRECT} is down"
    (other,) = why["other_paths"]
    assert (other["vm"], other["up"]) == (f"nic-{DIRECT}", False)
    vm = paths.get(f"/v1/vms/nic-{SOFT}")
    assert [(path["role"], path["up"], path["flows"]) for path in vm["paths"]] == [
        ("vswitch", True, 1),
        ("nic", False, 0),
    ]


def test_people_see_that_the_direct_path_is_full_and_the_software_path_is_not() -> None:
    paths = Paths(balance=Balance(flows_per_queue=1), gates=(), rules=())
    notes: list[str] = []
    for sport in range(5):
        paths.send(DIRECT, sport, None)
        newest = [key.hex() for key in paths.device(DIRECT).flows.rows][-1]
        (why,) = paths.get(f"/v1/flows/{newest}/explain")["devices"]
        (other,) = why["other_paths"]
        assert (other["vm"], other["has_room"]) == (f"nic-{SOFT}", True)
        notes.append(other["note"])
    room = "its software queues carry 0bit/s: they have room"
    assert notes == [
        *[room] * 4,
        f"{room} for the flow, and this path has not; only the VM can send it there",
    ]
    paths.send(SOFT)
    (flow,) = [key.hex() for key in paths.device(SOFT).flows.rows]
    (why,) = paths.get(f"/v1/flows/{flow}/explain")["devices"]
    assert why["other_paths"][0]["has_room"] is True, "a software queue of the NIC"


def test_the_two_ports_of_one_iface_id_are_paths() -> None:
    paths = heavy_on_direct("one iface-id")
    paths.send(SOFT, 2000)
    vm = paths.get("/v1/vms/vm")
    assert {(path["role"], path["flows"]) for path in vm["paths"]} == {("nic", 1), ("vswitch", 1)}
    assert {claim["state"] for claim in vm["claims"]} == {"current", "path"}
    assert vm["conflicts"] == []


def test_a_heavy_flow_that_returns_to_an_entry_is_heavy_though_the_other_is_silent() -> None:
    """The device copies no packet of it, so that only a reading shows it, and the other interface is read first."""
    paths = heavy_on_direct(learn=True)
    (key,) = paths.device(DIRECT).flows.rows
    paths.send(SOFT)
    for _ in range(4):
        paths.second(direct=0, soft=HEAVY)
    assert paths.classes() == (None, "heavy")
    for octets, seconds in ((5 * HEAVY, 5), (5 * HEAVY + 1_000_000, 1)):
        for _ in range(seconds):
            paths.second(soft=0)
        entry = ev.LearnedFlow(key, PORT, UPLINK, MACS[DIRECT], 0, octets // 1000, octets)
        paths.do(ev.LearnedCounters(DIRECT, (entry,)))
    assert paths.classes() == ("heavy", "small"), "what it was before it went counts"
