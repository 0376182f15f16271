"""One frame of each kind that a VM may send, for tests that every packet of a VM counts.

VM n has the address 02:00:00:00:00:n and 10.9.0.n, the far end 02:00:00:00:ff:fe and 10.9.255.254, as in
:mod:`lab.inside.tap_host`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from support.ovs.frames import BROADCAST, arp, checksum, ether, mac, tag, udp

FAR = bytes.fromhex("02000000fffe")
GROUP = b"\x01\x00\x5e\x01\x02\x03"
MORE, LATER = 0x2000, 9
"""IPv4's flags and offset of a first and of a later fragment (RFC 791, 3.1)."""


class Kind(NamedTuple):
    """Frames of one kind: ``make`` gives them for a VM and a payload, ``text`` is how Flowlane calls their flow."""

    text: str
    make: Callable[[int, bytes], tuple[bytes, ...]]


def ipv4(
    src: int, protocol: int, payload: bytes, fragment: int = 0, dst: tuple[int, ...] = (10, 9, 255, 254)
) -> bytes:
    addresses = bytes((10, 9, 0, src)) + bytes(dst)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0) + addresses
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(src: int, next_header: int, payload: bytes, dst: bytes = b"\xfd" + bytes(14) + b"\xfe") -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), next_header, 255)
    return head + b"\xfd" + bytes(14) + bytes((src,)) + dst + payload


def _fragments4(vm: int, data: bytes, protocol: int, first: bytes) -> tuple[bytes, bytes]:
    return (
        ether(FAR, mac(vm), 0x800, ipv4(vm, protocol, first + data, MORE)),
        ether(FAR, mac(vm), 0x800, ipv4(vm, protocol, data, LATER)),
    )


def _fragments6(vm: int, data: bytes) -> tuple[bytes, bytes]:
    first, later = struct.pack("!BBHI", 17, 0, 1, 5), struct.pack("!BBHI", 17, 0, LATER << 3, 5)
    return (
        ether(FAR, mac(vm), 0x86DD, ipv6(vm, 44, first + udp(5, 6, data))),
        ether(FAR, mac(vm), 0x86DD, ipv6(vm, 44, later + data)),
    )


def _solicitation(vm: int, data: bytes) -> tuple[bytes]:
    group, target = b"\xff\x02" + bytes(9) + b"\x01\xff\x00\x00\x09", b"\xfd" + bytes(14) + b"\x09"
    body = b"\x87\0\0\0" + bytes(4) + target + data
    return (ether(b"\x33\x33\xff\x00\x00\x09", mac(vm), 0x86DD, ipv6(vm, 58, body, group)),)


KINDS: dict[str, Kind] = {
    "unicast": Kind("udp 10.9.0.{vm}:5 to 10.9.255.254:6",
        lambda vm, data: (ether(FAR, mac(vm), 0x800, ipv4(vm, 17, udp(5, 6, data))),)),
    "multicast": Kind("udp 10.9.0.{vm}:5 to 239.1.2.3:6",
        lambda vm, data: (ether(GROUP, mac(vm), 0x800, ipv4(vm, 17, udp(5, 6, data), dst=(239, 1, 2, 3))),)),
    "broadcast": Kind("udp 10.9.0.{vm}:68 to 255.255.255.255:67",
        lambda vm, data: (ether(BROADCAST, mac(vm), 0x800, ipv4(vm, 17, udp(68, 67, data), dst=(255,) * 4)),)),
    "ARP request": Kind("arp 02:00:00:00:00:0{vm} to ff:ff:ff:ff:ff:ff",
        lambda vm, data: (ether(BROADCAST, mac(vm), 0x806, arp(vm, 99) + data),)),
    "ARP reply": Kind("arp 02:00:00:00:00:0{vm} to 02:00:00:00:ff:fe",
        lambda vm, data: (ether(FAR, mac(vm), 0x806, arp(vm, 99, 2) + data),)),
    "RARP": Kind("rarp 02:00:00:00:00:0{vm} to ff:ff:ff:ff:ff:ff",
        lambda vm, data: (ether(BROADCAST, mac(vm), 0x8035, arp(vm, vm, 3) + data),)),
    "neighbour solicitation": Kind("icmpv6 fd00::{vm} to ff02::1:ff00:9", _solicitation),
    "UDP fragments": Kind("udp fragments 10.9.0.{vm} to 10.9.255.254",
        lambda vm, data: _fragments4(vm, data, 17, udp(5, 6, b""))),
    "TCP fragments": Kind("tcp fragments 10.9.0.{vm} to 10.9.255.254",
        lambda vm, data: _fragments4(vm, data, 6, b"\0\5\0\6" + bytes(8) + b"\x50" + bytes(7))),
    "ICMP fragments": Kind("icmp 10.9.0.{vm} to 10.9.255.254",
        lambda vm, data: _fragments4(vm, data, 1, b"\x08\0" + bytes(6))),
    "IPv6 fragments": Kind("fragments fd00::{vm} to fd00::fe", _fragments6),
    "GRE": Kind("IP protocol 47 10.9.0.{vm} to 10.9.255.254",
        lambda vm, data: (ether(FAR, mac(vm), 0x800, ipv4(vm, 47, bytes(8) + data)),)),
    "SCTP": Kind("sctp 10.9.0.{vm}:7 to 10.9.255.254:9",
        lambda vm, data: (ether(FAR, mac(vm), 0x800, ipv4(vm, 132, struct.pack("!HHII", 7, 9, 0, 0) + data)),)),
    "VLAN": Kind("udp 10.9.0.{vm}:8 to 10.9.255.254:9 in VLAN 100",
        lambda vm, data: (ether(FAR, mac(vm), 0x800, ipv4(vm, 17, udp(8, 9, data)), tag(100, 5)),)),
    "QinQ": Kind("ethertype 0x8100 02:00:00:00:00:0{vm} to 02:00:00:00:ff:fe in VLAN 100",
        lambda vm, data: (ether(FAR, mac(vm), 0x800, ipv4(vm, 17, udp(8, 9, data)), tag(100, 0, 0x88A8), tag(7)),)),
    "MPLS": Kind("mpls 02:00:00:00:00:0{vm} to 02:00:00:00:ff:fe",
        lambda vm, data: (ether(FAR, mac(vm), 0x8847, b"\0\1\x01\xff" + bytes(40) + data),)),
    "802.3 length": Kind("ethertype 0x05ff 02:00:00:00:00:0{vm} to 02:00:00:00:ff:fe",
        lambda vm, data: (ether(FAR, mac(vm), 46 + len(data), b"\x42\x42\x03" + bytes(43) + data),)),
    "unknown ethertype": Kind("ethertype 0x88b5 02:00:00:00:00:0{vm} to 02:00:00:00:ff:fe",
        lambda vm, data: (ether(FAR, mac(vm), 0x88B5, data),)),
}  # fmt: skip
