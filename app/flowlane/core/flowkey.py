"""Flow keys: one flow of one VM, packed into bytes.

Layout, in network byte order: VM number (4 bytes), VLAN id + 1 or 0 for untagged (2), kind (1), IP protocol (1), source
port (2), destination port (2), then source and destination address of equal length. For ICMP the ports are type and
code; for a layer-2 flow they are the ethertype and 0, and the addresses are MACs. A packed key has 20, 24 or 44 bytes
and one hash; a tuple of strings costs ten times that.

All fragments of one protocol between two addresses are one flow, since later ones have no ports: in IPv4 that of the
protocol with the ports 0 and 0. In IPv6, where Open vSwitch shows the protocol of first fragments only
(ovs-fields(7), nw_proto), all fragments between two addresses are one flow, that of protocol 44.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import NamedTuple

IPV4 = 4
IPV6 = 6
LAYER2 = 2

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
PROTOCOL_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6", SCTP: "sctp"}
ETHERTYPE_NAMES = {
    0x0806: "arp",
    0x8035: "rarp",
    0x8847: "mpls",
    0x8864: "pppoe",
    0x888E: "eapol",
    0x88CC: "lldp",
}
"""IEEE 802 numbers (IANA registry) of the ethertypes beside IP that have a name here and in the policy language."""

PORT_PROTOCOLS = frozenset((TCP, UDP, SCTP))
FRAGMENT = 44
"""IPv6's fragment header (RFC 8200, 4.5), as protocol."""

HEAD = Struct("!IHBBHH")
HEAD_LENGTH = HEAD.size
_ADDRESS_LENGTH = {IPV4: 4, IPV6: 16, LAYER2: 6}


class FlowParts(NamedTuple):
    """Parts of a flow key. ``vlan`` is None for untagged; addresses are bytes."""

    vm_number: int
    vlan: int | None
    kind: int
    protocol: int
    src_port: int
    dst_port: int
    src: bytes
    dst: bytes


def is_of_fragments(parts: FlowParts) -> bool:
    """Whether a flow is the fragments between two addresses (of one protocol in IPv4)."""
    if parts.protocol in PORT_PROTOCOLS:
        return parts.kind == IPV4 and not parts.src_port and not parts.dst_port
    return parts.kind == IPV6 and parts.protocol == FRAGMENT


def pack(parts: FlowParts) -> bytes:
    """Pack the parts of a flow key; :func:`unpack` is the inverse."""
    vlan = 0 if parts.vlan is None else parts.vlan + 1
    head = HEAD.pack(parts.vm_number, vlan, parts.kind, parts.protocol, parts.src_port, parts.dst_port)
    return head + parts.src + parts.dst


def unpack(key: bytes) -> FlowParts:
    """Unpack a flow key.

    Raises:
        ValueError: the bytes are not a flow key.
    """
    if len(key) < HEAD_LENGTH:
        raise ValueError("a flow key has at least 12 bytes")
    number, vlan, kind, protocol, src_port, dst_port = HEAD.unpack_from(key)
    length = _ADDRESS_LENGTH.get(kind, -1)
    if len(key) != HEAD_LENGTH + 2 * length:
        raise ValueError(f"a flow key of kind {kind} cannot have {len(key)} bytes")
    middle = HEAD_LENGTH + length
    return FlowParts(
        number,
        vlan - 1 if vlan else None,
        kind,
        protocol,
        src_port,
        dst_port,
        key[HEAD_LENGTH:middle],
        key[middle:],
    )


def format_mac(mac: int | bytes) -> str:
    """Format a MAC address as six pairs of hex digits with colons."""
    digits = mac.hex() if isinstance(mac, bytes) else f"{mac:012x}"
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def format_address(kind: int, address: bytes) -> str:
    """Format an address of a flow key of a kind."""
    if kind == IPV4:
        return str(IPv4Address(address))
    return str(IPv6Address(address)) if kind == IPV6 else format_mac(address)


def flow_text(key: bytes) -> str:
    """Format a flow for people: protocol, source, destination, VLAN; without its VM."""
    parts = unpack(key)
    tag = "" if parts.vlan is None else f" in VLAN {parts.vlan}"
    src, dst = (format_address(parts.kind, address) for address in (parts.src, parts.dst))
    if parts.kind == LAYER2:
        name = ETHERTYPE_NAMES.get(parts.src_port, f"ethertype 0x{parts.src_port:04x}")
        return f"{name} {src} to {dst}{tag}"
    name = PROTOCOL_NAMES.get(parts.protocol, f"IP protocol {parts.protocol}")
    if is_of_fragments(parts):
        name = f"{name} fragments" if parts.kind == IPV4 else "fragments"
        return f"{name} {src} to {dst}{tag}"
    if parts.protocol not in PORT_PROTOCOLS:
        return f"{name} {src} to {dst}{tag}"
    if parts.kind == IPV6:
        src, dst = f"[{src}]", f"[{dst}]"
    return f"{name} {src}:{parts.src_port} to {dst}:{parts.dst_port}{tag}"


def flow_id(key: bytes) -> str:
    """Format the id of a flow in REST: its key in hex, to be read with ``bytes.fromhex``."""
    return key.hex()
