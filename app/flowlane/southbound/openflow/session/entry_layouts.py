"""Many learned entries read at once: the layout of entries of one length and one shape.

A reply reports hundreds of entries that differ only in values. Whether all of them are of one layout is seen by a
comparison of columns: the byte at one place of all entries. A value of all entries is as many columns, side by side.
So an entry takes a fraction of the time that it takes to be looked at alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from struct import Struct, unpack
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.flow.entry_columns import LearnedColumns
from flowlane.southbound.openflow.wire import flow_stats
from flowlane.southbound.openflow.wire.constants import OPENFLOW_15

if TYPE_CHECKING:
    from flowlane.southbound.openflow.session.learned_entries import Loads, Shape
    from flowlane.southbound.openflow.wire.flow_stats import RawEntry


_CODES = {4: "I", 8: "Q"}


class Numbers(NamedTuple):
    """Where an entry has its numbers: start and size of each in bytes."""

    in_port: tuple[int, int]
    egress_port: tuple[int, int]
    eth_src: tuple[int, int]
    packets: tuple[int, int]
    octets: tuple[int, int]
    group: tuple[int, int]
    seconds: tuple[int, int]
    nanoseconds: tuple[int, int]


class Layout(NamedTuple):
    """Where entries have what, all of them of ``length`` bytes.

    ``fixed``: place -> the byte there of every entry. ``mask``, ``common``: the same for one entry as a number, up to
    its instructions, which begin at ``head``. ``key``: what the flow's key has where it is the same for all, and zeros;
    ``varying``: place in the key -> place in the entry, for each byte of the rest.
    """

    length: int
    fixed: tuple[tuple[int, bytes], ...]
    mask: int
    common: int
    head: int
    key: bytes
    varying: tuple[tuple[int, int], ...]
    numbers: Numbers

    def is_of_all(self, entries: bytes) -> bool:
        """Whether all entries are of this layout; their number is whole."""
        count = len(entries) // self.length
        return all(entries[at :: self.length] == byte * count for at, byte in self.fixed)

    def is_of(self, data: bytes, start: int) -> bool:
        """Whether the entry at a place is of this layout."""
        return int.from_bytes(data[start : start + self.head]) & self.mask == self.common

    def loads(self, entries: bytes, loads_of: Callable[[bytes], Loads | None]) -> list[Loads | None]:
        """Return what entries of this layout load; None for those of which it is not known."""
        instructions = Struct(f"{self.head}x{self.length - self.head}s").iter_unpack(entries)
        every = [each for (each,) in instructions]
        known = {each: loads_of(each) for each in set(every)}
        return [known[each] for each in every]

    def columns(self, entries: bytes, loads: Sequence[Loads]) -> LearnedColumns:
        """Return the flows of entries of this layout.

        Args:
            loads: what each of them loads.
        """
        count, size = len(loads), len(self.key)
        keys = bytearray(self.key * count)
        for place, at in self.varying:
            keys[place::size] = entries[at :: self.length]
        queue_id, dscp, pcp, meter_id = zip(*loads, strict=True) if loads else ((),) * 4
        numbers = self.numbers
        return LearnedColumns(
            unpack(f"{size}s" * count, keys),
            self._column(entries, count, *numbers.in_port),
            self._column(entries, count, *numbers.egress_port),
            queue_id,
            self._column(entries, count, *numbers.packets),
            self._column(entries, count, *numbers.octets),
            dscp,
            pcp,
            meter_id,
            self._column(entries, count, *numbers.group),
            partial(self._rest, entries),
        )

    def _rest(self, entries: bytes, index: int) -> tuple[int, float]:
        """Return the source MAC of an entry, and for how many seconds it has existed."""
        begin, numbers = index * self.length, self.numbers
        eth_src, seconds, nanoseconds = (
            int.from_bytes(entries[begin + start : begin + start + size])
            for start, size in (numbers.eth_src, numbers.seconds, numbers.nanoseconds)
        )
        return eth_src, seconds + nanoseconds / 1e9

    def _column(self, entries: bytes, count: int, start: int, size: int) -> tuple[int, ...]:
        """Return the number at a place of every entry."""
        digits = bytearray(size * count)
        for at in range(size):
            digits[at::size] = entries[start + at :: self.length]
        return unpack(f"!{count}{_CODES[size]}", digits)


def layout_of(data: bytes, raw: RawEntry, shape: Shape) -> Layout:
    """Make the layout of an entry of a message whose shape is known."""
    length = int.from_bytes(data[raw.start : raw.start + 2])
    entry = data[raw.start : raw.start + length]
    places = flow_stats.places_of(data[0])
    match = places.match + 4
    matched = 4 + len(raw.fields)
    counters = places.match + matched + -matched % 8 if data[0] == OPENFLOW_15 else 0
    after = length - len(raw.instructions)
    egress_port, eth_src = shape.egress_port, shape.eth_src
    key = b""
    varying: list[tuple[int, int]] = []
    for part in shape.parts:
        if isinstance(part, bytes):
            key += part
        else:
            varying += enumerate(range(match + part.start, match + part.end), len(key))
            key += bytes(part.end - part.start)
    fixed = _fixed(raw, places.cookie, match, shape, counters)
    mask = int.from_bytes(bytes(0xFF if place in fixed else 0 for place in range(after)))
    return Layout(
        length,
        tuple((place, entry[place : place + 1]) for place in sorted(fixed)),
        mask,
        int.from_bytes(entry[:after]) & mask,
        after,
        key,
        tuple(varying),
        Numbers(
            in_port=(match + shape.in_port.start, 4),
            egress_port=(match + egress_port.start, 4),
            eth_src=(match + eth_src.start, eth_src.end - eth_src.start),
            packets=(places.packets + counters, 8),
            octets=(places.octets + counters, 8),
            group=(places.cookie + 4, 4),
            seconds=(places.seconds + counters, 4),
            nanoseconds=(places.seconds + counters + 4, 4),
        ),
    )


def _fixed(raw: RawEntry, cookie: int, match: int, shape: Shape, stats: int) -> frozenset[int]:
    """Return the places of an entry that are the same in all entries of its layout.

    Args:
        stats: where its ``ofp_stats`` is; 0: it has none.
    """
    mask = shape.mask.to_bytes(len(raw.fields))
    fields = {match + place for place, byte in enumerate(mask) if byte}
    headers = {stats + place for place in flow_stats.FIXED_IN_STATS} if stats else set()
    return frozenset({0, 1, *range(cookie, cookie + 4), *range(match - 4, match), *fields, *headers})
