"""Packet-ins read by their bytes are what os-ken makes of them."""

from __future__ import annotations

from pathlib import Path
from struct import pack
from types import SimpleNamespace
from typing import Any

import os_ken
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_protocol
from support.openflow import messages
from support.openflow.messages import OF15, VERSIONS

from flowlane.core.events import FlowSeen
from flowlane.errors import ProtocolError
from flowlane.southbound.openflow.osken import lazy
from flowlane.southbound.openflow.session import decode
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies, guard, packet_in_match

PACKETS = Path(os_ken.__file__).parent / "tests" / "packet_data"
RECORDED = sorted(
    path for number in (13, 14, 15) for path in (PACKETS / f"of{number}").glob("*packet_in.packet")
)
LEARN = cookies.pack(cookies.Kind.INFRASTRUCTURE)


def lazily(data: bytes) -> Any:
    lazy.install_lazy_packets()
    return lazy.read_packet(datapath(data), data)


def datapath(data: bytes) -> SimpleNamespace:
    return SimpleNamespace(ofproto=ofproto_protocol._versions[data[0]][0])


def at_once(data: bytes) -> Any:
    parse = ofproto_protocol._versions[data[0]][1].msg_parser
    return parse(datapath(data), data[0], data[1], len(data), int.from_bytes(data[4:8], "big"), data)


def by_match(data: bytes) -> FlowSeen | None:
    """The event of a message without its bytes, by the match that os-ken reads."""
    whole = at_once(data)
    parts = {name: getattr(whole, name) for name in ("cookie", "table_id", "match", "data")}
    return decode.flow_seen(1, SimpleNamespace(**parts))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recorded_packet_ins(path: Path) -> None:
    data = path.read_bytes()
    assert lazily(data).to_jsondict() == at_once(data).to_jsondict()
    assert lazily(data).match["in_port"] == packet_in_match.read_fields(data)["in_port"]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_os_ken_cannot_read_later_is_refused_with_the_reason(version: int) -> None:
    """os-ken raises a bare Exception for a field of a wrong length; the guard does not know the fields."""
    fields = messages.match(messages.oxm(29, b"\0\1"))  # ipv6_nd_target, of 16 bytes
    head = pack("!IHBBQ", 0xFFFFFFFF, 0, 1, 3, 0)
    data = messages.message(version, messages.PACKET_IN, head + fields + bytes(2))
    assert guard.check(data, version) == data
    with pytest.raises(ProtocolError, match="OFPPacketIn cannot be read: "):
        _ = lazily(data).match


def test_recordings_are_there() -> None:
    assert len(RECORDED) >= 3


def test_an_ingress_port_with_a_mask_is_no_ingress_port() -> None:
    port, masked = pack("!II", 0x80000004, 7), pack("!III", 0x80000108, 7, 0xFFFFFFFF)
    for fields, expected in ((masked, {}), (port + masked, {}), (masked + port, {"in_port": 7})):
        data = bytes(24) + pack("!HH", 1, 4 + len(fields)) + fields
        assert packet_in_match.read_fields(data) == expected


def register(version: int, number: int, value: int) -> bytes:
    """As Open vSwitch writes it: of a 64-bit register the half that is in use, the other is masked."""
    shift = 32 * (1 - number % 2)
    if version == OF15:
        return pack("!HBBQQ", 0x8001, number // 2 << 1 | 1, 16, value << shift, 0xFFFFFFFF << shift)
    return pack("!HBBI", 1, number << 1, 4, value)


def packet_in(
    version: int,
    table: int,
    in_port: int,
    metadata: int,
    registers: dict[int, int],
    frame: bytes,
    padding: int,
) -> bytes:
    fields = [messages.oxm(0, pack("!I", in_port)), messages.oxm(2, pack("!Q", metadata))]
    fields += [register(version, number, value) for number, value in registers.items()]
    head = pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, table, LEARN)
    return messages.message(
        version, messages.PACKET_IN, head + messages.match(*fields) + bytes(2) + frame + bytes(padding)
    )


packets = st.builds(
    packet_in,
    st.sampled_from(VERSIONS),
    st.sampled_from((TableId.LEARN, TableId.SPREAD, TableId.FORWARD)),
    st.integers(1, 0xFFFFFF00),
    st.integers(0, (1 << 64) - 1),
    st.dictionaries(st.sampled_from((1, 4, 6)), st.integers(0, 0xFFFFFFFF), max_size=2),
    st.binary(max_size=80),
    st.integers(0, 7),
)


@given(packets)
def test_both_ways_read_the_same(data: bytes) -> None:
    assert decode.flow_seen(1, lazily(data)) == by_match(data)
    assert lazily(data).to_jsondict() == at_once(data).to_jsondict()


@settings(max_examples=300)
@given(packets, st.data())
def test_bytes_that_are_not_as_they_should_be(data: bytes, draw: st.DataObject) -> None:
    """A message that the guard accepts and os-ken can parse gives the same event in both ways."""
    bad = bytearray(data)
    bad[draw.draw(st.integers(8, len(bad) - 1))] = draw.draw(st.integers(0, 255))
    try:
        guard.check(bytes(bad), data[0])
        expected = by_match(bytes(bad))
    except Exception:
        return
    assert decode.flow_seen(1, lazily(bytes(bad))) == expected


def test_other_messages_are_left_to_others() -> None:
    assert lazily(messages.multipart(OF15, 1, b"")) is None
