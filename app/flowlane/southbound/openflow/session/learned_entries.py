"""A reader of learned entries from their bytes; a device may have ten thousand of them.

Nearly all of them have one of a few shapes: the same fields in the same order, with other values. The first
entry of a shape is parsed by os-ken and :mod:`.readback`, and the reader derives the shape from the result.
Every other entry of the shape is read by it, with the same result. The same goes for the registers that an
entry loads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core.events import LearnedFlow
from flowlane.core.flow.entry_columns import LearnedColumns, columns_of, merged
from flowlane.core.flowkey import HEAD_LENGTH, LAYER2
from flowlane.southbound.openflow.session import decode
from flowlane.southbound.openflow.session.entry_layouts import Layout, layout_of
from flowlane.southbound.openflow.wire import cookies, fields, flow_stats, guard, nicira
from flowlane.southbound.openflow.wire.fields import port_fields

if TYPE_CHECKING:
    from flowlane.southbound.openflow.wire.flow_stats import RawEntry

Message = Any
Parse = Callable[[Any], LearnedFlow | None]
"""A function that reads an entry which os-ken has parsed."""

MAX_SHAPES = 4096
"""Entries from which shapes and loads are stored; a device of ours has far fewer. Beyond that all are learnt anew, as
VMs may send in every VLAN, and in every protocol."""

MAX_LAYOUTS = 8
"""Layouts of entries of one length: protocols and VLANs. Entries of others are read one by one."""

_VARYING = ("in_port", "metadata", "eth_src", "eth_dst", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst")


class Place(NamedTuple):
    """Start and end of a value in the bytes of a match."""

    start: int
    end: int


class Shape(NamedTuple):
    """What the matches of one kind have in common, all of them with the same length.

    ``mask`` covers the bits that are the same in all of them, ``common`` is their value. A flow key is joined
    of ``parts``: constant bytes, or the bytes at a place of the match.
    """

    mask: int
    common: int
    in_port: Place
    egress_port: Place
    eth_src: Place
    parts: tuple[bytes | Place, ...]


class Loads(NamedTuple):
    """What an entry loads into registers: the queue, the marks of the flow's first packet, the meter of its class."""

    queue_id: int
    dscp: int
    pcp: int
    meter_id: int


class Reader:
    """Reads the learned entries of replies by their shapes.

    Args:
        parse: reads the entries whose shape is not known.
    """

    def __init__(self, parse: Parse) -> None:
        self._parse = parse
        self._shapes: dict[int, dict[int, dict[int, Shape]]] = {}
        """Length of a match in bytes -> mask -> common bits -> the shape: as fast for many shapes as for one."""
        self._loads: dict[bytes, Loads] = {}
        """Bytes of an entry's instructions, without the number of its group -> what it loads."""
        self._layouts: dict[tuple[int, int], list[Layout]] = {}
        """Version and length of an entry -> the layouts of such entries."""
        self._stored = 0
        self.parsed = 0
        """Entries that were parsed."""

    def read(self, message: Message) -> Collection[LearnedFlow]:
        """Return the flows of one part of a reply."""
        data = getattr(message, "buf", None)
        if not isinstance(data, bytes) or (places := flow_stats.starts(data)) is None:
            return list(self._by_body(message))
        if len(places) == 1:
            columns = self._all_alike(data[flow_stats.FIRST :], data[0], *places)
            if columns is not None:
                return columns
        if not places:
            return ()
        parts: list[LearnedColumns] = []
        starts, others = [], []
        for length, of_length in places.items():
            read, left = self._by_layouts(data, length, of_length, parts)
            starts += read
            others += left
        if others:
            guard.check_flows(data)
            try:
                flows = dict(self._one_by_one(message, others))
            except ValueError:
                return list(self._by_body(message))
            starts += flows
            parts.append(columns_of(flows.values()))
        return merged(parts, sorted(range(len(starts)), key=starts.__getitem__))

    def _all_alike(self, entries: bytes, version: int, length: int) -> LearnedColumns | None:
        """Read entries of one length; None where not all of them are of one known layout."""
        for layout in self._layouts.get((version, length), ()):
            if layout.is_of_all(entries):
                loads = layout.loads(entries, self._loads_of)
                known = [each for each in loads if each is not None]
                return layout.columns(entries, known) if len(known) == len(loads) else None
        return None

    def _by_layouts(
        self, data: bytes, length: int, starts: list[int], parts: list[LearnedColumns]
    ) -> tuple[list[int], list[int]]:
        """Read the entries of one length whose layout is known; return their places and those of the others.

        Args:
            parts: where to add the entries of each layout.
        """
        read: list[int] = []
        rest: list[int] = []
        for layout in self._layouts.get((data[0], length), ()):
            alike = [start for start in starts if layout.is_of(data, start)]
            if not alike:
                continue
            entries = b"".join([data[start : start + length] for start in alike])
            loads = dict(zip(alike, layout.loads(entries, self._loads_of), strict=True))
            rest += [start for start, each in loads.items() if each is None]
            starts = [start for start in starts if start not in loads]
            known = {start: each for start, each in loads.items() if each is not None}
            entries = b"".join([data[start : start + length] for start in known])
            parts.append(layout.columns(entries, [*known.values()]))
            read += known
        return read, rest + starts

    def _loads_of(self, instructions: bytes) -> Loads | None:
        return self._loads.get(nicira.without_group(instructions))

    def _one_by_one(self, message: Message, starts: list[int]) -> Iterator[tuple[int, LearnedFlow]]:
        for start in starts:
            raw = flow_stats.entry_at(message.buf, start)
            if raw.cookie & cookies.KIND_MASK == _LEARNED:
                flow = self._by_shape(raw) or self._by_parser(message, raw)
                if flow is not None:
                    yield start, flow

    def _by_body(self, message: Message) -> Iterator[LearnedFlow]:
        body = getattr(message, "body", None)
        for stats in body if isinstance(body, list | tuple) else ():
            self.parsed += 1
            flow = self._parse(stats)
            if flow is not None:
                yield flow

    def _by_shape(self, raw: RawEntry) -> LearnedFlow | None:
        loads = self._loads.get(nicira.without_group(raw.instructions))
        if loads is None:
            return None
        number = int.from_bytes(raw.fields, "big")
        for mask, shapes in self._shapes.get(len(raw.fields), {}).items():
            shape = shapes.get(number & mask)
            if shape is not None:
                return _flow(shape, loads, raw)
        return None

    def _by_parser(self, message: Message, raw: RawEntry) -> LearnedFlow | None:
        """Parse an entry, and store its shape and its loads."""
        self.parsed += 1
        stats = decode.entry_at(message, raw.start)
        flow = None if stats is None else self._parse(stats)
        if flow is None:
            return flow
        if self._stored >= MAX_SHAPES:
            self._stored = 0
            self._shapes.clear()
            self._loads.clear()
            self._layouts.clear()
        self._stored += 1
        loads = Loads(flow.queue_id, flow.dscp, flow.pcp, flow.meter_id)
        self._loads[nicira.without_group(raw.instructions)] = loads
        shape = shape_of(raw.fields, flow.key)
        if shape is not None and _flow(shape, loads, raw) == flow:
            self._shapes.setdefault(len(raw.fields), {}).setdefault(shape.mask, {})[shape.common] = shape
            self._store_layout(message.buf, raw, shape, flow)
        return flow

    def _store_layout(self, data: bytes, raw: RawEntry, shape: Shape, flow: LearnedFlow) -> None:
        """Store the layout of an entry, where it gives the same flow and its length has few layouts."""
        layout = layout_of(data, raw, shape)
        layouts = self._layouts.setdefault((data[0], layout.length), [])
        if len(layouts) >= MAX_LAYOUTS or layout in layouts:
            return
        entry = data[raw.start : raw.start + layout.length]
        loads = Loads(flow.queue_id, flow.dscp, flow.pcp, flow.meter_id)
        if list(layout.columns(entry, [loads])) == [flow]:
            layouts.append(layout)


_LEARNED = cookies.pack(cookies.Kind.LEARNED)


def _flow(shape: Shape, loads: Loads, raw: RawEntry) -> LearnedFlow:
    return LearnedFlow(
        *identity(shape, raw.fields),
        loads.queue_id,
        raw.packets,
        raw.octets,
        loads.dscp,
        loads.pcp,
        loads.meter_id,
        cookies.group_of(raw.cookie),
        raw.seconds,
    )


def identity(shape: Shape, data: bytes) -> tuple[bytes, int, int, int]:
    """Return the flow's key, ingress port, egress port and source MAC, from the fields of a match of this shape."""
    return (
        b"".join([part if isinstance(part, bytes) else data[part[0] : part[1]] for part in shape.parts]),
        int.from_bytes(data[shape.in_port[0] : shape.in_port[1]], "big"),
        int.from_bytes(data[shape.egress_port[0] : shape.egress_port[1]], "big"),
        int.from_bytes(data[shape.eth_src[0] : shape.eth_src[1]], "big"),
    )


def shape_of(data: bytes, key: bytes) -> Shape | None:
    """Derive the shape of a match from its bytes and the flow key that they mean; None when that is not possible."""
    places = places_of(data)
    if places is None or not {"in_port", "metadata", "eth_src"} <= places.keys():
        return None
    eth_type = _value(data, places.get("eth_type"))
    protocol = _value(data, places.get("ip_proto"))
    addresses = _addresses(places)
    if addresses is None:
        return None
    ports = port_fields(eth_type, protocol) if protocol else None
    metadata = places["metadata"]
    parts: list[bytes | Place] = [Place(metadata.start, metadata.start + 4), key[4:8]]
    names: tuple[str, ...] = ports or ()
    if not set(names) <= places.keys():
        return None
    for name in names:
        if fields.FIELDS[name].octets == 1:
            parts.append(b"\x00")
        parts.append(places[name])
    if key[6] == LAYER2 and key[8:10] == eth_type.to_bytes(2):  # Any VM may send frames of every ethertype.
        names = ("eth_type",)
        parts += (places["eth_type"], key[10:HEAD_LENGTH])
    elif ports is None:
        parts.append(key[8:HEAD_LENGTH])
    parts += addresses
    varying = [place for name, place in places.items() if name in _VARYING or name in names]
    mask = bytearray(b"\xff" * len(data))
    for start, end in varying:
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


def _addresses(places: dict[str, Place]) -> tuple[Place, Place] | None:
    pairs = (("ipv4_src", "ipv4_dst"), ("ipv6_src", "ipv6_dst"), ("eth_src", "eth_dst"))
    return next(
        ((places[source], places[target]) for source, target in pairs if {source, target} <= places.keys()),
        None,
    )


def _value(data: bytes, place: Place | None) -> int:
    return 0 if place is None else int.from_bytes(data[place.start : place.end], "big")


def places_of(data: bytes) -> dict[str, Place] | None:
    """Return field -> place of its value, for the fields without a mask; None when lengths are wrong."""
    places: dict[str, Place] = {}
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
            places[name] = Place(at + 4, end)
        at = end
    return places
