"""Reading back what os-ken's own classes hold, our entries and others'."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.engine.plans import ABLE, PORTS, UPLINK, VM, VM_NUMBER, pin, plan
from support.openflow.client import VERSIONS, datapath

from flowlane.core.model import NOT_A_VM, UNRESOLVED_VM, PortRole
from flowlane.southbound.openflow.session import encode, readback
from flowlane.southbound.openflow.tables import desired, pins
from flowlane.southbound.openflow.tables.entries import FlowEntry, MeterEntry, Standing
from flowlane.southbound.openflow.tables.layout import DEFAULT
from flowlane.southbound.openflow.wire import fields

STANDING = desired.compile_plan(plan(), ABLE, PORTS).standing


@pytest.fixture(params=VERSIONS)
def peer(request: pytest.FixtureRequest) -> Any:
    return datapath(request.param)


def entry_stats(peer: Any, entry: FlowEntry, **changes: object) -> SimpleNamespace:
    """An entry of a flow statistics reply, made with os-ken's classes."""
    entry = DEFAULT.flow_on_device(entry)
    match = peer.ofproto_parser.OFPMatch.parser(_match_bytes(entry.match), 0)
    base: dict[str, object] = {
        name: getattr(entry, name)
        for name in ("table_id", "priority", "cookie", "idle_timeout", "hard_timeout", "flags")
    }
    base |= {"match": match, "instructions": encode.instructions(peer, entry.steps)}
    base |= {"packet_count": 4, "byte_count": 400, "duration_sec": 1, "duration_nsec": 0}
    return SimpleNamespace(**{**base, **changes})


def _match_bytes(match: fields.Match) -> bytes:
    body = fields.pack(match)
    return b"\0\1" + (4 + len(body)).to_bytes(2, "big") + body + bytes(8)


def reply(*items: object) -> list[SimpleNamespace]:
    return [SimpleNamespace(body=list(items))]


def test_entries_are_read_as_they_were_made(peer: Any) -> None:
    parts = reply(*(entry_stats(peer, entry) for entry in STANDING.flows))
    assert readback.flow_entries(parts) == STANDING.flows


def test_entries_of_others_are_not_read(peer: Any) -> None:
    entry = STANDING.flows[0]
    parser, ofproto = peer.ofproto_parser, peer.ofproto
    vlan = parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, [parser.OFPActionPopVlan()])
    written = parser.OFPInstructionActions(ofproto.OFPIT_WRITE_ACTIONS, [parser.OFPActionSetQueue(1)])
    strange = (
        entry_stats(peer, entry, cookie=0x77),
        entry_stats(peer, entry, instructions=[vlan]),
        entry_stats(peer, entry, instructions=[written]),
        entry_stats(peer, entry, match=parser.OFPMatch(eth_type=0x806, arp_op=1)),
        entry_stats(peer, entry, match=None),
    )
    assert readback.flow_entries(reply(*strange, entry_stats(peer, entry))) == (entry,)


def test_a_pin_is_found_with_its_vm_and_counters(peer: Any) -> None:
    parts = reply(*(entry_stats(peer, entry) for entry in (*STANDING.flows, pins.entry(pin()))))
    (found,) = readback.found_pins(parts)
    assert found == ((5, 3), pin().key, VM, UPLINK, 2, 9, 4, 400, False)
    assert int.from_bytes(found.key[:4], "big") == VM_NUMBER


@pytest.mark.parametrize(("with_ingress", "number"), [(False, NOT_A_VM), (True, UNRESOLVED_VM)])
def test_a_pin_of_an_unknown_vm_has_no_vm_number(peer: Any, with_ingress: bool, number: int) -> None:
    link = desired.compile_plan(
        plan(
            ports=tuple(port._replace(role=PortRole.LINK, vm_number=UNRESOLVED_VM) for port in plan().ports)
        ),
        ABLE,
        PORTS,
    ).standing
    made = entry_stats(peer, pins.entry(pin()))
    (found,) = readback.found_pins(reply(*(entry_stats(peer, e) for e in link.flows if with_ingress), made))
    assert int.from_bytes(found.key[:4], "big") == number
    assert found.key[4:] == pin().key[4:]


def test_meters_that_are_made_otherwise_are_not_read() -> None:
    drop, remark = (
        SimpleNamespace(type=1, rate=5, burst_size=7),
        SimpleNamespace(type=2, rate=5, burst_size=7),
    )
    configs = (
        SimpleNamespace(meter_id=1, flags=0b1101, bands=[drop]),
        SimpleNamespace(meter_id=2, flags=0b1001, bands=[drop]),
        SimpleNamespace(meter_id=3, flags=0b1110, bands=[drop]),
        SimpleNamespace(meter_id=4, flags=0b1101, bands=[remark]),
        SimpleNamespace(meter_id=5, flags=0b1101, bands=[drop, drop]),
    )
    assert readback.meters(reply(*configs)) == (
        MeterEntry(1, 5, 7),
        MeterEntry(2, 5, 0),
        MeterEntry(3, 5, 7, packets=True),
    )


def test_groups_that_are_made_otherwise_are_not_read(peer: Any) -> None:
    parser = peer.ofproto_parser
    queue, output = parser.OFPActionSetQueue(1), parser.OFPActionOutput(3)
    ways: list[tuple[int, list[Any]]] = [
        (1, [queue, output]),
        (0, [queue, output]),
        (1, [output, queue]),
        (1, [output]),
        (1, [queue, parser.OFPActionPopVlan()]),
    ]
    descs = [
        SimpleNamespace(type=kind, group_id=number, buckets=[SimpleNamespace(weight=1, actions=actions)])
        for number, (kind, actions) in enumerate(ways)
    ]
    assert [group.group_id for group in readback.groups(reply(*descs))] == [0]


def test_an_empty_device_has_nothing() -> None:
    assert readback.standing([], [], []) == Standing()
