"""Messages about flows that come together on one connection: packet-ins, and the ends of pins and learned entries.

They are most of what a busy switch sends. They are read from their bytes by the form of earlier ones, up to the first
message that has another form: that one goes os-ken's way.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from flowlane.core.events import FlowMessage, LearnedEnded, PinEnded
from flowlane.core.model import PinRef
from flowlane.southbound.openflow.session.learned_entries import MAX_SHAPES, Shape, identity, shape_of
from flowlane.southbound.openflow.session.packet_ins import PacketInReader
from flowlane.southbound.openflow.tables.layout import Layout
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.constants import (
    FLOW_REMOVED,
    IDLE_TIMEOUT,
    OPENFLOW_14,
    PACKET_IN,
)

_REMOVED = Struct("!QHBBIIHHQQHH")
"""Cookie, priority, reason, table, duration, timeouts, packets, bytes, type and length of the match (1.3.5, 7.4.2)."""

_MATCH_FIELDS = 52
"""Where the fields of the match begin in a flow-removed message of OpenFlow 1.3 and 1.4."""

_OXM_MATCH = 1
_OF_KIND = 44
_PIN = cookies.pack(cookies.Kind.PIN) >> _OF_KIND
_LEARNED = cookies.pack(cookies.Kind.LEARNED) >> _OF_KIND
_GENERATIONS = (1 << cookies.GENERATION_BITS) - 1


class FlowMessageReader:
    """Reads the messages about flows of one device."""

    def __init__(self, dpid: int) -> None:
        self.packet_ins = PacketInReader(dpid)
        self.ends = EndReader(dpid)

    def read(self, messages: Iterable[bytes], layout: Layout) -> list[FlowMessage]:
        """Read messages, with their headers, up to the first one whose form is not known."""
        found: list[FlowMessage] = []
        for message in messages:
            is_packet = message[1] == PACKET_IN
            read = self.packet_ins.read(message, layout) if is_packet else self.ends.read(message)
            if read is None:
                break
            found.append(read)
        return found


class EndReader:
    """Reads flow-removed messages of OpenFlow 1.3 and 1.4: those of learned entries by the form of earlier ones."""

    def __init__(self, dpid: int) -> None:
        self._dpid = dpid
        self._shapes: dict[int, dict[int, dict[int, Shape]]] = {}
        """Octets of a match's fields -> mask -> common bits -> the shape."""
        self._stored = 0

    def read(self, message: bytes) -> PinEnded | LearnedEnded | None:
        """Read the end of a pin or of a learned entry; None: its form is not known, or it is of another entry."""
        if message[0] > OPENFLOW_14 or message[1] != FLOW_REMOVED or len(message) < _MATCH_FIELDS:
            return None
        cookie, _, reason, _, _, _, _, _, packets, octets, kind, length = _REMOVED.unpack_from(message, 8)
        is_idle = reason == IDLE_TIMEOUT
        if kind != _OXM_MATCH:
            return None
        if cookie >> _OF_KIND == _PIN:
            ref = PinRef(cookie & 0xFFFFFFFF, cookie >> 32 & _GENERATIONS)
            return PinEnded(self._dpid, ref, packets, octets, is_idle)
        if cookie >> _OF_KIND != _LEARNED:
            return None
        fields = message[_MATCH_FIELDS : _MATCH_FIELDS + length - 4]
        shape = self._shape_of(fields)
        return None if shape is None else self._ended(shape, fields, packets, octets, is_idle)

    def note(self, message: object, ended: LearnedEnded) -> None:
        """Keep the form of a flow-removed message that the guard has accepted, and that was read as this end."""
        if not isinstance(message, bytes) or message[0] > OPENFLOW_14 or len(message) < _MATCH_FIELDS:
            return
        length = _REMOVED.unpack_from(message, 8)[-1]
        fields = message[_MATCH_FIELDS : _MATCH_FIELDS + length - 4]
        if self._shape_of(fields) is not None:
            return
        shape = shape_of(fields, ended.key)
        if shape is None or self._ended(shape, fields, ended.packets, ended.octets, ended.idle) != ended:
            return
        if self._stored >= MAX_SHAPES:
            self._stored = 0
            self._shapes.clear()
        self._stored += 1
        self._shapes.setdefault(len(fields), {}).setdefault(shape.mask, {})[shape.common] = shape

    def _shape_of(self, fields: bytes) -> Shape | None:
        number = int.from_bytes(fields)
        for mask, shapes in self._shapes.get(len(fields), {}).items():
            shape = shapes.get(number & mask)
            if shape is not None:
                return shape
        return None

    def _ended(self, shape: Shape, fields: bytes, packets: int, octets: int, is_idle: bool) -> LearnedEnded:
        return LearnedEnded(self._dpid, *identity(shape, fields), packets, octets, is_idle)
