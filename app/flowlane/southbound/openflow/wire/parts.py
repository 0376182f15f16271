"""Matches and actions that serialize themselves, in place of os-ken's classes in a message."""

from __future__ import annotations

from flowlane.southbound.openflow.wire import fields

_MATCH_TYPE_OXM = 1


class WireMatch:
    """A match that serializes itself, in place of os-ken's OFPMatch.

    os-ken converts each value to text and back, which is most of the time that it takes to serialize a
    flow-mod.
    """

    __slots__ = ("data", "length")

    def __init__(self, terms: fields.Match) -> None:
        body = fields.pack(terms)
        self.length = 4 + len(body)
        padding = -self.length % 8
        self.data = (
            _MATCH_TYPE_OXM.to_bytes(2, "big") + self.length.to_bytes(2, "big") + body + bytes(padding)
        )

    def serialize(self, buffer: bytearray, offset: int) -> int:
        """Write the ``ofp_match`` at ``offset``; return its length with padding (os-ken calls this)."""
        end = offset + len(self.data)
        if len(buffer) < end:
            buffer.extend(bytes(end - len(buffer)))
        buffer[offset:end] = self.data
        return len(self.data)


class WireAction:
    """An action that serializes itself, in place of one of os-ken's."""

    __slots__ = ("_data", "len")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.len = len(data)

    def serialize(self, buffer: bytearray, offset: int) -> None:
        """Write the action at ``offset`` (os-ken calls this, and goes on by ``len``)."""
        end = offset + len(self._data)
        if len(buffer) < end:
            buffer.extend(bytes(end - len(buffer)))
        buffer[offset:end] = self._data
