"""A simulated flow, and the frame of its first packet."""

from __future__ import annotations

from struct import pack
from typing import NamedTuple

from flowlane.core.flowkey import (
    FRAGMENT,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    LAYER2,
    PORT_PROTOCOLS,
    TCP,
    UDP,
    FlowParts,
    is_of_fragments,
)
from flowlane.core.model import NOT_A_VM

ETH_TYPES = {4: 0x0800, 6: 0x86DD}
GATEWAY_MAC = bytes.fromhex("02000000fffe")
"""Destination MAC of every simulated unicast frame: the router beyond the uplink."""

_BROADCAST = b"\xff" * 4
_MORE_FRAGMENTS = 0x2000
"""IPv4's flag of a first fragment (RFC 791, 3.1)."""


class FlowSpec(NamedTuple):
    """A flow to simulate. ``rate`` is bit/s, ``start`` and ``end`` are seconds from the beginning.

    ``kind`` is that of a flow key (4, 6 or 2); for ICMP the ports are type and code, for a layer-2 flow
    ``src_port`` is the ethertype. Fragments have the ports 0 and 0, in IPv6 the protocol 44.

    ``packets`` and ``octets`` are what a capture or an export counted, None where that is not known.
    """

    vm: str
    kind: int
    protocol: int
    src: bytes
    dst: bytes
    src_port: int
    dst_port: int
    rate: float
    start: float = 0.0
    end: float = float("inf")
    dscp: int = 0
    pcp: int = 0
    vlan: int | None = None
    packets: int | None = None
    octets: int | None = None
    rate_known: bool = True

    @property
    def parts(self) -> FlowParts:
        """The parts of its flow key, with no VM."""
        ports = self.src_port, self.dst_port
        return FlowParts(NOT_A_VM, self.vlan, self.kind, self.protocol, *ports, self.src, self.dst)

    @property
    def is_of_fragments(self) -> bool:
        """Whether it is the fragments between two addresses."""
        no_ports = not self.src_port and not self.dst_port
        return (no_ports or self.protocol == FRAGMENT) and is_of_fragments(self.parts)


def vm_mac(number: int) -> bytes:
    """Return the MAC of the simulated VM on a port."""
    return b"\x02\x00" + number.to_bytes(4)


def frame_of(spec: FlowSpec, port_no: int) -> bytes:
    """Make the first packet of a flow as a device copies it: headers only."""
    source = spec.src if spec.kind == LAYER2 else vm_mac(port_no)
    target = spec.dst if spec.kind == LAYER2 else _destination(spec)
    tag = b"" if spec.vlan is None else pack("!HH", 0x8100, spec.pcp << 13 | spec.vlan)
    if spec.kind == LAYER2:
        return target + source + tag + pack("!H", spec.src_port) + bytes(46)
    layer3 = _ipv4(spec) if spec.kind == IPV4 else _ipv6(spec)
    return target + source + tag + pack("!H", ETH_TYPES[spec.kind]) + layer3 + _layer4(spec)


def _destination(spec: FlowSpec) -> bytes:
    """Return the destination MAC: of a multicast address its group (RFC 1112, 6.4; RFC 2464, 7), else the router."""
    if spec.kind == IPV4 and spec.dst == _BROADCAST:
        return b"\xff" * 6
    if spec.kind == IPV4 and spec.dst[0] >> 4 == 0xE:
        return b"\x01\x00\x5e" + bytes((spec.dst[1] & 0x7F,)) + spec.dst[2:]
    if spec.kind == IPV6 and spec.dst[0] == 0xFF:
        return b"\x33\x33" + spec.dst[12:]
    return GATEWAY_MAC


def _ipv4(spec: FlowSpec) -> bytes:
    fragment = _MORE_FRAGMENTS if spec.is_of_fragments else 0
    return (
        pack("!BBHHHBBH", 0x45, spec.dscp << 2, 40, 0, fragment, 64, spec.protocol, 0) + spec.src + spec.dst
    )


def _ipv6(spec: FlowSpec) -> bytes:
    return pack("!IHBB", 6 << 28 | spec.dscp << 22, 20, spec.protocol, 64) + spec.src + spec.dst


def _layer4(spec: FlowSpec) -> bytes:
    """Make twenty bytes of layer 4 with a header that a switch accepts; of a broken one it reads no ports."""
    if spec.is_of_fragments and spec.kind == IPV6:
        return pack("!BBHI", UDP, 0, 1, 1) + bytes(12)
    if spec.protocol == TCP:
        return pack("!HHIIBBHHH", spec.src_port, spec.dst_port, 0, 0, 5 << 4, 2, 0, 0, 0)
    if spec.protocol in PORT_PROTOCOLS:
        return pack("!HHHH", spec.src_port, spec.dst_port, 20, 0) + bytes(12)
    if spec.protocol in {ICMP, ICMPV6}:
        return pack("!BB", spec.src_port, spec.dst_port) + bytes(18)
    return bytes(20)
