"""The templates of Open vSwitch 2.17 to 3.7: which fields a record has, by the id of its template.

Open vSwitch numbers its templates by what a packet has, and does not change the numbers while it runs
(ofproto/ofproto-dpif-ipfix.c, ipfix_get_template_id and ipfix_define_template_fields).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from flowlane.southbound.ipfix.elements import (
    DST_IPV4,
    DST_IPV6,
    DST_PORT,
    ETH_DST,
    ETH_SRC,
    ETH_TYPE,
    FLOW_END_DELTA,
    ICMP_V4_CODE,
    ICMP_V4_TYPE,
    ICMP_V6_CODE,
    ICMP_V6_TYPE,
    INTERFACE_NAME,
    LAYER2_OCTETS,
    OBSERVATION_POINT,
    PACKETS,
    PROTOCOL,
    SRC_IPV4,
    SRC_IPV6,
    SRC_PORT,
    VARIABLE,
    VLAN,
)

Fields = tuple[tuple[int, int], ...]
"""(element, length); element 0: not read."""

FIRST = 256
_OTHER = 0
_INTERFACE: Fields = ((_OTHER, 8), (INTERFACE_NAME, VARIABLE), (_OTHER, VARIABLE))
"""Index and type, then name and description."""

_START: Fields = (
    (OBSERVATION_POINT, 4),
    (_OTHER, 1),
    (ETH_SRC, 6),
    (ETH_DST, 6),
    (ETH_TYPE, 2),
    (_OTHER, 1),
)
_VLAN: Fields = ((VLAN, 2), (_OTHER, 3))
_IP: Fields = ((_OTHER, 2), (PROTOCOL, 1), (_OTHER, 3))
_ADDRESSES: tuple[Fields, ...] = (
    (),
    ((SRC_IPV4, 4), (DST_IPV4, 4)),
    ((SRC_IPV6, 16), (DST_IPV6, 16), (_OTHER, 4)),
)
_ICMP: tuple[Fields, ...] = (
    (),
    ((ICMP_V4_TYPE, 1), (ICMP_V4_CODE, 1)),
    ((ICMP_V6_TYPE, 1), (ICMP_V6_CODE, 1)),
)
_PORTS: Fields = ((SRC_PORT, 2), (DST_PORT, 2))
_COUNTERS: Fields = (
    (_OTHER, 4),
    (FLOW_END_DELTA, 4),
    (_OTHER, 16),
    (PACKETS, 8),
    (_OTHER, 64),
    (LAYER2_OCTETS, 8),
    (_OTHER, 9),
)
_IP_COUNTERS: Fields = ((_OTHER, 80),)
_TCP_COUNTERS: Fields = ((_OTHER, 48),)
_LAYER3, _LAYER4 = range(3), range(5)
_TCP, _ICMP_KIND = 1, 4
"""Layer 3 is other, IPv4, IPv6; layer 4 is other, TCP, UDP, SCTP, ICMP."""


def templates() -> Iterator[tuple[int, Fields]]:
    """Yield (template id, fields) of packets without a tunnel, of both directions."""
    for tagged, layer3, layer4, is_egress in product(range(2), _LAYER3, _LAYER4, range(2)):
        if layer3 or not layer4:
            number = (((tagged * len(_LAYER3) + layer3) * len(_LAYER4) + layer4) * 2) * 2 + is_egress
            yield FIRST + number, _fields(bool(tagged), layer3, layer4, bool(is_egress))


def _fields(tagged: bool, layer3: int, layer4: int, is_egress: bool) -> Fields:
    fields = _START + _INTERFACE * (2 if is_egress else 1) + (_VLAN if tagged else ())
    if layer3:
        fields += _IP + _ADDRESSES[layer3]
        if layer4:
            fields += _ICMP[layer3] if layer4 == _ICMP_KIND else _PORTS
    fields += _COUNTERS + (_IP_COUNTERS if layer3 else ())
    return fields + (_TCP_COUNTERS if layer4 == _TCP else ())
