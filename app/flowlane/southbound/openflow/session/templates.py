"""Messages that differ between flows only in values: pins, and the packet-outs of packets that wait.

A template is made of the message that the general way makes (:mod:`.packing`, :mod:`.encode`): of a pin for each
sender, pair of ports and protocol, of a packet-out for each pair of ports and queue. It is then filled with the
addresses and ports of a flow's key, its cookie and its timeout, or with the packet. Tests compare every kind with the
general way.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from flowlane.core.effects import PinFlow, SendPacket, UnpinFlow
from flowlane.core.flowkey import HEAD_LENGTH, LAYER2
from flowlane.southbound.openflow.session import encode, packing
from flowlane.southbound.openflow.tables import pins
from flowlane.southbound.openflow.tables.entries import Op
from flowlane.southbound.openflow.wire import cookies, fields
from flowlane.southbound.openflow.wire.parts import WireMatch

if TYPE_CHECKING:
    from flowlane.southbound.openflow.session.encode import Datapath
    from flowlane.southbound.openflow.tables.layout import Layout

_HEAD = Struct("!2sHIQ10sH20s")
"""``ofp_flow_mod`` before its match: version and type, length, transaction id, cookie, the cookie's mask, table and
command, idle timeout, and what is the same in all pins (OpenFlow 1.3.5 section 7.3.4.1)."""

_PACKET_HEAD = Struct("!2sHI")
_PIN = cookies.pack(cookies.Kind.PIN)
_GENERATION_AT = 32
_MARKED = 1 << 16
"""Choices from which on they have a mark (:mod:`flowlane.core.marks`)."""

_Key = TypeVar("_Key")
_Made = TypeVar("_Made")


class _Template(NamedTuple):
    """The match of the pins of one sender, pair of ports and protocol.

    ``match`` has ``%b`` for each of the ``values`` of a key.
    """

    key_length: int
    match: bytes
    values: Callable[[bytes], tuple[bytes, ...]]


class Templates:
    """The templates of one device.

    Args:
        learns: whether the device has Open vSwitch's registers (:func:`.pins.entry`).
        normal: whether it forwards by itself (:func:`.encode.sent_back`).
    """

    def __init__(self, datapath: Datapath, layout: Layout, *, learns: bool, normal: bool) -> None:
        self._datapath, self._layout = datapath, layout
        self.learns, self._normal = learns, normal
        self._matches: dict[tuple[bytes, int, int, bool], _Template] = {}
        self._tails: dict[tuple[int, int], bytes] = {}
        """Queue and meter -> instructions; what a pin matches makes a difference for marks without registers only."""
        self._packets: dict[tuple[int, int, int], tuple[bytes, int, bytes]] = {}
        self._heads: dict[Op, tuple[bytes, bytes, bytes]] = {}

    def has(self, choice: int) -> bool:
        """Return whether there are templates of pins with a choice; of marks only where registers lead to them."""
        return self.learns or choice < _MARKED

    def pin(self, pin: PinFlow, xid: int) -> bytes:
        """Return the flow-mod of a pin; see :func:`.pins.change`.

        Raises:
            ValueError: it has not the key of a flow.
        """
        match = self._match(pin)
        choice = pin.queue_id, pin.meter_id
        tail = self._tails.get(choice)
        if tail is None:
            steps = pins.entry(pin, self.learns).steps
            tail = _store(self._tails, choice, packing.instructions(self._datapath, steps, self._layout))
        return self._flow_mod(Op.MODIFY if pin.moved else Op.ADD, pin, xid, pin.idle_timeout, match + tail)

    def unpin(self, pin: UnpinFlow, xid: int) -> bytes:
        """Return the flow-mod that deletes a pin; see :func:`.pins.change`.

        Raises:
            ValueError: it has not the key of a flow.
        """
        return self._flow_mod(Op.DELETE, pin, xid, 0, self._match(pin))

    def packet(self, effect: SendPacket, xid: int) -> bytes:
        """Return the packet-out of a packet that waits in the controller; see :func:`.encode.sent_back`."""
        frame = effect.frame
        place = effect.in_port, effect.egress_port, effect.queue_id
        start, length, rest = self._packets.get(place) or self._new_packet(effect)
        return _PACKET_HEAD.pack(start, length + len(frame), xid) + rest + frame

    def _new_packet(self, effect: SendPacket) -> tuple[bytes, int, bytes]:
        message = packing.serialized(
            encode.sent_back(self._datapath, effect._replace(frame=b""), self._normal)
        )
        made = message[:2], len(message), message[_PACKET_HEAD.size :]
        return _store(self._packets, (effect.in_port, effect.egress_port, effect.queue_id), made)

    def _flow_mod(self, op: Op, pin: PinFlow | UnpinFlow, xid: int, timeout: int, rest: bytes) -> bytes:
        row, generation = pin.ref
        start, command, middle = self._heads.get(op) or self._new_head(op, pin)
        cookie = _PIN | generation << _GENERATION_AT | row
        return _HEAD.pack(start, _HEAD.size + len(rest), xid, cookie, command, timeout, middle) + rest

    def _new_head(self, op: Op, pin: PinFlow | UnpinFlow) -> tuple[bytes, bytes, bytes]:
        message = packing.change(self._datapath, pins.change(pin, self.learns), self._layout)
        start, _, _, _, command, _, middle = _HEAD.unpack_from(message)
        self._heads[op] = start, command, middle
        return self._heads[op]

    def _match(self, pin: PinFlow | UnpinFlow) -> bytes:
        key = pin.key
        place = key[:8], pin.in_port, pin.egress_port, pin.by_vm
        template = self._matches.get(place)
        if template is None:
            terms = pins.match_of(key, pin.in_port, pin.egress_port, self.learns, pin.by_vm)
            template = _store(self._matches, place, _template(key, terms))
        if len(key) != template.key_length:
            raise ValueError(f"the key of a flow has {template.key_length} bytes here, and not {len(key)}")
        return template.match % template.values(key)


def _store(stored: dict[_Key, _Made], key: _Key, made: _Made) -> _Made:
    """Store what was made; all that was stored goes when there is too much."""
    if len(stored) >= packing.MOST_STORED:
        stored.clear()
    stored[key] = made
    return made


def _template(key: bytes, terms: fields.Match) -> _Template:
    """Make the template of a flow's match, for all keys of its length whose first 8 bytes are the same."""
    places = _places(key)
    whole, body = WireMatch(terms).data, fields.pack(terms)
    parts, values = [whole[:4]], []
    for term in terms:
        packed = fields.pack((term,))
        place = places.get(term.field)
        if place is None:
            parts.append(packed.replace(b"%", b"%%"))
            continue
        values.append(slice(place.stop - fields.FIELDS[term.field].octets, place.stop))
        parts += (packed[:4].replace(b"%", b"%%"), b"%b")
    parts.append(whole[4 + len(body) :])
    parts[0] = parts[0].replace(b"%", b"%%")
    return _Template(len(key), b"".join(parts), itemgetter(*values))


def _places(key: bytes) -> dict[str, slice]:
    """Return field -> where a key of this kind has its value, at its end."""
    middle = HEAD_LENGTH + (len(key) - HEAD_LENGTH) // 2
    source, destination = slice(HEAD_LENGTH, middle), slice(middle, len(key))
    first, second = slice(8, 10), slice(10, HEAD_LENGTH)
    if key[6] == LAYER2:
        return {"eth_src": source, "eth_dst": destination, "eth_type": first}
    places = {"ipv4_src": source, "ipv6_src": source, "ipv4_dst": destination, "ipv6_dst": destination}
    for names in fields.PORT_FIELDS.values():
        places |= {names[0]: first, names[1]: second}
    return places
