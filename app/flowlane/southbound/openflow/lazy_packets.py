"""Packet-ins whose match is parsed when somebody looks: of its dozen fields Flowlane needs three.

os-ken turns addresses, registers and connection tracking fields into objects and text, most of what reading a
copied packet costs. Here the fixed part is read at once, ``match`` at first access, for whichever app asks, and
:func:`told` picks what is needed out of the bytes. The guard has seen the message before.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any

from os_ken.ofproto import ofproto_v1_3_parser, ofproto_v1_4_parser, ofproto_v1_5_parser

from flowlane.southbound.openflow import late_parts

PACKET_IN = 10
_KINDS = {
    4: ofproto_v1_3_parser.OFPPacketIn,
    5: ofproto_v1_4_parser.OFPPacketIn,
    6: ofproto_v1_5_parser.OFPPacketIn,
}
_FIXED = Struct("!IHBBQ")
_MATCH = 24
"""Where the match begins: behind the header and the fixed part (7.4.1 of 1.3.5)."""

_TLV = Struct("!HH").unpack_from
_HEADER = Struct("!I").unpack_from
_PLAIN = {
    0x80000004: "in_port",
    0x80000408: "metadata",
    **{1 << 16 | number << 9 | 4: f"reg{number}" for number in range(8)},
    **{0x8001 << 16 | number << 9 | 8: f"xreg{number}" for number in range(4)},
}
_FIELDS: Mapping[int, tuple[str, int]] = {
    header + masked * (0x100 + (header & 0xFF)): (name, header & 0xFF)
    for header, name in _PLAIN.items()
    for masked in (0, 1)
}
"""OXM header -> field and octets of its value, of what Flowlane reads: Open vSwitch's registers in 1.3 and 1.4, two in
one in 1.5, where it masks the half that is not in use."""


def install() -> None:
    """Let os-ken's three classes of packet-ins make their match late; twice is the same as once."""
    late_parts.install(_KINDS.values(), "match")


def read(datapath: Any, message: bytes) -> Any:
    """The packet-in without its match; None for messages of other kinds."""
    kind = _KINDS.get(message[0]) if message[1] == PACKET_IN else None
    if kind is None:
        return None
    found = late_parts.begun(kind, datapath, message)
    found.buffer_id, found.total_len, found.reason, found.table_id, found.cookie = _FIXED.unpack_from(
        message, 8
    )
    length = _TLV(message, _MATCH)[1]
    start = _MATCH + length + -length % 8 + 2
    found.data = message[start : start + found.total_len]
    del found.match
    return found


def told(message: Any) -> Mapping[str, Any]:
    """Ingress port, metadata and registers of a packet-in, by os-ken's names of the fields.

    Raises:
        AttributeError: it is no packet-in.
    """
    data = getattr(message, "buf", None)
    if not isinstance(data, bytes) or len(data) < _MATCH + 4 or data[1] != PACKET_IN:
        return dict(message.match.items())
    found: dict[str, int] = {}
    at, end = _MATCH + 4, min(_MATCH + _TLV(data, _MATCH)[1], len(data))
    while at + 4 <= end:
        header: int = _HEADER(data, at)[0]
        after = at + 4 + (header & 0xFF)
        known = _FIELDS.get(header)
        if known is not None:
            found[known[0]] = int.from_bytes(data[at + 4 : at + 4 + known[1]], "big")
        at = after
    return found
