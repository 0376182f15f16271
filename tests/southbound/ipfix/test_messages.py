"""IPFIX messages: records by an exporter's templates or by Open vSwitch's, and bytes that are neither."""

from __future__ import annotations

import struct
from contextlib import suppress
from random import Random

import pytest
from support.ipfix import COMMON, DPID, ENDED, EXPORTED, KINDS, V4, a_set, message, of_ovs, record, template

from flowlane.core.flowkey import pack
from flowlane.errors import ProtocolError
from flowlane.southbound.ipfix import elements, messages, observation, ovs_layout
from flowlane.southbound.ipfix.messages import Reader


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_open_vswitch_is_read_without_its_template(kind: str) -> None:
    data, parts = of_ovs(kind)
    (found,) = Reader().read(data, "127.0.0.1")
    assert observation.dpid_of(found.domain, found.point) == DPID
    packet = found.packet
    assert packet.tail == pack(parts)[4:]
    assert (packet.eth_src, packet.port_name, packet.octets) == (0x020000000001, "vm1", 1400)
    assert packet.at == EXPORTED - ENDED / 1e6


def test_the_exporters_own_template_counts_for_it_alone() -> None:
    number, values, parts = KINDS["tcp"]
    fields: ovs_layout.Fields = (
        (elements.INTERFACE_NAME, elements.VARIABLE),
        (0x8000 | 5, 2),
        *(
            (name, len((COMMON | values)[name]))
            for name in COMMON | values
            if name != elements.INTERFACE_NAME
        ),
    )
    # A field of an enterprise has its number behind its length.
    own = template(number, fields).replace(b"\x80\5\0\2", b"\x80\5\0\2\0\0\x1a\xfe")
    longer = {**values, elements.INTERFACE_NAME: b"vm1"}
    data = message(a_set(number, record(fields, COMMON | longer) * 2 + b"\0\0"))
    reader = Reader()
    assert reader.read(message(a_set(2, own), a_set(3, b"\1\2\3\4")), "10.0.0.1") == []
    assert [found.packet.tail for found in reader.read(data, "10.0.0.1")] == [pack(parts)[4:]] * 2
    assert reader.read(data, "10.0.0.2") == [], "to others its length is not that of Open vSwitch's record"
    reader.read(message(a_set(2, struct.pack("!HH", number, 0))), "10.0.0.1")
    assert reader.read(of_ovs("tcp")[0], "10.0.0.1"), "withdrawn: Open vSwitch's again"


def test_a_name_may_be_long_and_bytes_of_none() -> None:
    number, values, _ = KINDS["tcp"]
    fields = ((elements.INTERFACE_NAME, elements.VARIABLE), (elements.ETH_SRC, 6))
    name = b"\xff" * 300
    data = b"\xff" + struct.pack("!H", 300) + name + bytes(6)
    reader = Reader()
    reader.read(message(a_set(2, template(300, fields))), "h")
    assert reader.read(message(a_set(300, data)), "h") == [], "too little for a flow key"
    assert number and values


def test_a_number_of_variable_length_is_no_longer_than_its_element() -> None:
    fields = (
        (elements.PROTOCOL, elements.VARIABLE),
        *((name, len(value)) for name, value in (COMMON | V4).items()),
    )
    reader, values = Reader(), COMMON | V4
    reader.read(message(a_set(2, template(300, fields))), "h")
    assert reader.read(message(a_set(300, record(fields, {**values, elements.PROTOCOL: b"\6"}))), "h")
    with pytest.raises(ProtocolError, match="element 4 of length 2"):
        reader.read(message(a_set(300, record(fields, {**values, elements.PROTOCOL: b"\1\6"}))), "h")


def test_templates_of_forged_exporters_are_stored_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_PARTS", 100)
    reader = Reader()
    fields = ((elements.INTERFACE_NAME, elements.VARIABLE),) * 15
    for number in range(40):
        reader.read(message(a_set(2, template(300 + number % 3, fields)), domain=number // 4), "h")
        assert reader.stored_parts <= 100
    assert reader.stored_parts >= 100 - 16 * 4
    reader.read(message(a_set(2, struct.pack("!HH", 300 + 39 % 3, 0)), domain=9), "h")
    assert reader.stored_parts >= 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(15),
        message() + b"\0",
        message(b"\1\0\0\3\0"),
        message(struct.pack("!HH", 300, 99)),
        message(b"\1\0"),
        message(a_set(2, struct.pack("!HHHH", 300, 2, 8, 4))),
        message(a_set(2, struct.pack("!HHHH", 300, 1, 0x8008, 4))),
        message(a_set(2, struct.pack("!HH", 300, 0xFFFF))),
        of_ovs("tcp")[0].replace(b"\3vm1", b"\xfevm1"),
    ],
)
def test_a_malformed_message_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Reader().read(data, "h")


def test_any_bytes_are_read_or_refused_and_what_is_stored_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_EXPORTERS", 8)
    monkeypatch.setattr(messages, "MAX_TEMPLATES", 4)
    rng, reader = Random(1), Reader()
    whole = [of_ovs(kind)[0] for kind in KINDS]
    whole += [message(a_set(2, template(300 + n, ((8, 4), (82, 0xFFFF), (0, 0))))) for n in range(8)]
    whole.append(message(a_set(2, template(256, ((8, 0),))), a_set(256, bytes(100))))
    for turn in range(4000):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            data = data[: rng.randrange(len(data))]
            data[2:4] = len(data).to_bytes(2)
        with suppress(ProtocolError):
            reader.read(bytes(data), f"h{turn % 20}")
    stored = reader._templates
    assert 0 < len(stored) <= 8
    assert max(len(of_exporter) for of_exporter in stored.values()) <= 4
