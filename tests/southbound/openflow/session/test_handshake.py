"""The replies of a real Open vSwitch to the requests and probes of a handshake, and what is derived of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.engine.plans import (
    OTHER_VM,
    OTHER_VM_MAC,
    PORTS,
    REST,
    UPLINK,
    VM,
    VM_MAC,
    VM_NUMBER,
    WEB,
    pin,
    plan,
)
from support.openflow.client import Client, controlled

from flowlane.core import flowkey
from flowlane.core.effects import DevicePlan
from flowlane.core.flowkey import FlowParts
from flowlane.core.model import MeterSpec, PinRef
from flowlane.southbound.openflow.osken import lazy
from flowlane.southbound.openflow.session import decode, encode, handshake
from flowlane.southbound.openflow.session.handshake import (
    METER_PROBE,
    PROBES,
    HandshakeResult,
)
from flowlane.southbound.openflow.session.programming import Programming
from flowlane.southbound.openflow.session.requests import Reply
from flowlane.southbound.openflow.tables import desired, diff, layout, pins
from flowlane.southbound.openflow.tables.desired import ENTRIES_BESIDE_PINS
from flowlane.southbound.openflow.tables.entries import EMPTY, Change, MeterEntry, Op
from flowlane.southbound.openflow.tables.pipeline import TableId

BRIDGE = "br0"
PROBING = layout.probing(0)
DUMMY_PORTS = {VM: (0,), OTHER_VM: (0,), UPLINK: (0,)}
"""A dummy device reports queue 0 only."""


@pytest.fixture
def version(version: str) -> str:
    """With table features read late, as in the app."""
    lazy.install_lazy_tables()
    return version


@pytest.fixture
def client(ovs: PrivateOvs, version: str) -> Iterator[Client]:
    with controlled(ovs, BRIDGE, version, ("vm1", "vm2", "up")) as connected:
        yield connected


def shake_hands(client: Client) -> HandshakeResult:
    """The handshake as a session does it."""
    replies = {}
    for name, make_request in handshake.REQUESTS.items():
        parts = client.request(make_request(client.datapath))
        error = type(parts[0]).__name__ == "OFPErrorMsg"
        replies[name] = Reply(error="an error") if error else Reply(tuple(parts))
    refused = {}
    for probe in PROBES:
        if client.apply([encode.message(client.datapath, probe, PROBING)]):
            refused[probe] = "OFPMMFC_METER_EXISTS" if probe is METER_PROBE else "OFPBMC_BAD_MASK"
    client.apply(encode.messages(client.datapath, handshake.PROBE_REMOVALS, PROBING))
    return handshake.evaluate(1, client.datapath.ofproto.OFP_VERSION, "peer", replies, refused)


@pytest.mark.ovs
def test_capabilities_of_open_vswitch(client: Client) -> None:
    result = shake_hands(client)
    can = result.up.capabilities
    assert can.version == client.datapath.ofproto.OFP_VERSION
    assert "Open vSwitch" in can.description
    assert (can.select_groups, can.controller_meter, can.port_masks) == (True, True, True)
    assert can.max_meters > 0
    assert (can.meter_kbps, can.meter_burst) == (True, True)
    assert can.tables == 254
    assert can.pin_room == 1_000_000 - ENTRIES_BESIDE_PINS
    named = {port.name: port.port_no for port in result.up.ports}
    assert (named["vm1"], named["up"]) == (VM, UPLINK)
    assert result.up.queues[UPLINK] == (0,)
    assert result.errors == {}
    assert result.up.pins == ()


@pytest.mark.ovs
def test_entries_from_before_are_found(client: Client) -> None:
    first = shake_hands(client)
    can = first.up.capabilities
    wanted: DevicePlan = plan(WEB._replace(queues=((0, 1),)), hosts=((VM_MAC, VM), (OTHER_VM_MAC, OTHER_VM)))
    compiled = desired.compile_plan(wanted, can, DUMMY_PORTS)
    meter = desired.meter_entry(MeterSpec(70, 10**6, 10**5), can)
    placed = pin(queue_id=0, meter_id=70)
    changes = [
        *diff.changes(compiled.standing, first.present),
        Change(Op.ADD, meter),
        pins.change(placed),
    ]
    assert client.apply(encode.messages(client.datapath, changes)) == []
    again = shake_hands(client)
    assert set(again.present.flows) == set(compiled.standing.flows)
    assert set(again.present.groups) == set(compiled.standing.groups)
    assert again.pin_meters == {70: meter}
    assert again.up.pin_meters == (MeterSpec(70, 10**6, 10**5),)
    assert [(found.ref.row, found.queue_id, found.meter_id) for found in again.up.pins] == [
        (placed.ref.row, 0, 70)
    ]
    assert set(again.up.hosts) == {(VM_MAC, VM), (OTHER_VM_MAC, OTHER_VM)}
    assert wanted.ports[0].vm_number == VM_NUMBER
    left = [change for change in diff.changes(compiled.standing, again.present) if change.entry is not None]
    assert all(isinstance(change.entry, MeterEntry) for change in left), left


@pytest.mark.ovs
def test_a_meter_of_rules_and_pins_together_is_found_as_both(client: Client) -> None:
    first = shake_hands(client)
    limited = WEB._replace(queues=((0, 1),), meter_id=9)
    compiled = desired.compile_plan(plan(limited), first.up.capabilities, DUMMY_PORTS)
    (meter,) = (meter for meter in compiled.standing.meters if meter.meter_id == 9)
    changes = [*diff.changes(compiled.standing, first.present), pins.change(pin(queue_id=0, meter_id=9))]
    assert client.apply(encode.messages(client.datapath, changes)) == []
    again = shake_hands(client)
    assert meter in again.present.meters
    assert again.pin_meters == {9: meter}
    gone = Change(Op.DELETE, MeterEntry(70, 1, 0))
    assert client.apply(encode.messages(client.datapath, [gone])) == [], "no meter of that number: no error"


@pytest.mark.ovs
def test_entries_of_others_are_not_ours(ovs: PrivateOvs, client: Client, version: str) -> None:
    ovs.ofctl("add-flow", BRIDGE, "table=2,priority=9,cookie=0x1234,actions=drop", version=version)
    ovs.ofctl("add-group", BRIDGE, "group_id=5,type=select,bucket=actions=output:1", version=version)
    ovs.ofctl("add-meter", BRIDGE, "meter=6,kbps,bands=type=drop,rate=1000", version=version)
    result = shake_hands(client)
    assert result.present.flows == EMPTY.flows
    assert result.present.groups == EMPTY.groups
    assert 6 not in {meter.meter_id for meter in result.present.meters}
    assert 6 not in result.pin_meters


@pytest.mark.ovs
def test_a_group_of_others_with_the_id_of_ours_stays_and_ours_has_another(
    ovs: PrivateOvs, client: Client, version: str
) -> None:
    can = replace(shake_hands(client).up.capabilities, learn=False, conntrack=False)
    (group,) = desired.compile_plan(plan(WEB, REST), can, PORTS).standing.groups
    foreign = f"group_id={group.group_id},type=select,bucket=actions=output:1"
    ovs.ofctl("add-group", BRIDGE, foreign, version=version)
    before = ovs.ofctl("dump-groups", BRIDGE, version=version)
    for wanted, others in ((plan(WEB, REST), {group.group_id + 1}), (plan(REST), set())):
        result = shake_hands(client)
        assert result.foreign_groups == {group.group_id}
        programming = Programming(can, result.present, foreign_groups=set(result.foreign_groups))
        assert client.apply(encode.messages(client.datapath, programming.program(wanted, PORTS))) == []
        found = {entry.group_id for entry in shake_hands(client).present.groups}
        assert found == others
    assert ovs.ofctl("dump-groups", BRIDGE, version=version) == before


@pytest.mark.ovs
def test_a_meter_that_an_entry_of_others_uses_too_is_not_ours(
    ovs: PrivateOvs, client: Client, version: str
) -> None:
    """As where an earlier version took another's meter."""
    first = shake_hands(client)
    ovs.ofctl(
        "add-meter", BRIDGE, "meter=9,kbps,burst,band=type=drop,rate=5000,burst_size=400", version=version
    )
    ovs.ofctl("add-flow", BRIDGE, "table=40,cookie=0x77,actions=meter:9,NORMAL", version=version)
    limited = WEB._replace(queues=((0, 1),), meter_id=9)
    compiled = desired.compile_plan(plan(limited), first.up.capabilities, DUMMY_PORTS).standing
    flows = replace(compiled, meters=first.present.meters)
    changes = [*diff.changes(flows, first.present), pins.change(pin(queue_id=0, meter_id=9))]
    assert client.apply(encode.messages(client.datapath, changes)) == []
    again = shake_hands(client)
    assert [meter.meter_id for meter in again.up.other_meters] == [9]
    assert 9 not in {meter.meter_id for meter in again.present.meters}
    assert again.pin_meters == {}


def limit_table(ovs: PrivateOvs, table: TableId, limit: int) -> None:
    """Let the switch take so many entries in a table and refuse more (ovs-vswitchd.conf.db(5), Flow_Table)."""
    make = ["--", "--id=@t", "create", "Flow_Table", f"flow_limit={limit}", f"name=table-{table}"]
    ovs.vsctl(*make, "--", "set", "Bridge", BRIDGE, f"flow_tables:{int(table)}=@t")


def key_of(row: int) -> bytes:
    """The key of a TCP flow of its own for each row."""
    addresses = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 9))
    return flowkey.pack(FlowParts(VM_NUMBER, None, flowkey.IPV4, flowkey.TCP, 40000 + row, 443, *addresses))


@pytest.mark.ovs
def test_the_room_for_pins_is_that_of_their_table(ovs: PrivateOvs, client: Client) -> None:
    limit_table(ovs, TableId.TRACK, 7)
    assert shake_hands(client).up.capabilities.pin_room == 1_000_000 - ENTRIES_BESIDE_PINS
    limit_table(ovs, TableId.ASSIGN, 9)
    result = shake_hands(client)
    can = result.up.capabilities
    assert can.pin_room == 9 - ENTRIES_BESIDE_PINS
    wanted = desired.compile_plan(plan(), can, DUMMY_PORTS).standing
    assert client.apply(encode.messages(client.datapath, diff.changes(wanted, result.present))) == []
    fits = [
        pins.change(pin(ref=PinRef(row, 1), key=key_of(row), queue_id=0, meter_id=0))
        for row in range(can.pin_room)
    ]
    one_more = pins.change(pin(ref=PinRef(99, 1), key=key_of(99), queue_id=0, meter_id=0))
    assert client.apply([encode.message(client.datapath, change) for change in fits]) == []
    (error,) = client.apply([encode.message(client.datapath, one_more)])
    assert decode.error_name(error, client.datapath.ofproto) == "OFPFMFC_TABLE_FULL"


@pytest.mark.parametrize(
    ("sizes", "room"),
    [
        ({TableId.TRACK: 100}, None),
        ({TableId.TRACK: 100, TableId.ASSIGN: 50}, 50 - ENTRIES_BESIDE_PINS),
        ({TableId.ASSIGN: 1}, 0),
        ({TableId.ASSIGN: 0}, None),
    ],
)
def test_the_room_for_pins_of_a_device_as_it_reports_it(sizes: dict[int, int], room: int | None) -> None:
    tables = [SimpleNamespace(table_id=int(table), max_entries=size) for table, size in sizes.items()]
    replies = {"table features": Reply((SimpleNamespace(body=tables),))}
    assert handshake.evaluate(1, 4, "peer", replies, {}).up.capabilities.pin_room == room


def test_a_device_that_refuses_all_has_no_capabilities() -> None:
    refused = {name: Reply(error="no reply") for name in handshake.REQUESTS}
    result = handshake.evaluate(1, 4, "peer", refused, dict.fromkeys(PROBES, "OFPBRC_BAD_TYPE"))
    can = result.up.capabilities
    assert (can.max_meters, can.select_groups, can.controller_meter, can.port_masks) == (
        0,
        False,
        False,
        False,
    )
    assert not (can.learn or can.conntrack or can.sample or can.normal)
    assert result.present == EMPTY
    assert set(result.errors) == set(handshake.REQUESTS)


def test_a_limit_on_copies_that_exists_and_is_not_known_to_be_ours_is_left_alone() -> None:
    refused = {METER_PROBE: "OFPMMFC_METER_EXISTS"}
    result = handshake.evaluate(1, 4, "peer", {}, refused)
    assert not result.up.capabilities.controller_meter
    assert result.present.meters == ()
    (item,) = handshake.arrange(4, {}, refused).left_out
    assert "copy-rate" in item.what
