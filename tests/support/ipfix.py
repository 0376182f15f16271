"""IPFIX messages such as Open vSwitch sends, made by hand."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from flowlane.core.flowkey import ICMP, IPV4, IPV6, LAYER2, TCP, UDP, FlowParts
from flowlane.southbound.ipfix import elements, ovs_layout

DPID = 0x0000_0001_0000_0009
EXPORTED, ENDED = 1_700_000_000, 250_000
MACS = {elements.ETH_SRC: bytes((2, 0, 0, 0, 0, 1)), elements.ETH_DST: bytes((2, 0, 0, 0, 0, 2))}
COMMON = {
    **MACS,
    elements.INTERFACE_NAME: b"vm1",
    elements.PACKETS: (63).to_bytes(8),
    elements.LAYER2_OCTETS: (63 * 1400).to_bytes(8),
    elements.FLOW_END_DELTA: ENDED.to_bytes(4),
    elements.OBSERVATION_POINT: (DPID >> 32).to_bytes(4),
}
V4 = {elements.SRC_IPV4: bytes((10, 0, 0, 1)), elements.DST_IPV4: bytes((10, 0, 0, 2))}
V6 = {elements.SRC_IPV6: ip_address("fd00::1").packed, elements.DST_IPV6: ip_address("fd00::2").packed}
PORTS = {elements.SRC_PORT: (1000).to_bytes(2), elements.DST_PORT: (80).to_bytes(2)}
Values = dict[int, bytes]
KINDS: dict[str, tuple[int, Values, FlowParts]] = {
    # Numbers of Open vSwitch: ((VLAN * 3 + layer 3) * 5 + layer 4) * 2 * 2 + direction.
    "tcp": (
        256 + (5 + 1) * 4,
        {**V4, **PORTS, elements.PROTOCOL: bytes((TCP,))},
        FlowParts(0, None, IPV4, TCP, 1000, 80, V4[elements.SRC_IPV4], V4[elements.DST_IPV4]),
    ),
    "udp in a VLAN": (
        256 + (3 * 5 + 10 + 2) * 4,
        {**V6, **PORTS, elements.PROTOCOL: bytes((UDP,)), elements.VLAN: (100).to_bytes(2)},
        FlowParts(0, 100, IPV6, UDP, 1000, 80, V6[elements.SRC_IPV6], V6[elements.DST_IPV6]),
    ),
    "icmp": (
        256 + (5 + 4) * 4,
        {
            **V4,
            elements.PROTOCOL: bytes((ICMP,)),
            elements.ICMP_V4_TYPE: b"\x08",
            elements.ICMP_V4_CODE: b"\1",
        },
        FlowParts(0, None, IPV4, ICMP, 8, 1, V4[elements.SRC_IPV4], V4[elements.DST_IPV4]),
    ),
    "arp": (
        256,
        {elements.ETH_TYPE: (0x0806).to_bytes(2)},
        FlowParts(0, None, LAYER2, 0, 0x0806, 0, MACS[elements.ETH_SRC], MACS[elements.ETH_DST]),
    ),
}


def record(fields: ovs_layout.Fields, values: Values) -> bytes:
    data = b""
    for element, length in fields:
        value = values.get(element, b"")
        data += bytes((len(value),)) + value if length == elements.VARIABLE else value.ljust(length, b"\0")
    return data


def a_set(set_id: int, data: bytes) -> bytes:
    return struct.pack("!HH", set_id, 4 + len(data)) + data


def message(*sets: bytes, domain: int = DPID & 0xFFFFFFFF) -> bytes:
    data = b"".join(sets)
    return struct.pack("!HHIII", 10, 16 + len(data), EXPORTED, 7, domain) + data


def template(template_id: int, fields: ovs_layout.Fields) -> bytes:
    specifiers = b"".join(struct.pack("!HH", *field) for field in fields)
    return struct.pack("!HH", template_id, len(fields)) + specifiers


def of_ovs(kind: str) -> tuple[bytes, FlowParts]:
    """A message like Open vSwitch's, with a record of a packet."""
    number, values, parts = KINDS[kind]
    return message(a_set(number, record(dict(ovs_layout.templates())[number], COMMON | values))), parts
