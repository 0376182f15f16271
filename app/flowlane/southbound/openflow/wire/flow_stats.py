"""A reader of flow statistics replies by their bytes, without an os-ken object for each entry.

Layouts are those of ``ofp_flow_stats`` (7.3.5.2 of OpenFlow 1.3.5 and 1.4.1) and ``ofp_flow_desc`` (7.3.5.2
of 1.5.1, whose counters are a list of OXS fields). What is laid out in another way is left to os-ken's
parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from struct import Struct
from typing import Any, NamedTuple

from flowlane.southbound.openflow.wire import guard
from flowlane.southbound.openflow.wire.constants import (
    MULTIPART_FLOW,
    MULTIPART_REPLY,
    OPENFLOW_13,
    OPENFLOW_14,
    OPENFLOW_15,
)

Message = Any
FIRST = 16
"""Where the first entry of a reply is."""

_HEADER = 8
_TYPE = _LENGTH = Struct("!H").unpack_from
_MATCH = Struct("!HH").unpack_from


class RawEntry(NamedTuple):
    """One entry: its cookie, its match and its instructions as bytes, its counters, its table, priority and timeouts.

    ``fields``: the OXM fields of the match. ``seconds``: for how long the entry has existed. ``start``: where
    the entry begins in the message.
    """

    cookie: int
    fields: bytes
    instructions: bytes
    packets: int
    octets: int
    seconds: float
    start: int
    table_id: int
    priority: int
    idle_timeout: int
    hard_timeout: int
    flags: int


_HEAD_13 = Struct("!HBxIIHHHH4xQQQ")
_HEAD_15 = Struct("!H2xBxHHHHHQ")
_STATS_15 = Struct("!HHIIIIIIIQIQ")
"""``ofp_stats`` as Open vSwitch writes it: duration, idle time, number of flows left out, packets, bytes."""

_OXS = 0x8002
_DURATION, _IDLE, _PACKETS, _OCTETS = (_OXS << 16 | number << 9 | 8 for number in (0, 1, 4, 5))


class Places(NamedTuple):
    """Where an entry has its values. In 1.5 those of duration and counters are places in its ``ofp_stats``."""

    cookie: int
    match: int
    seconds: int
    packets: int
    octets: int


_PLACES_13 = Places(24, 48, 4, 32, 40)
_PLACES_15 = Places(16, 24, 8, 32, 44)


def places_of(version: int) -> Places:
    """Return the places of values in the entries of a version on the wire."""
    return _PLACES_15 if version == OPENFLOW_15 else _PLACES_13


FIXED_IN_STATS = (*range(2, 8), *range(16, 20), *range(28, 32), *range(40, 44))
"""Places in the ``ofp_stats`` of 1.5 that are the same in all of them: its length and the headers of its fields."""


def entry_at(data: bytes, start: int) -> RawEntry:
    """Return the entry at a place of a flow statistics reply.

    Raises:
        ValueError: it is laid out in another way, and has to be read by os-ken.
    """
    return next(_walk(data, _READERS[data[0]], start))


def starts(data: bytes) -> dict[int, list[int]] | None:
    """Return length -> places of the entries of a flow statistics reply; None for another or a malformed message."""
    if len(data) < FIRST or data[1] != MULTIPART_REPLY or data[0] not in _READERS:
        return None
    if _TYPE(data, _HEADER)[0] != MULTIPART_FLOW:
        return None
    at, end = FIRST, len(data)
    found: dict[int, list[int]] = {}
    if at + 2 <= end:
        length: int = _LENGTH(data, at)[0]
        count = (end - at) // length if length >= _HEAD_15.size else 0
        high, low = data[at : at + 1] * count, data[at + 1 : at + 2] * count
        if count * length == end - at and data[at::length] == high and data[at + 1 :: length] == low:
            return {length: list(range(at, end, length))}
    while at < end:
        length = _LENGTH(data, at)[0] if at + 2 <= end else 0
        if length < _HEAD_15.size or at + length > end:
            return None
        found.setdefault(length, []).append(at)
        at += length
    return found


def counters(message: Message) -> list[tuple[int, int, int]] | None:
    """Return cookie, packets and bytes of the entries of a reply; None where only :func:`entries` can tell.

    They are at the same places in all entries until OpenFlow 1.4, so that no other length is trusted than an entry's.
    """
    data = getattr(message, "buf", None)
    if not isinstance(data, bytes) or data[0] == OPENFLOW_15:
        return None
    lengths = starts(data)
    if lengths is None or min(lengths, default=_HEAD_13.size) < _HEAD_13.size:
        return None
    if len(lengths) == 1:
        (length,) = lengths
        return list(Struct(f"!24xQQQ{length - _HEAD_13.size}x").iter_unpack(data[FIRST:]))
    return [_COUNTERS_13(data, start) for start in sorted(chain.from_iterable(lengths.values()))]


def without_counters(message: Message) -> list[bytes] | None:
    """Return the bytes of each entry of a reply but its duration and counters; None where they are not to be seen.

    For comparisons: nothing in them was checked, and of OpenFlow 1.5 there are none, whose counters have other places.
    """
    data = getattr(message, "buf", None)
    if not isinstance(data, bytes) or data[0] == OPENFLOW_15 or (lengths := starts(data)) is None:
        return None
    return [
        data[start : start + 4] + data[start + 12 : start + 32] + data[start + 48 : start + length]
        for length, of_length in lengths.items()
        for start in of_length
    ]


_COUNTERS_13 = Struct("!24xQQQ").unpack_from


def shape_of(message: Message) -> Struct | None:
    """Return what unpacks the bytes of a reply without counters, for :func:`shaped`; None as above."""
    data = getattr(message, "buf", None)
    if not isinstance(data, bytes) or data[0] == OPENFLOW_15 or (lengths := starts(data)) is None:
        return None
    places = sorted((start, length) for length, of_length in lengths.items() for start in of_length)
    if any(length <= _PLACES_13.match for _, length in places):
        return None
    return _shape(tuple(length for _, length in places))


@lru_cache(256)
def _shape(lengths: tuple[int, ...]) -> Struct:
    parts = (f"4s8x20s16x{length - _PLACES_13.match}s" for length in lengths)
    return Struct(f"!{FIRST}s{''.join(parts)}")


def is_of_flows(data: bytes) -> bool:
    """Return whether a message is a reply with the statistics of flow entries."""
    is_reply = len(data) >= FIRST and data[1] == MULTIPART_REPLY
    return is_reply and _TYPE(data, _HEADER)[0] == MULTIPART_FLOW


def shaped(data: object, shape: Struct) -> tuple[bytes, ...]:
    """Return the bytes of a reply without counters; nothing where it is as long as no reply of this shape.

    One of another shape gives other bytes, since each entry begins with its length.
    """
    if not isinstance(data, bytes) or len(data) != shape.size:
        return ()
    kept: tuple[bytes, ...] = shape.unpack(data[:4] + bytes(4) + data[8:])
    return kept


def entries(message: Message) -> Iterator[RawEntry] | None:
    """Return the entries of a reply; None when the message has no bytes, or is no flow statistics reply.

    Raises:
        ProtocolError: lengths in the message contradict each other.
        ValueError (while iterating): an entry is laid out in another way, and has to be read by os-ken.
    """
    data = getattr(message, "buf", None)
    if not isinstance(data, bytes) or len(data) < FIRST or data[1] != MULTIPART_REPLY:
        return None
    read = _READERS.get(data[0])
    if read is None or _TYPE(data, _HEADER)[0] != MULTIPART_FLOW:
        return None
    guard.check_flows(data)
    return _walk(data, read)


def _walk(data: bytes, read: Callable[[bytes, int, int], RawEntry], start: int = FIRST) -> Iterator[RawEntry]:
    end = len(data)
    while start < end:
        length: int = _LENGTH(data, start)[0]
        if length < _HEAD_15.size or start + length > end:
            raise ValueError("an entry that is longer than its message")
        yield read(data, start, start + length)
        start += length


def _read_13(data: bytes, start: int, end: int) -> RawEntry:
    if end - start < _HEAD_13.size + 4:
        raise ValueError("an entry cut short")
    head = _HEAD_13.unpack_from(data, start)
    fields, after = _match(data, start + _HEAD_13.size, end)
    cookie, packets, octets = head[8:]
    seconds = head[2] + head[3] / 1e9
    return RawEntry(cookie, fields, data[after:end], packets, octets, seconds, start, head[1], *head[4:8])


def _read_15(data: bytes, start: int, end: int) -> RawEntry:
    _, table_id, priority, idle, hard, flags, _, cookie = _HEAD_15.unpack_from(data, start)
    fields, at = _match(data, start + _HEAD_15.size, end)
    if at + _STATS_15.size > end:
        raise ValueError("an entry without statistics")
    stats = _STATS_15.unpack_from(data, at)
    _, length, first, seconds, nanoseconds, second, _, _, third, packets, fourth, octets = stats
    if (length, first, second, third, fourth) != (
        _STATS_15.size,
        _DURATION,
        _IDLE,
        _PACKETS,
        _OCTETS,
    ):
        raise ValueError("statistics in another order")
    after = at + length + -length % 8
    seconds += nanoseconds / 1e9
    place = start, table_id, priority, idle, hard, flags
    return RawEntry(cookie, fields, data[after:end], packets, octets, seconds, *place)


def _match(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """Return the fields of the ``ofp_match`` at a place, and where it ends with its padding."""
    kind, length = _MATCH(data, at)
    after = at + length + -length % 8
    if kind != 1 or length < 4 or after > end:
        raise ValueError("a match that is longer than its entry")
    return data[at + 4 : at + length], after


_READERS = {OPENFLOW_13: _read_13, OPENFLOW_14: _read_13, OPENFLOW_15: _read_15}
