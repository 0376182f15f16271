from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine.packets import packet_of
from support.engine.plans import KEYS, PINS, pin
from support.openflow.memory_switch import matches_term

from flowlane.core import flowkey
from flowlane.core.effects import PinFlow, UnpinFlow
from flowlane.core.flowkey import FlowParts
from flowlane.core.frame import read_frame
from flowlane.core.model import NO_QUEUE
from flowlane.southbound.openflow.tables import pins
from flowlane.southbound.openflow.tables.entries import Goto, Meter, Op, SetQueue
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.fields import match, values

PORTS = st.integers(1, 0xFFFFFF00)
TCP_V4 = bytes.fromhex(
    "0a00000000fe0a0000000001080045000028000000004006000000000000"[:52]
    + "0a0000010a000009"
    + "9c4001bb000000000000000050000000000000000000"
)


@given(KEYS, PORTS, PORTS)
def test_a_key_comes_back_from_its_match(key: bytes, in_port: int, egress_port: int) -> None:
    there = pins.match_of(key, in_port, egress_port)
    vm_number = flowkey.unpack(key).vm_number
    assert pins.read_match(there, vm_number) == pins.PinMatch(key, in_port, egress_port)


@given(KEYS, KEYS)
def test_flows_that_differ_have_different_matches(key: bytes, other: bytes) -> None:
    """But for the VM's number, which stands in the in_port."""
    assert (pins.match_of(key, 1, 2) == pins.match_of(other, 1, 2)) is (key[4:] == other[4:])


@given(PINS)
def test_a_pin_is_found_again_whole(wanted: PinFlow) -> None:
    vm_number = flowkey.unpack(wanted.key).vm_number
    found = pins.found_pin(pins.entry(wanted), vm_number, 7, 900)
    assert found is not None
    assert found[:6] == (
        wanted.ref,
        wanted.key,
        wanted.in_port,
        wanted.egress_port,
        wanted.queue_id,
        wanted.meter_id,
    )
    assert found[6:] == (7, 900, False)


def test_the_frame_of_a_flow_meets_its_pin() -> None:
    frame = read_frame(TCP_V4)
    assert frame is not None
    assert flowkey.unpack(frame.key(77)) == FlowParts(
        77, None, flowkey.IPV4, flowkey.TCP, 40000, 443, bytes((10, 0, 0, 1)), bytes((10, 0, 0, 9))
    )
    there = packet_of(1, TCP_V4) | {"metadata": 77 << 32 | 3}
    assert all(matches_term(term, there) for term in pins.match_of(frame.key(77), 1, 3))
    assert not all(matches_term(term, there) for term in pins.match_of(frame.key(77), 2, 3))


def test_meter_comes_first_then_queue_then_output() -> None:
    made = pins.entry(pin(queue_id=2, meter_id=9))
    assert made.steps == (Meter(9), SetQueue(2), Goto(TableId.OUTPUT))
    assert made.table_id == TableId.ASSIGN


def test_without_queue_or_meter_neither_is_named() -> None:
    assert pins.entry(pin(queue_id=NO_QUEUE, meter_id=0)).steps == (Goto(TableId.OUTPUT),)


def test_the_removal_of_an_entry_is_reported_with_its_cookie() -> None:
    made = pins.entry(pin())
    assert (made.idle_timeout, made.flags) == (10, 1)
    assert cookies.unpack(made.cookie) == cookies.Cookie(cookies.Kind.PIN, 3, 5)


def test_a_moved_pin_is_modified_and_a_new_one_added() -> None:
    assert pins.change(pin()).op is Op.ADD
    assert pins.change(pin(moved=True)).op is Op.MODIFY


def test_unpinning_names_the_place_and_the_owner_of_the_entry() -> None:
    wanted = pin()
    there = pins.entry(wanted)
    change = pins.change(UnpinFlow(1, wanted.ref, wanted.key, wanted.in_port, wanted.egress_port))
    assert change.op is Op.DELETE
    gone = change.entry
    assert (gone.table_id, gone.priority, gone.match, gone.cookie) == (  # type: ignore[union-attr]
        there.table_id,
        there.priority,
        there.match,
        there.cookie,
    )


@pytest.mark.parametrize(
    ("kind", "protocol", "used", "unused"),
    [
        (flowkey.IPV4, flowkey.ICMP, "icmpv4_type", "icmpv6_type"),
        (flowkey.IPV6, flowkey.ICMPV6, "icmpv6_code", "icmpv4_code"),
        (flowkey.IPV4, flowkey.ICMPV6, "ip_proto", "icmpv6_type"),
        (flowkey.IPV6, flowkey.ICMP, "ip_proto", "icmpv4_type"),
        (flowkey.IPV4, 47, "ip_proto", "tcp_src"),
        (flowkey.IPV6, flowkey.SCTP, "sctp_dst", "udp_dst"),
    ],
)
def test_only_fields_whose_prerequisites_hold_are_matched(
    kind: int, protocol: int, used: str, unused: str
) -> None:
    length = 4 if kind == flowkey.IPV4 else 16
    key = flowkey.pack(FlowParts(1, None, kind, protocol, 8, 0, bytes(length), bytes(length)))
    there = values(pins.match_of(key, 1, 2))
    assert used in there
    assert unused not in there


@pytest.mark.parametrize("vlan", [None, 0, 5, 4095])
def test_tagged_and_untagged_flows_differ(vlan: int | None) -> None:
    key = flowkey.pack(FlowParts(1, vlan, flowkey.LAYER2, 0, 0x88B5, 0, bytes(6), bytes(6)))
    assert values(pins.match_of(key, 1, 2))["vlan_vid"] == (0 if vlan is None else 0x1000 | vlan)


@pytest.mark.parametrize(
    "wanted",
    [
        match(),
        match(in_port=1),
        match(in_port=1, metadata=2, eth_type=0x800),
        match(eth_dst=(1 << 40, 1 << 40)),
    ],
)
def test_other_matches_are_no_pins(wanted: object) -> None:
    assert pins.read_match(wanted) is None  # type: ignore[arg-type]


def test_a_foreign_entry_in_a_pins_place_is_no_pin() -> None:
    made = pins.entry(pin())
    foreign = type(made)(made.table_id, made.priority, made.match, made.steps, 0x1234)
    assert pins.found_pin(foreign, 1, 0, 0) is None
