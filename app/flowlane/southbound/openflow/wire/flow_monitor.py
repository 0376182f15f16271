"""Flow-monitor replies by their bytes: which entries somebody has added, modified or removed.

Layouts are those of ``ofp_flow_update_full`` and ``ofp_flow_update_abbrev`` (7.3.5.17.3 of OpenFlow 1.4.1). Extension
187 of the ONF for OpenFlow 1.3 is not used: Open vSwitch 3.1 writes version 1 in the header of abbreviated updates.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, NamedTuple

from flowlane.southbound.openflow.wire.constants import (
    MULTIPART_FLOW_MONITOR,
    MULTIPART_REPLY,
    OPENFLOW_14,
)

ADDED, REMOVED, MODIFIED = 1, 2, 3
"""OFPFME_*: kinds of updates that have an entry in them; own changes come without (OFPFME_ABBREV)."""

_HEADER = Struct("!HH").unpack_from
_FULL = Struct("!HHBBHHH4xQ")
_BODY_AT = 16


class Update(NamedTuple):
    """A change of an entry by somebody else."""

    event: int
    table_id: int
    cookie: int


def is_reply(message: Any) -> bool:
    """Return whether a message has updates of a flow monitor."""
    data = getattr(message, "buf", None)
    if not isinstance(data, bytes) or len(data) < _BODY_AT or data[1] != MULTIPART_REPLY:
        return False
    return data[0] >= OPENFLOW_14 and int.from_bytes(data[8:10], "big") == MULTIPART_FLOW_MONITOR


def updates(message: Any) -> Iterator[Update]:
    """Yield the changes by others in a message for which :func:`is_reply` holds; what is malformed ends them."""
    data: bytes = message.buf
    start = _BODY_AT
    while start + 4 <= len(data):
        length, event = _HEADER(data, start)
        if length < 4 or start + length > len(data):
            return
        if event in (ADDED, REMOVED, MODIFIED) and length >= _FULL.size:
            _, _, table_id, _, _, _, _, cookie = _FULL.unpack_from(data, start)
            yield Update(event, table_id, cookie)
        start += length
