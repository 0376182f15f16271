"""Messages about flows that are read together say what os-ken's parser and the general readers find in them."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_parser
from support.openflow import messages
from support.openflow.client import datapath

from flowlane.core.events import FlowSeen, LearnedEnded, PinEnded
from flowlane.southbound.openflow.session import decode, flow_messages, readback
from flowlane.southbound.openflow.session.flow_messages import EndReader, FlowMessageReader
from flowlane.southbound.openflow.tables.layout import DEFAULT
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.cookies import Kind

VERSIONS = {4: "OpenFlow13", 5: "OpenFlow14"}
DPID = 5
LEARNED, PIN = cookies.learned(3), cookies.pack(Kind.PIN, 77, 1234)
VLAN_VID, ETH_SRC, ETH_DST, ETH_TYPE, PROTOCOL, SRC, DST, TCP_SRC, TCP_DST = 6, 4, 3, 5, 10, 11, 12, 13, 14
UDP_SRC, UDP_DST, IPV6_SRC, IPV6_DST = 15, 16, 26, 27


def learned(
    kind: str = "tcp",
    in_port: int = 1,
    metadata: int = 7 << 32 | 9,
    mac: bytes = bytes(6),
    ports: tuple[int, int] = (1, 2),
    vlan: int | None = None,
    source: bytes = bytes(16),
) -> bytes:
    """The match of a learned entry, as Open vSwitch writes it."""
    oxms = [messages.oxm(0, pack("!I", in_port)), messages.oxm(2, pack("!Q", metadata))]
    if vlan is not None:
        oxms.append(messages.oxm(VLAN_VID, pack("!H", 0x1000 | vlan)))
    oxms.append(messages.oxm(ETH_SRC, mac))
    if kind == "arp":
        oxms += [messages.oxm(ETH_DST, mac), messages.oxm(ETH_TYPE, pack("!H", 0x0806))]
        return messages.match(*oxms)
    is_six = kind == "tcp6"
    oxms.append(messages.oxm(ETH_TYPE, pack("!H", 0x86DD if is_six else 0x0800)))
    addresses = (IPV6_SRC, IPV6_DST) if is_six else (SRC, DST)
    oxms += [messages.oxm(number, source if is_six else source[:4]) for number in addresses]
    oxms.append(messages.oxm(PROTOCOL, bytes((17 if kind == "udp" else 6,))))
    numbers = (UDP_SRC, UDP_DST) if kind == "udp" else (TCP_SRC, TCP_DST)
    oxms += [messages.oxm(number, pack("!H", port)) for number, port in zip(numbers, ports, strict=True)]
    return messages.match(*oxms)


def removed(
    match: bytes,
    cookie: int = LEARNED,
    version: int = 4,
    reason: int = 0,
    packets: int = 11,
    octets: int = 1300,
) -> bytes:
    """OpenFlow 1.3.5 section 7.4.2."""
    body = pack("!QHBBIIHHQQ", cookie, 1000, reason, 2, 60, 0, 10, 0, packets, octets) + match
    return messages.message(version, messages.FLOW_REMOVED, body)


def general(data: bytes) -> Any:
    message = ofproto_parser.msg(datapath(VERSIONS[data[0]]), *ofproto_parser.header(data), data)
    return decode.pin_ended(DPID, message) or readback.learned_ended(DPID, message)


_MATCHES = st.builds(
    learned,
    kind=st.sampled_from(["tcp", "udp", "tcp6", "arp"]),
    in_port=st.integers(1, 2**31),
    metadata=st.integers(0, 2**64 - 1),
    mac=st.binary(min_size=6, max_size=6),
    ports=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    vlan=st.none() | st.integers(0, 4095),
    source=st.binary(min_size=16, max_size=16),
)
_REMOVED = st.builds(
    removed,
    match=_MATCHES | st.just(messages.match()),
    cookie=st.sampled_from([LEARNED, PIN, cookies.standing(3, 2), 77]),
    version=st.sampled_from([4, 5]),
    reason=st.integers(0, 3),
    packets=st.integers(0, 2**64 - 1),
)


@given(st.lists(_REMOVED, max_size=20))
def test_ends_are_what_the_general_reader_finds_or_nothing(ends: list[bytes]) -> None:
    reader = EndReader(DPID)
    for data in ends:
        found, expected = reader.read(data), general(data)
        assert found is None or found == expected
        if isinstance(expected, LearnedEnded):
            reader.note(data, expected)
            assert reader.read(data) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_the_next_end_of_a_form_is_read_without_the_parser(version: int) -> None:
    reader = EndReader(DPID)
    first, other = (
        removed(learned(), version=version),
        removed(learned(in_port=4, ports=(80, 81)), version=version),
    )
    assert reader.read(first) is None
    reader.note(first, general(first))
    assert reader.read(other) == general(other) != general(first)
    pin = removed(messages.match(), PIN, version, reason=1)
    assert reader.read(pin) == general(pin)
    assert isinstance(general(pin), PinEnded)


def test_what_is_malformed_or_of_others_is_not_read() -> None:
    reader = EndReader(DPID)
    data = removed(learned())
    reader.note(data, general(data))
    assert reader.read(data[:-8]) is None, "cut short"
    assert reader.read(data[:40]) is None
    assert reader.read(b"\x06" + data[1:]) is None, "OpenFlow 1.5 has another layout"
    assert reader.read(removed(learned(), cookie=77)) is None
    standard = data[:48] + pack("!H", 0) + data[50:]
    assert reader.read(standard) is None, "not an OXM match"
    reader.note(None, general(data))
    reader.note(b"\x06" + data[1:], general(data))


def test_forms_of_ends_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_messages, "MAX_SHAPES", 10)
    reader = EndReader(DPID)
    for vlan in range(1, 12):
        data = removed(learned(vlan=vlan))
        reader.note(data, general(data))
    assert reader.read(removed(learned(vlan=1))) is None
    assert reader.read(removed(learned(vlan=11))) is not None


def packet_in(in_port: int) -> bytes:
    oxms = messages.oxm(0, pack("!I", in_port)), messages.oxm(2, pack("!Q", 9))
    head = pack("!IHBBQ", 0xFFFFFFFF, 60, 1, 3, cookies.standing(3, 2))
    return messages.message(4, messages.PACKET_IN, head + messages.match(*oxms) + bytes(2) + bytes(60))


def test_messages_are_read_in_order_up_to_one_that_is_not_known() -> None:
    reader = FlowMessageReader(DPID)
    end = removed(learned())
    assert reader.read([packet_in(1), end], DEFAULT) == []
    reader.packet_ins.note(packet_in(1), DEFAULT)
    reader.ends.note(end, general(end))
    found = reader.read([packet_in(2), end, packet_in(3), removed(learned("udp")), packet_in(4)], DEFAULT)
    assert [type(message) for message in found] == [FlowSeen, LearnedEnded, FlowSeen]
    assert [message.in_port for message in found if not isinstance(message, PinEnded)] == [2, 1, 3]
