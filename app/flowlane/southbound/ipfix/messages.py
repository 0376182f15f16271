"""IPFIX messages (RFC 7011) of samples, read into sampled packets; bounded in time and memory, whatever the bytes are.

A message has sets: of templates, which say of what fields a record is made, and of records. Over UDP an exporter
repeats its templates from time to time: Open vSwitch 3.1 every ten minutes (ofproto/ofproto-dpif-ipfix.c,
IPFIX_TEMPLATE_INTERVAL). Until they have come, as after a restart of the controller, records are read by the layout
that Open vSwitch has had since version 2.17 (:mod:`.ovs_layout`), if their length is exactly that of the layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from flowlane.core.events import SampledPacket
from flowlane.core.flowkey import HEAD, IPV4, IPV6, LAYER2
from flowlane.errors import ProtocolError
from flowlane.southbound.ipfix import ovs_layout
from flowlane.southbound.ipfix.elements import (
    DST_IPV4,
    DST_IPV6,
    DST_PORT,
    ETH_DST,
    ETH_SRC,
    ETH_TYPE,
    FLOW_END_DELTA,
    ICMP_V4_CODE,
    ICMP_V4_TYPE,
    ICMP_V6_CODE,
    ICMP_V6_TYPE,
    INTERFACE_NAME,
    LAYER2_OCTETS,
    OBSERVATION_POINT,
    PACKETS,
    PROTOCOL,
    SRC_IPV4,
    SRC_IPV6,
    SRC_PORT,
    VARIABLE,
    VLAN,
    WANTED,
)

VERSION = 10
_TEMPLATES, _FIRST_DATA = 2, 256
_HEADER, _SET, _TEMPLATE, _FIELD = Struct("!HHIII"), Struct("!HH"), Struct("!HH"), Struct("!HH")
_ENTERPRISE_BIT, _ENTERPRISE_SIZE = 0x8000, 4
_LONG_LENGTH = 255

MAX_EXPORTERS, MAX_TEMPLATES, MAX_FIELDS = 1024, 256, 128
"""What is stored at most: exporters (address, observation domain), templates of each, fields of a template."""

MAX_PARTS = 1 << 16
"""Parts of all stored templates together, some 20 MB. Open vSwitch's templates have one or two each."""


class Field(NamedTuple):
    """A field of a record: the element, 0 for one that is not read, and its length, VARIABLE where the record says."""

    element: int
    length: int


class Part(NamedTuple):
    """Fields of a fixed length in a row, and the one of variable length behind them.

    ``fields``: (element, begin, end) of those that are read. ``variable``: the element behind, None for none.
    """

    length: int
    fields: tuple[tuple[int, int, int], ...]
    variable: int | None


class Layout(NamedTuple):
    """How to read the records of a template; ``least``: how long one is at least, in bytes."""

    parts: tuple[Part, ...]
    least: int


class Sampled(NamedTuple):
    """A sampled packet with the observation domain and point that identify its device."""

    domain: int
    point: int
    packet: SampledPacket


def layout_of(fields: list[Field]) -> Layout:
    """Arrange the fields of a template for reading."""
    parts: list[Part] = []
    length, read = 0, list[tuple[int, int, int]]()
    for field in fields:
        if field.length == VARIABLE:
            parts.append(Part(length, tuple(read), field.element))
            length, read = 0, []
            continue
        if field.element in WANTED:
            read.append((field.element, length, length + field.length))
        length += field.length
    parts.append(Part(length, tuple(read), None))
    return Layout(tuple(parts), sum(part.length + (part.variable is not None) for part in parts))


_KNOWN = {
    template_id: layout_of([Field(*field) for field in fields])
    for template_id, fields in ovs_layout.templates()
}


class Reader:
    """Reads messages, with the templates that exporters have sent."""

    def __init__(self) -> None:
        self._templates: dict[tuple[str, int], dict[int, Layout]] = {}
        self.stored_parts = 0
        """Parts of all templates that are stored."""

    def read(self, data: bytes, exporter: str) -> list[Sampled]:
        """Read one message.

        Args:
            exporter: the address that it came from.

        Raises:
            ProtocolError: the message is malformed. What it had before the fault counts for templates only.
        """
        if len(data) < _HEADER.size:
            raise ProtocolError(f"IPFIX message of {len(data)} bytes")
        version, length, exported, _, domain = _HEADER.unpack_from(data)
        if version != VERSION or length != len(data):
            raise ProtocolError(
                f"IPFIX message of version {version} and length {length} in {len(data)} bytes"
            )
        sampled: list[Sampled] = []
        for set_id, start, end in _sets(data):
            if set_id == _TEMPLATES:
                self._take_templates(data, start, end, (exporter, domain))
            elif set_id >= _FIRST_DATA:
                sampled += self._records(data, start, end, (exporter, domain), set_id, exported)
        return sampled

    def _take_templates(self, data: bytes, start: int, end: int, origin: tuple[str, int]) -> None:
        if origin not in self._templates and len(self._templates) >= MAX_EXPORTERS:
            self._forget_oldest()
        known = self._templates.setdefault(origin, {})
        for template_id, fields in _template_records(data, start, end):
            former = known.pop(template_id, None)
            self.stored_parts -= len(former.parts) if former is not None else 0
            if fields and len(known) < MAX_TEMPLATES:
                known[template_id] = layout_of(fields)
                self.stored_parts += len(known[template_id].parts)
        while self.stored_parts > MAX_PARTS:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Forget the templates of the exporter that is known longest."""
        of_one = self._templates.pop(next(iter(self._templates)))
        self.stored_parts -= sum(len(layout.parts) for layout in of_one.values())

    def _records(
        self, data: bytes, start: int, end: int, origin: tuple[str, int], template_id: int, exported: int
    ) -> Iterator[Sampled]:
        """Yield the records of a set; none where its template is not known."""
        own = self._templates.get(origin, {}).get(template_id)
        layout = own or _KNOWN.get(template_id)
        if layout is None or not layout.least:
            return
        while layout.least <= end - start:
            values, start = _values(data, start, end, layout)
            if own is None and start != end:
                return  # Open vSwitch sends each record in a set of its own.
            sampled = _sampled(values, origin[1], exported)
            if sampled is not None:
                yield sampled


def _sets(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (id, start, end) of the sets of a message."""
    position = _HEADER.size
    while position < len(data):
        if len(data) - position < _SET.size:
            raise ProtocolError(f"IPFIX set cut short: {len(data) - position} of {_SET.size} bytes")
        set_id, length = _SET.unpack_from(data, position)
        if length < _SET.size or position + length > len(data):
            raise ProtocolError(f"IPFIX set of length {length} in {len(data) - position} bytes")
        yield set_id, position + _SET.size, position + length
        position += length


def _template_records(data: bytes, start: int, end: int) -> Iterator[tuple[int, list[Field]]]:
    """Yield (template id, fields) of the records in a set of templates; no fields: it is withdrawn."""
    while end - start >= _TEMPLATE.size:  # The rest is padding.
        template_id, count = _TEMPLATE.unpack_from(data, start)
        start += _TEMPLATE.size
        if count > MAX_FIELDS:
            raise ProtocolError(f"IPFIX template of {count} fields, at most {MAX_FIELDS} are read")
        fields: list[Field] = []
        for _ in range(count):
            if end - start < _FIELD.size:
                raise ProtocolError("IPFIX template cut short")
            element, length = _FIELD.unpack_from(data, start)
            start += _FIELD.size
            if element & _ENTERPRISE_BIT:
                start, element = start + _ENTERPRISE_SIZE, 0
            fields.append(Field(element if _may_be(element, length) else 0, length))
        if start > end:
            raise ProtocolError("IPFIX template cut short")
        yield template_id, fields


def _may_be(element: int, length: int) -> bool:
    """Whether an element that is read has a length that can be read (RFC 7011 section 6.2: a number may be shorter)."""
    return element in WANTED and (length == VARIABLE or 0 < length <= WANTED[element])


def _values(data: bytes, start: int, end: int, layout: Layout) -> tuple[dict[int, bytes], int]:
    """Read one record: element -> its bytes, of several the first; and where the record ends."""
    values: dict[int, bytes] = {}
    for part in layout.parts:
        if end - start < part.length + (part.variable is not None):
            raise ProtocolError("IPFIX record cut short")
        for element, begin, stop in part.fields:
            values.setdefault(element, data[start + begin : start + stop])
        start += part.length
        if part.variable is not None:
            length, start = data[start], start + 1
            if length == _LONG_LENGTH:
                length, start = int.from_bytes(data[start : start + 2]), start + 2
            if length > end - start:
                raise ProtocolError(f"IPFIX field of length {length} in {end - start} bytes")
            if part.variable != INTERFACE_NAME and length > WANTED.get(part.variable, length):
                raise ProtocolError(f"IPFIX element {part.variable} of length {length}")
            values.setdefault(part.variable, data[start : start + length])
            start += length
    return values, start


def _sampled(values: dict[int, bytes], domain: int, exported: int) -> Sampled | None:
    """Make a sampled packet of a record; None where it lacks what a flow key needs."""
    packets, octets = (int.from_bytes(values.get(name, b"")) for name in (PACKETS, LAYER2_OCTETS))
    tail = _tail(values)
    source = values.get(ETH_SRC, b"")
    if not packets or not octets or tail is None or len(source) != WANTED[ETH_SRC]:
        return None
    packet = SampledPacket(
        tail,
        int.from_bytes(source),
        values.get(INTERFACE_NAME, b"").rstrip(b"\0").decode("utf-8", "replace"),
        # Open vSwitch multiplies both by the number of packets that the sample stands for.
        octets // packets,
        exported - int.from_bytes(values.get(FLOW_END_DELTA, b"")) / 1e6,
    )
    return Sampled(domain, int.from_bytes(values.get(OBSERVATION_POINT, b"")), packet)


def _tail(values: dict[int, bytes]) -> bytes | None:
    """Make the part of the flow key behind the number of the VM."""
    vlan = int.from_bytes(values[VLAN]) + 1 if VLAN in values else 0
    for kind, source, destination in ((IPV4, SRC_IPV4, DST_IPV4), (IPV6, SRC_IPV6, DST_IPV6)):
        if source in values and destination in values:
            ports = _numbers(values, *_PORTS[kind]) if ICMP_FIELD[kind] in values else None
            ports = ports or _numbers(values, SRC_PORT, DST_PORT)
            protocol = int.from_bytes(values.get(PROTOCOL, b""))
            addresses = values[source] + values[destination]
            return _packed(vlan, kind, protocol, ports, addresses) if len(addresses) == _SIZES[kind] else None
    addresses = values.get(ETH_SRC, b"") + values.get(ETH_DST, b"")
    ethertype = int.from_bytes(values.get(ETH_TYPE, b""))
    return _packed(vlan, LAYER2, 0, (ethertype, 0), addresses) if len(addresses) == _SIZES[LAYER2] else None


ICMP_FIELD = {IPV4: ICMP_V4_TYPE, IPV6: ICMP_V6_TYPE}
_PORTS = {IPV4: (ICMP_V4_TYPE, ICMP_V4_CODE), IPV6: (ICMP_V6_TYPE, ICMP_V6_CODE)}
_SIZES = {IPV4: 8, IPV6: 32, LAYER2: 12}


def _numbers(values: dict[int, bytes], first: int, second: int) -> tuple[int, int]:
    return int.from_bytes(values.get(first, b"")), int.from_bytes(values.get(second, b""))


def _packed(vlan: int, kind: int, protocol: int, ports: tuple[int, int], addresses: bytes) -> bytes | None:
    if vlan > 0x1000:
        return None
    return HEAD.pack(0, vlan, kind, protocol, *ports)[4:] + addresses
