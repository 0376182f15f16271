"""The fewest changes from present to desired entries, in an order that is safe at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, groupby
from operator import itemgetter

from flowlane.core.pacing import no_pause, paced
from flowlane.southbound.openflow.tables.entries import (
    BARRIER,
    Change,
    Entry,
    FlowEntry,
    GroupEntry,
    Meter,
    MeterEntry,
    Op,
    Standing,
    UseGroup,
)
from flowlane.southbound.openflow.tables.layout import OUTSIDE
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies


def changes(desired: Standing, present: Standing, pace: Callable[[], None] = no_pause) -> tuple[Change, ...]:
    """Return the changes to send, in order; empty when nothing differs.

    A meter that is as it should be is never sent again: Open vSwitch refills the token bucket of a meter that
    is modified (lib/dpif-netdev.c).

    Args:
        present: what was sent last, or :func:`standing_part` of what was read back.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    return ordered(
        chain(
            flow_changes(desired.flows, present.flows, pace),
            _numbered(
                {group.group_id: group for group in desired.groups},
                {group.group_id: group for group in present.groups},
            ),
            _numbered(
                {meter.meter_id: meter for meter in desired.meters},
                {meter.meter_id: meter for meter in present.meters},
            ),
        ),
        pace,
    )


def flow_changes(
    desired: Iterable[FlowEntry], present: Iterable[FlowEntry], pace: Callable[[], None] = no_pause
) -> Iterator[Change]:
    """Yield the changes of entries, in no order; those that are as they should be are freed one by one."""
    others = {_identity(flow): flow for flow in paced(present, pace)}
    for flow in paced(desired, pace):
        old = others.pop(_identity(flow), None)
        if old != flow:
            yield Change(Op.MODIFY if old is not None and _only_steps_differ(flow, old) else Op.ADD, flow)
    for flow in others.values():
        yield Change(Op.DELETE, flow)


def _identity(flow: FlowEntry) -> tuple[object, ...]:
    """Return what identifies an entry: a table has one entry of each match and priority (1.3.5 section 6.4)."""
    return flow.table_id, flow.priority, flow.match


def _only_steps_differ(flow: FlowEntry, old: FlowEntry) -> bool:
    """Return whether a modify is enough: it keeps the counters, but changes neither cookie, timeouts nor flags."""
    return (flow.cookie, flow.idle_timeout, flow.hard_timeout, flow.flags) == (
        old.cookie,
        old.idle_timeout,
        old.hard_timeout,
        old.flags,
    )


def _numbered(desired: Mapping[int, Entry], present: Mapping[int, Entry]) -> Iterator[Change]:
    for number, entry in desired.items():
        if number not in present:
            yield Change(Op.ADD, entry)
        elif present[number] != entry:
            yield Change(Op.MODIFY, entry)
    for number, entry in present.items():
        if number not in desired:
            yield Change(Op.DELETE, entry)


def ordered(unordered: Iterable[Change], pace: Callable[[], None] = no_pause) -> tuple[Change, ...]:
    """Put changes in an order in which no packet meets an entry that leads nowhere: make before break.

    First meters are added, then entries (later tables first, so that a goto leads to filled tables). Groups are added
    between the tables that their buckets lead to and the one that leads to groups. Then entries are deleted (earlier
    tables first), last the groups and meters that nothing uses any more: the deletion of a group or meter in use would
    delete its entries too (OpenFlow 1.3.5 sections 6.4 and 7.3.4.4). A barrier ends each stage, since a device may
    carry out messages in any order between barriers (section 6.2).

    Args:
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    of_place: dict[tuple[int, int], list[Change]] = {}
    for change in paced(unordered, pace):
        if change.op is not Op.BARRIER:
            of_place.setdefault(_place(change), []).append(change)
    sent: list[Change] = []
    for _stage, places in groupby(sorted(of_place), key=itemgetter(0)):
        for place in places:
            sent += of_place[place]
        sent.append(BARRIER)
    return tuple(sent)


def _place(change: Change) -> tuple[int, int]:
    """Return the stage in which a change is sent, and its rank there."""
    entry = change.entry
    table = entry.table_id if isinstance(entry, FlowEntry) else None
    if change.op is Op.DELETE:
        return (5, 0) if table is None else (4, table)
    if table is not None:
        return (1 if table > TableId.SPREAD else 3), -table
    return (0 if isinstance(entry, MeterEntry) else 2), 0


def standing_part(
    flows: Iterable[FlowEntry], groups: Iterable[GroupEntry] = (), meters: Iterable[MeterEntry] = ()
) -> Standing:
    """Return the standing part of what was read back from a device: without pins and learned entries.

    Pins outside of the layout are in it: as superfluous ones they are deleted.

    Groups and meters carry no owner. Those that only pins use are left out too: as superfluous ones they
    would be deleted, and the pins with them. A standing rule that gets such a number modifies the group or
    meter.
    """
    standing_flows: list[FlowEntry] = []
    other_flows: list[FlowEntry] = []
    for flow in flows:
        cookie = cookies.unpack(flow.cookie)
        if cookie is not None:
            outside = flow.table_id >= OUTSIDE
            (standing_flows if outside or cookie.kind in _STANDING_KINDS else other_flows).append(flow)
    steps = {step for flow in standing_flows for step in flow.steps}
    only_of_others = {step for flow in other_flows for step in flow.steps} - steps
    return Standing(
        tuple(standing_flows),
        tuple(group for group in groups if UseGroup(group.group_id) not in only_of_others),
        tuple(meter for meter in meters if Meter(meter.meter_id) not in only_of_others),
    )


_STANDING_KINDS = frozenset((cookies.Kind.INFRASTRUCTURE, cookies.Kind.STANDING, cookies.Kind.GROUP))
