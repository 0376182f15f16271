"""Packet-ins of one connection, many at a time: read by the layout of the last one with the same entry and match.

A switch that copies the first packets of flows sends messages that differ in their values alone: cookie, table and the
fields of the match are those of the entry that copied the packet. :class:`PacketInReader` keeps where the values are
in such a message, and reads the next one by that: without os-ken's objects, and without a walk over the match. What
has another form is for :func:`flowlane.southbound.openflow.session.decode.packet_in`, which reads every one.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from flowlane.core.events import FlowSeen
from flowlane.core.model import NO_QUEUE
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.layout import Layout
from flowlane.southbound.openflow.wire import cookies, lldp, nicira
from flowlane.southbound.openflow.wire.packet_in_match import (
    FIXED,
    FIXED_START,
    MATCH_HEADER,
    MATCH_START,
    is_packet_in,
    places,
)

MOST_SHAPES = 1024
"""Forms of packet-ins of one connection that are kept; with one more all are read anew."""

_SHAPE = slice(14, 28)
"""Reason, table and cookie of a packet-in, and type and length of its match (1.3.5, 7.4.1)."""

_PADDING = 2
"""Octets between match and packet (7.4.1)."""


class _Shape(NamedTuple):
    """Where the values are in packet-ins of one entry.

    Attributes:
        mask: one bits where the match has the headers of its fields, ``headers``: what is there.
        end: the end of the match without its padding.
        start: where the packet begins.
        values: reads values of the match.
        order: which of them are ingress port, metadata, queue and meter; -1: not there, since its register is 0.
        is_learned: whether the table learns entries, and so reports queue and meter in registers.
        queue_id: the queue in the cookie, where it does not.
        waits: whether the packet waits in the controller.
    """

    mask: int
    headers: int
    end: int
    start: int
    values: Callable[[bytes, int], tuple[int, ...]]
    order: tuple[int, int, int, int]
    is_learned: bool
    queue_id: int | None
    waits: bool


class PacketInReader:
    """Reads packet-ins of one device, of which one with the same form has been read before."""

    def __init__(self, dpid: int) -> None:
        self._dpid = dpid
        self._layout: Layout | None = None
        self._shapes: dict[bytes, _Shape] = {}

    def read(self, message: bytes, layout: Layout) -> FlowSeen | None:
        """Read a packet-in, with its header; None: it has a form that is not known, or is no flow's."""
        shape = self._shapes.get(message[_SHAPE])
        if shape is None or layout is not self._layout or len(message) <= shape.start:
            return None
        mask, headers, end, start, values, order, is_learned, queue_id, waits = shape
        if int.from_bytes(message[MATCH_START:end]) & mask != headers:
            return None
        size = message[12] << 8 | message[13]
        data = message[start : start + size]
        if not data or lldp.is_probe(data):
            return None
        found = values(message, MATCH_START)
        egress = pipeline.egress_of(found[order[1]])
        if is_learned:
            queue = found[order[2]] - 1 if order[2] >= 0 else NO_QUEUE
            meter = found[order[3]] if order[3] >= 0 else 0
            return FlowSeen(self._dpid, found[order[0]], data, egress, queue, meter, waits)
        return FlowSeen(self._dpid, found[order[0]], data, egress, queue_id, 0, waits)

    def note(self, message: object, layout: Layout) -> None:
        """Keep the form of a packet-in that the guard has accepted, and that was read as a flow's."""
        if not is_packet_in(message):
            return
        if layout is not self._layout or len(self._shapes) >= MOST_SHAPES:
            self._layout = layout
            self._shapes.clear()
        if message[_SHAPE] not in self._shapes:
            shape = _shape_of(message, layout)
            if shape is not None:
                self._shapes[message[_SHAPE]] = shape


def _shape_of(message: bytes, layout: Layout) -> _Shape | None:
    """Find where the values are in a packet-in; None when one of them is not there."""
    _, _, _, table_id, cookie = FIXED.unpack_from(message, FIXED_START)
    length = MATCH_HEADER.unpack_from(message, MATCH_START)[1]
    end = MATCH_START + length
    mask = bytearray(length)
    found: dict[str, tuple[int, int]] = {}
    for header_at, name, value_at, octets in places(message):
        mask[header_at - MATCH_START : header_at - MATCH_START + 4] = b"\xff" * 4
        found[name] = value_at, octets
    is_learned = layout.table_of(table_id) == pipeline.TableId.LEARN
    wanted = [found.get("in_port"), found.get("metadata")]
    wanted += (
        [_register_at(found, name) for name in (nicira.QUEUE, nicira.METER)] if is_learned else (None, None)
    )
    if None in wanted[:2] or cookies.unpack(cookie) is None:
        return None
    in_order = sorted(place for place in wanted if place is not None)
    order = [-1 if place is None else in_order.index(place) for place in wanted]
    whole = int.from_bytes(mask)
    return _Shape(
        whole,
        int.from_bytes(message[MATCH_START:end]) & whole,
        end,
        end + -length % 8 + _PADDING,
        _values_at(in_order),
        (order[0], order[1], order[2], order[3]),
        is_learned,
        cookies.standing_queue(cookie),
        cookies.waits(cookie),
    )


def _register_at(found: dict[str, tuple[int, int]], name: str) -> tuple[int, int] | None:
    """Return where a register is: by itself or, in OpenFlow 1.5, as the half of one of 64 bits."""
    if name in found:
        return found[name]
    number = int(name.removeprefix("reg"))
    both = found.get(f"xreg{number // 2}")
    return None if both is None else (both[0] + 4 * (number % 2), 4)


def _values_at(in_order: list[tuple[int, int]]) -> Callable[[bytes, int], tuple[int, ...]]:
    """Return a function that reads integers at places of a message, from the begin of its match."""
    form, at = "!", MATCH_START
    for place, octets in in_order:
        form += f"{place - at}x{'I' if octets == 4 else 'Q'}"
        at = place + octets
    return Struct(form).unpack_from
