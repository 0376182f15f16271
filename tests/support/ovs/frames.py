"""Frames as bytes, for real switches: Ethernet with tags, ARP, IPv4, UDP. VM n has the address 02:00:00:00:00:n."""

from __future__ import annotations

import struct

BROADCAST = b"\xff" * 6


def mac(number: int) -> bytes:
    return b"\x02\x00\x00\x00\x00" + bytes([number])


def ether(dst: bytes, src: bytes, eth_type: int, payload: bytes = b"", *tags: int) -> bytes:
    """A frame of at least 60 bytes; tags are (TPID << 16 | TCI), the outer one first."""
    inserted = b"".join(struct.pack("!I", tag) for tag in tags)
    return (dst + src + inserted + struct.pack("!H", eth_type) + payload).ljust(60, b"\0")


def tag(vid: int, pcp: int = 0, tpid: int = 0x8100) -> int:
    return tpid << 16 | pcp << 13 | vid


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(src: int, dst: int, protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0,
        bytes((10, 0, 0, src)), bytes((10, 0, 0, dst)),
    )  # fmt: skip
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(sport: int, dport: int, data: bytes = b"data") -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def arp(src: int, dst: int, operation: int = 1) -> bytes:
    target = mac(dst) if operation == 2 else bytes(6)
    return (
        struct.pack("!HHBBH", 1, 0x800, 6, 4, operation)
        + mac(src)
        + bytes((10, 0, 0, src))
        + target
        + bytes((10, 0, 0, dst))
    )


def unicast(src: int, dst: int, *tags: int) -> bytes:
    return ether(mac(dst), mac(src), 0x800, ipv4(src, dst, 17, udp(1000 + src, 2000 + dst)), *tags)


def hello(src: int, *tags: int) -> bytes:
    return ether(BROADCAST, mac(src), 0x806, arp(src, 99), *tags)
