"""First packets placed without a decision of their own: which, how many, and that the switch does no work for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.inside.private_ovs import PrivateOvs
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from support.engine.plans import ABLE, OTHER_VM, UPLINK, VM, VM_NUMBER, plan
from support.openflow.client import NUMBERS, Client, controlled

from flowlane.core.effects import DevicePlan, PlannedPort, StandingMatch, StandingRule
from flowlane.core.events import FlowSeen
from flowlane.core.model import Capabilities, MeterSpec, PortRole
from flowlane.southbound.openflow.session import decode, encode, readback, requests
from flowlane.southbound.openflow.tables import desired, diff, young
from flowlane.southbound.openflow.tables.entries import (
    EMPTY,
    FlowEntry,
    Goto,
    GroupEntry,
    Op,
    Output,
    SetQueue,
    Standing,
    UseGroup,
)
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.wire.nicira import Learn, Track

BRIDGE = "br0"
QUEUES = (0, 1, 2, 3)
PORTS = {VM: (), OTHER_VM: (), UPLINK: QUEUES}
PLANNED = (
    PlannedPort(VM, PortRole.VM, VM_NUMBER),
    PlannedPort(OTHER_VM, PortRole.VM, 88),
    PlannedPort(UPLINK, PortRole.UPLINK, 0, (), QUEUES),
)
HOSTS = ((0x0A0000000001, VM), (0x0A0000000002, OTHER_VM))
TRACKING = replace(ABLE, learn=True, conntrack=True)
AFTER = 3
SPREAD = StandingRule(0, StandingMatch(), UPLINK, "any", tuple((queue_id, 1) for queue_id in QUEUES))
SPREAD_2 = StandingRule(1, StandingMatch(eth_type=0x0800, ip_proto=6), UPLINK, "other", ((2, 1),))
INSIDE = tuple(StandingRule(0, StandingMatch(), port_no, "any", ()) for port_no in (VM, OTHER_VM))
PLAN = replace(
    plan(
        SPREAD,
        *INSIDE,
        learned_idle=10,
        learn_after=AFTER,
        meters=(),
        copy_rate=0,
        unknown_port=UPLINK,
        hosts=HOSTS,
        tracked_ports=(VM, OTHER_VM),
    ),
    ports=PLANNED,
)


def compiled(version: str = "OpenFlow15", given_plan: DevicePlan = PLAN) -> Standing:
    return desired.compile_plan(given_plan, replace(TRACKING, version=NUMBERS[version]), PORTS).standing


def spread_over(*queues: int, meter_id: int = 0) -> DevicePlan:
    """The plan with these queues for what leaves by the uplink."""
    rule = SPREAD._replace(queues=tuple((queue_id, 1) for queue_id in queues), meter_id=meter_id)
    return replace(PLAN, rules=(rule, *INSIDE))


@pytest.mark.parametrize(
    ("given_plan", "able"),
    [
        (replace(PLAN, learn_after=0), TRACKING),
        (replace(PLAN, tracked_ports=()), TRACKING),
        (replace(PLAN, learned_idle=0), TRACKING),
        (replace(PLAN, reactive=True), TRACKING),
        (PLAN, replace(TRACKING, conntrack=False)),
        (PLAN, replace(TRACKING, learn=False)),
    ],
)
def test_without_all_that_it_takes_nothing_is_tracked(given_plan: DevicePlan, able: Capabilities) -> None:
    flows = desired.compile_plan(given_plan, able, PORTS).standing.flows
    assert not [flow for flow in flows if flow.table_id in (TableId.TRACK, TableId.GATE) and flow.match]
    assert not [step for flow in flows for step in flow.steps if isinstance(step, Track)]
    assert not [flow for flow in flows if Goto(TableId.TRACK) in flow.steps]
    assert young.tracks(PLAN, TRACKING)


WAYS = {
    "tracked": PLAN,
    "not tracked": replace(PLAN, tracked_ports=()),
    "learned at once": replace(PLAN, learn_after=0),
    "a pin for each flow": replace(PLAN, learned_idle=0, learn_after=0),
    "reactive": replace(PLAN, learned_idle=0, learn_after=0, reactive=True),
}


@pytest.mark.parametrize("after", WAYS)
@pytest.mark.parametrize("before", WAYS)
def test_at_every_step_from_one_way_to_another_packets_are_led_to_tables_that_lead_on(
    before: str, after: str
) -> None:
    """Also those that are on their way out of the tracker, and those in the bucket of a group."""
    old, new = (desired.compile_plan(WAYS[way], TRACKING, PORTS).standing for way in (before, after))
    flows = {(entry.table_id, entry.priority, entry.match): entry for entry in old.flows}
    groups = {group.group_id: group for group in old.groups}
    assert groups or before == "reactive"
    for change in diff.changes(new, old):
        entry = change.entry
        if isinstance(entry, FlowEntry):
            place = entry.table_id, entry.priority, entry.match
            flows.pop(place, None)
            if change.op is not Op.DELETE:
                flows[place] = entry
        elif isinstance(entry, GroupEntry):
            groups.pop(entry.group_id, None)
            if change.op is not Op.DELETE:
                groups[entry.group_id] = entry
        used = [
            groups[step.group_id].buckets
            for flow in flows.values()
            for step in flow.steps
            if isinstance(step, UseGroup)
        ]
        tables = {step.table_id for flow in flows.values() for step in flow.steps if isinstance(step, Goto)}
        tables |= {bucket.table_id for buckets in used for bucket in buckets if bucket.table_id is not None}
        catching = {
            table_id for table_id, priority, _ in flows if priority in (Priority.MISS, Priority.STANDING)
        }
        assert tables | {TableId.GATE} <= catching, change


@given(st.integers(1, 64), st.integers(0, 200))
def test_just_so_many_packets_are_young(learn_after: int, mark: int) -> None:
    terms = [{term.field: term for term in entry.match} for entry in young.gate_entries(learn_after)]
    marks = [(found["ct_mark"].value, found["ct_mark"].mask or 0xFFFFFFFF) for found in terms]
    first = [value for value, mask in marks if mark & mask == value]
    assert len(first) == (mark < learn_after)


def test_of_the_first_packets_one_is_copied_and_none_learned() -> None:
    entries = list(young.count_entries(PLAN))
    by_mark: dict[int, list[set[type]]] = {}
    for entry in entries:
        mark = {term.field: term.value for term in entry.match}["ct_mark"]
        by_mark.setdefault(mark, []).append({type(step) for step in entry.steps} - {Goto})
    assert set(by_mark) == {0, 1, 2, AFTER}
    assert by_mark[0] == [{Track, Output}] * 2
    assert by_mark[1] == by_mark[2] == [{Track}] * 2
    assert by_mark[AFTER] == [{Learn}] * 4


def test_ports_have_zones_of_their_own_in_the_upper_half() -> None:
    zones = {young.zone_of(dpid, port_no) for dpid in (1, 2) for port_no in range(1, 65)}
    assert len(zones) == 128
    assert all(0x8000 <= zone <= 0xFFFF for zone in zones)


@pytest.fixture
def client(ovs: PrivateOvs, version: str) -> Iterator[Client]:
    with controlled(ovs, BRIDGE, version, ("vm1", "vm2", "up")) as connected:
        # A datapath outlives its bridge for a moment: one made at once finds the last one's connections in it.
        ovs.appctl("dpctl/flush-conntrack")
        standing = compiled(version)
        assert connected.apply(encode.messages(connected.datapath, diff.changes(standing, EMPTY))) == []
        yield connected


VM_END, FAR_END = ("0a:00:00:00:00:01", "10.0.0.1"), ("0a:00:00:00:00:fe", "10.0.0.9")
OTHER_END = "0a:00:00:00:00:02", "10.0.0.2"
End = tuple[str, str]


def frame(src: End, dst: End, transport: Packet) -> str:
    """A whole packet: a tracker takes none whose checksums are wrong."""
    return bytes(Ether(src=src[0], dst=dst[0]) / IP(src=src[1], dst=dst[1]) / transport / (b"x" * 60)).hex()


def send(ovs: PrivateOvs, port: str, src: End, dst: End, transport: Packet) -> None:
    ovs.receive(port, frame(src, dst, transport))


def ask(ovs: PrivateOvs, *sports: int) -> None:
    """The VM sends a packet from each of the ports."""
    frames = (frame(VM_END, FAR_END, UDP(sport=sport, dport=53)) for sport in sports)
    ovs.appctl("netdev-dummy/receive", "vm1", *frames)


def ask_in_turns(client: Client, ovs: PrivateOvs, sports: Sequence[int]) -> None:
    """A few at a time: more than 100 copies that wait to be sent Open vSwitch drops (ofproto/connmgr.c)."""
    for start in range(0, len(sports), 20):
        ask(ovs, *sports[start : start + 20])
        client.apply([])


def copies(client: Client) -> list[FlowSeen]:
    client.apply([])
    found = [message for message in client.seen if type(message).__name__ == "OFPPacketIn"]
    return [seen for message in found if (seen := decode.flow_seen(1, message)) is not None]


def learned(client: Client) -> int:
    return len(readback.learned_flows(client.request(requests.flows_request(client.datapath))))


@pytest.mark.ovs
def test_what_is_sent_is_what_stands_there(client: Client, ovs: PrivateOvs, version: str) -> None:
    there = readback.flow_entries(client.request(requests.flows_request(client.datapath)))
    assert set(there) == set(compiled(version).flows)


@pytest.mark.ovs
def test_a_flow_is_copied_with_its_first_packet_and_learned_after_so_many(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    for number in range(1, AFTER + 3):
        ask(ovs, 1000)
        (seen,) = copies(client)
        assert (seen.in_port, seen.egress_port) == (VM, UPLINK)
        assert learned(client) == (number > AFTER)
    assert learned_queue(client) == seen.queue_id, "the entry keeps the queue that the first packet took"


@pytest.mark.ovs
def test_new_flows_share_what_the_datapath_has_cached(client: Client, ovs: PrivateOvs, version: str) -> None:
    """Of a hundred new flows hardly one has to be decided upon: that is what makes them fast."""
    ask_in_turns(client, ovs, range(1000, 1060))
    cached = set(re.findall(r"ufid:\S+", ovs.appctl("dpctl/dump-flows", "-m")))
    ask_in_turns(client, ovs, range(1100, 1200))
    flows = ovs.appctl("dpctl/dump-flows", "-m")
    new = set(re.findall(r"ufid:\S+", flows)) - cached
    assert len(new) <= 8, flows
    assert len({seen.frame for seen in copies(client)}) == 160
    if version == "OpenFlow15":
        assert {seen.queue_id for seen in copies(client)} == set(QUEUES)


@pytest.mark.ovs
def test_the_answer_of_a_server_behind_the_port_is_a_flow_like_others(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    """The connection began outside; what the VM sends in it is young all the same, and copied once."""
    send(ovs, "up", FAR_END, VM_END, TCP(sport=999, dport=80, flags="S", seq=100))
    for flags in ("SA", "A", "A"):
        send(ovs, "vm1", VM_END, FAR_END, TCP(sport=80, dport=999, flags=flags, seq=500, ack=161))
    assert len(copies(client)) == 1
    assert learned(client) == 0


@pytest.mark.ovs
def test_what_cannot_be_tracked_is_learned_at_once(client: Client, ovs: PrivateOvs, version: str) -> None:
    """An answer to nothing that passed here is invalid to the tracker, but it is a flow to us."""
    send(ovs, "vm1", VM_END, FAR_END, TCP(sport=80, dport=999, flags="SA"))
    assert len(copies(client)) == 1
    assert learned(client) == 1


@pytest.mark.ovs
def test_both_ends_on_one_switch_are_two_flows(client: Client, ovs: PrivateOvs, version: str) -> None:
    """Each end has its zone: that one end was seen does not hide the other."""
    send(ovs, "vm1", VM_END, OTHER_END, UDP(sport=1000, dport=53))
    send(ovs, "vm2", OTHER_END, VM_END, UDP(sport=53, dport=1000))
    assert sorted((seen.in_port, seen.egress_port) for seen in copies(client)) == [
        (VM, OTHER_VM),
        (OTHER_VM, VM),
    ]


def change(client: Client, version: str, before: DevicePlan, after: DevicePlan) -> None:
    changes = diff.changes(compiled(version, after), compiled(version, before))
    assert client.apply(encode.messages(client.datapath, changes)) == []


def queue_counts(client: Client) -> dict[int, int]:
    """Queue id -> packets that left the uplink by it, as the entries of table output count them."""
    found: dict[int, int] = {}
    for stats in decode.bodies(client.request(requests.flows_request(client.datapath))):
        entry = readback.flow_entry(stats)
        if entry is not None and entry.table_id == TableId.OUTPUT and stats_packets(stats):
            queue = next((step.queue_id for step in entry.steps if isinstance(step, SetQueue)), -1)
            found[queue] = found.get(queue, 0) + stats_packets(stats)
    return found


def stats_packets(stats: Any) -> int:
    return decode.counters(stats)[0]


def learned_queue(client: Client) -> int:
    """The queue in the one entry that the switch has learned."""
    (entry,) = readback.learned_flows(client.request(requests.flows_request(client.datapath)))
    return entry.queue_id


@pytest.mark.ovs
def test_a_young_flow_keeps_its_queue_when_new_ones_go_elsewhere(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    """What its first packet was given is noted with the connection, and is what its entry remembers."""
    change(client, version, PLAN, spread_over(2))
    ask(ovs, 1000)
    both = replace(spread_over(1), rules=(*spread_over(1).rules, SPREAD_2))
    change(client, version, spread_over(2), both)
    for _ in range(AFTER):
        ask(ovs, 1000)
    ask(ovs, 2000)
    assert learned_queue(client) == 2
    assert queue_counts(client) == {1: 1, 2: AFTER + 1}


@pytest.mark.ovs
def test_a_queue_that_no_rule_gives_out_any_more_is_left(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    change(client, version, PLAN, spread_over(2))
    ask(ovs, 1000)
    change(client, version, spread_over(2), spread_over(1, 3))
    for _ in range(AFTER):
        ask(ovs, 1000)
    assert learned_queue(client) in (1, 3)


@pytest.mark.ovs
def test_the_meter_of_the_class_holds_for_every_packet_of_a_young_flow(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    limited = replace(spread_over(1, 2, meter_id=7), meters=(MeterSpec(7, 1_000_000_000, 100_000_000),))
    change(client, version, PLAN, limited)
    for number in range(1, AFTER + 3):
        ask(ovs, 1000)
        assert "meter:7 flow_count:" in ovs.ofctl("meter-stats", BRIDGE)
        assert f"packet_in_count:{number} " in ovs.ofctl("meter-stats", BRIDGE)


@pytest.mark.ovs
def test_a_flow_that_grows_old_is_decided_upon_once(client: Client, ovs: PrivateOvs, version: str) -> None:
    """Its entry is made from what its connection remembers: no bucket has to be found for it."""
    for sport in (1000, 1001):
        ask(ovs, *[sport] * AFTER)
    cached = set(re.findall(r"ufid:\S+", ovs.appctl("dpctl/dump-flows", "-m")))
    ask(ovs, 1000)
    new = set(re.findall(r"ufid:\S+", ovs.appctl("dpctl/dump-flows", "-m"))) - cached
    assert learned(client) == 1
    assert len(new) == 1


@pytest.mark.ovs
def test_a_fragment_is_not_held_back_until_the_others_have_come(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    """A tracker would have to put the packet together first; the flow is learned at once instead."""
    first = Ether(src=VM_END[0], dst=FAR_END[0]) / IP(src=VM_END[1], dst=FAR_END[1], flags="MF")
    # Smaller ones a tracker takes for an attack, and lets pass (ovs-appctl dpctl/ipf-get-status).
    ovs.receive("vm1", bytes(first / UDP(sport=1000, dport=53, len=2000) / (b"x" * 1400)).hex())
    assert sum(queue_counts(client).values()) == 1
    assert learned(client) == 1


@pytest.mark.ovs
def test_a_flow_whose_first_packet_went_over_a_limit_is_learned_all_the_same(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    """Its second is the first that counts."""
    tight = replace(spread_over(1, 2, meter_id=7), meters=(MeterSpec(7, 1000, 1),))
    change(client, version, PLAN, tight)
    ask(ovs, 999, 1000)
    assert len(copies(client)) == 1, "the meter lets one packet through"
    change(client, version, tight, PLAN)
    for _ in range(AFTER + 1):
        ask(ovs, 1000)
    assert len(copies(client)) == 2
    assert learned(client) == 1
