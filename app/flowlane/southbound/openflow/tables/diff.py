"""From what stands in a device to what should: the fewest changes, in an order that is safe at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

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
from flowlane.southbound.openflow.wire import cookies


def changes(desired: Standing, present: Standing) -> tuple[Change, ...]:
    """All that has to be sent, in order; empty when nothing differs.

    ``present`` is what was sent last, or :func:`standing` of what was read back. A meter that is as it
    should be is never written: a rewritten one starts with a full bucket (openvswitch dpif-netdev).
    """
    return ordered(
        chain(
            _flow_changes(desired.flows, present.flows),
            _numbered(
                {group.group_id: group for group in desired.groups},
                {group.group_id: group for group in present.groups},
            ),
            _numbered(
                {meter.meter_id: meter for meter in desired.meters},
                {meter.meter_id: meter for meter in present.meters},
            ),
        )
    )


def _flow_changes(desired: Iterable[FlowEntry], present: Iterable[FlowEntry]) -> Iterator[Change]:
    there = {_place(flow): flow for flow in present}
    for flow in desired:
        old = there.pop(_place(flow), None)
        if old != flow:
            yield Change(Op.MODIFY if old is not None and _only_steps_differ(flow, old) else Op.ADD, flow)
    for flow in there.values():
        yield Change(Op.DELETE, flow)


def _place(flow: FlowEntry) -> tuple[object, ...]:
    """Two entries of one place cannot stand together (OpenFlow 1.3.5 section 6.4)."""
    return flow.table_id, flow.priority, flow.match


def _only_steps_differ(flow: FlowEntry, old: FlowEntry) -> bool:
    """Whether a modify does: it keeps the counters, but changes neither cookie, timeouts nor flags."""
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


def ordered(wanted: Iterable[Change]) -> tuple[Change, ...]:
    """Put changes in an order in which no packet meets an entry that leads nowhere.

    Make before break: what entries use, then entries (later tables first, so that a goto leads to filled
    tables), then entries that go (earlier tables first), then what nothing uses any more. Deleting a meter
    or group in use would delete its entries too (OpenFlow 1.3.5 sections 6.4 and 7.3.4.4). A barrier ends
    each stage: a device may carry out messages in any order between barriers (section 6.2).
    """
    given = [change for change in wanted if change.op is not Op.BARRIER]
    sent: list[Change] = []
    for belongs, rank in _STAGES:
        stage = sorted(filter(belongs, given), key=rank)
        if stage:
            sent += (*stage, BARRIER)
    return tuple(sent)


def _is_removal(change: Change) -> bool:
    return change.op is Op.DELETE


def _is_flow(change: Change) -> bool:
    return isinstance(change.entry, FlowEntry)


def _table(change: Change) -> int:
    return change.entry.table_id if isinstance(change.entry, FlowEntry) else 0


_STAGES: tuple[tuple[Callable[[Change], bool], Callable[[Change], int]], ...] = (
    (lambda change: not _is_flow(change) and not _is_removal(change), _table),
    (lambda change: _is_flow(change) and not _is_removal(change), lambda change: -_table(change)),
    (lambda change: _is_flow(change) and _is_removal(change), _table),
    (lambda change: not _is_flow(change) and _is_removal(change), _table),
)


def standing_part(
    flows: Iterable[FlowEntry], groups: Iterable[GroupEntry] = (), meters: Iterable[MeterEntry] = ()
) -> Standing:
    """The standing part of what was read back from a device: without pins and learned entries.

    Groups and meters carry no owner. Those that only pins use are left out too, so that they are not taken for
    superfluous and deleted, which would delete the pins. Whoever needs such a number for a standing rule
    changes it in place.
    """
    mine: list[FlowEntry] = []
    single: list[FlowEntry] = []
    for flow in flows:
        parts = cookies.unpack(flow.cookie)
        if parts is not None:
            (mine if parts.kind in _STANDING_KINDS else single).append(flow)
    shared = {step for flow in mine for step in flow.steps}
    used = {step for flow in single for step in flow.steps} - shared
    return Standing(
        tuple(mine),
        tuple(group for group in groups if UseGroup(group.group_id) not in used),
        tuple(meter for meter in meters if Meter(meter.meter_id) not in used),
    )


_STANDING_KINDS = frozenset((cookies.Kind.INFRASTRUCTURE, cookies.Kind.STANDING))
