from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_v1_3_parser

from flowlane.southbound.openflow.wire import fields
from flowlane.southbound.openflow.wire.fields import FIELDS, Term, match


@st.composite
def terms(draw: st.DrawFn, name: str) -> int | tuple[int, int]:
    full = fields.full_mask(name)
    value = draw(st.integers(0, full))
    if FIELDS[name].maskable and draw(st.booleans()):
        return value, draw(st.integers(1, full))
    return value


MATCHES = st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=8).flatmap(
    lambda names: st.builds(match, **{name: terms(name) for name in names})
)


@given(MATCHES)
def test_bytes_come_back_as_the_match(wanted: fields.Match) -> None:
    assert fields.unpack(fields.pack(wanted)) == wanted


@given(MATCHES)
def test_os_ken_reads_the_same_fields(wanted: fields.Match) -> None:
    body = fields.pack(wanted)
    head = (1).to_bytes(2, "big") + (4 + len(body)).to_bytes(2, "big")
    read = ofproto_v1_3_parser.OFPMatch.parser(head + body + bytes(8), 0)
    assert {name for name, _ in read.items()} == {term.field for term in wanted}
    written = bytearray()
    read.serialize(written, 0)
    assert bytes(written[4 : 4 + len(body)]) == body


@pytest.mark.parametrize(
    ("wanted", "name", "shown"),
    [
        ({"in_port": 7}, "in_port", 7),
        ({"eth_src": 0x0A0000000001}, "eth_src", "0a:00:00:00:00:01"),
        ({"ipv4_dst": (0x0A000000, 0xFF000000)}, "ipv4_dst", ("10.0.0.0", "255.0.0.0")),
        ({"ipv6_src": 1}, "ipv6_src", "::1"),
        ({"metadata": (5, 0xFF)}, "metadata", (5, 0xFF)),
        ({"vlan_vid": 0x1064}, "vlan_vid", 0x1064),
        ({"sctp_dst": 99}, "sctp_dst", 99),
        ({"icmpv6_type": 135}, "icmpv6_type", 135),
    ],
)
def test_values_are_what_os_ken_understands(wanted: dict[str, int], name: str, shown: object) -> None:
    body = fields.pack(match(**wanted))
    head = (1).to_bytes(2, "big") + (4 + len(body)).to_bytes(2, "big")
    assert ofproto_v1_3_parser.OFPMatch.parser(head + body + bytes(8), 0)[name] == shown


def test_matches_that_select_the_same_are_equal() -> None:
    assert match(eth_dst=(5, 0xFFFFFFFFFFFF)) == match(eth_dst=5)
    assert match(ipv4_src=(0x0A0000FF, 0xFFFFFF00)) == match(ipv4_src=(0x0A000000, 0xFFFFFF00))
    assert match(ipv4_src=(1, 0), in_port=3) == match(in_port=3)
    assert match(ip_proto=6, eth_type=0x800) == match(eth_type=0x800, ip_proto=6)


@pytest.mark.parametrize("wanted", [{"vlan_pcp": 8}, {"eth_type": 0x10000}, {"metadata": (0, 1 << 64)}])
def test_what_a_field_cannot_hold_is_refused(wanted: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        match(**wanted)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read = fields.unpack(data)
    assert read is None or all(isinstance(term, Term) for term in read)


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("80000004000000"),
        bytes.fromhex("8000000400000001")[:-1],
        bytes.fromhex("000100020000"),
        bytes.fromhex("80000a030800ff"),
        bytes.fromhex("80007e0100"),
    ],
    ids=["cut", "cut in the value", "another class", "a length that is not the field's", "an unused field"],
)
def test_malformed_or_unknown_fields_give_none(data: bytes) -> None:
    assert fields.unpack(data) is None
