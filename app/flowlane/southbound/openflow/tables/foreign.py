"""Entries of other controllers and of operators on a device: what Flowlane keeps clear of, and where rules conflict.

An entry is foreign when its cookie is not Flowlane's. Foreign entries are never replaced, modified or deleted.
Flowlane uses no table in which they stand or to which they lead, but for the start table, and no priority
there that they have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from heapq import nlargest
from operator import attrgetter
from typing import NamedTuple

from flowlane.core.pacing import no_pause, paced
from flowlane.southbound.openflow.tables.layout import FIRST_BASE, START_PRIORITIES
from flowlane.southbound.openflow.wire import fields
from flowlane.southbound.openflow.wire.instructions import NOWHERE, Leads

MAX_LISTED = 8
"""Conflicts of one kind that are listed one by one."""

_ONE_NUMBER = 12
"""Bytes of a match with the one field ``in_port`` at most: header, value, mask."""

_SIZE = len(START_PRIORITIES)
_LAST_BASE = 0xFFFF - _SIZE + 1


class ForeignEntry(NamedTuple):
    """A foreign entry: ``match`` are its OXM fields as bytes, ``leads`` where it sends packets."""

    table_id: int
    priority: int
    match: bytes = b""
    leads: Leads = NOWHERE

    @property
    def matches_all(self) -> bool:
        """Whether every packet in the table matches."""
        return not self.match

    def __str__(self) -> str:
        """Write the entry's place in ovs-ofctl's language."""
        terms = fields.unpack(self.match)
        of_match = ",(other fields)" if terms is None else f",{fields.text(terms)}" if terms else ""
        return f"table={self.table_id},priority={self.priority}{of_match}"


def taken_tables(entries: Iterable[ForeignEntry], of_groups: Iterable[int] = ()) -> frozenset[int]:
    """Return the tables that others use: their entries stand in them, or lead to them.

    Args:
        of_groups: tables to which foreign groups lead.
    """
    taken = set(of_groups)
    for entry in entries:
        taken.add(entry.table_id)
        taken |= entry.leads.tables
    return frozenset(taken)


def base_for(entries: Iterable[ForeignEntry], pace: Callable[[], None] = no_pause) -> int:
    """Return the lowest of our priorities in the start table.

    Ours are above foreign entries that match every packet, which would leave ours without any. They are below
    all others where possible: a more specific rule of an operator counts.

    Args:
        entries: the foreign entries of the start table.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    floor, taken = FIRST_BASE, set()
    for entry in paced(entries, pace):
        taken.add(entry.priority)
        if entry.matches_all:
            floor = max(floor, entry.priority + 1)
    above = (base for base in paced(range(floor, _LAST_BASE + 1), pace) if _is_free(base, taken))
    below = (base for base in paced(range(min(floor, _LAST_BASE), -1, -1), pace) if _is_free(base, taken))
    return next(above, None) or next(below, FIRST_BASE)


def _is_free(base: int, taken: Collection[int]) -> bool:
    return all(priority not in taken for priority in range(base, base + _SIZE))


def has_priority_of_ours(entries: Iterable[ForeignEntry], base: int) -> bool:
    """Return whether a foreign entry of the start table has one of our priorities there."""
    return not _is_free(base, {entry.priority for entry in entries})


def is_led_to(start: int, tables: Collection[int]) -> bool:
    """Return whether packets come to the start table: it is the first, or foreign entries lead to it.

    Args:
        tables: the tables to which they lead.
    """
    return not start or start in tables


def conflicts(
    entries: Collection[ForeignEntry],
    start: int,
    base: int,
    ports: Collection[int],
    *,
    is_led_to: bool = True,
    copies: bool = False,
    pace: Callable[[], None] = no_pause,
) -> tuple[str, ...]:
    """List where foreign entries and ours conflict, as text for people.

    Args:
        entries: the foreign entries of the start table.
        ports: numbers of the device's ports.
        is_led_to: see :func:`is_led_to`.
        copies: whether foreign entries send packets to a controller, which our limit on copies counts too.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    texts = [*_bypass(paced(entries, pace), base, ports), *_shadowed(entries, start, base, pace)]
    if not is_led_to:
        texts.append(
            f"no entry of another table leads to Flowlane's start table {start}: no packet passes Flowlane; "
            f"add one, such as table=0,priority=0,actions=goto_table:{start}"
        )
    if copies:
        texts.append(
            "entries of another controller send packets to it: the switch counts them too in Flowlane's limit "
            "on copies (copy-rate)"
        )
    return tuple(texts)


def _bypass(there: Iterable[ForeignEntry], base: int, ports: Collection[int]) -> Iterator[str]:
    """Yield a text for each foreign entry that takes all packets of a port, or all packets, before ours."""
    above = (entry for entry in there if entry.priority >= base + _SIZE)
    found = {entry: what for entry in above if (what := _taken_by(entry, ports))}
    for entry in _first(found):
        yield f"{found[entry]} Flowlane: entry {entry} of another controller comes first"
    if len(found) > MAX_LISTED:
        yield f"{len(found) - MAX_LISTED} more entries of another controller come before Flowlane's"


def _taken_by(entry: ForeignEntry, ports: Collection[int]) -> str:
    if entry.matches_all:
        return "no packet passes"
    if len(entry.match) > _ONE_NUMBER:
        return ""
    terms = fields.unpack(entry.match)
    if terms is not None and [term.field for term in terms] == ["in_port"] and terms[0].value in ports:
        return f"packets from port {terms[0].value} do not pass"
    return ""


def _first(entries: Iterable[ForeignEntry]) -> list[ForeignEntry]:
    """Return those that are listed one by one: the first that a packet meets."""
    return nlargest(MAX_LISTED, entries, key=attrgetter("priority"))


def _shadowed(
    there: Collection[ForeignEntry], start: int, base: int, pace: Callable[[], None]
) -> Iterator[str]:
    """Yield a text for each foreign entry that only ours keep from being met."""
    floor = max((entry.priority for entry in paced(there, pace) if entry.matches_all), default=-1)
    below = [entry for entry in paced(there, pace) if floor < entry.priority < base and not entry.matches_all]
    for entry in _first(below):
        yield (
            f"entry {entry} of another controller is not met: Flowlane's in table {start} have priorities "
            f"{base} to {base + _SIZE - 1}; give it a higher one, or move Flowlane with --start-table"
        )
    if len(below) > MAX_LISTED:
        yield f"{len(below) - MAX_LISTED} more entries of another controller are not met"
