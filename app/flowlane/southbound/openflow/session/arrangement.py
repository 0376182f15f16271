"""The choice of a device's layout at the end of the handshake, around the entries of others.

A device with few tables gets a smaller pipeline: without connection tracking, then without learned entries,
then with the output in the tables before. With fewer than :data:`LEAST_TABLES` it is unusable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane import hub
from flowlane.core.model import LeftOut
from flowlane.core.pacing import no_pause, paced
from flowlane.southbound.openflow.session import decode, readback
from flowlane.southbound.openflow.tables import foreign, probes
from flowlane.southbound.openflow.tables.entries import Change, FlowEntry, Op
from flowlane.southbound.openflow.tables.foreign import ForeignEntry
from flowlane.southbound.openflow.tables.layout import DEFAULT, OUTSIDE, Layout, arrange, tables_for
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies, flow_stats, instructions
from flowlane.southbound.openflow.wire.instructions import NOWHERE, Leads

if TYPE_CHECKING:
    from flowlane.core.model import Capabilities

_ALL_TABLES = range(254)
"""Numbers of tables: 254 is OFPTT_MAX, reserved (OpenFlow 1.3.5 section A.3.4.1), as 255, all tables."""

LEAST_TABLES = 4

_WITHOUT_TRACKING = LeftOut(
    "connection tracking of young flows", "", "the switch learns a flow from its first packet"
)
_WITHOUT_LEARNING = LeftOut(
    "learned entries", "", "every packet of a flow is copied to the controller until the flow has a pin"
)


class Arrangement(NamedTuple):
    """How a device is used: with which tables and capabilities, and what of them it lacks room for.

    ``unusable``: why it cannot be used at all; '': it can. ``conflicts``: foreign entries that conflict with
    ours, as text. ``others``: where foreign entries and groups lead: their groups and meters are not ours,
    whoever else uses them.
    """

    layout: Layout
    capabilities: Capabilities
    left_out: tuple[LeftOut, ...] = ()
    conflicts: tuple[str, ...] = ()
    unusable: str = ""
    others: Leads = NOWHERE


def choose(
    capabilities: Capabilities,
    parts: Mapping[str, tuple[Any, ...]],
    start: int,
    refused: Collection[int] = (),
    pace: Callable[[], None] = no_pause,
) -> Arrangement:
    """Choose layout and capabilities.

    Args:
        capabilities: what the device can do, by its replies and the probes.
        parts: name of a request of the handshake -> parts of its reply.
        start: the number of the start table.
        refused: tables that the device refused entries for.
        pace: called now and then (see :mod:`flowlane.core.pacing`): others may have put 50,000 entries there.
    """
    others = tuple(paced(foreign_entries(parts["flows"]), pace))
    described = decode.table_sizes(parts["table features"])
    numbers = [number for number in described or _ALL_TABLES if number not in refused]
    if start not in numbers:
        what = "refuses entries in" if start in refused else "has no"
        why = f"it {what} table {start}; choose another with --start-table"
        return Arrangement(DEFAULT, capabilities, unusable=why)
    of_groups = _leads_of_groups(parts["groups"])
    taken = foreign.taken_tables(paced(others, pace), of_groups.tables) - {start}
    free = [number for number in numbers if number not in taken]
    there = [entry for entry in paced(others, pace) if entry.table_id == start]
    base, leads = foreign.base_for(there, pace), _all_leads(paced(others, pace), of_groups)
    chosen = _largest(capabilities, start, free)
    usable = sum(number >= start for number in free)
    if chosen is None:
        why = (
            f"it has {usable} flow tables from number {start} on that no other controller uses; "
            f"Flowlane needs {LEAST_TABLES}"
        )
        return Arrangement(DEFAULT, capabilities, unusable=why)
    reduced, tables = chosen
    ports = {report.port_no for report in decode.ports(parts["ports"])}
    return Arrangement(
        Layout(tables, base),
        reduced,
        tuple(_lacks(capabilities, reduced, usable)),
        foreign.conflicts(
            there,
            start,
            base,
            ports,
            is_led_to=foreign.is_led_to(start, leads.tables),
            copies=leads.copies and capabilities.controller_meter,
            pace=pace,
        ),
        others=leads,
    )


def _all_leads(entries: Iterable[ForeignEntry], of_groups: Leads) -> Leads:
    """Return where foreign entries and groups lead; what groups copy comes by an entry that leads to them."""
    return instructions.union((of_groups._replace(copies=False), *{entry.leads for entry in entries}))


def _largest(
    capabilities: Capabilities, start: int, free: Collection[int]
) -> tuple[Capabilities, Mapping[TableId, int]] | None:
    """Return the most capable pipeline that the tables have room for; None when there is none."""
    without_tracking = replace(capabilities, conntrack=False)
    plain = replace(without_tracking, learn=False)
    for reduced in (capabilities, without_tracking, plain):
        tables = tables_for(reduced.learn, reduced.conntrack)
        numbers = arrange(tables, start, free)
        if numbers is not None:
            return reduced, numbers
    folded = (table for table in tables_for(learn=False, conntrack=False) if table is not TableId.OUTPUT)
    numbers = arrange(folded, start, free)
    return None if numbers is None else (plain, numbers)


def _lacks(capabilities: Capabilities, reduced: Capabilities, usable: int) -> Iterator[LeftOut]:
    why = f"it has room for {usable} flow tables"
    if capabilities.learn and not reduced.learn:
        needed = len(tables_for(learn=True, conntrack=False))
        yield _WITHOUT_LEARNING._replace(why=f"{why}, and needs {needed}")
    elif capabilities.learn and capabilities.conntrack and not reduced.conntrack:
        needed = len(tables_for(learn=True, conntrack=True))
        yield _WITHOUT_TRACKING._replace(why=f"{why}, and needs {needed}")


def table_probes(layout: Layout) -> tuple[Change, ...]:
    """Return an entry on trial for each table of the layout; they match no packet."""
    return tuple(Change(Op.ADD, _table_probe(layout, number)) for number in layout.numbers.values())


def _table_probe(layout: Layout, number: int) -> FlowEntry:
    return replace(probes.nothing(), table_id=OUTSIDE + number, priority=layout.base + 1)


def foreign_entries(parts: Iterable[Any]) -> Iterator[ForeignEntry]:
    """Read the entries of others in a flow statistics reply."""
    return (entry for part in parts for entry in _kept_or_read(part))


def read_early(part: Any, *, may_pause: bool) -> None:
    """Read all that a handshake needs of a part of a reply when it comes.

    Args:
        may_pause: whether others may be served between two entries: where messages come in a green thread of their
            connection, and not by os-ken's queue of events.
    """
    pause = hub.TimeSlice().check if may_pause else _make_no_pause
    readback.read_early(part, pause)
    if flow_stats.entries(part) is not None:
        found = []
        for entry in _foreign_in(part):
            found.append(entry)
            pause()
        setattr(part, _CACHE, found)


def _make_no_pause() -> None:
    """Go on."""


def _kept_or_read(part: Any) -> Iterable[ForeignEntry]:
    entries = getattr(part, _CACHE, None)
    return entries if isinstance(entries, list) else _foreign_in(part)


_CACHE = "flowlane_foreign_entries"
"""Attribute of a reply with the entries of others that were read of it."""


def has_ours(parts: Iterable[Any]) -> bool:
    """Whether a flow statistics reply has an entry of ours."""
    return any(_has_ours(part) for part in parts)


def _has_ours(part: Any) -> bool:
    entries = flow_stats.entries(part)
    try:
        if entries is not None:
            return any(raw.cookie >> 48 == cookies.OWNER for raw in entries)
    except ValueError:
        pass
    return any(getattr(stats, "cookie", 0) >> 48 == cookies.OWNER for stats in decode.bodies((part,)))


def _foreign_in(part: Any) -> Iterator[ForeignEntry]:
    try:
        entries = flow_stats.entries(part)
        listed = None if entries is None else list(entries)
    except ValueError:
        listed = None
    if listed is None:
        read = map(readback.foreign_entry, decode.bodies((part,)))
        yield from (entry for entry in read if entry is not None)
        return
    for raw in listed:
        if raw.cookie >> 48 != cookies.OWNER:
            leads = instructions.leads(raw.instructions)
            yield ForeignEntry(raw.table_id, raw.priority, raw.fields, leads)


def _leads_of_groups(parts: Iterable[Any]) -> Leads:
    """Return where groups lead that are not as ours are."""
    ours = {group.group_id for group in readback.groups(parts)}
    return instructions.union(
        readback.leads_of(bucket.actions)
        for desc in decode.bodies(parts)
        if getattr(desc, "group_id", None) not in ours
        for bucket in getattr(desc, "buckets", None) or ()
    )
