"""Learned entries, which a device has by the ten thousand, read without a parser.

Nearly all of them have one of a few shapes: the same fields in the same order, with other addresses. Each shape is
learnt from the first entry that has it, which os-ken and :mod:`.readback` read; what is read by shape afterwards is
what they would read. The same goes for what entries do, of which there are fewer kinds still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core.events import LearnedFlow
from flowlane.core.flowkey import HEAD_LENGTH, IPV4, IPV6
from flowlane.core.frame import ETH_IPV4, ETH_IPV6
from flowlane.southbound.openflow.wire import cookies, fields, flow_stats
from flowlane.southbound.openflow.wire.fields import port_fields

if TYPE_CHECKING:
    from flowlane.southbound.openflow.wire.flow_stats import Raw

Message = Any
Read = Callable[[Any], LearnedFlow | None]
"""How an entry that os-ken has parsed is read."""

MOST = 4096
"""Shapes and kinds of actions that are kept; more would be no flows of ours."""

_VARIABLE = ("in_port", "metadata", "eth_src", "eth_dst", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst")


class Place(NamedTuple):
    """Where a value stands in a match's bytes."""

    start: int
    end: int


class Shape(NamedTuple):
    """Matches of one kind: ``mask`` covers what is the same in all of them, ``same`` is what that is.

    A flow key is put together of ``parts``: bytes as they are, or those at a place of the match.
    """

    mask: int
    same: int
    in_port: Place
    egress_port: Place
    eth_src: Place
    parts: tuple[bytes | Place, ...]


class Does(NamedTuple):
    """What an entry remembers: the queue, the marks of the flow's first packet, the meter of its class."""

    queue_id: int
    dscp: int
    pcp: int
    meter_id: int


class Reader:
    """Reads the learned entries of replies; ``slowly`` is what it learns from and falls back to."""

    def __init__(self, slowly: Read) -> None:
        self._slowly = slowly
        self._shapes: dict[int, list[Shape]] = {}
        self._does: dict[bytes, Does] = {}
        self._kept = 0
        self.slow = 0
        """Entries that were read in the slow way."""

    def read(self, message: Message) -> Iterator[LearnedFlow]:
        """The flows of one part of a reply."""
        found = flow_stats.entries(message)
        try:
            flows = list(self._by_body(message) if found is None else self._all(message, found))
        except ValueError:
            flows = list(self._by_body(message))
        return iter(flows)

    def _by_body(self, message: Message) -> Iterator[LearnedFlow]:
        body = getattr(message, "body", None)
        for stats in body if isinstance(body, list | tuple) else ():
            self.slow += 1
            flow = self._slowly(stats)
            if flow is not None:
                yield flow

    def _all(self, message: Message, found: Iterator[Raw]) -> Iterator[LearnedFlow]:
        for raw in found:
            if raw.cookie & cookies.KIND_MASK == _LEARNED:
                flow = self._quickly(raw) or self._learn(message, raw)
                if flow is not None:
                    yield flow

    def _quickly(self, raw: Raw) -> LearnedFlow | None:
        does = self._does.get(raw.instructions)
        if does is None:
            return None
        number = int.from_bytes(raw.fields, "big")
        for shape in self._shapes.get(len(raw.fields), ()):
            if number & shape.mask == shape.same:
                return _flow(shape, does, raw)
        return None

    def _learn(self, message: Message, raw: Raw) -> LearnedFlow | None:
        """Read an entry in the slow way, and remember its shape and what it does."""
        self.slow += 1
        flow = self._slowly(message.cls_stats_body_cls.parser(message.buf, raw.start))
        if flow is None or self._kept >= MOST:
            return flow
        self._kept += 1
        self._does[raw.instructions] = does = Does(flow.queue_id, flow.dscp, flow.pcp, flow.meter_id)
        shape = shape_of(raw.fields, flow.key)
        if shape is not None and _flow(shape, does, raw) == flow:
            known = self._shapes.setdefault(len(raw.fields), [])
            if shape not in known:
                known.append(shape)
        return flow


_LEARNED = cookies.pack(cookies.Kind.LEARNED)


def _flow(shape: Shape, does: Does, raw: Raw) -> LearnedFlow:
    data = raw.fields
    key = b"".join([part if isinstance(part, bytes) else data[part[0] : part[1]] for part in shape.parts])
    return LearnedFlow(
        key,
        int.from_bytes(data[shape.in_port[0] : shape.in_port[1]], "big"),
        int.from_bytes(data[shape.egress_port[0] : shape.egress_port[1]], "big"),
        int.from_bytes(data[shape.eth_src[0] : shape.eth_src[1]], "big"),
        does.queue_id,
        raw.packets,
        raw.octets,
        does.dscp,
        does.pcp,
        does.meter_id,
    )


def shape_of(data: bytes, key: bytes) -> Shape | None:
    """The shape of a match, from its bytes and the flow key that it stands for; None where it has none."""
    places = places_of(data)
    if places is None or not {"in_port", "metadata", "eth_src"} <= places.keys():
        return None
    eth_type = _value(data, places.get("eth_type"))
    protocol = _value(data, places.get("ip_proto"))
    addresses = _addresses(eth_type, protocol, places)
    if addresses is None:
        return None
    ports = port_fields(eth_type, protocol) if protocol else None
    metadata = places["metadata"]
    parts: list[bytes | Place] = [Place(metadata.start, metadata.start + 4), key[4:8]]
    names = ports or ()
    if not set(names) <= places.keys():
        return None
    for name in names:
        if fields.FIELDS[name].octets == 1:
            parts.append(b"\x00")
        parts.append(places[name])
    parts += (key[8:HEAD_LENGTH],) if ports is None else ()
    parts += addresses
    taken = [place for name, place in places.items() if name in _VARIABLE or name in names]
    mask = bytearray(b"\xff" * len(data))
    for start, end in taken:
        mask[start:end] = bytes(end - start)
    number = int.from_bytes(mask, "big")
    return Shape(
        number,
        int.from_bytes(data, "big") & number,
        places["in_port"],
        Place(metadata.start + 4, metadata.end),
        places["eth_src"],
        tuple(parts),
    )


def _addresses(eth_type: int, protocol: int, places: dict[str, Place]) -> tuple[Place, Place] | None:
    family = {ETH_IPV4: IPV4, ETH_IPV6: IPV6}.get(eth_type) if protocol or "ip_proto" in places else None
    names = {IPV4: ("ipv4_src", "ipv4_dst"), IPV6: ("ipv6_src", "ipv6_dst")}.get(
        family or 0, ("eth_src", "eth_dst")
    )
    return (places[names[0]], places[names[1]]) if set(names) <= places.keys() else None


def _value(data: bytes, place: Place | None) -> int:
    return 0 if place is None else int.from_bytes(data[place.start : place.end], "big")


def places_of(data: bytes) -> dict[str, Place] | None:
    """Field -> where its value stands, of the unmasked fields that Flowlane knows; None where lengths are wrong."""
    found: dict[str, Place] = {}
    at = 0
    while at < len(data):
        header, length = (
            int.from_bytes(data[at : at + 4], "big"),
            data[at + 3] if at + 4 <= len(data) else 255,
        )
        end = at + 4 + length
        if end > len(data):
            return None
        name = fields.name_of(header >> 16, header >> 9 & 0x7F)
        if name is not None and not header & 0x100 and fields.FIELDS[name].octets == length:
            found[name] = Place(at + 4, end)
        at = end
    return found
