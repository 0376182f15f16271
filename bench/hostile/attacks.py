"""Frames of a hostile VM: what it sends, and how many of them in a second.

Every frame is one that a guest can send without any help of its host. Checksums are right, because a connection
tracker takes no packet whose own is wrong.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.first_packet.traffic import checksum

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD_MAC, BAD_MAC, FAR_MAC = (bytes((2, 0, 0, 0, 0, number)) for number in (1, 2, 0xFE))
GOOD_IP, BAD_IP, FAR_IP = (bytes((10, 9, 0, number)) for number in (1, 2, 254))
EF = 46
"""DSCP of expedited forwarding (RFC 3246), which the policy of the trial takes from the good VM only."""

TCP, UDP, ICMP = 6, 17, 1
IPV4, ARP, LLDP = 0x0800, 0x0806, 0x88CC
BATCH = 0.004
"""Seconds between two batches of frames."""


def ether(source: bytes, target: bytes, eth_type: int, payload: bytes) -> bytes:
    """A frame of at least 60 bytes."""
    return (target + source + struct.pack("!H", eth_type) + payload).ljust(60, b"\0")


def ipv4(
    source: bytes, protocol: int, payload: bytes, *, mac: bytes, dscp: int = 0, target: bytes = FAR_IP
) -> bytes:
    """An IPv4 packet to the far host."""
    head = (
        struct.pack("!BBHHHBBH", 0x45, dscp << 2, 20 + len(payload), 0, 0, 64, protocol, 0) + source + target
    )
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return ether(mac, FAR_MAC, IPV4, head + payload)


def udp(source: int, target: int, data: bytes = bytes(8)) -> bytes:
    """A UDP datagram without a checksum."""
    return struct.pack("!HHHH", source, target, 8 + len(data), 0) + data


def arp(operation: int, mac: bytes, address: bytes, target: bytes) -> bytes:
    """An ARP message to all."""
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    return ether(mac, b"\xff" * 6, ARP, head + mac + address + bytes(6) + target)


def _syn(source: int, target: int) -> bytes:
    head = struct.pack("!HHIIBBHHH", source, target, 1, 0, 0x50, 2, 8192, 0, 0)
    pseudo = BAD_IP + FAR_IP + struct.pack("!HH", TCP, len(head))
    return head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]


def _ports(chance: random.Random) -> tuple[int, int]:
    return chance.randrange(1024, 65536), chance.randrange(1, 65536)


def _flows(chance: random.Random) -> bytes:
    return ipv4(BAD_IP, UDP, udp(*_ports(chance)), mac=BAD_MAC)


def _connections(chance: random.Random) -> bytes:
    return ipv4(BAD_IP, TCP, _syn(*_ports(chance)), mac=BAD_MAC)


def _macs(chance: random.Random) -> bytes:
    mac = b"\x06" + chance.randbytes(5)
    return ipv4(BAD_IP, UDP, udp(7, 7), mac=mac)


def _addresses(chance: random.Random) -> bytes:
    return ipv4(chance.randbytes(4), UDP, udp(7, 7), mac=BAD_MAC)


def _marks(chance: random.Random) -> bytes:
    return ipv4(BAD_IP, UDP, udp(*_ports(chance)), mac=BAD_MAC, dscp=EF)


def _arp(chance: random.Random) -> bytes:
    return arp(1, BAD_MAC, BAD_IP, bytes((10, 9)) + chance.randbytes(2))


def _neighbour(chance: random.Random) -> bytes:  # noqa: ARG001
    return arp(2, GOOD_MAC, GOOD_IP, GOOD_IP)


def _icmp(chance: random.Random) -> bytes:
    message = chance.randbytes(2) + bytes(2 + 4)
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return ipv4(BAD_IP, ICMP, message, mac=BAD_MAC)


def _protocols(chance: random.Random) -> bytes:
    return ether(BAD_MAC, FAR_MAC, chance.randrange(0x0B00, 0xFFFF), bytes(40))


def _bridges(chance: random.Random) -> bytes:
    """STP (IEEE 802.1D-2004 clause 9: a root of the best priority) and LLDP (IEEE 802.1AB) in turn."""
    group = b"\x01\x80\xc2\x00\x00"
    if chance.random() < 0.5:
        bridge = b"\x00\x00" + BAD_MAC
        message = bytes(5) + bridge + bytes(4) + bridge + b"\x80\x01" + bytes((0, 0, 20, 0, 2, 0, 15, 0))
        return (
            group + b"\x00" + BAD_MAC + struct.pack("!H", 3 + len(message)) + b"\x42\x42\x03" + message
        ).ljust(60, b"\0")
    tlvs = b"\x02\x07\x04" + BAD_MAC + b"\x04\x07\x03" + BAD_MAC + b"\x06\x02\x00\x78" + b"\x00\x00"
    return ether(BAD_MAC, group + b"\x0e", LLDP, tlvs)


def _probes(chance: random.Random) -> bytes:
    """Flowlane's own probes of links (docs/engineers/pipeline.md), without its key."""
    return ether(b"\x02\xf1\x0a\x00\x00\x0e", b"\x01\x80\xc2\x00\x00\x0e", LLDP, chance.randbytes(46))


class Attack(NamedTuple):
    """What a hostile VM does: so many of these frames per second."""

    name: str
    what: str
    rate: int
    frame: Callable[[random.Random], bytes]


ATTACKS = {
    attack.name: attack
    for attack in (
        Attack("flows", "UDP flows between random ports", 5000, _flows),
        Attack("connections", "TCP connections between random ports (SYN)", 5000, _connections),
        Attack("icmp", "ICMP of random types and codes", 5000, _icmp),
        Attack("protocols", "frames of random ethertypes", 5000, _protocols),
        Attack("macs", "random source MAC addresses", 5000, _macs),
        Attack("addresses", "random source IP addresses", 5000, _addresses),
        Attack("marks", "UDP flows with DSCP EF, for which it is not trusted", 2000, _marks),
        Attack("arp", "ARP requests for random addresses", 2000, _arp),
        Attack("neighbour", "gratuitous ARP of the good VM", 2000, _neighbour),
        Attack("bridges", "STP and LLDP", 2000, _bridges),
        Attack("probes", "probes of links that are not Flowlane's", 2000, _probes),
    )
}


def attack(device: str, name: str, seconds: float, rate: int = 0) -> int:
    """Send an attack's frames out of a device for so long; return how many."""
    chosen = ATTACKS[name]
    per_second, chance, sent = rate or chosen.rate, random.Random(time.time_ns()), 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((device, 0))
        begin = time.monotonic()
        while (spent := time.monotonic() - begin) < seconds:
            for _ in range(min(int(spent * per_second) - sent, per_second)):
                out.send(chosen.frame(chance))
                sent += 1
            time.sleep(BATCH)
    return sent
