"""What a real Open vSwitch answers when it is asked all questions, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.engine.plans import OTHER_VM, OTHER_VM_MAC, UPLINK, VM, VM_MAC, VM_NUMBER, WEB, pin, plan
from support.openflow.client import Client, controlled

from flowlane.core import flowkey
from flowlane.core.effects import DevicePlan
from flowlane.core.flowkey import FlowParts
from flowlane.core.model import MeterSpec, PinRef
from flowlane.southbound.openflow.osken import lazy
from flowlane.southbound.openflow.session import decode, encode, handshake
from flowlane.southbound.openflow.session.handshake import (
    LEARN_PROBE,
    MASK_PROBE,
    METER_PROBE,
    PROBES,
    TRACK_PROBE,
    Greeting,
)
from flowlane.southbound.openflow.session.requests import Answer
from flowlane.southbound.openflow.tables import desired, diff, pins
from flowlane.southbound.openflow.tables.desired import ENTRIES_BESIDE_PINS
from flowlane.southbound.openflow.tables.entries import EMPTY, Change, MeterEntry, Op
from flowlane.southbound.openflow.tables.pipeline import TableId

BRIDGE = "br0"
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


def ask(client: Client) -> Greeting:
    """The handshake as a session does it."""
    answers = {}
    for name, question in handshake.QUESTIONS.items():
        parts = client.request(question(client.datapath))
        error = type(parts[0]).__name__ == "OFPErrorMsg"
        answers[name] = Answer(refused="an error") if error else Answer(tuple(parts))
    refused = {}
    for probe in PROBES:
        if client.apply([encode.message(client.datapath, probe)]):
            refused[probe] = "OFPMMFC_METER_EXISTS" if probe is METER_PROBE else "OFPBMC_BAD_MASK"
    probed = (MASK_PROBE, LEARN_PROBE, TRACK_PROBE)
    client.apply([encode.message(client.datapath, Change(Op.DELETE, probe.entry)) for probe in probed])
    return handshake.greet(1, client.datapath.ofproto.OFP_VERSION, "peer", answers, refused)


@pytest.mark.ovs
def test_open_vswitch_tells_what_it_is_and_can(client: Client) -> None:
    greeting = ask(client)
    can = greeting.up.capabilities
    assert can.version == client.datapath.ofproto.OFP_VERSION
    assert "Open vSwitch" in can.description
    assert (can.select_groups, can.controller_meter, can.port_masks) == (True, True, True)
    assert can.max_meters > 0
    assert (can.meter_kbps, can.meter_burst) == (True, True)
    assert can.tables == 254
    assert can.pin_room == 1_000_000 - ENTRIES_BESIDE_PINS
    named = {port.name: port.port_no for port in greeting.up.ports}
    assert (named["vm1"], named["up"]) == (VM, UPLINK)
    assert greeting.up.queues[UPLINK] == (0,)
    assert greeting.refused == {}
    assert greeting.up.pins == ()


@pytest.mark.ovs
def test_what_stands_there_of_ours_is_found(client: Client) -> None:
    first = ask(client)
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
    again = ask(client)
    assert set(again.present.flows) == set(compiled.standing.flows)
    assert set(again.present.groups) == set(compiled.standing.groups)
    assert again.pin_meters == {70: meter}
    assert [(found.ref.row, found.queue_id, found.meter_id) for found in again.up.pins] == [
        (placed.ref.row, 0, 70)
    ]
    assert set(again.up.hosts) == {(VM_MAC, VM), (OTHER_VM_MAC, OTHER_VM)}
    assert wanted.ports[0].vm_number == VM_NUMBER
    left = [change for change in diff.changes(compiled.standing, again.present) if change.entry is not None]
    assert all(isinstance(change.entry, MeterEntry) for change in left), left


@pytest.mark.ovs
def test_a_meter_of_rules_and_pins_together_is_known_as_both(client: Client) -> None:
    first = ask(client)
    limited = WEB._replace(queues=((0, 1),), meter_id=9)
    compiled = desired.compile_plan(plan(limited), first.up.capabilities, DUMMY_PORTS)
    (meter,) = (meter for meter in compiled.standing.meters if meter.meter_id == 9)
    changes = [*diff.changes(compiled.standing, first.present), pins.change(pin(queue_id=0, meter_id=9))]
    assert client.apply(encode.messages(client.datapath, changes)) == []
    again = ask(client)
    assert meter in again.present.meters
    assert again.pin_meters == {9: meter}
    gone = Change(Op.DELETE, MeterEntry(70, 1, 0))
    assert client.apply(encode.messages(client.datapath, [gone])) == [], "no meter of that number: no error"


@pytest.mark.ovs
def test_entries_of_others_are_not_ours(ovs: PrivateOvs, client: Client, version: str) -> None:
    ovs.ofctl("add-flow", BRIDGE, "table=2,priority=9,cookie=0x1234,actions=drop", version=version)
    ovs.ofctl("add-group", BRIDGE, "group_id=5,type=select,bucket=actions=output:1", version=version)
    ovs.ofctl("add-meter", BRIDGE, "meter=6,kbps,bands=type=drop,rate=1000", version=version)
    greeting = ask(client)
    assert greeting.present.flows == EMPTY.flows
    assert greeting.present.groups == EMPTY.groups
    assert 6 not in {meter.meter_id for meter in greeting.present.meters}
    assert 6 not in greeting.pin_meters


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
    assert ask(client).up.capabilities.pin_room == 1_000_000 - ENTRIES_BESIDE_PINS
    limit_table(ovs, TableId.ASSIGN, 9)
    greeting = ask(client)
    can = greeting.up.capabilities
    assert can.pin_room == 9 - ENTRIES_BESIDE_PINS
    wanted = desired.compile_plan(plan(), can, DUMMY_PORTS).standing
    assert client.apply(encode.messages(client.datapath, diff.changes(wanted, greeting.present))) == []
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
    answers = {"table features": Answer((SimpleNamespace(body=tables),))}
    assert handshake.greet(1, 4, "peer", answers, {}).up.capabilities.pin_room == room


def test_device_that_answers_nothing_can_nothing() -> None:
    refused = {name: Answer(refused="no answer") for name in handshake.QUESTIONS}
    greeting = handshake.greet(1, 4, "peer", refused, dict.fromkeys(PROBES, "OFPBRC_BAD_TYPE"))
    can = greeting.up.capabilities
    assert (can.max_meters, can.select_groups, can.controller_meter, can.port_masks) == (
        0,
        False,
        False,
        False,
    )
    assert greeting.present == EMPTY
    assert set(greeting.refused) == set(handshake.QUESTIONS)


def test_meter_that_exists_shows_that_there_can_be_one() -> None:
    greeting = handshake.greet(1, 4, "peer", {}, {METER_PROBE: "OFPMMFC_METER_EXISTS"})
    assert greeting.up.capabilities.controller_meter
    assert greeting.present.meters == ()
