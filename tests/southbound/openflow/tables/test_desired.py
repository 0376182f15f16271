"""Plans on the in-memory switch: where packets go, on which queue, and what is copied to the controller."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.packets import Packet, packet
from support.engine.plans import (
    ABLE,
    FAR_MAC,
    OTHER_VM,
    OTHER_VM_MAC,
    OTHER_VM_NUMBER,
    PORTS,
    REST,
    UPLINK,
    VM,
    VM_MAC,
    VM_NUMBER,
    VOICE,
    pin,
    plan,
)
from support.openflow.memory_switch import NO_METERS, MemorySwitch

from flowlane.core.effects import PlannedPort, Sampling
from flowlane.core.model import NO_PORT, UNRESOLVED_VM, Capabilities, MeterSpec, PortRole
from flowlane.core.pacing import BETWEEN
from flowlane.southbound.ipfix.observation import COLLECTOR_SET
from flowlane.southbound.openflow.tables import desired, diff, pins, pipeline, probes
from flowlane.southbound.openflow.tables.entries import EMPTY, Goto, Meter, MeterEntry, Output
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire.constants import CONTROLLER_METER, CONTROLLER_PORT, NORMAL_PORT
from flowlane.southbound.openflow.wire.nicira import Resubmit, Sample

LINK = 4
BROADCAST = 0xFFFFFFFFFFFF


@pytest.fixture
def switch() -> MemorySwitch:
    return programmed()


def programmed(**changes: object) -> MemorySwitch:
    switch = MemorySwitch(PORTS)
    compiled = desired.compile_plan(plan(**changes), ABLE, PORTS)
    assert compiled.left_out == ()
    assert switch.apply(diff.changes(compiled.standing, EMPTY)) == []
    return switch


def tcp(in_port: int = VM, dst: int = FAR_MAC, src: int = VM_MAC, port: int = 443, **others: int) -> Packet:
    return packet(
        in_port,
        eth_src=src,
        eth_dst=dst,
        eth_type=0x800,
        ip_proto=6,
        ip_dscp=others.pop("ip_dscp", 0),
        ipv4_src=0x0A000001,
        ipv4_dst=0x0A000009,
        tcp_src=40000,
        tcp_dst=port,
        **others,
    )


def test_a_new_flow_gets_a_queue_at_once_and_a_cut_copy_goes_to_the_controller(switch: MemorySwitch) -> None:
    outcome = switch.receive(tcp(length=1500))
    assert outcome.sent == ((UPLINK, 0),)
    (copy,) = outcome.copies
    assert (copy.metadata, copy.length) == (VM_NUMBER << 32 | UPLINK, 128)
    assert copy.seen(1, bytes(1500))[3:] == (UPLINK, 0, 0, False)


def test_the_entries_of_many_hosts_are_made_with_places_for_pauses() -> None:
    """They are made before the first of them is compiled, which has its own places."""
    hosts = tuple((number, VM) for number in range(1, 4 * BETWEEN + 1))
    places: list[int] = []
    compiled = desired.compile_plan(plan(hosts=hosts), ABLE, PORTS, pace=lambda: places.append(0))
    assert len(compiled.standing.flows) > len(hosts)
    assert len(places) >= 3 * 4


def test_a_class_is_spread_over_its_queues_and_a_flow_stays_on_one(switch: MemorySwitch) -> None:
    flows = [tcp(port=80) | {"tcp_src": number} for number in range(200)]
    first = [switch.receive(flow).sent for flow in flows]
    assert {queue for ((port, queue),) in first if port == UPLINK} == {1, 2}
    assert sum(queue == 2 for ((_, queue),) in first) > 100
    assert first == [switch.receive(flow).sent for flow in flows]


def test_a_limited_class_passes_its_meter(switch: MemorySwitch) -> None:
    outcome = switch.receive(tcp(ip_dscp=46))
    assert (outcome.sent, outcome.meters) == (((UPLINK, 3),), (9,))


def test_a_pin_counts_above_the_rules_and_is_not_copied(switch: MemorySwitch) -> None:
    assert switch.apply([pins.change(pin(queue_id=3))]) == []
    outcome = switch.receive(tcp())
    assert (outcome.sent, outcome.meters, outcome.copies) == (((UPLINK, 3),), (9,), ())


def test_what_another_address_sends_from_a_vms_port_is_dropped(switch: MemorySwitch) -> None:
    assert switch.receive(tcp(src=0x0A0000000BAD)).sent == ()
    assert switch.receive(tcp(in_port=OTHER_VM, src=0x0A0000000BAD)).sent != ()


def test_vms_reach_each_other_by_their_known_addresses(switch: MemorySwitch) -> None:
    assert switch.receive(tcp(dst=OTHER_VM_MAC)).sent == ((OTHER_VM, None),)


def test_what_comes_in_by_the_uplink_is_forwarded_without_a_queue_or_a_copy(switch: MemorySwitch) -> None:
    outcome = switch.receive(tcp(in_port=UPLINK, src=FAR_MAC, dst=VM_MAC))
    assert (outcome.sent, outcome.copies) == (((VM, None),), ())


def test_an_unknown_address_from_the_uplink_goes_to_all_others(switch: MemorySwitch) -> None:
    outcome = switch.receive(tcp(in_port=UPLINK, src=FAR_MAC, dst=0x0A0000000BAD))
    assert {port for port, _ in outcome.sent} == {VM, OTHER_VM}


def test_without_a_port_for_the_unknown_it_is_flooded() -> None:
    outcome = programmed(unknown_port=None).receive(tcp())
    assert {port for port, _ in outcome.sent} == {OTHER_VM, UPLINK}


@pytest.mark.parametrize("dst", [BROADCAST, VM_MAC], ids=["broadcast", "unicast"])
@pytest.mark.parametrize(
    "kind", [{"eth_type": 0x806}, {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135}], ids=["ARP", "ND"]
)
def test_neighbour_discovery_of_a_vm_is_a_flow_which_is_copied_once(dst: int, kind: dict[str, int]) -> None:
    switch = programmed(rules=tuple(REST._replace(egress_port=port, queues=()) for port in (NO_PORT, *PORTS)))
    outcome = switch.receive(packet(OTHER_VM, eth_src=OTHER_VM_MAC, eth_dst=dst, **kind))
    expected = {VM, UPLINK} if dst == BROADCAST else {VM}
    assert {port for port, _ in outcome.sent} == expected
    assert [copy.metadata >> 32 for copy in outcome.copies] == [OTHER_VM_NUMBER]


def test_neighbour_discovery_that_no_vm_sent_is_copied_once_and_is_no_flow(switch: MemorySwitch) -> None:
    for dst, receivers in ((BROADCAST, {VM, OTHER_VM}), (VM_MAC, {VM})):
        outcome = switch.receive(packet(UPLINK, eth_src=FAR_MAC, eth_dst=dst, eth_type=0x8035))
        assert {port for port, _ in outcome.sent} == receivers
        assert [pipeline.sender_of(copy.metadata) for copy in outcome.copies] == [0]


def test_multicast_of_a_vm_passes_the_meter_of_its_class() -> None:
    rules = tuple(VOICE._replace(egress_port=port, queues=()) for port in (NO_PORT, UPLINK))
    group = tcp(dst=0x01005E010203, ip_dscp=46)
    outcome = programmed(rules=rules).receive(group)
    assert (outcome.meters, {port for port, _ in outcome.sent}) == ((9,), {OTHER_VM, UPLINK})
    assert [pipeline.egress_of(copy.metadata) for copy in outcome.copies] == [NO_PORT]


def test_frames_for_the_switch_itself_are_dropped(switch: MemorySwitch) -> None:
    assert switch.receive(packet(UPLINK, eth_dst=0x0180C200000E, eth_type=0x88CC)).path[-1].steps == ()
    assert switch.receive(packet(UPLINK, eth_dst=0x0180C2000010, eth_type=0x88CC)).sent != ()


def test_a_link_leaves_the_sender_to_the_controller() -> None:
    link = PlannedPort(LINK, PortRole.LINK, UNRESOLVED_VM)
    wide = {**PORTS, LINK: ()}
    compiled = desired.compile_plan(plan(ports=(*plan().ports, link)), ABLE, wide)
    switch = MemorySwitch(wide)
    assert switch.apply(diff.changes(compiled.standing, EMPTY)) == []
    (copy,) = switch.receive(tcp(in_port=LINK)).copies
    assert pipeline.sender_of(copy.metadata) == 0xFFFFFFFF


def test_a_host_behind_a_port_that_is_gone_is_unknown_again() -> None:
    switch = programmed(hosts=((VM_MAC, VM), (FAR_MAC, 55)))
    assert switch.receive(tcp()).sent == ((UPLINK, 0),)


def test_ports_that_the_device_does_not_have_get_nothing() -> None:
    compiled = desired.compile_plan(plan(REST), ABLE, {VM: ()})
    assert MemorySwitch({VM: ()}).apply(diff.changes(compiled.standing, EMPTY)) == []
    assert [left.why for left in compiled.left_out] == [f"the device has no port {UPLINK}"]


def test_a_device_without_meters_still_gets_all_else() -> None:
    able = replace(ABLE, max_meters=0, controller_meter=False)
    switch = MemorySwitch(PORTS, refuses=[NO_METERS])
    compiled = desired.compile_plan(plan(), able, PORTS)
    assert switch.apply(diff.changes(compiled.standing, EMPTY)) == []
    assert switch.receive(tcp(ip_dscp=46)).sent == ((UPLINK, 3),)


def test_copies_are_limited_where_the_device_can() -> None:
    switch = programmed(copy_rate=8)
    copies = [switch.receive(tcp() | {"tcp_src": number}).copies for number in range(10)]
    assert sum(map(len, copies)) == 2
    assert CONTROLLER_METER not in programmed(copy_rate=0).meters


@pytest.mark.parametrize(
    ("spec", "able", "expected"),
    [
        (MeterSpec(3, 1_000_000, 100_000), ABLE, MeterEntry(3, 1000, 100)),
        (MeterSpec(3, 1_000_001, 1), ABLE, MeterEntry(3, 1001, 1)),
        (MeterSpec(3, 5, 0), ABLE, MeterEntry(3, 1, 0)),
        (MeterSpec(3, 10**16, 10**16), ABLE, MeterEntry(3, 2**32 - 1, 2**32 - 1)),
        (MeterSpec(3, 1_000_000, 100_000), replace(ABLE, meter_burst=False), MeterEntry(3, 1000, 0)),
        (MeterSpec(3, 1_000_000, 100_000), Capabilities(), None),
        (MeterSpec(3, 1_000_000, 100_000), replace(ABLE, meter_kbps=False), None),
    ],
)
def test_meters_are_in_the_devices_units(
    spec: MeterSpec, able: Capabilities, expected: MeterEntry | None
) -> None:
    assert desired.meter_entry(spec, able) == expected


def test_equal_plans_compile_to_equal_entries() -> None:
    assert desired.compile_plan(plan(), ABLE, PORTS) == desired.compile_plan(plan(), ABLE, PORTS)


def test_the_probe_for_port_masks_is_refused_where_there_are_none() -> None:
    probe = diff.changes(replace(EMPTY, flows=(probes.port_masks(),)), EMPTY)
    assert MemorySwitch(PORTS).apply(probe) == []
    assert [refusal.error for refusal in MemorySwitch(PORTS, refuses=["no port masks"]).apply(probe)] == [
        "OFPBMC_BAD_MASK"
    ]


@pytest.mark.parametrize("learn", [False, True])
def test_a_device_that_forwards_by_itself_gets_no_port(learn: bool) -> None:
    """Every way out is NORMAL or a copy, and nothing is dropped but where the packet goes on in another table."""
    able = replace(ABLE, normal=True, learn=learn, conntrack=learn)
    wanted = plan(learned_idle=10 if learn else 0, learn_after=8, tracked_ports=(VM,), flood_ports=(VM,))
    standing = desired.compile_plan(wanted, able, PORTS).standing
    steps = [step for entry in standing.flows for step in entry.steps]
    steps += [step for group in standing.groups for bucket in group.buckets for step in bucket.steps]
    assert {step.port_no for step in steps if isinstance(step, Output)} == {NORMAL_PORT, CONTROLLER_PORT}
    assert {entry.table_id for entry in standing.flows if not entry.steps} <= {TableId.SEEN, TableId.LEARN}


def test_a_device_that_cannot_forward_by_itself_gets_the_port() -> None:
    steps = [
        step for entry in desired.compile_plan(plan(), ABLE, PORTS).standing.flows for step in entry.steps
    ]
    assert NORMAL_PORT not in {step.port_no for step in steps if isinstance(step, Output)}


def test_each_meter_of_the_plan_is_used_by_an_entry_that_tells_whose_it_is() -> None:
    for rules in ((), (REST,)):
        standing = desired.compile_plan(plan(*rules), ABLE, PORTS).standing
        used = {step.meter_id for entry in standing.flows for step in entry.steps if isinstance(step, Meter)}
        assert used == {9}


@pytest.mark.parametrize(
    ("able", "learned_idle", "count"),
    [
        (replace(ABLE, learn=True, sample=True), 10, 1),
        (replace(ABLE, learn=True), 10, 0),
        (replace(ABLE, sample=True), 0, 0),
    ],
)
def test_packets_without_a_pin_are_sampled_by_their_egress_port_where_the_device_can(
    able: Capabilities, learned_idle: int, count: int
) -> None:
    wanted = plan(learned_idle=learned_idle, sampling=Sampling(64, (UPLINK, 999)))
    entries = [
        entry
        for entry in desired.compile_plan(wanted, able, PORTS).standing.flows
        if any(isinstance(step, Sample) for step in entry.steps)
    ]
    assert [entry.table_id for entry in entries] == [TableId.ASSIGN] * count
    for entry in entries:
        sample, *rest = entry.steps
        assert sample == Sample(1024, COLLECTOR_SET, wanted.dpid & 0xFFFFFFFF, wanted.dpid >> 32)
        assert rest == [Resubmit(TableId.SEEN), Goto(TableId.SPREAD)], "then it is looked up as others are"
