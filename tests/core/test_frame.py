"""Frames made by scapy are read as scapy means them; garbage is read as nothing, and never raises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw
from support.engine.required import required

from flowlane.core.flowkey import IPV4, IPV6, LAYER2, unpack
from flowlane.core.frame import ETH_LLC, announces, read_frame

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = IP(src="10.0.0.1", dst="10.0.0.254", tos=46 << 2)
V6 = IPv6(src="fd00::1", dst="fd00::2", tc=10 << 2)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (ETHER / V4 / TCP(sport=1234, dport=80), (IPV4, 6, 1234, 80, None, 0, 46)),
        (ETHER / V4 / UDP(sport=53, dport=5353), (IPV4, 17, 53, 5353, None, 0, 46)),
        (ETHER / V4 / SCTP(sport=7, dport=9), (IPV4, 132, 7, 9, None, 0, 46)),
        (ETHER / V4 / ICMP(type=8, code=0), (IPV4, 1, 8, 0, None, 0, 46)),
        (ETHER / Dot1Q(vlan=12, prio=5) / V4 / TCP(sport=1, dport=2), (IPV4, 6, 1, 2, 12, 5, 46)),
        (ETHER / Dot1Q(vlan=0, prio=3) / V4 / TCP(sport=1, dport=2), (IPV4, 6, 1, 2, 0, 3, 46)),
        (ETHER / V4 / TCP(sport=1234, dport=80, dataofs=3), (IPV4, 6, 0, 0, None, 0, 46)),
        (ETHER / V6 / UDP(sport=1, dport=2), (IPV6, 17, 1, 2, None, 0, 10)),
        (ETHER / V6 / IPv6ExtHdrHopByHop() / TCP(sport=5, dport=6), (IPV6, 6, 5, 6, None, 0, 10)),
        (ETHER / V6 / ICMPv6EchoRequest(), (IPV6, 58, 128, 0, None, 0, 10)),
        (
            ETHER / V6 / IPv6ExtHdrFragment(offset=0, nh=17) / UDP(sport=1, dport=2),
            (IPV6, 17, 1, 2, None, 0, 10),
        ),
        (
            ETHER / V6 / IPv6ExtHdrFragment(offset=0, m=1, nh=17) / UDP(sport=1, dport=2),
            (IPV6, 44, 0, 0, None, 0, 10),
        ),
        (
            ETHER / IP(src="1.2.3.4", dst="5.6.7.8", flags="MF") / UDP(sport=1, dport=2),
            (IPV4, 17, 0, 0, None, 0, 0),
        ),
        (ETHER / V6 / IPv6ExtHdrFragment(offset=9, nh=17) / Raw(b"x" * 20), (IPV6, 44, 0, 0, None, 0, 10)),
        (
            ETHER / IP(src="1.2.3.4", dst="5.6.7.8", frag=7, proto=17) / Raw(b"x" * 20),
            (IPV4, 17, 0, 0, None, 0, 0),
        ),
    ],
)
def test_fields_are_those_that_the_sender_meant(packet: Ether, expected: tuple[int | None, ...]) -> None:
    frame = required(read_frame(bytes(packet)))
    read = (frame.kind, frame.protocol, frame.src_port, frame.dst_port, frame.vlan, frame.pcp, frame.dscp)
    assert read == expected


def test_a_key_holds_vm_vlan_and_addresses() -> None:
    frame = required(read_frame(bytes(ETHER / Dot1Q(vlan=7) / V4 / TCP(sport=1234, dport=80))))
    parts = unpack(frame.key(42))
    assert parts == (42, 7, IPV4, 6, 1234, 80, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 254]))


def test_other_ethertypes_are_layer_2_flows() -> None:
    packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x88B5) / Raw(b"hello")
    frame = required(read_frame(bytes(packet)))
    assert (frame.kind, frame.src_port) == (LAYER2, 0x88B5)
    assert unpack(frame.key(1)).src == bytes.fromhex("020000000001")


def test_an_llc_frame_has_the_ethertype_that_open_vswitch_gives_it() -> None:
    assert required(read_frame(bytes(12) + b"\x00\x20" + bytes(32))).eth_type == ETH_LLC


def test_a_frame_without_ethernet_header_is_none() -> None:
    assert read_frame(b"\x02" * 13) is None


@given(st.binary(max_size=200))
def test_random_bytes_never_raise(data: bytes) -> None:
    frame = read_frame(data)
    assert (frame is None) == (len(data) < 14)


@settings(max_examples=200)
@given(st.sampled_from([V4 / TCP(), V6 / IPv6ExtHdrHopByHop() / UDP(), V6 / IPv6ExtHdrFragment()]), st.data())
def test_frames_cut_anywhere_never_raise(payload: IP | IPv6, data: st.DataObject) -> None:
    whole = bytes(ETHER / Dot1Q(vlan=1) / payload)
    read_frame(whole[: data.draw(st.integers(0, len(whole)))])


@given(st.binary(min_size=54, max_size=90).map(lambda tail: bytes(12) + b"\x86\xdd\x60" + tail))
def test_any_chain_of_extension_headers_ends(data: bytes) -> None:
    assert required(read_frame(data)).kind == IPV6


ARP_HEAD = "0001 0800 06 04"
SENDER, NOBODY = "020000000001 0a000001", "000000000000"
NA = "6000000000183aff" + "fe80" + "00" * 14 + "ff02" + "00" * 13 + "01" + "8800000000000000" + "00" * 16


@pytest.mark.parametrize(
    ("what", "to", "payload", "expected"),
    [
        ("RARP", "ffffffffffff", "8035" + "00" * 46, True),
        (
            "request for its own address",
            "ffffffffffff",
            f"0806 {ARP_HEAD} 0001 {SENDER} {NOBODY} 0a000001",
            True,
        ),
        ("broadcast reply", "ffffffffffff", f"0806 {ARP_HEAD} 0002 {SENDER} {NOBODY} 0a000002", True),
        ("request for another's", "ffffffffffff", f"0806 {ARP_HEAD} 0001 {SENDER} {NOBODY} 0a000002", False),
        ("reply to one host", "020000000009", f"0806 {ARP_HEAD} 0002 {SENDER} {NOBODY} 0a000001", False),
        ("cut short", "ffffffffffff", f"0806 {ARP_HEAD} 0002 {SENDER}", False),
        ("unsolicited neighbour advertisement", "333300000001", "86dd" + NA, True),
        ("neighbour advertisement to one host", "020000000009", "86dd" + NA, False),
        ("something else", "ffffffffffff", "0800" + "00" * 46, False),
    ],
)
@pytest.mark.parametrize("tag", ["", "8100 0064"])
def test_announcements(what: str, to: str, payload: str, expected: bool, tag: str) -> None:
    data = bytes.fromhex(f"{to} 020000000001 {tag} {payload}")
    frame = read_frame(data)
    assert frame is not None
    assert announces(data, frame) is expected, what
