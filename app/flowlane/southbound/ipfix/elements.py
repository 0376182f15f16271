"""Information elements of IPFIX that are read, with their lengths in bytes (IANA, "IP Flow Information Export")."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

VARIABLE = 0xFFFF
"""Length of a field whose records carry their length (RFC 7011 section 7)."""

PACKETS, LAYER2_OCTETS = 2, 352
PROTOCOL = 4
SRC_PORT, DST_PORT = 7, 11
SRC_IPV4, DST_IPV4, SRC_IPV6, DST_IPV6 = 8, 12, 27, 28
ICMP_V4_TYPE, ICMP_V4_CODE, ICMP_V6_TYPE, ICMP_V6_CODE = 176, 177, 178, 179
ETH_SRC, ETH_DST, ETH_TYPE, VLAN = 56, 80, 256, 58
INTERFACE_NAME = 82
OBSERVATION_POINT = 138
FLOW_END_DELTA = 159

WANTED: Mapping[int, int] = MappingProxyType(
    {
        **{PACKETS: 8, LAYER2_OCTETS: 8, PROTOCOL: 1, SRC_PORT: 2, DST_PORT: 2},
        **{SRC_IPV4: 4, DST_IPV4: 4, SRC_IPV6: 16, DST_IPV6: 16},
        **{ICMP_V4_TYPE: 1, ICMP_V4_CODE: 1, ICMP_V6_TYPE: 1, ICMP_V6_CODE: 1},
        **{ETH_SRC: 6, ETH_DST: 6, ETH_TYPE: 2, VLAN: 2, INTERFACE_NAME: 64},
        **{OBSERVATION_POINT: 8, FLOW_END_DELTA: 4},
    }
)
"""Element -> its length."""
