"""One frame of each kind that networks carry, for comparisons of bridges."""

from __future__ import annotations

import struct

from support.ovs.frames import (
    BROADCAST,
    arp,
    ether,
    hello,
    icmp,
    igmp,
    ip6,
    ipv4,
    ipv6,
    llc,
    mac,
    mld,
    pseudo6,
    tag,
    tcp,
    to_group,
    udp,
    unicast,
)

EVERYBODY6 = b"\xff\x02" + bytes(13) + b"\x01"
SOLICITED = b"\xff\x02" + bytes(9) + b"\x01\xff\x00\x00\x09"
GROUP = bytes((239, 1, 2, 3))
GROUP6 = b"\xff\x05" + bytes(13) + b"\x77"


def to9(eth_type: int, payload: bytes, *tags: int) -> bytes:
    """A frame from VM 1 to the host behind the uplink."""
    return ether(mac(9), mac(1), eth_type, payload, *tags)


def ip(protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    return to9(0x800, ipv4(1, 9, protocol, payload, fragment))


def six(next_header: int, payload: bytes) -> bytes:
    return to9(0x86DD, ipv6(1, 9, next_header, payload))


def multicast(address: str, eth_type: int, payload: bytes) -> bytes:
    return ether(bytes.fromhex(address.replace(":", "")), mac(1), eth_type, payload)


def nd(kind: int, to: bytes, body: bytes) -> bytes:
    packet = pseudo6(1, to, 58, struct.pack("!BBH", kind, 0, 0) + body, 2, 255)
    return ether(b"\x33\x33" + to[-4:] if to[0] == 0xFF else mac(9), mac(1), 0x86DD, packet)


def vrrp(version: int) -> bytes:
    body = struct.pack("!BBBB", version << 4 | 1, 5, 100, 1) + bytes(12)
    return ether(b"\x01\x00\x5e\x00\x00\x12", b"\x00\x00\x5e\x00\x01\x05", 0x800, ipv4(1, 18, 112, body))


def corrupt(frame: bytes, at: int, value: int) -> bytes:
    """A frame with another byte at an offset."""
    return frame[:at] + bytes((value,)) + frame[at + 1 :]


INNER = ether(mac(99), mac(98), 0x800, ipv4(98, 99, 17, udp(1, 2)))
OPTIONS = b"\x46\0\0\x24" + bytes(4) + b"\x40\x11\0\0" + bytes((10, 0, 0, 1, 10, 0, 0, 9)) + b"\x94\4\0\0"
LINK_LOCAL = "01:80:c2:00:00:0"

LAYERS_3_AND_4: dict[str, bytes] = {
    "TCP SYN": ip(6, tcp(40000, 80, 0x02)),
    "TCP data": ip(6, tcp(40000, 80, 0x18, b"GET /")),
    "TCP reset": ip(6, tcp(40001, 80, 0x04)),
    "TCP, all flags": ip(6, tcp(40002, 80, 0xFF)),
    "TCP, truncated header": ip(6, tcp(40003, 80, 0x02)[:12]),
    "UDP": unicast(1, 9),
    "UDP, ports 0": ip(17, udp(0, 0)),
    "UDP, wrong checksum": ip(17, struct.pack("!HHHH", 7, 7, 12, 0xBEEF) + b"data"),
    "UDP, wrong length": ip(17, struct.pack("!HHHH", 7, 7, 200, 0) + b"data"),
    "UDP-Lite": ip(136, udp(7, 7)),
    "ICMP": ip(1, icmp(8, 0, bytes(10))),
    "ICMP echo reply": ip(1, icmp(0, 0, bytes(10))),
    "ICMP unreachable": ip(1, icmp(3, 4, struct.pack("!HH", 0, 1400) + ipv4(9, 1, 17, udp(2009, 1001)))),
    "ICMP timestamp": ip(1, icmp(13, 0, bytes(16))),
    "SCTP": ip(132, bytes(20)),
    "DCCP": ip(33, struct.pack("!HHBBHI", 5, 6, 4, 0, 0, 0)),
    "GRE": ip(47, struct.pack("!HH", 0, 0x6558) + INNER),
    "ESP": ip(50, bytes(range(32))),
    "AH": ip(51, struct.pack("!BBHII", 17, 4, 0, 7, 1) + bytes(12) + udp(1, 2)),
    "OSPF": ether(b"\x01\x00\x5e\x00\x00\x05", mac(1), 0x800, ipv4(1, 5, 89, bytes(24))),
    "PIM": ether(b"\x01\x00\x5e\x00\x00\x0d", mac(1), 0x800, ipv4(1, 13, 103, bytes(12))),
    "L2TP": ip(115, bytes(16)),
    "IP in IP": ip(4, ipv4(98, 99, 17, udp(1, 2))),
    "IPv6 in IP": ip(41, ipv6(98, 99, 17, udp(1, 2))),
    "VXLAN": ip(17, udp(50000, 4789, b"\x08\0\0\0\0\0\x07\0" + INNER)),
    "Geneve": ip(17, udp(50000, 6081, b"\0\0\x65\x58\0\0\x07\0" + INNER)),
    "IP protocol 253": ip(253, b"experiment"),
    "IP options": to9(0x800, OPTIONS + udp(1, 2)),
    "TTL 1": corrupt(unicast(1, 9), 22, 1),
    "TTL 0": corrupt(unicast(1, 9), 22, 0),
    "wrong IP checksum": corrupt(unicast(1, 9), 24, 0xAB),
    "IP version 5": corrupt(unicast(1, 9), 14, 0x55),
    "truncated IP header": to9(0x800, b"\x45\0\0"),
    "IP longer than its frame": corrupt(unicast(1, 9), 16, 9),
    "DSCP EF": corrupt(unicast(1, 9), 15, 46 << 2),
    "ECN CE": corrupt(unicast(1, 9), 15, 3),
    "IPv6 TCP": to9(0x86DD, pseudo6(1, 9, 6, tcp(40000, 80, 2), 16)),
    "IPv6 UDP": to9(0x86DD, pseudo6(1, 9, 17, udp(5, 6), 6)),
    "ICMPv6 echo": to9(0x86DD, pseudo6(1, 9, 58, b"\x80\0\0\0" + bytes(8), 2)),
    "IPv6 hop-by-hop": six(0, b"\x11\0\1\4\0\0\0\0" + udp(1, 2)),
    "IPv6 routing header": six(43, b"\x11\2\0\0\0\0\0\0" + ip6(7) + udp(1, 2)),
    "IPv6 destination options": six(60, b"\x11\0\1\4\0\0\0\0" + udp(1, 2)),
    "IPv6 without next header": six(59, b""),
    "IPv6 ESP": six(50, bytes(range(32))),
    "IPv6 SCTP": six(132, bytes(20)),
    "IPv6, truncated": to9(0x86DD, ipv6(1, 9, 17, b"")[:30]),
}  # fmt: skip

FRAGMENTS: dict[str, bytes] = {
    "first fragment": ip(17, udp(5, 6, bytes(64)), 0x2000),
    "later fragment": ip(17, bytes(64), 0x0009),
    "middle fragment": ip(17, bytes(64), 0x2011),
    "TCP first fragment": ip(6, tcp(40009, 80, 0x10, bytes(44)), 0x2000),
    "tiny first fragment": ip(6, tcp(40009, 80, 0x02)[:8], 0x2000),
    "ICMP later fragment": ip(1, bytes(64), 0x0009),
    "IPv6 first fragment": six(44, b"\x11\0\0\1\0\0\0\7" + udp(5, 6, bytes(64))),
    "IPv6 later fragment": six(44, b"\x11\0\0\x48\0\0\0\7" + bytes(64)),
    "IPv6 atomic fragment": six(44, b"\x11\0\0\0\0\0\0\7" + udp(5, 6)),
    "IPv6 ICMP fragment": six(44, b"\x3a\0\0\1\0\0\0\7" + b"\x80\0\0\0" + bytes(60)),
}

LAYER_2: dict[str, bytes] = {
    "ARP request": hello(1),
    "ARP reply": to9(0x806, arp(1, 9, 2)),
    "ARP, truncated": to9(0x806, arp(1, 9, 2)[:10]),
    "gratuitous ARP": ether(BROADCAST, mac(1), 0x806, arp(1, 1)),
    "RARP": ether(BROADCAST, mac(1), 0x8035, arp(1, 1, 3)),
    "neighbour solicitation": nd(135, SOLICITED, bytes(4) + ip6(9) + b"\1\1" + mac(1)),
    "neighbour solicitation to one host": nd(135, ip6(9), bytes(4) + ip6(9) + b"\1\1" + mac(1)),
    "neighbour advertisement": nd(136, ip6(9), b"\x60\0\0\0" + ip6(1) + b"\2\1" + mac(1)),
    "neighbour advertisement to all": nd(136, EVERYBODY6, b"\x20\0\0\0" + ip6(1) + b"\2\1" + mac(1)),
    "router solicitation": nd(133, EVERYBODY6[:-1] + b"\2", bytes(4)),
    "router advertisement": nd(134, EVERYBODY6, b"\x40\0\7\x08" + bytes(8)),
    "DHCP discover": ether(BROADCAST, mac(1), 0x800, ipv4(0, 255, 17, udp(68, 67, bytes(240)))),
    "DHCP request to one server": ip(17, udp(68, 67, bytes(240))),
    "DHCPv6 solicit": ether(b"\x33\x33\0\1\0\2", mac(1), 0x86DD, pseudo6(
        1, b"\xff\2" + bytes(11) + b"\1\0\2", 17, udp(546, 547, bytes(16)), 6)),
    "VRRP": vrrp(2),
    "VRRP 3": vrrp(3),
    "HSRP": ether(b"\x01\0\x5e\0\0\x02", b"\0\0\x0c\x07\xac\x05", 0x800, ipv4(1, 2, 17, udp(1985, 1985, bytes(20)))),
    "mDNS": to_group(1, bytes((224, 0, 0, 251))),
    "multicast": to_group(1, GROUP),
    "IPv6 multicast": to_group(1, GROUP6),
    "IGMP report": igmp(1, 0x16, GROUP),
    "IGMP leave": igmp(1, 0x17, GROUP, bytes((224, 0, 0, 2))),
    "IGMP query": igmp(1, 0x11, bytes(4), bytes((224, 0, 0, 1))),
    "MLD report": mld(1, 131, GROUP6),
    "MLD done": mld(1, 132, GROUP6, EVERYBODY6[:-1] + b"\2"),
    "STP": multicast(LINK_LOCAL + "0", *llc(0x42, b"\3", bytes(35))),
    "RSTP": multicast(LINK_LOCAL + "0", *llc(0x42, b"\3", b"\0\0\2\2" + bytes(32))),
    "PVST": multicast("01:00:0c:cc:cc:cd", *llc(0xAA, b"\3", b"\0\0\x0c\x01\x0b" + bytes(35))),
    "CDP": multicast("01:00:0c:cc:cc:cc", *llc(0xAA, b"\3", b"\0\0\x0c\x20\0" + bytes(35))),
    "flow control": multicast(LINK_LOCAL + "1", 0x8808, b"\0\1\0\xff"),
    "LACP": multicast(LINK_LOCAL + "2", 0x8809, b"\1\1" + bytes(108)),
    "Ethernet OAM": multicast(LINK_LOCAL + "2", 0x8809, b"\3\0\x50\0" + bytes(40)),
    "EAPOL": multicast(LINK_LOCAL + "3", 0x888E, b"\2\1\0\0"),
    "LLDP": multicast(LINK_LOCAL + "e", 0x88CC, b"\2\7\4" + mac(1) + bytes(8)),
    "PTP": multicast("01:1b:19:00:00:00", 0x88F7, b"\0\2\0\x2c" + bytes(40)),
    "PTP peer delay": multicast(LINK_LOCAL + "e", 0x88F7, b"\2\2\0\x36" + bytes(50)),
    "PTP over UDP": to_group(1, bytes((224, 0, 1, 129))),
    "LLDP of other bridges": multicast("01:80:c2:00:00:30", 0x88CC, bytes(46)),
    "EAPOL to one host": to9(0x888E, b"\2\1\0\0"),
    "802.3 length": to9(0x20, bytes(46)),
    "SNAP with IP": to9(*llc(0xAA, b"\3", b"\0\0\0\x08\0" + ipv4(1, 9, 17, udp(1, 2)))),
    "unknown ethertype": to9(0x88B5, b"anything"),
    "MPLS": to9(0x8847, b"\0\1\x01\xff" + bytes(40)),
    "MPLS, two labels": to9(0x8847, b"\0\1\0\xff\0\2\x01\xff" + ipv4(1, 9, 17, udp(1, 2))),
    "MPLS multicast": to9(0x8848, b"\0\1\x01\xff" + bytes(40)),
    "PPPoE discovery": ether(BROADCAST, mac(1), 0x8863, b"\x11\x09\0\0\0\0"),
    "PPPoE session": to9(0x8864, b"\x11\0\0\7\0\x1e\0\x21" + ipv4(1, 9, 17, udp(1, 2))),
    "NSH": to9(0x894F, b"\x0f\xc2\2\3\0\0\1\xff" + bytes(16) + INNER),
    "wake on LAN": ether(BROADCAST, mac(1), 0x0842, b"\xff" * 6 + mac(9) * 16),
    "FCoE": to9(0x8906, bytes(60)),
    "RoCE": to9(0x8915, bytes(60)),
    "ATA over Ethernet": to9(0x88A2, b"\x10" + bytes(40)),
    "unknown unicast": unicast(1, 77),
    "unknown multicast": multicast("03:00:00:00:00:01", 0x88B5, b"anything"),
    "priority tag": unicast(1, 9, tag(0, 5)),
    "VLAN tag": unicast(1, 9, tag(100)),
    "VLAN tag, last id": unicast(1, 9, tag(4095)),
    "VLAN tag, broadcast": hello(1, tag(100, 3)),
    "two VLAN tags": unicast(1, 9, tag(100), tag(200)),
    "provider tag": unicast(1, 9, tag(100, tpid=0x88A8), tag(200)),
    "VLAN tag, truncated": ether(mac(9), mac(1), 0x8100, b"\0"),
    "other source address": ether(mac(9), mac(55), 0x800, ipv4(55, 9, 17, udp(1, 2))),
    "other source address, ARP": ether(BROADCAST, mac(55), 0x806, arp(55, 9)),
    "multicast source address": ether(mac(9), b"\x01\0\x5e\0\0\1", 0x800, ipv4(1, 9, 17, udp(1, 2))),
    "source address 0": ether(mac(9), bytes(6), 0x800, ipv4(1, 9, 17, udp(1, 2))),
    "to itself": unicast(1, 1),
    "jumbo": ip(17, udp(1, 2, bytes(8000))),
    "jumbo broadcast": ether(BROADCAST, mac(1), 0x800, ipv4(1, 255, 17, udp(1, 2, bytes(8000)))),
}  # fmt: skip

KINDS = {**LAYER_2, **LAYERS_3_AND_4, **FRAGMENTS}
