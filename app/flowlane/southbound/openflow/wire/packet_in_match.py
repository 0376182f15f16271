"""Ingress port, metadata and registers of a packet-in, read from its bytes.

A copied packet's match has a dozen fields, of which Flowlane needs three. They are picked out of the OXM list
here, without an object for each of the others. The guard has checked the message's lengths before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import TypeGuard

from flowlane.southbound.openflow.wire.constants import PACKET_IN
from flowlane.southbound.openflow.wire.fields import FIELDS, NICIRA_1, OPENFLOW_BASIC, PACKET_REGISTERS

FIXED = Struct("!IHBBQ")
"""The fixed part of a packet-in: buffer id, length of the packet, reason, table, cookie (7.4.1)."""

FIXED_START, MATCH_START = 8, 24
"""Where the fixed part and the match begin in the message."""

MATCH_HEADER = Struct("!HH")
"""Type and length of an ``ofp_match``; the length covers both, not the padding (7.2.3.1)."""

_OXM_HEADER = Struct("!I").unpack_from
_HAS_MASK = 0x100
_PORT_WITH_MASK = OPENFLOW_BASIC << 16 | FIELDS["in_port"].number << 9 | _HAS_MASK | 8
"""A port has no mask (7.2.3.7): whoever writes one has no ingress port to report."""


def _oxm_headers() -> dict[int, tuple[str, int]]:
    registers = {(NICIRA_1, number): (f"reg{number}", 4) for number in range(8)}
    registers |= {(PACKET_REGISTERS, number): (f"xreg{number}", 8) for number in range(4)}
    plain = {
        (OPENFLOW_BASIC, FIELDS[name].number): (name, FIELDS[name].octets) for name in ("in_port", "metadata")
    }
    headers: dict[int, tuple[str, int]] = {}
    for (oxm_class, number), (name, octets) in (plain | registers).items():
        header = oxm_class << 16 | number << 9
        headers[header | octets] = name, octets
        if name != "in_port":
            headers[header | _HAS_MASK | 2 * octets] = name, octets
    return headers


_READ: Mapping[int, tuple[str, int]] = _oxm_headers()
"""OXM header, without or with a mask -> the field's name and the octets of its value.

Open vSwitch writes its registers one by one in OpenFlow 1.3 and 1.4. In 1.5 two of them are one of 64 bits,
of which the half that is not in use is masked.
"""


def read_fields(message: bytes) -> Mapping[str, int]:
    """Return the value of each field that Flowlane reads and that the match holds, by os-ken's names.

    Args:
        message: a packet-in, with its header.
    """
    values: dict[str, int] = {}
    at, end = (
        MATCH_START + 4,
        min(MATCH_START + MATCH_HEADER.unpack_from(message, MATCH_START)[1], len(message)),
    )
    while at + 4 <= end:
        header: int = _OXM_HEADER(message, at)[0]
        field = _READ.get(header)
        if field is not None:
            values[field[0]] = int.from_bytes(message[at + 4 : at + 4 + field[1]], "big")
        elif header == _PORT_WITH_MASK:
            values.pop("in_port", None)
        at += 4 + (header & 0xFF)
    return values


def places(message: bytes) -> Iterator[tuple[int, str, int, int]]:
    """Yield where each field of the match has its header, its name ('': one that is not read), value and octets.

    Args:
        message: a packet-in, with its header, that the guard has accepted.
    """
    at, end = MATCH_START + 4, MATCH_START + MATCH_HEADER.unpack_from(message, MATCH_START)[1]
    while at + 4 <= end:
        header: int = _OXM_HEADER(message, at)[0]
        name, octets = _READ.get(header, ("", 0))
        yield at, name, at + 4, octets
        at += 4 + (header & 0xFF)


def is_packet_in(message: object) -> TypeGuard[bytes]:
    """Return whether these are the bytes of a packet-in, long enough to have a match."""
    return isinstance(message, bytes) and len(message) >= MATCH_START + 4 and message[1] == PACKET_IN
