"""A simulated flow, and the frame of its first packet."""

from __future__ import annotations

from struct import pack
from typing import NamedTuple

from flowlane.core.flowkey import ICMP, ICMPV6, IPV4, LAYER2, PORT_PROTOCOLS, TCP

ETH_TYPES = {4: 0x0800, 6: 0x86DD}
GATEWAY_MAC = bytes.fromhex("02000000fffe")
"""Destination MAC of every simulated frame: the router beyond the uplink."""


class FlowSpec(NamedTuple):
    """A flow to simulate. ``rate`` is bit/s, ``start`` and ``end`` are seconds from the beginning.

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
    """Return the MAC of the simulated VM on a port."""
    return b"\x02\x00" + number.to_bytes(4)


def frame_of(spec: FlowSpec, port_no: int) -> bytes:
    """Make the first packet of a flow as a device copies it: headers only."""
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
    """Make twenty bytes of layer 4 with a header that a switch accepts; of a broken one it reads no ports."""
    if spec.protocol == TCP:
        return pack("!HHIIBBHHH", spec.src_port, spec.dst_port, 0, 0, 5 << 4, 2, 0, 0, 0)
    if spec.protocol in PORT_PROTOCOLS:
        return pack("!HHHH", spec.src_port, spec.dst_port, 20, 0) + bytes(12)
    if spec.protocol in {ICMP, ICMPV6}:
        return pack("!BB", spec.src_port, spec.dst_port) + bytes(18)
    return bytes(20)
