"""What Open vSwitch makes of our messages, over a real connection, judged by its own tools."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from struct import pack

import pytest
from lab.inside.private_ovs import PrivateOvs, running
from support.engine.packets import packet_of
from support.engine.plans import (
    FAR_MAC,
    OTHER_VM,
    PORTS,
    REST,
    UPLINK,
    VM,
    VM_MAC,
    VM_NUMBER,
    VOICE,
    WEB,
    pin,
    plan,
)
from support.openflow.client import VERSIONS, Client, controlled
from support.openflow.memory_switch import MemorySwitch

from flowlane.core import flowkey
from flowlane.core.effects import DevicePlan, UnpinFlow
from flowlane.core.events import RuleRefused
from flowlane.core.flowkey import FlowParts
from flowlane.core.model import NO_PORT, NO_QUEUE, Capabilities, MeterSpec, PinRef, Refusal
from flowlane.southbound.openflow.osken import repairs
from flowlane.southbound.openflow.session import decode, encode, readback, requests
from flowlane.southbound.openflow.tables import desired, diff, pins, probes
from flowlane.southbound.openflow.tables.entries import EMPTY, Change, Op, Standing
from flowlane.southbound.openflow.tables.layout import DEFAULT

pytestmark = pytest.mark.ovs

BRIDGE = "br0"
DEVICES = ("vm1", "vm2", "up")
TCP = f"in_port={VM},dl_src=0a:00:00:00:00:01,dl_dst=0a:00:00:00:00:fe,tcp,nw_src=10.0.0.1,nw_dst=10.0.0.9,tp_src=40000"


@pytest.fixture
def client(ovs: PrivateOvs, version: str) -> Iterator[Client]:
    with controlled(ovs, BRIDGE, version, DEVICES) as connected:
        yield connected


def abilities(client: Client) -> Capabilities:
    meters = decode.meter_capabilities(client.request(requests.meter_features_request(client.datapath)))
    groups = decode.group_capabilities(client.request(requests.group_features_request(client.datapath)))
    probe = client.apply(
        [encode.message(client.datapath, Change(op, probes.port_masks())) for op in (Op.ADD, Op.DELETE)]
    )
    found = Capabilities(**meters._asdict(), **groups._asdict(), port_masks=not probe)
    tried = client.apply([encode.message(client.datapath, Change(Op.ADD, desired.controller_meter(1000)))])
    client.apply([encode.message(client.datapath, Change(Op.DELETE, desired.controller_meter(1000)))])
    return replace(found, controller_meter=not tried)


def present(client: Client) -> Standing:
    peer = client.datapath
    return readback.standing(
        client.request(requests.flows_request(peer)),
        client.request(requests.groups_request(peer)),
        client.request(requests.meters_request(peer)),
    )


def program(client: Client, wanted: DevicePlan | None = None) -> Standing:
    """Lead the device to a plan from what stands there."""
    compiled = desired.compile_plan(wanted or plan(), abilities(client), PORTS)
    assert compiled.left_out == ()
    changes = diff.changes(compiled.standing, present(client))
    assert client.apply(encode.messages(client.datapath, changes)) == []
    return compiled.standing


def send(client: Client, *changes: Change) -> None:
    errors = client.apply(encode.messages(client.datapath, changes))
    assert [decode.error_name(error, client.datapath.ofproto) for error in errors] == []


def in_order(standing: Standing) -> list[list[str]]:
    return [sorted(map(str, part)) for part in (standing.flows, standing.groups, standing.meters)]


def datapath_actions(ovs: PrivateOvs, packet: str, frame: bytes = b"") -> str:
    """What the datapath would do; its numbers of meters, which it deals out itself, are left away."""
    found = re.search(r"Datapath actions: (.*)", ovs.trace(BRIDGE, packet, frame))
    assert found is not None
    return re.sub(r"meter\(\d+\)", "meter", found[1])


def test_the_switch_can_do_all_we_use(client: Client) -> None:
    able = abilities(client)
    assert able.max_meters > 1000
    assert able.select_groups
    assert able.meter_burst
    assert able.port_masks
    assert able.controller_meter


def test_a_plan_is_read_back_as_it_was_sent(client: Client) -> None:
    sent = program(client)
    found = present(client)
    assert in_order(found) == in_order(sent)
    assert diff.changes(sent, found) == ()


def test_ovs_ofctl_writes_the_same_entries_from_our_text(
    client: Client, ovs: PrivateOvs, version: str, tmp_path: Path
) -> None:
    """The text is for people, who will paste it: ovs-ofctl must make the same of it as of our messages."""
    sent = program(client)
    ovs.add_bridge("by-hand", (), versions=version)
    try:
        for meter in sent.meters:
            ovs.ofctl("add-meter", "by-hand", str(meter).replace("bands=", "stats,bands="), version=version)
        for group in sent.groups:
            ovs.ofctl("add-group", "by-hand", str(group), version=version)
        written = tmp_path / "flows"
        written.write_text(
            "\n".join(str(DEFAULT.flow_on_device(entry)) for entry in (*sent.flows, pins.entry(pin())))
        )
        ovs.ofctl("add-flows", "by-hand", str(written), version=version)
        send(client, pins.change(pin()))
        for dump in ("dump-flows", "dump-groups", "dump-meters"):
            ours, theirs = (_lines(ovs, dump, bridge, version) for bridge in (BRIDGE, "by-hand"))
            assert ours == theirs
            assert len(ours) > 1
    finally:
        ovs.vsctl("del-br", "by-hand")


def _lines(ovs: PrivateOvs, dump: str, bridge: str, version: str) -> list[str]:
    options = ("--no-stats", "--no-names") if dump == "dump-flows" else ()
    return sorted(
        re.sub(r" \(xid=\w+\)", "", ovs.ofctl(dump, bridge, *options, version=version)).splitlines()
    )


def test_one_plan_becomes_another_without_a_trace(client: Client) -> None:
    program(client)
    other = program(
        client,
        plan(WEB._replace(queues=((0, 1), (3, 9))), REST._replace(queues=()), unknown_port=None, meters=()),
    )
    assert in_order(present(client)) == in_order(other)
    send(client, *diff.changes(EMPTY, other))
    assert present(client) == EMPTY


def uplink(ovs: PrivateOvs) -> str:
    """The datapath's own number of the uplink."""
    found = re.search(r"\bup \d+/(\d+)", ovs.appctl("dpif/show"))
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("packet", "actions"),
    [
        (f"{TCP},tp_dst=443", "set(skb_priority(0x1)),"),
        (f"{TCP},tp_dst=443,nw_tos=184", "meter,set(skb_priority(0x3)),"),
    ],
    ids=["a queue", "a queue behind a meter"],
)
def test_a_new_flow_is_placed_by_the_switch_itself(
    client: Client, ovs: PrivateOvs, packet: str, actions: str
) -> None:
    program(client, plan(REST._replace(queues=((1, 1),), learn=False), VOICE._replace(learn=False)))
    assert datapath_actions(ovs, packet) == actions + uplink(ovs)


def test_a_class_with_several_queues_goes_through_its_group(client: Client, ovs: PrivateOvs) -> None:
    sent = program(client, plan(WEB._replace(learn=False)))
    assert f"group:{sent.groups[0].group_id}" in ovs.trace(BRIDGE, f"{TCP},tp_dst=85")
    for number in range(40):
        ovs.receive("vm1", frame_of(_key(flowkey.IPV4, flowkey.TCP, (20000 + number, 85))).hex())
    chosen = re.findall(r"actions:set\(skb_priority\((\w+)\)\),(\d+)", ovs.appctl("dpctl/dump-flows"))
    assert set(chosen) == {("0x1", uplink(ovs)), ("0x2", uplink(ovs))}


def test_a_pin_wins_and_has_meter_then_queue_then_port(client: Client, ovs: PrivateOvs) -> None:
    program(client)
    packet, port = f"{TCP},tp_dst=443", uplink(ovs)
    send(client, pins.change(pin(queue_id=2, meter_id=9)))
    assert datapath_actions(ovs, packet) == f"meter,set(skb_priority(0x2)),{port}"
    send(client, pins.change(pin(queue_id=3, meter_id=0, moved=True)))
    assert datapath_actions(ovs, packet) == f"set(skb_priority(0x3)),{port}"
    send(client, pins.change(pin(queue_id=NO_QUEUE, meter_id=0, moved=True)))
    assert datapath_actions(ovs, packet) == port


def _key(kind: int, protocol: int = 0, ports: tuple[int, int] = (0, 0), vlan: int | None = None) -> bytes:
    source, destination = {
        flowkey.IPV4: (ip_address("10.0.0.1").packed, ip_address("10.0.0.9").packed),
        flowkey.IPV6: (ip_address("fd00::1").packed, ip_address("fd00::9").packed),
        flowkey.LAYER2: (VM_MAC.to_bytes(6, "big"), FAR_MAC.to_bytes(6, "big")),
    }[kind]
    return flowkey.pack(FlowParts(VM_NUMBER, vlan, kind, protocol, *ports, source, destination))


KINDS = {
    "tcp": _key(flowkey.IPV4, flowkey.TCP, (40000, 443)),
    "udp": _key(flowkey.IPV4, flowkey.UDP, (53, 53)),
    "sctp": _key(flowkey.IPV4, flowkey.SCTP, (9, 10)),
    "icmp": _key(flowkey.IPV4, flowkey.ICMP, (8, 0)),
    "gre": _key(flowkey.IPV4, 47),
    "tcp6": _key(flowkey.IPV6, flowkey.TCP, (40000, 443)),
    "udp6": _key(flowkey.IPV6, flowkey.UDP, (53, 53)),
    "sctp6": _key(flowkey.IPV6, flowkey.SCTP, (9, 10)),
    "icmp6": _key(flowkey.IPV6, flowkey.ICMPV6, (128, 0)),
    "layer 2": _key(flowkey.LAYER2, 0, (0x88B5, 0)),
    "tcp in a VLAN": _key(flowkey.IPV4, flowkey.TCP, (40000, 443), 7),
    "udp6 in a VLAN": _key(flowkey.IPV6, flowkey.UDP, (53, 53), 4094),
    "layer 2 in a VLAN": _key(flowkey.LAYER2, 0, (0x88B5, 0), 7),
    "icmpv6 in ipv4": _key(flowkey.IPV4, flowkey.ICMPV6),
    "icmp in ipv6": _key(flowkey.IPV6, flowkey.ICMP),
}


def frame_of(key: bytes) -> bytes:
    """A frame of a flow, from the standards and not from our reader."""
    parts = flowkey.unpack(key)
    addresses = FAR_MAC.to_bytes(6, "big") + VM_MAC.to_bytes(6, "big")
    tag = b"" if parts.vlan is None else pack("!HH", 0x8100, parts.vlan)
    above = pack("!HH", parts.src_port, parts.dst_port) + bytes(28)
    if parts.protocol == flowkey.TCP:
        above = above[:12] + b"\x50" + above[13:]
    if parts.protocol in {flowkey.ICMP, flowkey.ICMPV6}:
        above = bytes((parts.src_port, parts.dst_port)) + bytes(30)
    if parts.kind == flowkey.LAYER2:
        return addresses + tag + pack("!H", parts.src_port) + bytes(46)
    if parts.kind == flowkey.IPV4:
        head = pack("!BBHHHBBH", 0x45, 0, 52, 0, 0, 64, parts.protocol, 0)
        total = sum(int.from_bytes((head + parts.src + parts.dst)[i : i + 2], "big") for i in range(0, 20, 2))
        checksum = ~(total + (total >> 16)) & 0xFFFF
        return (
            addresses
            + tag
            + pack("!H", 0x800)
            + head[:10]
            + pack("!H", checksum)
            + parts.src
            + parts.dst
            + above
        )
    head = pack("!IHBB", 6 << 28, 32, parts.protocol, 64)
    return addresses + tag + pack("!H", 0x86DD) + head + parts.src + parts.dst + above


def test_every_kind_of_flow_meets_its_pin_and_is_found_again(client: Client, ovs: PrivateOvs) -> None:
    program(client)
    wanted = [pin(ref=PinRef(row, 3), key=key, queue_id=row % 4) for row, key in enumerate(KINDS.values())]
    send(client, *map(pins.change, wanted))
    for key in KINDS.values():
        ovs.receive("vm1", frame_of(key).hex())
    ovs.appctl("revalidator/purge")
    parts = client.request(requests.flows_request(client.datapath))
    found = {pin.ref.row: pin for pin in readback.found_pins(parts)}
    assert {row: found[row][:6] for row in found} == {
        pin.ref.row: (pin.ref, pin.key, pin.in_port, pin.egress_port, pin.queue_id, pin.meter_id)
        for pin in wanted
    }
    assert {name: found[row].packets for row, name in enumerate(KINDS)} == dict.fromkeys(KINDS, 1)
    counted = {row: packets for row, _, packets, _ in decode.pin_counters(1, parts).counters}
    assert counted == dict.fromkeys(range(len(KINDS)), 1)


def test_the_first_packet_is_copied_with_its_way_and_queue(client: Client, ovs: PrivateOvs) -> None:
    program(client)
    frame = frame_of(KINDS["tcp"])
    ovs.receive("vm1", frame.hex())
    seen = decode.flow_seen(1, client.wait_for("OFPPacketIn"))
    assert seen == (1, VM, frame, UPLINK, 0, 0, False)


def test_neighbour_discovery_is_copied_and_no_flow_of_a_pin_is(client: Client, ovs: PrivateOvs) -> None:
    program(client, plan(*plan().rules, REST._replace(egress_port=NO_PORT, queues=())))
    send(client, pins.change(pin()))
    ovs.receive("vm1", frame_of(KINDS["tcp"]).hex())
    arp = b"\xff" * 6 + VM_MAC.to_bytes(6, "big") + bytes.fromhex("08060001080006040001") + bytes(38)
    ovs.receive("vm1", arp.hex())
    seen = decode.flow_seen(1, client.wait_for("OFPPacketIn"))
    assert seen == (1, VM, arp, NO_PORT, None, 0, False)


def test_an_expired_pin_is_reported_with_its_counters(client: Client, ovs: PrivateOvs) -> None:
    program(client)
    send(client, pins.change(pin(idle_timeout=1)))
    frame = frame_of(KINDS["tcp"])
    ovs.receive("vm1", frame.hex())
    ended = decode.pin_ended(1, client.wait_for("OFPFlowRemoved"))
    assert ended == (1, (5, 3), 1, len(frame), True)


def test_a_deleted_pin_is_reported_as_not_idle_and_a_late_deletion_affects_no_other(
    client: Client, ovs: PrivateOvs
) -> None:
    program(client)
    wanted = pin()
    late = pins.change(
        UnpinFlow(1, PinRef(wanted.ref.row, 2), wanted.key, wanted.in_port, wanted.egress_port)
    )
    send(client, pins.change(wanted), late)
    assert len(readback.found_pins(client.request(requests.pins_request(client.datapath)))) == 1
    send(
        client,
        pins.change(UnpinFlow(1, PinRef(wanted.ref.row, 3), wanted.key, wanted.in_port, wanted.egress_port)),
    )
    ended = decode.pin_ended(1, client.wait_for("OFPFlowRemoved"))
    assert ended == (1, (5, 3), 0, 0, False)
    assert readback.found_pins(client.request(requests.pins_request(client.datapath))) == ()


def test_a_moved_pin_keeps_its_counters(client: Client, ovs: PrivateOvs) -> None:
    program(client)
    send(client, pins.change(pin()))
    ovs.receive("vm1", frame_of(KINDS["tcp"]).hex())
    ovs.appctl("revalidator/purge")
    send(client, pins.change(pin(queue_id=1, moved=True)))
    (found,) = readback.found_pins(client.request(requests.pins_request(client.datapath)))
    assert (found.queue_id, found.packets) == (1, 1)


def test_meters_count_what_they_see(client: Client, ovs: PrivateOvs) -> None:
    program(client)
    send(client, pins.change(pin()))
    frame = frame_of(KINDS["tcp"])
    ovs.receive("vm1", frame.hex())
    found = decode.meter_counters(1, client.request(requests.meter_stats_request(client.datapath)))
    assert found.counters[9] == (1, len(frame), 0, 0)


def test_refusals_are_named_as_in_the_specification(client: Client) -> None:
    change = pins.change(pin(meter_id=77))
    (error,) = client.apply([encode.message(client.datapath, change)])
    name = decode.error_name(error, client.datapath.ofproto)
    assert name == "OFPMMFC_INVALID_METER"
    assert decode.rule_refused(1, change, name) == RuleRefused(
        1, "pin", Refusal.NO_SUCH_METER, name, PinRef(5, 3)
    )


def test_meters_are_rounded_as_the_switch_keeps_them(client: Client) -> None:
    program(client, plan(REST, meters=(MeterSpec(3, 1_000_001, 1), MeterSpec(4, 10**10, 10**9))))
    assert {(m.meter_id, m.rate, m.burst) for m in present(client).meters if m.meter_id < 9} == {
        (3, 1001, 1),
        (4, 10**7, 10**6),
    }


def test_ports_and_their_queues_are_reported(client: Client) -> None:
    ports = decode.ports(client.request(requests.ports_request(client.datapath)))
    assert {report.name: report.port_no for report in ports if report.port_no < 10} == {
        "vm1": VM,
        "vm2": OTHER_VM,
        "up": UPLINK,
    }
    assert all(report.mac and report.up for report in ports)
    queues = decode.queues(client.request(requests.queues_request(client.datapath)))
    assert {port_no: queues[port_no] for port_no in (VM, OTHER_VM, UPLINK)} == dict.fromkeys((1, 2, 3), (0,))


@pytest.mark.mininet
def test_several_queues_are_reported_and_counted() -> None:
    """On tap devices, whose queues are those of their QoS row; a dummy device reports queue 0 only."""
    repairs.repair()
    with running(system=True) as ovs:
        for version in VERSIONS:
            names = ("flt-vm", "flt-up")
            with controlled(ovs, "flt-br", version, names) as client:
                ovs.set_queues("flt-up", {0: {}, 1: {"max-rate": "1000000"}, 5: {}})
                assert decode.queues(client.request(requests.queues_request(client.datapath))) == {
                    2: (0, 1, 5)
                }
                counted = decode.queue_counters(
                    1, client.request(requests.queue_stats_request(client.datapath))
                )
                assert counted.counters == dict.fromkeys(((2, 0), (2, 1), (2, 5)), (0, 0, 0))


def test_the_in_memory_switch_decides_as_the_real_one(client: Client, ovs: PrivateOvs) -> None:
    """What other tests are judged by is judged here; select groups hash each in their own way."""
    wanted = plan(VOICE._replace(learn=False), REST._replace(queues=((1, 1),), learn=False))
    fake = MemorySwitch(PORTS)
    assert fake.apply(diff.changes(program(client, wanted), EMPTY)) == []
    pinned = [
        pins.change(pin(ref=PinRef(row, 3), key=key, queue_id=3))
        for row, key in enumerate(KINDS.values())
        if row % 2
    ]
    send(client, *pinned)
    assert fake.apply(pinned) == []
    numbers = {number: int(port) for port, number in re.findall(r"(\d+)/(\d+)", ovs.appctl("dpif/show"))}
    for name, key in KINDS.items():
        for in_port in (VM, OTHER_VM, UPLINK):
            frame = frame_of(key)
            real = datapath_actions(ovs, f"in_port={in_port}", frame)
            outcome = fake.receive(packet_of(in_port, frame))
            assert _sent(real, numbers) == dict(outcome.sent), (
                name,
                in_port,
            )


def _sent(actions: str, numbers: dict[str, int]) -> dict[int, int | None]:
    """OpenFlow port -> queue, of datapath actions; the bridge's own port left out."""
    queue = re.search(r"skb_priority\(0x(\w+)\)", actions)
    ports = [numbers[port] for port in re.findall(r"(?:^|,)(\d+)(?=,|$)", actions)]
    return {port_no: int(queue[1], 16) if queue else None for port_no in ports if port_no in PORTS}
