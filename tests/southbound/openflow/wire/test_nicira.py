"""A real Open vSwitch places flows by itself, remembers them, and copies each of them once."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from lab.inside.dump_flows import read_entry
from lab.inside.private_ovs import PrivateOvs
from support.engine.plans import ABLE, OTHER_VM, UPLINK, VM, VM_NUMBER, plan
from support.openflow.client import NUMBERS, VERSIONS, Client, controlled

from flowlane.core import flowkey
from flowlane.core.effects import PlannedPort, StandingMatch, StandingRule
from flowlane.core.events import FlowSeen, LearnedFlow
from flowlane.core.flowkey import IPV4, TCP, UDP, FlowParts
from flowlane.core.model import MeterSpec, PortRole
from flowlane.southbound.openflow.osken import lazy
from flowlane.southbound.openflow.session import counters, decode, encode, readback, requests
from flowlane.southbound.openflow.tables import desired, diff
from flowlane.southbound.openflow.tables.entries import (
    EMPTY,
    Change,
    Op,
    Output,
    SetQueue,
    Standing,
    counted_group,
    in_group,
    learned_group,
)
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.wire import nicira
from flowlane.southbound.openflow.wire.nicira import FAMILIES, Learn

BRIDGE = "br0"
QUEUES = (0, 1, 2, 3)
PORTS = {VM: (), OTHER_VM: (), UPLINK: QUEUES}
LEARNING = replace(ABLE, learn=True)
SPREAD = StandingRule(0, StandingMatch(), UPLINK, "any", tuple((queue_id, 1) for queue_id in QUEUES))
ONE = SPREAD._replace(queues=((2, 1),))
IDLE = 10


@pytest.fixture
def client(ovs: PrivateOvs, version: str) -> Iterator[Client]:
    with controlled(ovs, BRIDGE, version, ("vm1", "vm2", "up")) as connected:
        yield connected


def program(client: Client, version: str, rule: StandingRule) -> Standing:
    given = plan(rule, learned_idle=IDLE, meters=())
    able = replace(LEARNING, version=NUMBERS[version])
    standing = desired.compile_plan(replace(given, ports=_with_queues(), copy_rate=0), able, PORTS).standing
    assert client.apply(encode.messages(client.datapath, diff.changes(standing, EMPTY))) == []
    return standing


def send(ovs: PrivateOvs, sport: int, proto: int = UDP, tag: str = "", length: int = 200) -> None:
    name = {TCP: "tcp", UDP: "udp"}[proto]
    inner = (
        "eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.9,"
        f"proto={proto},tos=0xb8,ttl=64,frag=no),{name}(src={sport},dst=53)"
    )
    if tag:
        inner = f"eth_type(0x8100),vlan({tag}),encap({inner})"
    ovs.receive("vm1", f"in_port(1),eth(src=0a:00:00:00:00:01,dst=0a:00:00:00:00:fe),{inner}", length)


def without_bytes(message: Any) -> SimpleNamespace:
    """A packet-in as os-ken has read it."""
    return SimpleNamespace(
        **{name: getattr(message, name) for name in ("cookie", "table_id", "match", "data")}
    )


def copies(client: Client) -> list[FlowSeen]:
    """The messages of the switch so far; a barrier makes sure that none is on its way."""
    client.apply([])
    found = [message for message in client.seen if type(message).__name__ == "OFPPacketIn"]
    lazy.install_lazy_packets()
    for message in found:
        late = lazy.read_packet(client.datapath, message.buf)
        assert decode.flow_seen(1, late) == decode.flow_seen(1, without_bytes(message))
    return [seen for message in found if (seen := decode.flow_seen(1, message)) is not None]


def learned(client: Client) -> tuple[LearnedFlow, ...]:
    """What it has learned; its bytes are read as os-ken reads them."""
    parts = client.request(requests.learned_request(client.datapath))
    found = readback.learned_flows(parts)
    assert found == readback.learned_flows(SimpleNamespace(body=part.body) for part in parts)
    return found


def key(sport: int, proto: int = UDP, vlan: int | None = None) -> bytes:
    addresses = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 9))
    return flowkey.pack(FlowParts(VM_NUMBER, vlan, IPV4, proto, sport, 53, *addresses))


@pytest.mark.ovs
def test_the_switch_keeps_what_it_is_given(client: Client, version: str) -> None:
    standing = program(client, version, SPREAD)
    flows = client.request(requests.flows_request(client.datapath))
    groups = client.request(requests.groups_request(client.datapath))
    found = readback.standing(flows, groups)
    assert set(found.flows) == set(standing.flows)
    assert found.groups == standing.groups
    assert diff.changes(standing, found) == ()


@pytest.mark.ovs
def test_each_flow_is_copied_once_with_its_queue_and_remembered(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    program(client, version, ONE)
    for _ in range(3):
        send(ovs, 1000)
        send(ovs, 1000, TCP)
        send(ovs, 1000, tag="vid=7,pcp=5")
    seen = copies(client)
    assert [(one.in_port, one.egress_port, one.queue_id) for one in seen] == [(VM, UPLINK, 2)] * 3
    found = {flow.key: flow for flow in learned(client)}
    assert set(found) == {key(1000), key(1000, TCP), key(1000, vlan=7)}
    for flow in found.values():
        assert (flow.in_port, flow.egress_port, flow.eth_src) == (VM, UPLINK, 0x0A0000000001)
        assert (flow.queue_id, flow.dscp) == (2, 46)
    assert (found[key(1000)].pcp, found[key(1000, vlan=7)].pcp) == (0, 5)


@pytest.mark.ovs
def test_a_group_holds_what_was_learned_since_it_began_and_is_read_by_its_cookie(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    standing = program(client, version, ONE)
    send(ovs, 1000)
    changes = [
        Change(Op.MODIFY, in_group(flow, 7)) for flow in standing.flows if in_group(flow, 7) is not flow
    ]
    assert len(changes) == len(FAMILIES)
    changes += [Change(Op.ADD, counted_group(number)) for number in (6, 7)]
    assert client.apply(encode.messages(client.datapath, changes)) == []
    send(ovs, 1000)
    send(ovs, 1001)
    assert [(flow.key, flow.group) for flow in learned(client)] == [(key(1000), 0)]
    (later,) = readback.learned_flows(client.request(requests.learned_request(client.datapath, 7)))
    assert (later.key, later.group) == (key(1001), 7)
    assert 0 <= later.seconds < 10
    send(ovs, 1001)
    ovs.appctl("revalidator/wait")
    counted = counters.groups_counted(1, client.request(requests.groups_counted_request(client.datapath)))
    (later,) = readback.learned_flows(client.request(requests.learned_request(client.datapath, 7)))
    assert counted.octets == {6: 0, 7: later.octets}
    assert later.octets > 0
    flows = readback.standing(client.request(requests.flows_request(client.datapath)), ()).flows
    assert learned_group(flows) == 7
    assert readback.learned_flows(client.request(requests.learned_request(client.datapath, 6))) == ()


@pytest.mark.ovs
def test_later_packets_leave_by_the_queue_of_the_first_whatever_the_rules_are_now(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    before = program(client, version, ONE)
    send(ovs, 1000)
    after = desired.compile_plan(
        plan(ONE._replace(queues=((1, 1),)), learned_idle=IDLE, meters=(), copy_rate=0),
        replace(LEARNING, version=NUMBERS[version]),
        PORTS,
    ).standing
    # Table output stays: here its plan names no queues.
    kept = Standing(
        (
            *(flow for flow in after.flows if flow.table_id != TableId.OUTPUT),
            *(flow for flow in before.flows if flow.table_id == TableId.OUTPUT),
        )
    )
    assert client.apply(encode.messages(client.datapath, diff.changes(kept, before))) == []
    addresses = "dl_src=0a:00:00:00:00:01,dl_dst=0a:00:00:00:00:fe,nw_src=10.0.0.1,nw_dst=10.0.0.9"
    packet = f"in_port=1,vlan_tci=0,udp,{addresses}"
    assert "set_queue:2" in ovs.trace(BRIDGE, f"{packet},udp_src=1000,udp_dst=53")
    assert "set_queue:1" in ovs.trace(BRIDGE, f"{packet},udp_src=1001,udp_dst=53")


@pytest.mark.ovs
@pytest.mark.parametrize("rule", [ONE, SPREAD], ids=["one queue", "several"])
def test_the_meter_of_a_class_holds_a_flow_from_its_first_packet_and_when_it_is_known(
    client: Client, ovs: PrivateOvs, version: str, rule: StandingRule
) -> None:
    limited = rule._replace(meter_id=9)
    given = replace(plan(limited, learned_idle=IDLE, meters=(METER,), copy_rate=0), ports=_with_queues())
    able = replace(LEARNING, version=NUMBERS[version])
    standing = desired.compile_plan(given, able, PORTS).standing
    assert client.apply(encode.messages(client.datapath, diff.changes(standing, EMPTY))) == []
    frame = "in_port=1,udp,dl_src=0a:00:00:00:00:01,dl_dst=0a:00:00:00:00:fe,nw_src=10.0.0.1,nw_dst=10.0.0.9"
    first = ovs.trace(BRIDGE, f"{frame},udp_src=1000,udp_dst=53")
    assert re.search(r"Datapath actions: meter\(\d+\)", first), "nothing comes before the meter"
    for _ in range(40):
        send(ovs, 1000, length=1000)
    assert {one.meter_id for one in copies(client)} == {9}
    (found,) = learned(client)
    assert found.meter_id == 9
    later = ovs.trace(BRIDGE, f"{frame},udp_src=1000,udp_dst=53")
    assert f"reg0=0x1,reg4=0x9, priority {Priority.SEEN_LIMITED}" in later
    assert re.search(r"Datapath actions: meter\(\d+\)", later)
    # 40 packets of 8 kbit through a meter of 8 kbit/s with a burst of 40: what is over is dropped, however fast.
    (counters,) = [counters for counters in meter_stats(client) if counters[0] == 9]
    assert counters[1] == 40
    assert counters[2] > 0


METER = MeterSpec(9, 8_000, 40_000)


def meter_stats(client: Client) -> list[tuple[int, int, int]]:
    """(id, packets in, packets dropped) of each meter."""
    counters = decode.meter_counters(1, client.request(requests.meter_stats_request(client.datapath)))
    return [(number, counts[0], counts[2]) for number, counts in counters.counters.items()]


def _with_queues() -> tuple[PlannedPort, ...]:
    ports = plan(ONE).ports
    return tuple(port._replace(queues=QUEUES) if port.role is PortRole.UPLINK else port for port in ports)


@pytest.mark.ovs
def test_what_was_learned_about_a_port_can_be_forgotten(
    client: Client, ovs: PrivateOvs, version: str
) -> None:
    program(client, version, ONE)
    send(ovs, 1000)
    assert len(learned(client)) == 1
    client.apply([encode.delete_learned(client.datapath, OTHER_VM, None)])
    client.apply([encode.delete_learned(client.datapath, None, OTHER_VM)])
    assert len(learned(client)) == 1
    client.apply([encode.delete_learned(client.datapath, UPLINK, None)])
    assert learned(client) == ()
    removed = client.wait_for("OFPFlowRemoved")
    gone = readback.learned_ended(1, removed)
    assert gone is not None
    assert (gone.key, gone.in_port, gone.egress_port, gone.idle) == (key(1000), VM, UPLINK, False)
    # The switch's cache of decisions follows its tables within half a second.
    deadline = time.monotonic() + 5
    while not learned(client) and time.monotonic() < deadline:
        send(ovs, 1000)
        time.sleep(0.1)
    assert len(learned(client)) == 1


@pytest.mark.ovs
@pytest.mark.parametrize(("proto", "versions"), [(UDP, ("OpenFlow15",)), (TCP, VERSIONS)])
def test_flows_of_one_pair_of_hosts_spread_over_all_queues(
    client: Client, ovs: PrivateOvs, version: str, proto: int, versions: tuple[str, ...]
) -> None:
    """UDP only where groups have a selection method; the switch's own hash leaves its ports out."""
    program(client, version, SPREAD)
    for sport in range(1000, 1064):
        send(ovs, sport, proto)
    found = Counter(flow.queue_id for flow in learned(client))
    assert sum(found.values()) == 64
    if version in versions:
        assert set(found) == set(QUEUES)
        assert max(found.values()) <= 32
    dumped = map(read_entry, ovs.ofctl("dump-flows", BRIDGE, f"table={TableId.SEEN:d}").splitlines()[1:])
    shown = Counter(entry.learned_queue for entry in dumped if entry.learned_queue is not None)
    assert shown == found


@pytest.mark.ovs
def test_a_packet_that_was_handed_over_is_sent_on(client: Client, ovs: PrivateOvs, version: str) -> None:
    assert version in VERSIONS
    frame = bytes.fromhex("0a00000000fe0a00000000010800") + bytes(50)
    steps = (SetQueue(0), Output(UPLINK))
    assert client.apply([encode.packet_out(client.datapath, VM, frame, steps)]) == []
    sent = ovs.ofctl("dump-ports", BRIDGE, str(UPLINK))
    assert "tx pkts=1" in sent


@pytest.mark.parametrize("family", FAMILIES)
def test_a_learn_action_is_read_as_it_was_written(family: nicira.Family) -> None:
    learn = Learn(family, 77, table_id=5, priority=1000, cookie=0xF10A400000000000)
    data: Any = nicira.write(learn)
    assert len(data) % 8 == 0
    assert nicira.read_learn(data) == learn
    assert nicira.read_learn(data[:-8] + b"\1" * 8) is None
    assert nicira.read_learn(data[:20]) is None
