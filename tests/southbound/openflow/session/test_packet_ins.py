"""Packet-ins that are read by the form of the last one say what os-ken's parser and the general reader find in them."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_parser
from support.openflow import messages
from support.openflow.client import datapath

from flowlane.core.events import FlowSeen
from flowlane.southbound.openflow.session import decode
from flowlane.southbound.openflow.session.packet_ins import MOST_SHAPES, PacketInReader
from flowlane.southbound.openflow.tables.layout import DEFAULT, Layout
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies, lldp
from flowlane.southbound.openflow.wire.cookies import Kind

VERSIONS = {4: "OpenFlow13", 5: "OpenFlow14", 6: "OpenFlow15"}
DPID = 5
INFRASTRUCTURE = cookies.pack(Kind.INFRASTRUCTURE)
NICIRA, PACKET_REGISTERS = 0x0001, 0x8001


def oxm(oxm_class: int, number: int, payload: bytes, *, masked: bool = False) -> bytes:
    """OpenFlow 1.3.5 section 7.2.3.2."""
    return pack("!HBB", oxm_class, number << 1 | masked, len(payload)) + payload


def packet_in(
    version: int = 4,
    in_port: int = 1,
    metadata: int | None = 9,
    registers: tuple[tuple[int, int], ...] = ((1, 3), (4, 2)),
    table: int = TableId.LEARN,
    cookie: int = INFRASTRUCTURE,
    frame: bytes = bytes(60),
) -> bytes:
    """A copy as Open vSwitch sends it: registers that are 0 are left out, in 1.5 two of them are one field."""
    oxms = [oxm(0x8000, 0, pack("!I", in_port))]
    if version < 6:
        oxms += [oxm(NICIRA, number, pack("!I", value)) for number, value in registers if value]
    else:
        for pair in range(4):
            high, low = (dict(registers).get(2 * pair + half, 0) for half in range(2))
            mask = (0xFFFFFFFF << 32 if high else 0) | (0xFFFFFFFF if low else 0)
            if mask:
                oxms.append(oxm(PACKET_REGISTERS, pair, pack("!QQ", high << 32 | low, mask), masked=True))
    if metadata is not None:
        oxms.append(oxm(0x8000, 2, pack("!Q", metadata)))
    head = pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, table, cookie)
    return messages.message(version, messages.PACKET_IN, head + messages.match(*oxms) + bytes(2) + frame)


def parsed(data: bytes) -> Any:
    message = ofproto_parser.msg(datapath(VERSIONS[data[0]]), *ofproto_parser.header(data), data)
    assert message is not None
    return message


def general(data: bytes) -> Any:
    return decode.packet_in(DPID, parsed(data), DEFAULT, bytes(16))


_REGISTERS = st.dictionaries(st.integers(0, 7), st.integers(0, 2**32 - 1), max_size=8).map(
    lambda found: tuple(found.items())
)
_PACKETS = st.builds(
    packet_in,
    version=st.just(4),
    in_port=st.integers(1, 0xFFFFFF00),
    metadata=st.none() | st.integers(0, 2**64 - 1),
    registers=_REGISTERS,
    table=st.sampled_from([0, TableId.LEARN, 200]),
    cookie=st.sampled_from([INFRASTRUCTURE, cookies.standing(3, 2), cookies.standing(3, 2, waits=True), 77]),
    frame=st.sampled_from([b"", bytes(14), bytes(60), bytes(range(200))]),
)


@given(st.lists(_PACKETS, max_size=20))
def test_says_what_the_general_reader_says_or_nothing(packets: list[bytes]) -> None:
    reader = PacketInReader(DPID)
    for data in packets:
        found, expected = reader.read(data, DEFAULT), general(data)
        assert found is None or found == expected
        if isinstance(expected, FlowSeen):
            reader.note(data, DEFAULT)
            assert reader.read(data, DEFAULT) in (expected, None)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_next_one_of_an_entry_is_read(version: int) -> None:
    reader = PacketInReader(DPID)
    reader.note(packet_in(version), DEFAULT)
    other = packet_in(
        version, in_port=7, metadata=77 << 32 | 8, registers=((1, 4), (4, 9)), frame=bytes(range(99))
    )
    seen = FlowSeen(DPID, 7, bytes(range(99)), 8, 3, 9)
    assert reader.read(other, DEFAULT) == seen == general(other)
    reader.note(packet_in(version, registers=((1, 1),)), DEFAULT)
    without_meter = packet_in(version, registers=((1, 2),))
    assert reader.read(without_meter, DEFAULT) == FlowSeen(DPID, 1, bytes(60), 9, 1) == general(without_meter)


def test_what_has_another_form_is_not_read() -> None:
    reader = PacketInReader(DPID)
    data = packet_in()
    reader.note(data, DEFAULT)
    assert reader.read(packet_in(registers=((1, 3), (5, 2))), DEFAULT) is None, "another register"
    assert reader.read(packet_in(cookie=INFRASTRUCTURE + 1), DEFAULT) is None, "another entry"
    assert reader.read(data, Layout(DEFAULT.numbers)) is None, "another layout"
    assert reader.read(packet_in(frame=b""), DEFAULT) is None
    assert reader.read(data[:40], DEFAULT) is None, "cut short"
    probe = lldp.frame(1, 2, bytes(16), 60)
    assert reader.read(packet_in(frame=probe), DEFAULT) is None, "a probe of a link"


def test_forms_that_are_kept_are_bounded() -> None:
    reader = PacketInReader(DPID)
    for number in range(MOST_SHAPES + 5):
        reader.note(packet_in(cookie=INFRASTRUCTURE + number), DEFAULT)
    assert reader.read(packet_in(cookie=INFRASTRUCTURE), DEFAULT) is None
    assert reader.read(packet_in(cookie=INFRASTRUCTURE + MOST_SHAPES + 4), DEFAULT) is not None


def test_what_is_no_packet_in_is_not_kept() -> None:
    reader = PacketInReader(DPID)
    for other in (None, b"", packet_in()[:20], packet_in(metadata=None), packet_in(cookie=1)):
        reader.note(other, DEFAULT)
    assert reader.read(packet_in(metadata=None), DEFAULT) is None
