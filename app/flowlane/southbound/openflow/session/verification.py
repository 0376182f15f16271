"""Verification: our standing entries, groups and meters are read back, and what others changed or deleted is put back.

A switch that has a flow monitor (OpenFlow 1.4 and 1.5; Open vSwitch since 2.16) reports each change of the tables where
only standing entries are, and is read at once. Others are read every few seconds, and so are groups and meters, about
which no switch reports. A reply that has the same bytes as the last one that was right is not parsed. Others are
served while tens of thousands of entries are compared; what has changed meanwhile is read anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from flowlane import hub
from flowlane.core.events import Repaired
from flowlane.core.pacing import no_pause, paced
from flowlane.southbound.openflow.session import packing, readback, requests
from flowlane.southbound.openflow.session.known_replies import KnownReplies
from flowlane.southbound.openflow.tables import diff
from flowlane.southbound.openflow.tables.desired import is_meter_mark
from flowlane.southbound.openflow.tables.entries import (
    BARRIER,
    Change,
    FlowEntry,
    GroupEntry,
    MeterEntry,
    Op,
    Standing,
)
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies, flow_monitor, flow_stats
from flowlane.southbound.openflow.wire.constants import CONTROLLER_METER, OPENFLOW_14

if TYPE_CHECKING:
    from flowlane.southbound.openflow.session.programming import Programming
    from flowlane.southbound.openflow.session.requests import Reply
    from flowlane.southbound.openflow.tables.layout import Layout
    from flowlane.telemetry import DeviceTraffic

EVERY, MONITORED_EVERY = 8.0, 60.0
"""Seconds between two readings of groups and meters, and of entries where the switch reports no changes; between two
readings of entries where it does."""

MOST_PAUSE, FORGOTTEN_AFTER = 64.0, 120.0
"""Seconds for which a repair is put off at most where others undo each, and after which former ones do not count."""

LEAST_APART = 0.1
"""Seconds between two readings at least."""

AT_ONCE = 10
"""Repairs within so long that are made at once; the pauses before the next ones double."""

MOST_SHOWN = 3
"""Changes of a repair that are shown in the log."""

MOST_IN_VAIN = 3
"""Times that the same repair is sent where the switch reports no change by others in between: it reads differently."""

_WITH_OTHERS = frozenset((TableId.ASSIGN, TableId.SEEN))
"""Tables with pins and learned entries, whose changes are not reported: these come and go all the time."""

Pace = Callable[[], None]

Send = Callable[..., None]
"""Send a request: its name, the message, what to call with the reply; ``known``: what knows a reply by its bytes."""


class Verified(Protocol):
    """The session of the device: what it should have, by which numbers, and what is counted of it."""

    datapath: Any
    programming: Programming
    layout: Layout
    traffic: DeviceTraffic

    def is_idle(self) -> bool:
        """Whether all changes have been sent, and the refusals among them handled."""
        ...


class _Repair(NamedTuple):
    """What differs: the changes in order; and as a set, by which a repair is recognized."""

    changes: tuple[Change, ...]
    same: frozenset[Change]


class Verifier:
    """Verifies what stands in one device.

    Args:
        emit: takes the event of a repair.
        send_changes: sends the changes of a repair.
        look_at_start: reads the start table for entries of others, then calls a function.
    """

    def __init__(
        self,
        session: Verified,
        send: Send,
        clock: Callable[[], float],
        emit: Callable[[Repaired], None],
        send_changes: Callable[[tuple[Change, ...]], None],
        look_at_start: Callable[[Callable[[], None]], None],
    ) -> None:
        self._session, self._datapath = session, session.datapath
        self._send, self._clock = send, clock
        self._emit, self._send_changes, self._look_at_start = emit, send_changes, look_at_start
        self._monitored: set[int] = set()
        self._replies: dict[str, Reply] = {}
        self._awaited = 0
        self._basis: tuple[Any, ...] = ()
        """What the device should have when the requests were sent: the replies are about that."""
        self._next_flows, self._next_others = self._clock() + EVERY, self._clock()
        self._pause_until = self._next_read = float("-inf")
        self._is_triggered = False
        self._repairs, self._repaired_at = 0, float("-inf")
        self._last: frozenset[Change] = frozenset()
        self._in_vain = 0
        self._ignored: frozenset[Change] = frozenset()
        """Changes that the device takes without an error, and reads as if it had not."""
        self._right: tuple[Any, ...] = ()
        """The basis and the bytes of the last replies that were right, as a hash."""
        self._shapes: tuple[Struct, ...] = ()
        self._right_bytes: tuple[Any, ...] = ()
        """The basis and a hash of those bytes as they came, which is found sooner; the shapes of their replies."""
        self._right_others: tuple[Any, ...] = ()
        self._known = KnownReplies()
        self._lists_limit = False
        """Whether the device lists the meter of packet-ins among its meters."""

    def begin(self) -> None:
        """Have the switch report changes of tables with standing entries only, if it can.

        It goes on with that as long as the connection lasts, also while another controller leads it. Asked again, Open
        vSwitch 3.1 sends an error (OFPMOFC_MONITOR_EXISTS) without a header, behind which nothing can be read.
        """
        if self._datapath.ofproto.OFP_VERSION < OPENFLOW_14:
            return
        asked = _asked_on(self._datapath)
        for table, number in self._session.layout.numbers.items():
            if number in asked:
                self._monitored.add(number)
            elif table not in _WITH_OTHERS:
                asked.add(number)
                message = packing.request(self._datapath, requests.flow_monitor, number)
                self._send(f"monitor of table {number}", message, partial(self._take_monitor, number))

    def _take_monitor(self, number: int, reply: Reply) -> None:
        if reply.error:
            _asked_on(self._datapath).discard(number)
        else:
            self._monitored.add(number)

    def take(self, message: Any) -> None:
        """Take what a flow monitor reports."""
        shared = self._session.layout.start
        for update in flow_monitor.updates(message):
            is_ours = update.cookie >> 48 == cookies.OWNER
            if is_ours or (update.event != flow_monitor.REMOVED and update.table_id != shared):
                self.trigger()
                return

    def trigger(self) -> None:
        """Read everything as soon as may be: something may have been changed."""
        self._is_triggered = True
        if not self._awaited:
            self.tick(self._clock())

    def tick(self, now: float) -> None:
        """Begin a reading if one is due; called about once a second, too."""
        if self._awaited or now < max(self._pause_until, self._next_read) or not self._session.is_idle():
            return
        if self._is_triggered or now >= self._next_flows:
            self._is_triggered = False
            self._next_flows = now + (MONITORED_EVERY if self._monitored else EVERY)
            self._read(now, with_flows=True)
        elif now >= self._next_others:
            self._read(now, with_flows=False)

    def next_reading(self) -> float:
        """Return when a reading is due, or the present one may have ended; unless something triggers one before."""
        if self._awaited or self._is_triggered:
            return float("-inf")
        return max(self._pause_until, min(self._next_flows, self._next_others))

    def _read(self, now: float, *, with_flows: bool, in_full: bool = False) -> None:
        self._next_others, self._next_read = now + EVERY, now + LEAST_APART
        self._replies, self._basis = {}, self._desired()
        wanted: list[tuple[str, Any]] = [
            ("groups", packing.request(self._datapath, requests.groups_request)),
            ("meters", packing.request(self._datapath, requests.meters_request)),
        ]
        for number, selected in enumerate(cookies.beside_flows() if with_flows else ()):
            message = packing.request(self._datapath, requests.flows_request, *selected)
            wanted.append((f"entries {number}", message))
        self._awaited = len(wanted)
        known_basis = None if in_full or self._basis[4] else self._basis
        expected = self._known.expected(known_basis, [name for name, _ in wanted])
        for name, message in wanted:
            take = partial(self._take, name)
            self._send(f"verification: {name}", message, take, known=expected.get(name))

    def _desired(self) -> tuple[Any, ...]:
        programming, layout = self._session.programming, self._session.layout
        meters = dict(programming.pin_meters), dict(programming.deleted_meters)
        return programming.present, layout.key, layout.base, *meters

    def _take(self, name: str, reply: Reply) -> None:
        self._replies[name] = reply
        self._awaited -= 1
        if not self._awaited:
            self._compare()

    def _compare(self) -> None:
        """Compare what was read with what should be there; nothing is read anew meanwhile."""
        replies, basis = self._replies, self._desired()
        self._replies = {}
        of_flows = [reply for name, reply in replies.items() if name.startswith("entries")]
        if basis[:3] != self._basis[:3] or not self._session.is_idle():
            self._is_triggered |= bool(of_flows)  # Others have changed what should be there: later.
            return
        if any(reply.error for reply in of_flows):
            return
        if any(reply.is_known for reply in replies.values()):
            is_all = all(reply.is_known for reply in replies.values())
            self._known.count(missed=not is_all)
            if not is_all:
                self._read(self._clock(), with_flows=bool(of_flows), in_full=True)
            return
        undeleted = self._undeleted(replies["meters"])
        others = basis[:4], _digest(replies["groups"].parts), _digest(replies["meters"].parts)
        parts = [part for reply in of_flows for part in reply.parts]
        self._awaited, pace = 1, hub.TimeSlice().check
        are_right = not of_flows or self._are_right(basis[:3], parts, pace)
        changes: tuple[Change, ...] = ()
        is_same = are_right and others == self._right_others and not undeleted
        if not is_same:
            found = self._changes(None if are_right else of_flows, replies["groups"], replies["meters"], pace)
            changes = (*found, *undeleted)
            if of_flows and not changes:
                self._note_right(basis[:3], parts, pace)
        if not changes and basis == self._basis:
            self._known.note(basis, replies)
        same = frozenset(paced(changes, pace))
        self._awaited = 0
        if self._desired()[:3] != basis[:3] or not self._session.is_idle():
            self._is_triggered |= bool(of_flows)  # It has changed in a pause.
        elif not is_same:
            self._act(basis[:3], others, _Repair(changes, same), with_flows=bool(of_flows))

    def _act(
        self,
        basis: tuple[Any, ...],
        others: tuple[Any, ...],
        found: _Repair,
        *,
        with_flows: bool,
    ) -> None:
        """Put back what differs, or note that nothing does."""
        changes = found.changes
        if changes and not with_flows:
            self.trigger()  # What was deleted may have taken entries along.
        elif any(change.op is Op.ADD and _is_at_start(change.entry) for change in changes):
            # An entry of another with the same match and priority would be replaced: ours have to get out of its way.
            self._awaited = 1
            self._look_at_start(partial(self._put_back_if, basis, found))
        elif changes:
            self._put_back(self._still_wanted(found))
        else:
            self._right_others = others
            if with_flows:
                self._in_vain = 0

    def _are_right(self, basis: tuple[Any, ...], parts: Sequence[Any], pace: Pace) -> bool:
        """Return whether the bytes of entries are those that were right, if in another order."""
        if (*basis, _hash(parts, self._shapes, pace)) == self._right_bytes:
            return True
        state = _state(basis, parts, pace)
        if not state or state != self._right:
            return False
        self._note_right(basis, parts, pace)
        return True

    def _note_right(self, basis: tuple[Any, ...], parts: Sequence[Any], pace: Pace) -> None:
        self._right = _state(basis, parts, pace)
        shapes = []
        for part in parts:
            shapes.append(flow_stats.shape_of(part))
            pace()
        self._shapes = tuple(shape for shape in shapes if shape is not None)
        self._right_bytes = (*basis, _hash(parts, self._shapes, pace)) if parts and None not in shapes else ()

    def _changes(
        self, of_flows: Iterable[Reply] | None, groups: Reply, meters: Reply, pace: Pace = no_pause
    ) -> tuple[Change, ...]:
        """Return the changes from what the device has to what it should have.

        Args:
            of_flows: None: the entries are right.
            pace: called now and then (see :mod:`flowlane.core.pacing`).
        """
        programming, layout = self._session.programming, self._session.layout
        present = programming.present
        parts = [part for reply in of_flows or () for part in reply.parts]
        marks = {flow.match for flow in paced(present.flows, pace) if is_meter_mark(flow)}
        flows = (
            flow
            for flow in readback.flow_entries_of(parts, layout, pace)
            if flow.match in marks or not is_meter_mark(flow)
        )
        group_ids = {group.group_id for group in present.groups}
        found_groups = [
            group for group in readback.groups(groups.parts, layout) if group.group_id in group_ids
        ]
        found_meters = {meter.meter_id: meter for meter in readback.meters(meters.parts)}
        self._lists_limit |= CONTROLLER_METER in found_meters
        desired_meters = tuple(
            meter for meter in present.meters if meter.meter_id != CONTROLLER_METER or self._lists_limit
        )
        if meters.error:
            desired_meters = ()
        ids = {meter.meter_id for meter in desired_meters}
        desired = Standing((), () if groups.error else present.groups, desired_meters)
        there = Standing(
            (),
            () if groups.error else tuple(found_groups),
            tuple(meter for meter_id, meter in found_meters.items() if meter_id in ids),
        )
        changes = [*diff.changes(desired, there)]
        if of_flows is not None:  # They are not kept together: to free all of them at once would take long.
            changes += diff.flow_changes(present.flows, flows, pace)
        if not meters.error:
            changes += self._of_pin_meters(programming, found_meters)
        group_ids_there = frozenset(readback.ids(groups.parts, "group_id"))
        meter_ids_there = frozenset(readback.ids(meters.parts, "meter_id"))
        changes = [_as_modify(change, group_ids_there, meter_ids_there) for change in paced(changes, pace)]
        wanted = (change for change in changes if change != BARRIER and change not in self._ignored)
        return diff.ordered(filter(programming.is_safe, wanted), pace)

    def _undeleted(self, meters: Reply) -> tuple[Change, ...]:
        """Return the deletions of meters of pins that the device has refused."""
        asked: dict[int, MeterEntry] = self._basis[4]
        if meters.error or not asked:
            return ()
        found = {meter.meter_id: meter for meter in readback.meters(meters.parts)}
        return self._session.programming.undeleted(asked, found)

    def _of_pin_meters(self, programming: Programming, found: dict[int, MeterEntry]) -> Iterable[Change]:
        """Yield the changes of meters of pins that had been there, as they are, when the meters were requested."""
        for meter_id, meter in self._basis[3].items():
            if programming.pin_meters.get(meter_id) == meter and found.get(meter_id) != meter:
                yield Change(Op.MODIFY if meter_id in found else Op.ADD, meter)

    def _put_back_if(self, basis: tuple[Any, ...], found: _Repair) -> None:
        """Put back unless what should be there has changed, or is being sent; each meter of pins by itself."""
        self._awaited = 0
        if self._desired()[:3] == basis and self._session.is_idle():
            self._put_back(self._still_wanted(found))
        else:
            self._is_triggered = True

    def _still_wanted(self, found: _Repair) -> _Repair:
        return found._replace(changes=tuple(filter(self._is_wanted, found.changes)))

    def _is_wanted(self, change: Change) -> bool:
        """Return False for the change of a meter of pins that was set, deleted or used again since it was found."""
        meter, programming = change.entry, self._session.programming
        if not isinstance(meter, MeterEntry):
            return True
        present = programming.pin_meters.get(meter.meter_id)
        if change.op is Op.DELETE:
            return present is None and programming.deleted_meters.get(meter.meter_id) is meter
        return present == meter or meter in programming.present.meters

    def _put_back(self, found: _Repair) -> None:
        now, same = self._clock(), found.same
        changes = found.changes
        if not changes:
            return
        self._in_vain = self._in_vain + 1 if same == self._last and not self._is_triggered else 0
        self._last = same
        if self._in_vain >= MOST_IN_VAIN:
            self._ignored |= same
            return
        self._repairs = 0 if now - self._repaired_at > FORGOTTEN_AFTER else self._repairs + 1
        self._repaired_at = now
        if self._repairs >= AT_ONCE:
            self._pause_until = now + min(MOST_PAUSE, 2.0 ** (self._repairs - AT_ONCE))
        self._next_flows = min(self._next_flows, now + EVERY)
        made = [change for change in changes if change.entry is not None]
        kinds = Counter(_kind_of(change) for change in made)
        self._session.traffic.repairs.update(kinds)
        shown = ", ".join(str(change) for change in made[:MOST_SHOWN])
        self._emit(Repaired(self._datapath.id, dict(kinds), shown))
        self._send_changes(changes)


def _is_at_start(entry: object) -> bool:
    """Whether it is an entry of the start table, which others share."""
    return isinstance(entry, FlowEntry) and entry.table_id == TableId.INGRESS


def _kind_of(change: Change) -> str:
    """Return what a change is about, as metrics and events name it."""
    if isinstance(change.entry, FlowEntry):
        return "entry"
    return "group" if isinstance(change.entry, GroupEntry) else "meter"


def _as_modify(change: Change, groups: Collection[int], meters: Collection[int]) -> Change:
    """Return a modify for a group or meter that is to be added and is there, in a form that is none of ours."""
    entry = change.entry
    is_there = (isinstance(entry, GroupEntry) and entry.group_id in groups) or (
        isinstance(entry, MeterEntry) and entry.meter_id in meters
    )
    return Change(Op.MODIFY, entry) if change.op is Op.ADD and is_there else change


def _digest(parts: Iterable[Any]) -> int:
    """Return a hash of the bodies of replies."""
    return hash(tuple(bytes(part.buf[8:]) if getattr(part, "buf", None) else id(part) for part in parts))


def _hash(parts: Sequence[Any], shapes: Sequence[Struct], pace: Pace) -> int | None:
    """Return a hash of the bytes of replies without counters; None where they have other numbers of entries."""
    if len(parts) != len(shapes):
        return None
    hashes = []
    for part, shape in zip(parts, shapes, strict=True):
        hashes.append(hash(flow_stats.shaped(getattr(part, "buf", None), shape)))
        pace()
    return hash(tuple(hashes))


def _state(basis: tuple[Any, ...], parts: Iterable[Any], pace: Pace) -> tuple[Any, ...]:
    """Return the basis and a hash of the entries without counters, in whatever order; nothing where there are none."""
    count = total = 0
    for entry in paced(_raw_entries(parts), pace):
        count, total = count + 1, total + hash(entry)
    return (*basis, count, total) if count else ()


def _raw_entries(parts: Iterable[Any]) -> Iterator[Hashable]:
    """Yield entries without their counters; nothing of those that have to be parsed."""
    for part in parts:
        entries = flow_stats.without_counters(part)
        yield from _by_values(part) if entries is None else entries


def _by_values(part: Any) -> list[Hashable]:
    with suppress(ValueError):
        return [
            (raw.cookie, raw.table_id, raw.priority, raw.fields, raw.instructions)
            for raw in flow_stats.entries(part) or ()
        ]
    return []


def _asked_on(datapath: Any) -> set[int]:
    """Return the tables of which a connection was asked for a flow monitor."""
    asked: set[int] = vars(datapath).setdefault("monitored_tables", set())
    return asked
