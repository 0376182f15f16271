"""Captures made with scapy and byte by byte: clocks, link types, lengths, compression; complete and broken."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from struct import pack

import pytest
import zstandard
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1Q, Ether, Loopback
from scapy.packet import Packet
from scapy.utils import wrpcap
from support import captures
from support.captures import MPLS_LABEL, VM, Taken, cut, pcap, tagged, tcp_frame

from flowlane.cli.plan import ends_text
from flowlane.core.flowkey import IPV4, IPV6, format_address
from flowlane.errors import RequestError
from flowlane.simulation.capture import TOO_MANY, Capture, read_capture

MAC, FAR = "02:00:00:00:00:07", "02:00:00:00:00:fe"


def packets(wrap: Callable[[Packet], Packet]) -> list[Packet]:
    """Two seconds of three flows: one of 3 TCP packets, one UDP datagram, one IPv6 segment."""
    packets: list[Packet] = []
    for number, body in enumerate(
        (
            IP(src="10.0.0.1", dst="10.0.0.2", tos=46 << 2) / TCP(sport=1000, dport=80) / (b"x" * 960),
            IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1000, dport=80) / (b"x" * 960),
            IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1000, dport=80) / (b"x" * 960),
            IP(src="10.0.0.1", dst="10.0.0.3") / UDP(sport=5, dport=53) / b"ask",
            IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(sport=7, dport=443),
        )
    ):
        packet = wrap(body)
        packet.time = 100.0 + number
        packets.append(packet)
    return packets


def cooked(layer: type[CookedLinuxV2] | type[CookedLinux]) -> Callable[[Packet], Packet]:
    def wrap(body: Packet) -> Packet:
        kind = 0x86DD if body.version == 6 else 0x0800
        return layer(proto=kind, lladdrlen=6, src=b"\x02\0\0\0\0\x07\0\0") / body

    return wrap


LINKS = {
    "ethernet": (lambda body: Ether(src=MAC, dst=FAR) / body, 1, MAC),
    "raw ip": (lambda body: body, 101, None),
    "cooked": (cooked(CookedLinux), 113, MAC),
    "cooked 2": (cooked(CookedLinuxV2), 276, MAC),
    "null": (lambda body: Loopback(type=30 if body.version == 6 else 2) / body, 0, None),
}


def write(path: Path, packets: Sequence[Packet], link: int) -> Path:
    wrpcap(str(path), packets, linktype=link)
    return path


@pytest.mark.parametrize(("wrap", "link", "mac"), LINKS.values(), ids=LINKS)
def test_the_flows_of_a_capture(
    tmp_path: Path, wrap: Callable[[Packet], Packet], link: int, mac: str | None
) -> None:
    flows, others, warnings = read_capture(write(tmp_path / "x.pcap", packets(wrap), link))
    assert (others, warnings) == ({}, ())
    assert [(flow.kind, flow.src_port, flow.dst_port) for flow in flows] == [
        (IPV4, 1000, 80),
        (IPV4, 5, 53),
        (IPV6, 7, 443),
    ]
    first = flows[0]
    assert (first.start, first.end, first.dscp) == (0.0, 2.0, 46)
    assert first.rate == pytest.approx(3 * 1000 * 8 / 2, rel=0.03)
    assert flows[1].start == pytest.approx(3.0)
    assert first.vm == (mac or "10.0.0.1")
    assert format_address(first.kind, first.dst) == "10.0.0.2"


def flows_of(tmp_path: Path, data: bytes, name: str = "x.pcap") -> Capture:
    path = tmp_path / name
    path.write_bytes(data)
    return read_capture(path)


def seen(capture: Capture) -> list[tuple[str, int, int, int]]:
    """(Protocol and ends, packets, bytes, bit/s) of each flow."""
    return [
        (ends_text(flow), flow.packets or 0, flow.octets or 0, round(flow.rate)) for flow in capture.flows
    ]


FLOW, NEXT = "tcp 10.0.0.1:1000 > 10.0.0.2:80", "tcp 10.0.0.1:1001 > 10.0.0.2:80"
RIGHT = {
    "two clocks": (captures.two_clocks(), [(FLOW, 10, 10420, 9262), (NEXT, 10, 10420, 9262)]),
    "odd clocks": (captures.odd_clocks(), [(FLOW, 2, 308, 616), (NEXT, 2, 308, 616)]),
    "two links": (
        captures.two_links(),
        [(FLOW, 10, 10420, 9262), ("udp 10.0.1.1:5000 > 10.0.1.2:53", 10, 5440, 4836)],
    ),
    "two sections": (captures.two_sections(), [(FLOW, 1, 154, 1232), (NEXT, 1, 154, 1232)]),
    "old blocks": (captures.old_blocks(), [(FLOW, 3, 462, 1848)]),
    "check sequence": (
        pcap([Taken(captures.EPOCH, tcp_frame() + bytes(4))] * 5, field=0x24000000),
        [(FLOW, 5, 790, 6320)],
    ),
    "VLAN": (
        pcap(cut([tcp_frame(1400, tags=tagged(7))] * 1001, 64, 10.0)),
        [(FLOW, 1001, 1_459_458, 1_167_566)],
    ),
    "QinQ": (
        pcap(cut([tcp_frame(1400, tags=tagged(7, 0x88A8) + tagged(8))] * 11, 64, 10.0)),
        [(f"0x8100 {VM} > {captures.FAR}", 11, 16082, 12866)],
    ),
    "MPLS": (
        pcap(cut([tcp_frame(1400, tags=b"\x88\x47" + MPLS_LABEL)] * 11, 64, 10.0)),
        [(f"0x8847 {VM} > {captures.FAR}", 11, 16060, 12848)],
    ),
}
"""What is in a file, as tshark has it (``test_packets``), and the flows: bytes are those of whole frames."""


@pytest.mark.parametrize(("data", "right"), RIGHT.values(), ids=RIGHT)
def test_packets_bytes_and_rates_are_those_on_the_wire(
    tmp_path: Path, data: bytes, right: list[tuple[str, int, int, int]]
) -> None:
    capture = flows_of(tmp_path, data)
    assert seen(capture) == right
    assert (capture.others, capture.warnings) == ({}, ())


def test_a_flow_without_times_has_no_rate(tmp_path: Path) -> None:
    capture = flows_of(tmp_path, captures.simple_blocks())
    (flow,) = capture.flows
    assert (flow.packets, flow.octets, flow.rate_known) == (5, 2270, False)
    (warning,) = capture.warnings
    assert "5 packets without time stamp" in warning


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_compressed_captures_are_read(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    plain = captures.two_links()
    assert flows_of(tmp_path, compress(plain)) == flows_of(tmp_path, plain)


def test_a_compressed_capture_that_is_cut_has_a_warning(tmp_path: Path) -> None:
    random = Random(1)
    frames = [tcp_frame()[:54] + random.randbytes(900) for _ in range(100)]
    whole = gzip.compress(pcap(cut(frames, 1 << 16)))
    (flow,), _, (warning,) = flows_of(tmp_path, whole[: len(whole) // 2])
    assert 20 < (flow.packets or 0) < 60
    assert "of what was compressed (Compressed file ended before" in warning


def test_another_compression_is_named_with_a_command(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"lz4 files are not read; uncompress it first: lz4 -d .*x.pcap"):
        flows_of(tmp_path, b"\x04\x22\x4d\x18" + bytes(40))


def test_tags_other_protocols_and_discovery(tmp_path: Path) -> None:
    ether = Ether(src=MAC, dst=FAR)
    packets = [
        ether / Dot1Q(vlan=7, prio=5) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2),
        ether / IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=8),
        Ether(src=MAC, dst=FAR, type=0x88F7) / b"time",
        ether / ARP(pdst="10.0.0.9"),
    ]
    flows, others, _ = read_capture(write(tmp_path / "x.pcap", packets, 1))
    assert others == {}
    assert {(flow.vlan, flow.pcp, flow.protocol, flow.src_port) for flow in flows} == {
        (7, 5, 17, 1),
        (None, 0, 1, 8),
        (None, 0, 0, 0x88F7),
        (None, 0, 0, 0x0806),
    }


def test_frames_for_bridges_themselves_are_no_flows(tmp_path: Path) -> None:
    """A switch forwards them at once, as table ingress has it: STP, LACP and LLDP, but not VRRP."""
    groups = ("01:80:c2:00:00:00", "01:80:c2:00:00:02", "01:80:c2:00:00:0e", "01:80:c2:00:00:0f")
    kinds = (0x0026, 0x8809, 0x88CC, 0x1234)
    frames = [
        Ether(src=MAC, dst=group, type=kind) / bytes(46) for group, kind in zip(groups, kinds, strict=True)
    ]
    others = [Ether(src=MAC, dst=group, type=0x88CC) / bytes(46) for group in ("01:80:c2:00:00:10", FAR)]
    flows, kinds_seen, _ = read_capture(write(tmp_path / "x.pcap", [*frames, *others], 1))
    assert len(flows) == 2
    assert kinds_seen == {"STP": 1, "LACP": 1, "LLDP": 1, "other frames for bridges": 1}


def test_bridges_own_frames_are_known_without_their_destination(tmp_path: Path) -> None:
    """Linux cooked captures have no destination; their header says 802.2 (4) or the ethertype."""
    stp = CookedLinux(proto=4, lladdrlen=6, src=b"\x02\0\0\0\0\x07\0\0") / (b"\x42\x42\x03" + bytes(35))
    lldp = CookedLinuxV2(proto=0x88CC, lladdrlen=6, src=b"\x02\0\0\0\0\x07\0\0") / bytes(46)
    assert read_capture(write(tmp_path / "x.pcap", [stp], 113))[:2] == ([], {"STP": 1})
    assert read_capture(write(tmp_path / "x.pcap", [lldp], 276))[:2] == ([], {"LLDP": 1})


def test_further_flows_than_wanted_are_counted_and_left(tmp_path: Path) -> None:
    packets = [
        Ether(src=MAC, dst=FAR) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=n, dport=1)
        for n in range(50)
    ]
    capture = read_capture(write(tmp_path / "x.pcap", packets, 1), most=20)
    assert (len(capture.flows), capture.others) == (20, {TOO_MANY: 30})


REFUSED = {
    127: "link type 127, IEEE802_11_RADIOTAP: 802.11 frames with a radiotap header, cannot be read; capture where",
    9: "link type 9, PPP, cannot be read; capture the Ethernet port that carries the connection",
    195: "link type 195, IEEE802_15_4_WITHFCS: 802.15.4 frames, cannot be read; capture an Ethernet port",
    4711: "link type 4711, cannot be read; capture an Ethernet port",
}


@pytest.mark.parametrize(("link", "words"), REFUSED.items())
@pytest.mark.parametrize("field", [0, 0x24000000])
def test_a_link_type_that_is_not_read_is_named_with_a_remedy(
    tmp_path: Path, link: int, words: str, field: int
) -> None:
    with pytest.raises(RequestError) as refused:
        flows_of(tmp_path, pcap([Taken(1.0, bytes(60))], link, field=field))
    assert str(refused.value).startswith(f"{tmp_path}/x.pcap: {words}")


def test_packets_of_other_link_types_are_left_out_with_a_warning(tmp_path: Path) -> None:
    data = captures.two_links() + captures.interface(127) + captures.packet(2, 0, bytes(60)) * 3
    capture = flows_of(tmp_path, data)
    assert len(capture.flows) == 2
    (warning,) = capture.warnings
    assert "3 packets of link type 127, IEEE802_11_RADIOTAP" in warning


HEADER = pcap([])
BROKEN = {
    "empty": b"",
    "not a capture": b"#!/bin/sh\necho hello\n" * 9,
    "half a header": HEADER[:10],
    "a record of 3 GB": HEADER + pack("<IIII", 1, 1, 3 << 30, 3 << 30) + b"x" * 100,
    "half a pcapng": pack("<III", 0x0A0D0D0A, 28, 0x1A2B3C4D),
    "a pcapng block of 3 GB": pack("<III", 0x0A0D0D0A, 3 << 30, 0x1A2B3C4D) + bytes(40),
    "half a gzip": gzip.compress(captures.two_links())[:12],
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_has_no_whole_packet_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        flows_of(tmp_path, data)
    assert str(refused.value).startswith(f"{tmp_path}/x.pcap: no complete packet capture")


def test_a_capture_without_packets_has_no_flows(tmp_path: Path) -> None:
    assert flows_of(tmp_path, HEADER) == ([], {}, ())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No such file"):
        read_capture(tmp_path / "none.pcap")


def test_memory_grows_with_the_flows_and_not_with_the_file(tmp_path: Path) -> None:
    """40 MB of packets of 8 flows."""
    path = tmp_path / "big.pcap"
    bodies = [
        bytes(
            Ether(src=MAC, dst=FAR) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=n, dport=1) / bytes(1400)
        )
        for n in range(8)
    ]
    with path.open("wb") as file:
        file.write(HEADER)
        for number in range(28_000):
            body = bodies[number % 8]
            file.write(pack("<IIII", number // 1000, 0, len(body), len(body)) + body)
    assert path.stat().st_size > 40_000_000
    tracemalloc.start()
    try:
        capture = read_capture(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(capture.flows), capture.others) == (8, {})
    assert peak < 4_000_000
