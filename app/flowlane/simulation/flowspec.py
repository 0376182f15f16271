"""A flow as a simulation knows it, and the frame that its first packet would be."""

from __future__ import annotations

from struct import pack
from typing import NamedTuple

from flowlane.core.flowkey import ICMP, ICMPV6, IPV4, LAYER2, PORT_PROTOCOLS, TCP

ETH_TYPES = {4: 0x0800, 6: 0x86DD}
GATEWAY_MAC = bytes.fromhex("02000000fffe")
"""Destination of every simulated frame: the far side of the uplink."""


class FlowSpec(NamedTuple):
    """One flow to simulate. ``rate`` is bit/s, ``start`` and ``end`` seconds from the beginning.

    ``kind`` is that of a flow key (4, 6 or 2); for ICMP the ports are type and code, for a layer-2 flow
    ``src_port`` is the ethertype.
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


def vm_mac(number: int) -> bytes:
    """The MAC of the simulated VM on a port."""
    return b"\x02\x00" + number.to_bytes(4)


def frame_of(spec: FlowSpec, port_no: int) -> bytes:
    """The first packet of a flow, as the device would copy it: headers only."""
    source = spec.src if spec.kind == LAYER2 else vm_mac(port_no)
    target = spec.dst if spec.kind == LAYER2 else GATEWAY_MAC
    tag = b"" if spec.vlan is None else pack("!HH", 0x8100, spec.pcp << 13 | spec.vlan)
    if spec.kind == LAYER2:
        return target + source + tag + pack("!H", spec.src_port) + bytes(46)
    layer3 = _ipv4(spec) if spec.kind == IPV4 else _ipv6(spec)
    return target + source + tag + pack("!H", ETH_TYPES[spec.kind]) + layer3 + _layer4(spec)


def _ipv4(spec: FlowSpec) -> bytes:
    return pack("!BBHHHBBH", 0x45, spec.dscp << 2, 40, 0, 0, 64, spec.protocol, 0) + spec.src + spec.dst


def _ipv6(spec: FlowSpec) -> bytes:
    return pack("!IHBB", 6 << 28 | spec.dscp << 22, 20, spec.protocol, 64) + spec.src + spec.dst


def _layer4(spec: FlowSpec) -> bytes:
    """Twenty bytes whose header a switch takes for sound: it reads no ports out of a broken one."""
    if spec.protocol == TCP:
        return pack("!HHIIBBHHH", spec.src_port, spec.dst_port, 0, 0, 5 << 4, 2, 0, 0, 0)
    if spec.protocol in PORT_PROTOCOLS:
        return pack("!HHHH", spec.src_port, spec.dst_port, 20, 0) + bytes(12)
    if spec.protocol in {ICMP, ICMPV6}:
        return pack("!BB", spec.src_port, spec.dst_port) + bytes(18)
    return bytes(20)
