"""Parser of Ethernet frames into the fields of a flow key; it never raises.

A packet-in may have a frame that is cut short, or malformed on purpose. Fields that cannot be read are 0; bytes too
short for an Ethernet header give None. Fragments of a packet, the first one too, have no ports, as in Open vSwitch's
flow tables (ovs-ofctl(8), set-frags normal), so that key and entry agree. In IPv6 their protocol is 44, which is what
Open vSwitch shows of all but the first one (see :mod:`flowlane.core.flowkey`).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from flowlane.core.flowkey import FRAGMENT, HEAD, ICMP, ICMPV6, IPV4, IPV6, LAYER2, PORT_PROTOCOLS, TCP

ETH_IPV4, ETH_ARP, ETH_RARP, ETH_IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
ETH_LLC = 0x05FF
"""Open vSwitch's ethertype for IEEE 802.3 frames with an LLC header (ovs-fields(7), eth_type)."""

ETH_VLAN = 0x8100
VLAN_TYPES = frozenset((ETH_VLAN, 0x88A8))
_MAX_EXTENSION_HEADERS = 8
_EXTENSIONS = frozenset((0, 43, 60))
_AUTHENTICATION = 51
_U16 = Struct("!H").unpack_from
_PORTS = Struct("!HH").unpack_from


_ADVERTISEMENT = 136
"""ICMPv6 type of a neighbour advertisement (RFC 4861, 4.4)."""

_ARP_REPLY = 2
_BROADCAST = b"\xff" * 6
_RESERVED = bytes.fromhex("0180c20000")


class Frame(NamedTuple):
    """Fields of a frame. MACs are 6 bytes; ``vlan`` is None for untagged, 0 for priority-tagged.

    ``kind``, ``protocol``, ``src_port``, ``dst_port``, ``src`` and ``dst`` are those of a flow key.
    """

    eth_dst: bytes
    eth_src: bytes
    vlan: int | None
    pcp: int
    eth_type: int
    kind: int
    protocol: int
    src_port: int
    dst_port: int
    src: bytes
    dst: bytes
    dscp: int

    def key(self, vm_number: int) -> bytes:
        """Make the flow key of the frame, as sent by a VM (see :mod:`flowlane.core.flowkey`)."""
        vlan = 0 if self.vlan is None else self.vlan + 1
        head = HEAD.pack(vm_number, vlan, self.kind, self.protocol, self.src_port, self.dst_port)
        return head + self.src + self.dst

    @property
    def is_for_bridges(self) -> bool:
        """Whether it is for a bridge itself (STP, LACP, LLDP), as IEEE 802.1Q-2018 table 8-1 has it."""
        return self.eth_dst[:5] == _RESERVED and self.eth_dst[5] < 0x10

    @property
    def is_group_addressed(self) -> bool:
        """Whether it is broadcast or multicast (IEEE 802, the group bit)."""
        return bool(self.eth_dst[0] & 1)


def read_frame(data: bytes) -> Frame | None:
    """Parse a frame, perhaps cut short; return None when it has no complete Ethernet header."""
    if len(data) < 14:
        return None
    eth_type = _U16(data, 12)[0]
    offset, vlan, pcp = 14, None, 0
    if eth_type in VLAN_TYPES and len(data) >= 18:
        tag = _U16(data, 14)[0]
        vlan, pcp, offset = tag & 0xFFF, tag >> 13, 18
        eth_type = _U16(data, 16)[0]
    if eth_type < 0x0600:
        eth_type = ETH_LLC
    layer3 = _read_ipv4(data, offset) if eth_type == ETH_IPV4 else None
    if eth_type == ETH_IPV6:
        layer3 = _read_ipv6(data, offset)
    if layer3 is None:
        layer3 = (LAYER2, 0, eth_type, 0, data[6:12], data[:6], 0)
    return Frame(data[:6], data[6:12], vlan, pcp, eth_type, *layer3)


def announces(data: bytes, frame: Frame) -> bool:
    """Whether a frame announces where its sender is: RARP, gratuitous ARP, an unsolicited neighbour advertisement.

    QEMU sends RARP for a VM that has arrived (net/announce.c); guests send the others. Gratuitous is what Open vSwitch
    calls so (lib/flow.h, is_gratuitous_arp()): a broadcast reply, or a request for the sender's own address.
    """
    if frame.eth_type == ETH_RARP:
        return True
    if frame.protocol == ICMPV6 and frame.kind == IPV6:
        return frame.src_port == _ADVERTISEMENT and frame.is_group_addressed
    if frame.eth_type != ETH_ARP or frame.eth_dst != _BROADCAST:
        return False
    offset = 14 if frame.vlan is None else 18
    if len(data) < offset + 28:
        return False
    is_reply = _U16(data, offset + 6)[0] == _ARP_REPLY
    return is_reply or data[offset + 14 : offset + 18] == data[offset + 24 : offset + 28]


_Layer3 = tuple[int, int, int, int, bytes, bytes, int]


def _read_ipv4(data: bytes, offset: int) -> _Layer3 | None:
    if len(data) < offset + 20 or data[offset] >> 4 != 4:
        return None
    protocol = data[offset + 9]
    fragment = _U16(data, offset + 6)[0] & 0x3FFF
    ports = (0, 0) if fragment else _ports(data, offset + (data[offset] & 15) * 4, protocol)
    addresses = data[offset + 12 : offset + 16], data[offset + 16 : offset + 20]
    return IPV4, protocol, *ports, *addresses, data[offset + 1] >> 2


def _read_ipv6(data: bytes, offset: int) -> _Layer3 | None:
    if len(data) < offset + 40 or data[offset] >> 4 != 6:
        return None
    protocol, start = _skip_extensions(data, data[offset + 6], offset + 40)
    ports = _ports(data, start, protocol) if start else (0, 0)
    addresses = data[offset + 8 : offset + 24], data[offset + 24 : offset + 40]
    return IPV6, protocol, *ports, *addresses, (_U16(data, offset)[0] >> 6) & 0x3F


def _skip_extensions(data: bytes, protocol: int, offset: int) -> tuple[int, int]:
    """Skip the extension headers (RFC 8200, 4); return the protocol above them and its offset.

    The offset is 0 when its header cannot be read: in a fragment, or behind a chain that is cut short or too long.
    """
    for _ in range(_MAX_EXTENSION_HEADERS):
        if len(data) < offset + 8:
            return protocol, 0
        if protocol in _EXTENSIONS:
            protocol, offset = data[offset], offset + (data[offset + 1] + 1) * 8
        elif protocol == _AUTHENTICATION:
            protocol, offset = data[offset], offset + (data[offset + 1] + 2) * 4
        elif protocol == FRAGMENT:
            fragment = _U16(data, offset + 2)[0] & 0xFFF9
            protocol, offset = data[offset], offset + 8
            if fragment:
                return FRAGMENT, 0
        else:
            return protocol, offset
    return protocol, 0


def _ports(data: bytes, offset: int, protocol: int) -> tuple[int, int]:
    """Read source and destination port, or ICMP's type and code.

    A TCP header whose data offset is below 5 has no ports, as in Open vSwitch's flow_extract.
    """
    if protocol in PORT_PROTOCOLS:
        if len(data) >= offset + 4 and not (
            protocol == TCP and b"" < data[offset + 12 : offset + 13] < b"\x50"
        ):
            source, destination = _PORTS(data, offset)
            return source, destination
    elif protocol in {ICMP, ICMPV6} and len(data) >= offset + 2:
        return data[offset], data[offset + 1]
    return 0, 0
