"""Many learned entries unpacked at once: the layout of entries of one length and one shape.

A reply reports hundreds of entries that differ only in values. Whether all of them are of one layout is seen by a
comparison of columns: the byte at one place of all entries. One :class:`struct.Struct` then unpacks them all. So an
entry takes a fraction of the time that it takes to be looked at alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core.events import LearnedFlow
from flowlane.southbound.openflow.wire import flow_stats
from flowlane.southbound.openflow.wire.constants import OPENFLOW_15

if TYPE_CHECKING:
    from flowlane.southbound.openflow.session.learned_entries import Loads, Shape
    from flowlane.southbound.openflow.wire.flow_stats import RawEntry

_NUMBERS = {4: "I", 8: "Q"}
_PICKED = (
    "in_port",
    "egress_port",
    "eth_src",
    "group",
    "packets",
    "octets",
    "seconds",
    "nanoseconds",
    "instructions",
)
"""The values of a flow beside its key and what its entry loads."""

_make = tuple.__new__


class Layout(NamedTuple):
    """Where entries have what, all of them of ``length`` bytes.

    ``columns``: place -> the byte there of every entry. ``mask``, ``common``: the same for one entry as a number, up to
    its instructions. ``unpack`` gives the values in the order of their places, of which ``values`` picks those of a
    :class:`LearnedFlow`, and ``key`` those that fill ``template`` to the flow's key.
    """

    length: int
    columns: tuple[tuple[int, bytes], ...]
    mask: int
    common: int
    head: int
    unpack: Callable[[bytes], Iterator[tuple[int | bytes, ...]]]
    template: bytes
    key: Callable[[tuple[int | bytes, ...]], tuple[bytes, ...]]
    values: Callable[[tuple[int | bytes, ...]], tuple[int, int, bytes, int, int, int, int, int, bytes]]

    def is_of_all(self, data: bytes, start: int) -> bool:
        """Whether all entries from a place on are of this layout; their number is whole."""
        count = (len(data) - start) // self.length
        return all(data[start + at :: self.length] == byte * count for at, byte in self.columns)

    def is_of(self, data: bytes, start: int) -> bool:
        """Whether the entry at a place is of this layout."""
        return int.from_bytes(data[start : start + self.head]) & self.mask == self.common

    def flows(
        self, entries: bytes, loads_of: Callable[[bytes], Loads | None]
    ) -> Iterator[LearnedFlow | None]:
        """Yield the flows of entries of this layout; None where it is not known what an entry loads."""
        known: dict[bytes, Loads | None] = {}
        template, key, values = self.template, self.key, self.values
        for unpacked in self.unpack(entries):
            in_port, egress_port, eth_src, group, packets, octets, seconds, nanoseconds, instructions = (
                values(unpacked)
            )
            try:
                loads = known[instructions]
            except KeyError:
                loads = known[instructions] = loads_of(instructions)
            if loads is None:
                yield None
                continue
            queue_id, dscp, pcp, meter_id = loads
            yield _make(
                LearnedFlow,
                (
                    template % key(unpacked),
                    in_port,
                    egress_port,
                    int.from_bytes(eth_src),
                    queue_id,
                    packets,
                    octets,
                    dscp,
                    pcp,
                    meter_id,
                    group,
                    seconds + nanoseconds / 1e9,
                ),
            )


def layout_of(data: bytes, raw: RawEntry, shape: Shape) -> Layout | None:
    """Make the layout of an entry of a message whose shape is known; None for one with values that overlap."""
    length = int.from_bytes(data[raw.start : raw.start + 2])
    entry = data[raw.start : raw.start + length]
    places = flow_stats.places_of(data[0])
    match = places.match + 4
    matched = 4 + len(raw.fields)
    counters = places.match + matched + -matched % 8 if data[0] == OPENFLOW_15 else 0
    after = length - len(raw.instructions)
    egress_port, eth_src = shape.egress_port, shape.eth_src
    named: dict[str, tuple[int, int]] = {
        "seconds": (places.seconds + counters, 4),
        "nanoseconds": (places.seconds + counters + 4, 4),
        "group": (places.cookie + 4, 4),
        "packets": (places.packets + counters, 8),
        "octets": (places.octets + counters, 8),
        "in_port": (match + shape.in_port.start, 4),
        "egress_port": (match + egress_port.start, 4),
        "eth_src": (match + eth_src.start, eth_src.end - eth_src.start),
        "instructions": (after, len(raw.instructions)),
    }
    template = b""
    parts: list[str] = []
    for part in shape.parts:
        if isinstance(part, bytes):
            template += part.replace(b"%", b"%%")
        else:
            template += b"%b"
            named[f"key{len(parts)}"] = match + part.start, part.end - part.start
            parts.append(f"key{len(parts)}")
    order = sorted(named, key=lambda name: named[name][0])
    code, at = "!", 0
    for name in order:
        start, size = named[name]
        if start < at:
            return None
        number = _NUMBERS.get(size) if not name.startswith(("key", "eth", "instr")) else None
        code += f"{start - at}x" + (number or f"{size}s")
        at = start + size
    fixed = _fixed(raw, places.cookie, match, shape, counters)
    mask = bytes(0xFF if place in fixed else 0 for place in range(after))
    number_of_mask = int.from_bytes(mask)
    index = {name: order.index(name) for name in order}
    return Layout(
        length,
        tuple((place, entry[place : place + 1]) for place in sorted(fixed)),
        number_of_mask,
        int.from_bytes(entry[:after]) & number_of_mask,
        after,
        Struct(code).iter_unpack,
        template,
        _picker([index[name] for name in parts]),
        _picker([index[name] for name in _PICKED]),
    )


def _picker(indices: Sequence[int]) -> Callable[[tuple[int | bytes, ...]], Any]:
    return itemgetter(*indices)


def _fixed(raw: RawEntry, cookie: int, match: int, shape: Shape, stats: int) -> frozenset[int]:
    """Return the places of an entry that are the same in all entries of its layout.

    Args:
        stats: where its ``ofp_stats`` is; 0: it has none.
    """
    mask = shape.mask.to_bytes(len(raw.fields))
    fields = {match + place for place, byte in enumerate(mask) if byte}
    headers = {stats + place for place in flow_stats.FIXED_IN_STATS} if stats else set()
    return frozenset({0, 1, *range(cookie, cookie + 4), *range(match - 4, match), *fields, *headers})
