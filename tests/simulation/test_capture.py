"""Captures made with scapy, of several link types, complete and broken."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from struct import pack

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1Q, Ether, Loopback
from scapy.packet import Packet
from scapy.utils import PcapNgWriter, wrpcap

from flowlane.core.flowkey import IPV4, IPV6, format_address
from flowlane.errors import RequestError
from flowlane.simulation.capture import read_capture

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


def write(path: Path, packets: Sequence[Packet], link: int, ng: bool = False) -> Path:
    if not ng:
        wrpcap(str(path), packets, linktype=link)
        return path
    with PcapNgWriter(str(path)) as writer:
        for packet in packets:
            writer.write(packet)
    return path


@pytest.mark.parametrize(("wrap", "link", "mac"), LINKS.values(), ids=LINKS)
def test_the_flows_of_a_capture(
    tmp_path: Path, wrap: Callable[[Packet], Packet], link: int, mac: str | None
) -> None:
    flows, other = read_capture(write(tmp_path / "x.pcap", packets(wrap), link))
    assert other == 0
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


def test_pcapng_is_read_as_pcap_is(tmp_path: Path) -> None:
    wrap = LINKS["ethernet"][0]
    plain, _ = read_capture(write(tmp_path / "x.pcap", packets(wrap), 1))
    ng, _ = read_capture(write(tmp_path / "x.pcapng", packets(wrap), 1, ng=True))
    assert [flow[:7] for flow in ng] == [flow[:7] for flow in plain]
    assert [flow.rate for flow in ng] == pytest.approx([flow.rate for flow in plain])


def test_tags_other_protocols_and_discovery(tmp_path: Path) -> None:
    ether = Ether(src=MAC, dst=FAR)
    packets = [
        ether / Dot1Q(vlan=7, prio=5) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2),
        ether / IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=8),
        Ether(src=MAC, dst=FAR, type=0x88F7) / b"time",
        ether / ARP(pdst="10.0.0.9"),
    ]
    flows, other = read_capture(write(tmp_path / "x.pcap", packets, 1))
    assert other == 0
    assert {(flow.vlan, flow.pcp, flow.protocol, flow.src_port) for flow in flows} == {
        (7, 5, 17, 1),
        (None, 0, 1, 8),
        (None, 0, 0, 0x88F7),
        (None, 0, 0, 0x0806),
    }


def test_frames_for_bridges_themselves_are_no_flows(tmp_path: Path) -> None:
    """A switch forwards them at once, as table ingress has it: STP, LACP and LLDP, but not VRRP."""
    groups = ("01:80:c2:00:00:00", "01:80:c2:00:00:02", "01:80:c2:00:00:0e", "01:80:c2:00:00:0f")
    frames = [Ether(src=MAC, dst=group, type=0x88CC) / bytes(46) for group in groups]
    others = [Ether(src=MAC, dst=group, type=0x88CC) / bytes(46) for group in ("01:80:c2:00:00:10", FAR)]
    flows, other = read_capture(write(tmp_path / "x.pcap", [*frames, *others], 1))
    assert (len(flows), other) == (2, 4)


def test_packets_cut_short_count_with_the_length_that_they_state(tmp_path: Path) -> None:
    body = Ether(src=MAC, dst=FAR) / IP(src="10.0.0.1", dst="10.0.0.2", len=1400) / TCP(sport=1, dport=2)
    flows, _ = read_capture(write(tmp_path / "x.pcap", [body], 1))
    assert flows[0].rate == 8 * 1414


def test_further_flows_than_wanted_are_counted_and_left(tmp_path: Path) -> None:
    packets = [
        Ether(src=MAC, dst=FAR) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=n, dport=1)
        for n in range(50)
    ]
    flows, other = read_capture(write(tmp_path / "x.pcap", packets, 1), most=20)
    assert (len(flows), other) == (20, 30)


@pytest.mark.parametrize(("flags", "fcs"), [(0x24000000, 4), (0x20000000, 0), (0, 0)])
def test_the_link_type_beside_the_length_of_the_frame_check_sequence(
    tmp_path: Path, flags: int, fcs: int
) -> None:
    frame = bytes(
        Ether(src=MAC, dst=FAR)
        / IP(src="10.0.0.1", dst="10.0.0.2")
        / TCP(sport=1000, dport=80)
        / (b"x" * 100)
    )
    assert len(frame) == 154
    path = tmp_path / "x.pcap"
    header = HEADER[:-4] + pack("<I", flags | 1)
    for stored in (frame + bytes(fcs), frame[:60]):
        path.write_bytes(header + (pack("<IIII", 1, 0, len(stored), 154 + fcs) + stored) * 5)
        (flow,), other = read_capture(path)
        assert (flow.dst_port, flow.rate, other) == (80, 5 * (154 + fcs) * 8, 0)


HEADER = pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
BROKEN = {
    "empty": (b"", "no complete packet capture"),
    "not a capture": (b"#!/bin/sh\necho hello\n" * 9, "no complete packet capture"),
    "half a header": (HEADER[:10], "no complete packet capture"),
    "a record of 3 GB": (
        HEADER + pack("<IIII", 1, 1, 3 << 30, 3 << 30) + b"x" * 100,
        "no complete packet capture",
    ),
    "an unknown link type": (HEADER[:-4] + pack("<I", 195), "link type 195 cannot be read"),
    "an unknown link type, with FCS": (
        HEADER[:-4] + pack("<I", 0x24000000 | 195),
        "link type 195 cannot be read; capture an Ethernet port",
    ),
    "half a pcapng": (pack("<III", 0x0A0D0D0A, 28, 0x1A2B3C4D), "no complete packet capture"),
    "a pcapng block of 3 GB": (
        pack("<III", 0x0A0D0D0A, 3 << 30, 0x1A2B3C4D) + bytes(40),
        "no complete packet capture",
    ),
}


@pytest.mark.parametrize(("data", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_whole_capture_is_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    with pytest.raises(RequestError) as refused:
        read_capture(path)
    assert str(refused.value).startswith(str(path))
    assert words in str(refused.value)


def test_a_capture_that_breaks_off_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcap", packets(LINKS["ethernet"][0]), 1)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RequestError, match="no complete packet capture"):
        read_capture(path)


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
        flows, other = read_capture(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(flows), other) == (8, 0)
    assert peak < 4_000_000
