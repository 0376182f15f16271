"""Capture files made byte by byte: pcap and pcapng with what real ones have, and frames for them.

The formats are those of draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng; tshark judges them in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import pack
from typing import NamedTuple

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

VM, FAR = "02:00:00:00:00:01", "02:00:00:00:00:fe"
EPOCH = 1_700_000_000
PCAPNG_SECTION = 0x0A0D0D0A


class Taken(NamedTuple):
    """A packet for a file: seconds since 1970, its bytes, and its length on the wire (None: all of it is there)."""

    time: float
    data: bytes
    length: int | None = None


def tcp_frame(payload: int = 100, src_port: int = 1000, *, src: str = "10.0.0.1", tags: bytes = b"") -> bytes:
    """A frame of TCP from the VM to port 80; ``tags`` stand between the addresses and the ethertype."""
    body = IP(src=src, dst="10.0.0.2") / TCP(sport=src_port, dport=80) / (b"x" * payload)
    frame = bytes(Ether(src=VM, dst=FAR) / body)
    return frame[:12] + tags + frame[12:]


def udp_packet(payload: int = 100) -> bytes:
    """An IP packet of UDP, without Ethernet header."""
    return bytes(IP(src="10.0.1.1", dst="10.0.1.2") / UDP(sport=5000, dport=53) / (b"x" * payload))


def pcap(
    packets: Iterable[Taken], link: int = 1, *, order: str = "<", nanoseconds: bool = False, field: int = 0
) -> bytes:
    """A pcap file; ``field``: bits of the header's last field beside the link type."""
    magic, units = (0xA1B23C4D, 10**9) if nanoseconds else (0xA1B2C3D4, 10**6)
    parts = [pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 1 << 18, field | link)]
    for time, data, length in packets:
        whole, fraction = divmod(round(time * units), units)
        wire = len(data) if length is None else length
        parts.append(pack(f"{order}IIII", whole, fraction, len(data), wire) + data)
    return b"".join(parts)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A block of pcapng."""
    size = len(_padded(body)) + 12
    return pack(f"{order}II", kind, size) + _padded(body) + pack(f"{order}I", size)


def section(order: str = "<") -> bytes:
    """The beginning of a section."""
    return block(PCAPNG_SECTION, pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(
    link: int = 1,
    *,
    snaplen: int = 0,
    resolution: int | None = None,
    offset: int | None = None,
    order: str = "<",
) -> bytes:
    """An interface; ``resolution``: its if_tsresol, ``offset``: its if_tsoffset."""
    options = b""
    if resolution is not None:
        options += pack(f"{order}HHB3x", 9, 1, resolution)
    if offset is not None:
        options += pack(f"{order}HHq", 14, 8, offset)
    if options:
        options += bytes(4)
    return block(1, pack(f"{order}HHI", link, 0, snaplen) + options, order)


def packet(number: int, ticks: int, data: bytes, length: int | None = None, order: str = "<") -> bytes:
    """An enhanced packet block."""
    wire = len(data) if length is None else length
    head = pack(f"{order}IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), wire)
    return block(6, head + _padded(data), order)


def simple_packet(data: bytes, length: int | None = None) -> bytes:
    """A simple packet block: no time, no interface."""
    return block(3, pack("<I", len(data) if length is None else length) + _padded(data))


def old_packet(number: int, ticks: int, data: bytes) -> bytes:
    """A packet block, which enhanced ones have replaced."""
    head = pack("<HHIIII", number, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(2, head + _padded(data))


MPLS_LABEL = pack("!I", 16 << 12 | 1 << 8 | 64)


def tagged(vlan: int, ethertype: int = 0x8100) -> bytes:
    """A VLAN tag."""
    return pack("!HH", ethertype, vlan)


def cut(packets: Sequence[bytes], snaplen: int, spread: float = 1.0) -> list[Taken]:
    """Frames captured with a snaplen, evenly spread over seconds."""
    gap = spread / max(1, len(packets) - 1)
    return [Taken(EPOCH + gap * at, data[:snaplen], len(data)) for at, data in enumerate(packets)]


def two_clocks() -> bytes:
    """Two interfaces, of which one counts microseconds and one nanoseconds: 10 packets of a flow each in 9 s."""
    parts = [section(), interface(resolution=6), interface(resolution=9)]
    for second in range(10):
        parts.append(packet(0, (EPOCH + second) * 10**6, tcp_frame(988, 1000)))
        parts.append(packet(1, (EPOCH + second) * 10**9, tcp_frame(988, 1001)))
    return b"".join(parts)


def odd_clocks() -> bytes:
    """Interfaces with 2^-10 s, with an offset of an hour, and in big-endian order; each a flow of 2 packets in 4 s."""
    parts = [
        section(">"),
        interface(resolution=0x80 | 10, order=">"),
        interface(resolution=3, offset=3600, order=">"),
    ]
    for second in (0, 4):
        parts.append(packet(0, (EPOCH + second) << 10, tcp_frame(100, 1000), order=">"))
        parts.append(packet(1, (EPOCH - 3600 + second) * 1000, tcp_frame(100, 1001), order=">"))
    return b"".join(parts)


def two_links() -> bytes:
    """An interface of Ethernet and one of raw IP, 10 packets of a flow on each."""
    parts = [section(), interface(1), interface(101)]
    for second in range(10):
        parts.append(packet(0, (EPOCH + second) * 10**6, tcp_frame(988)))
        parts.append(packet(1, (EPOCH + second) * 10**6, udp_packet(516)))
    return b"".join(parts)


def two_sections() -> bytes:
    """Two sections one after the other, of which the second one is in big-endian order and has other blocks, too."""
    statistics = block(5, pack(">III", 0, 0, 0), ">")
    return b"".join(
        (
            section(),
            interface(),
            packet(0, EPOCH * 10**6, tcp_frame(100, 1000)),
            section(">"),
            block(0x80000001, b"of local use", ">"),
            interface(resolution=9, order=">"),
            packet(0, (EPOCH + 1) * 10**9, tcp_frame(100, 1001), order=">"),
            statistics,
        )
    )


def simple_blocks(snaplen: int = 200) -> bytes:
    """Simple packet blocks: 5 packets of a flow, cut to the interface's snaplen."""
    whole = tcp_frame(400)
    return section() + interface(snaplen=snaplen) + simple_packet(whole[:snaplen], len(whole)) * 5


def old_blocks() -> bytes:
    """The packet blocks that enhanced ones have replaced: 3 packets of a flow in 2 s."""
    packets = (old_packet(0, (EPOCH + second) * 10**6, tcp_frame()) for second in range(3))
    return section() + interface() + b"".join(packets)
