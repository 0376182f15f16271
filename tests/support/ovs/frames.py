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


def tagged(frame: bytes, *tags: int) -> bytes:
    """The frame as a port sends it with these tags before its own."""
    return frame[:12] + b"".join(struct.pack("!I", one) for one in tags) + frame[12:]


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


def ipv6(src: int, dst: int | bytes, next_header: int, payload: bytes, hops: int = 64) -> bytes:
    """An IPv6 packet from fd00::src to fd00::dst, or to the address of 16 bytes."""
    to = dst if isinstance(dst, bytes) else ip6(dst)
    return struct.pack("!IHBB", 6 << 28, len(payload), next_header, hops) + ip6(src) + to + payload


def ip6(number: int) -> bytes:
    return b"\xfd" + bytes(14) + bytes([number])


def pseudo6(src: int, dst: int | bytes, next_header: int, payload: bytes, at: int, hops: int = 64) -> bytes:
    """An IPv6 packet whose payload has its checksum at an offset (RFC 8200, 8.1)."""
    to = dst if isinstance(dst, bytes) else ip6(dst)
    covered = ip6(src) + to + struct.pack("!II", len(payload), next_header) + payload
    total = checksum(covered + bytes(len(covered) % 2))
    payload = payload[:at] + struct.pack("!H", total) + payload[at + 2 :]
    return ipv6(src, to, next_header, payload, hops)


def tcp(sport: int, dport: int, flags: int, data: bytes = b"") -> bytes:
    return (
        struct.pack("!HHIIBBHHH", sport, dport, 1, 1 if flags & 0x10 else 0, 0x50, flags, 8192, 0, 0) + data
    )


def icmp(kind: int, code: int, body: bytes) -> bytes:
    message = struct.pack("!BBH", kind, code, 0) + body
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def llc(dsap: int, control: bytes, payload: bytes) -> tuple[int, bytes]:
    """Length and payload of an 802.3 frame with LLC."""
    data = bytes((dsap, dsap)) + control + payload
    return len(data), data


def group_mac(group: bytes) -> bytes:
    """The Ethernet address of a multicast group (RFC 1112, 6.4; RFC 2464, 7)."""
    if len(group) == 16:
        return b"\x33\x33" + group[-4:]
    return b"\x01\x00\x5e" + bytes((group[1] & 0x7F,)) + group[2:]


def igmp(src: int, kind: int, group: bytes, to: bytes = b"") -> bytes:
    """An IGMP frame of version 2 with the router alert option (RFC 2236): 0x11 query, 0x16 report, 0x17 leave."""
    message = struct.pack("!BBH4s", kind, 100 if kind == 0x11 else 0, 0, group)
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    to = to or group
    head = (
        struct.pack("!BBHHHBBH4s4s", 0x46, 0, 32, 1, 0, 1, 2, 0, bytes((10, 0, 0, src)), to) + b"\x94\x04\0\0"
    )
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return ether(group_mac(to), mac(src), 0x800, head + message)


def mld(src: int, kind: int, group: bytes, to: bytes = b"") -> bytes:
    """An MLD frame of version 1 (RFC 2710): 130 query, 131 report, 132 done."""
    to = to or group
    hop_by_hop = b"\x3a\0\x05\x02\0\0\x01\0"
    message = struct.pack("!BBHHH16s", kind, 0, 0, 0, 0, group)
    covered = ip6(src) + to + struct.pack("!II", len(message), 58) + message
    message = message[:2] + struct.pack("!H", checksum(covered)) + message[4:]
    return ether(group_mac(to), mac(src), 0x86DD, ipv6(src, to, 0, hop_by_hop + message, 1))


def to_group(src: int, group: bytes) -> bytes:
    """A UDP packet to a multicast group."""
    if len(group) == 16:
        return ether(group_mac(group), mac(src), 0x86DD, pseudo6(src, group, 17, udp(5, 6), 6))
    data = udp(5, 6)
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 1, 0, 9, 17, 0, bytes((10, 0, 0, src)), group
    )
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return ether(group_mac(group), mac(src), 0x800, head + data)
