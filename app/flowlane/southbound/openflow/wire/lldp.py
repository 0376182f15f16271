"""Probes of links: LLDP frames (IEEE 802.1AB-2016) that name the device and the port that sent them.

A probe is known by its source address, which an entry of the device matches, and by a TLV with a key that each
controller draws when it starts. LLDP frames of others have neither, and are left to the bridge.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

ETHERTYPE = 0x88CC
DESTINATION = 0x0180C200000E
"""The nearest bridge (IEEE 802.1AB-2016 table 7-1): no bridge forwards frames to it."""

SOURCE = 0x02F10A00000E
"""A locally administered address (IEEE 802-2014, 8.4.4.2), which no probe of others has."""

KEY_BYTES = 8

_CHASSIS_ID, _PORT_ID, _TTL, _ORGANIZATION = 1, 2, 3, 127
"""Types of TLVs (IEEE 802.1AB-2016 table 8-1)."""

_LOCAL = b"\x07"
"""Subtype "locally assigned" of a chassis id and of a port id (ibid., tables 8-2 and 8-3)."""

_OURS = bytes.fromhex("02f10a") + b"\x01"
"""Identifier, locally administered like the address, and subtype of the TLV with the key."""

_HEADER = DESTINATION.to_bytes(6) + SOURCE.to_bytes(6) + ETHERTYPE.to_bytes(2)
_SHORTEST = 60
"""Bytes of an Ethernet frame without its checksum."""

_LENGTH_BITS, _LENGTH_MASK = 9, 0x1FF


class Sender(NamedTuple):
    """The device and the port that sent a probe."""

    dpid: int
    port_no: int


def frame(dpid: int, port_no: int, key: bytes, ttl: int) -> bytes:
    """Make the probe of a port.

    Args:
        key: the controller's key, of :data:`KEY_BYTES` bytes.
        ttl: seconds for which neighbours may keep what the frame says.
    """
    tlvs = (
        _tlv(_CHASSIS_ID, _LOCAL + f"dpid:{dpid:016x}".encode()),
        _tlv(_PORT_ID, _LOCAL + str(port_no).encode()),
        _tlv(_TTL, struct.pack("!H", ttl)),
        _tlv(_ORGANIZATION, _OURS + key + struct.pack("!QI", dpid, port_no)),
        _tlv(0, b""),
    )
    return (_HEADER + b"".join(tlvs)).ljust(_SHORTEST, b"\0")


def is_probe(data: bytes) -> bool:
    """Whether a frame has the addresses of a probe."""
    return data.startswith(_HEADER)


def read(data: bytes, key: bytes) -> Sender | None:
    """Read a probe; None when it is not one of the controller with this key."""
    if not is_probe(data):
        return None
    rest, ours = data[len(_HEADER) :], _OURS + key
    while len(rest) > 1:
        head = int.from_bytes(rest[:2])
        value, rest = rest[2 : 2 + (head & _LENGTH_MASK)], rest[2 + (head & _LENGTH_MASK) :]
        if head >> _LENGTH_BITS == _ORGANIZATION and value.startswith(ours) and len(value) == len(ours) + 12:
            return Sender(*struct.unpack("!QI", value[len(ours) :]))
    return None


def _tlv(kind: int, value: bytes) -> bytes:
    return (kind << _LENGTH_BITS | len(value)).to_bytes(2) + value
