"""Sizes of tables, read from the bytes of a table-features reply.

Open vSwitch describes 254 tables in 1.2 MB at every connect, of which Flowlane needs two numbers each. The fixed part
of ``ofp_table_features`` is the same in all versions (7.3.5.5 of OpenFlow 1.3.5, 7.3.5.18 of 1.5.1). The guard has
checked the lengths before.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import TypeGuard

from flowlane.southbound.openflow.wire.constants import MULTIPART_REPLY, MULTIPART_TABLES

_FIXED = Struct("!HB57xI")
"""Length of the entry, table id, max_entries; between the last two are name, metadata bits and capabilities."""

_START = 16


def is_reply(message: object) -> TypeGuard[bytes]:
    """Return whether these are the bytes of a table-features reply."""
    if not isinstance(message, bytes) or len(message) < _START or message[1] != MULTIPART_REPLY:
        return False
    return int.from_bytes(message[8:10], "big") == MULTIPART_TABLES


def sizes(message: bytes) -> Iterator[tuple[int, int]]:
    """Yield (table id, entries that it can hold) for each table of a reply."""
    at = _START
    while at + _FIXED.size <= len(message):
        length, table_id, entries = _FIXED.unpack_from(message, at)
        yield table_id, entries
        at += max(length, _FIXED.size)
