"""Present and desired entries of one device, and the changes that lead from the present to the desired.

When a device refuses a part of the plan, the plan is compiled again for what the device can do: the fallback.
This module has no connection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowlane.core.model import LeftOut
from flowlane.core.pacing import paced
from flowlane.pauses import WORK
from flowlane.southbound.openflow.tables import diff, folding, patching, room
from flowlane.southbound.openflow.tables.desired import (
    Compiled,
    compile_plan,
    meter_entry,
    meter_mark,
)
from flowlane.southbound.openflow.tables.entries import (
    EMPTY,
    Change,
    Entry,
    FlowEntry,
    GroupEntry,
    Meter,
    MeterEntry,
    Op,
    Standing,
    Step,
    counted_group,
    in_group,
)
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.tables.standing import learns_itself
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.constants import CONTROLLER_METER

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan
    from flowlane.core.model import Capabilities, MeterSpec

Changes = tuple[Change, ...]
MAX_RETRIES = 8
"""How often one plan is compiled again because the device refused a part of it."""

HELD_CALLS = 60
"""Calls of :meth:`Programming.settle`, about one a second, for which a flow entry of a full table is not sent."""

LONGEST_RETRY = 3600
"""Calls of :meth:`Programming.settle` after which what was refused again and again is tried once more."""

_TABLE_MISS = "the table-miss entry"
_GROUP_EXISTS = "OFPGMFC_GROUP_EXISTS"
METER_EXISTS = "OFPMMFC_METER_EXISTS"
_UNKNOWN = ("_UNKNOWN_METER", "_UNKNOWN_GROUP")
"""Ends of errors by which there is nothing to delete."""


@dataclass(slots=True)
class Programming:
    """The standing entries of one device, and the meters of its pins.

    ``present``: what was sent last or read back. ``left_out``: what of the plan the device does not get.
    ``lacks``: what it does not get whatever the plan is. ``folds``: it has no table output.
    ``foreign_groups`` and ``foreign_meters``: ids of others' ones, which are never modified or deleted (meters
    of others that were found at the handshake are not in it: the core uses none of them). ``found_meters``:
    meters that the device had at the handshake; one that the core uses nevertheless is ours.
    """

    capabilities: Capabilities
    present: Standing = EMPTY
    pin_meters: dict[int, MeterEntry] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    lacks: tuple[LeftOut, ...] = ()
    folds: bool = False
    foreign_groups: set[int] = field(default_factory=set)
    foreign_meters: set[int] = field(default_factory=set)
    found_meters: dict[int, MeterEntry] = field(default_factory=dict)
    learned_group: int = 0
    """The group in which the device puts what it learns (see :mod:`flowlane.core.flow.readings`)."""
    groups: frozenset[int] = frozenset((0,))
    """The groups that the device counts, each by an entry of table learn."""
    marked_meters: set[int] = field(default_factory=set)
    """Meters of pins that have an entry by which they are known as ours when no pin uses them any more."""
    _new_meters: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    """Meters of pins that have no such entry: added since the last call of :meth:`mark_meters`, and before it."""
    _plan: DevicePlan | None = None
    _refused: set[Entry] = field(default_factory=set)
    """Entries that the device has refused since the last call of :meth:`settle`."""
    deleted_meters: dict[int, MeterEntry] = field(default_factory=dict)
    """Meters of pins that were deleted, as they stood, until a reading shows whether they are gone."""
    _contradicted: set[int] = field(default_factory=set)
    """Meters of pins that the device does not have by its word, since the last change of each."""
    _no_meters: set[int] = field(default_factory=set)
    """Standing meters that the device refused: compiled without them until a plan has other meters."""
    _outputs: Mapping[int | None, tuple[Step, ...]] = field(default_factory=dict)
    """What table output would do, where the device has none (see :mod:`.folding`)."""
    _retries: int = 0
    _room: int | None = None
    """Entries of standing rules that fit in the device's table; None until one was refused."""
    _held: dict[FlowEntry, int] = field(default_factory=dict)
    """Entries of other tables that are full -> for how many calls of :meth:`settle` they are still held back."""
    _ports: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """The ports, with their queues, for which the plan was compiled."""
    _left: set[GroupEntry | MeterEntry] = field(default_factory=set)
    """Groups and meters that the device would not modify or delete: they stand in a form that is not known."""
    _unmarked: set[int] = field(default_factory=set)
    """Meters of pins whose marks the device has refused."""
    _retry_in: int = 0
    """Calls of :meth:`settle` until what was refused is tried again; 0: nothing was."""
    _retry_after: int = 0
    """How many calls that were the last time: they double where the device refuses the same again."""
    _last_refused: frozenset[Entry] = frozenset()
    _is_tried_again: bool = False
    _able: Capabilities = field(init=False)
    """What the device could do at the handshake."""
    _reprogram: bool = False
    """Whether the next call of :meth:`settle` is to send the plan, after the room for it was made."""

    def __post_init__(self) -> None:
        """Have the meters of pins marked that are not; a meter that stands with the rules is known by these."""
        standing = {meter.meter_id for meter in self.present.meters}
        self._new_meters[0].update(self.pin_meters.keys() - self.marked_meters - standing)
        self._able = self.capabilities

    @property
    def is_programmed(self) -> bool:
        """Whether the device was sent a plan."""
        return self._plan is not None

    @property
    def waits(self) -> bool:
        """Whether refusals are not handled yet, or entries are held back."""
        return bool(self._refused or self._held or self._reprogram)

    @property
    def is_idle(self) -> bool:
        """Whether the device has a plan, and no refusal waits."""
        return self.is_programmed and not self.waits

    @property
    def is_settled(self) -> bool:
        """Whether neither :meth:`settle` nor :meth:`mark_meters` has anything to do."""
        has_tasks = self.waits or self._retry_in or any(self._new_meters)
        return not has_tasks and self.marked_meters <= self.pin_meters.keys()

    @property
    def all_left_out(self) -> tuple[LeftOut, ...]:
        """List what the device does not get, each item once."""
        full = [
            LeftOut(
                f"entries of table {TableId(table).name.lower()}", "the device's table is full", _TABLE_MISS
            )
            for table in sorted({entry.table_id for entry in self._held})
        ]
        return tuple(dict.fromkeys([*self.lacks, *self.left_out, *full]))

    def program(self, plan: DevicePlan, ports: Mapping[int, Collection[int]]) -> Changes:
        """Return the changes that bring the device to a plan: only what differs."""
        of_ports = {port_no: tuple(queue_ids) for port_no, queue_ids in ports.items()}
        if (patched := self._patch(plan, of_ports)) is not None:
            return patched
        self._take_left()
        self._ports = of_ports
        if plan != self._plan:
            if self._plan is None or plan.meters != self._plan.meters:
                self._no_meters.clear()
            self._plan, self._retries = plan, 0
        compiled = self._compiled(plan, ports)
        changes = diff.changes(compiled.standing, self.present, WORK.pause)
        changes = tuple(filter(self.is_safe, paced(changes, WORK.pause)))
        for change in paced(changes, WORK.pause):
            if change.op is Op.DELETE and isinstance(change.entry, MeterEntry):
                self.found_meters.pop(change.entry.meter_id, None)
        # No pause from here on: a reading would compare what has not been sent.
        self.present, self.left_out = compiled.standing, compiled.left_out
        return changes

    def _patch(self, plan: DevicePlan, ports: Mapping[int, tuple[int, ...]]) -> Changes | None:
        """Return the changes when only VMs' ports and destinations differ; None when more does, or was refused.

        Addresses are learned often, and to compile the whole plan for one address or port takes milliseconds.
        """
        if self._plan is None or self._refused or self._held or self._room is not None or self._reprogram:
            return None
        before, now = patching.Side(self._plan, self._ports), patching.Side(plan, ports)
        numbers = patching.differing_ports(before, now, self.capabilities)
        if numbers is None or (numbers and (self.folds or self._retry_in)):
            return None
        if not numbers and plan.hosts == self._plan.hosts:
            return None
        old = patching.entries(before, numbers, now, self.capabilities)
        new = patching.entries(now, numbers, before, self.capabilities)
        self._plan, self._ports = plan, dict(ports)
        self.present = replace(self.present, flows=(*_without(self.present.flows, old), *new))
        return diff.changes(Standing(new), Standing(old))

    def _compiled(self, plan: DevicePlan, ports: Mapping[int, Collection[int]]) -> Compiled:
        """Compile the plan, without the entries that the device has no room for."""
        without = self._no_meters | self.foreign_meters
        granted = tuple(meter for meter in plan.meters if meter.meter_id not in without)
        plan = replace(plan, meters=granted)
        compiled = compile_plan(plan, self.capabilities, ports, self.foreign_groups, WORK.pause)
        if self._room is not None:
            plan, trimmed = room.trim(plan, compiled.standing.flows, self._room)
            compiled = compile_plan(plan, self.capabilities, ports, self.foreign_groups, WORK.pause)
            compiled = replace(compiled, left_out=(*compiled.left_out, *trimmed))
        flows = compiled.standing.flows
        if self.folds:
            self._outputs = folding.outputs(flows)
            flows = folding.fold(flows, self._outputs)
        flows = tuple(in_group(flow, self.learned_group) for flow in paced(flows, WORK.pause))
        if learns_itself(plan, self.capabilities):
            flows = (*flows, *map(counted_group, sorted(self.groups)))
        if self._held:
            flows = tuple(flow for flow in flows if flow not in self._held)
        return replace(compiled, standing=replace(compiled.standing, flows=flows))

    def begin_group(self, group: int, others: Collection[int] = ()) -> Changes:
        """Return the changes by which the device puts what it learns in another group, and counts that one as well.

        Args:
            others: the other groups that still have entries; those that are over are no longer counted.
        """
        old = self.present.flows
        flows = tuple(in_group(flow, group) for flow in old)
        moved = [flow for flow, before in zip(flows, old, strict=True) if flow is not before]
        groups = frozenset((group, *others)) if self._counts else self.groups
        added = [counted_group(number) for number in sorted(groups - self.groups)]
        over = [counted_group(number) for number in sorted(self.groups - groups)]
        self.learned_group, self.groups = group, groups
        self._held = {in_group(flow, group): calls for flow, calls in self._held.items()}
        self.present = replace(self.present, flows=(*(flow for flow in flows if flow not in over), *added))
        return (
            *(Change(Op.ADD, flow) for flow in added),
            *(Change(Op.MODIFY, flow) for flow in moved),
            *(Change(Op.DELETE, flow) for flow in over),
        )

    @property
    def _counts(self) -> bool:
        """Whether the device has learned entries by the present plan, and so counts groups of them."""
        return self._plan is not None and learns_itself(self._plan, self.capabilities)

    def is_safe(self, change: Change) -> bool:
        """Return False for the deletion of a meter that pins use: it would delete the pins.

        The engine deletes such a meter itself, after its pins. Nor is a meter of others changed.
        """
        meter = change.entry
        if isinstance(meter, MeterEntry) and meter.meter_id in self.foreign_meters:
            return False
        used = isinstance(meter, MeterEntry) and meter.meter_id in self.pin_meters
        return not (used and change.op is Op.DELETE)

    def pin(self, change: Change) -> Changes:
        """Return the change of a pin as the device can have it."""
        if not self.folds or not isinstance(change.entry, FlowEntry):
            return (change,)
        return tuple(Change(change.op, entry) for entry in folding.fold((change.entry,), self._outputs))

    def set_meter(self, meter: MeterSpec) -> Changes:
        """Return the change that adds or modifies a pin's meter; nothing when the device has it as it should be."""
        entry = meter_entry(meter, self.capabilities)
        if entry is None or entry.meter_id in self.foreign_meters:
            return ()
        if entry.meter_id not in self.marked_meters:
            self._new_meters[0].add(entry.meter_id)
        if self.pin_meters.get(entry.meter_id) == entry:
            return ()
        found = self.found_meters.pop(entry.meter_id, None)
        left = self._left_of(entry.meter_id)
        known = entry.meter_id in self.pin_meters or found is not None or bool(left)
        self._left -= left
        self._contradicted.discard(entry.meter_id)
        self.pin_meters[entry.meter_id] = entry
        return (Change(Op.MODIFY if known else Op.ADD, entry),)

    def mark_meters(self) -> Changes:
        """Return the entries that mark meters of pins as ours; to be called about once a second.

        A meter without an entry cannot be told from one of others. The entry follows one call later, when a refusal
        of the meter has come, since a meter of others has no entry of ours; most flows have ended by then. A device
        deletes the entry with its meter.
        """
        added, before = self._new_meters
        wrong = self.marked_meters - self.pin_meters.keys()
        marks = sorted(before & self.pin_meters.keys() - self.foreign_meters - self.marked_meters)
        self._new_meters = set(), added
        self.marked_meters.update(marks)
        self.marked_meters -= wrong
        return (
            *(Change(Op.ADD, meter_mark(meter_id)) for meter_id in marks),
            *(Change(Op.DELETE, meter_mark(meter_id)) for meter_id in sorted(wrong)),
        )

    def delete_meter(self, meter_id: int) -> Changes:
        """Return the change that deletes a pin's meter, also one of an earlier connection."""
        if meter_id in self.foreign_meters:
            return ()
        self.found_meters.pop(meter_id, None)
        self.marked_meters.discard(meter_id)
        entry = self.pin_meters.pop(meter_id, MeterEntry(meter_id, 1, 0))
        self.deleted_meters[meter_id] = entry
        return (Change(Op.DELETE, entry),) if self.capabilities.max_meters else ()

    def undeleted(self, asked: Mapping[int, MeterEntry], found: Mapping[int, MeterEntry]) -> Changes:
        """Return the deletion of meters of pins that were deleted, and stand as they did: the device has refused it.

        Args:
            asked: ``deleted_meters`` when the meters were requested; what was deleted again since is left out.
            found: the meters that the device has.
        """
        changes, used = [], self.pin_meters.keys() | {meter.meter_id for meter in self.present.meters}
        for meter_id, entry in asked.items():
            if self.deleted_meters.get(meter_id) is not entry:
                continue
            if meter_id not in found:
                self._left -= self._left_of(meter_id)
            if found.get(meter_id) != entry or meter_id in used:
                del self.deleted_meters[meter_id]
                continue
            self.foreign_meters.discard(meter_id)
            changes.append(Change(Op.DELETE, entry))
        return tuple(changes)

    def _left_of(self, meter_id: int) -> set[GroupEntry | MeterEntry]:
        return {entry for entry in self._left if isinstance(entry, MeterEntry) and entry.meter_id == meter_id}

    def fallback(self, change: Change, error: str) -> Changes:
        """Return what to send in place of a refused change: the plan with another group where an id is taken."""
        if isinstance(change.entry, MeterEntry):
            return self._meter_fallback(change.op, change.entry, error)
        group = change.entry
        if change.op is not Op.ADD or error != _GROUP_EXISTS or not isinstance(group, GroupEntry):
            return ()
        self.foreign_groups.add(group.group_id)
        self.present = replace(
            self.present, groups=tuple(present for present in self.present.groups if present != group)
        )
        return self.program(self._plan, self._ports) if self._plan is not None else ()

    def _meter_fallback(self, op: Op, meter: MeterEntry, error: str) -> Changes:
        """Add a meter of pins that was to be modified and is not there; modify it, if it is there all the same."""
        if self.pin_meters.get(meter.meter_id) != meter:
            return ()
        is_contradicted = meter.meter_id in self._contradicted
        if op is Op.MODIFY and error.endswith(_UNKNOWN) and not is_contradicted:
            self._contradicted.add(meter.meter_id)
            return (Change(Op.ADD, meter),)
        return (Change(Op.MODIFY, meter),) if error == METER_EXISTS and is_contradicted else ()

    def note_unmarked(self, mark: Entry) -> None:
        """Note that the device has refused the mark of a meter, which works all the same: it is tried again later."""
        steps = mark.steps if isinstance(mark, FlowEntry) else ()
        ids = {step.meter_id for step in steps if isinstance(step, Meter)}
        self.marked_meters -= ids
        self._unmarked |= ids
        self._retry_in = self._retry_in or HELD_CALLS

    def note_undeleted(self, entry: Entry, error: str) -> None:
        """Note that the device has refused to delete a group or a meter: that is tried again later.

        Entries are found by the next reading, groups and meters carry no owner.
        """
        if isinstance(entry, GroupEntry | MeterEntry) and not error.endswith(_UNKNOWN):
            self._left.add(_unknown_form(entry))
            self._retry_in = self._retry_in or HELD_CALLS

    def note_refusal(self, entry: Entry, error: str = "", *, stands: bool = False) -> None:
        """Note that the device has refused an entry, for the next :meth:`settle`; pins are left to the engine.

        Args:
            stands: it was to be modified, and stands as it was before.
        """
        if stands and isinstance(entry, GroupEntry | MeterEntry) and not error.endswith(_UNKNOWN):
            self._left.add(_unknown_form(entry))
        cookie = cookies.unpack(entry.cookie) if isinstance(entry, FlowEntry) else None
        if cookie is None or cookie.kind is not cookies.Kind.PIN:
            self._refused.add(entry)
            if error == room.TABLE_FULL and isinstance(entry, FlowEntry):
                self._held[entry] = HELD_CALLS
        if isinstance(entry, GroupEntry):
            self.capabilities = replace(self.capabilities, select_groups=False)
        elif isinstance(entry, MeterEntry) and entry.meter_id == CONTROLLER_METER:
            self.capabilities = replace(self.capabilities, controller_meter=False)
        elif isinstance(entry, MeterEntry) and error == METER_EXISTS:
            self.foreign_meters.add(entry.meter_id)
            self.pin_meters.pop(entry.meter_id, None)
            meters = tuple(meter for meter in self.present.meters if meter.meter_id != entry.meter_id)
            self.present = replace(self.present, meters=meters)
        elif isinstance(entry, MeterEntry) and self.pin_meters.get(entry.meter_id) == entry:
            del self.pin_meters[entry.meter_id]
        elif isinstance(entry, MeterEntry):
            self._no_meters.add(entry.meter_id)

    def settle(self, ports: Mapping[int, Collection[int]]) -> Changes:
        """Return the changes that follow from refusals since the last call.

        A table that is full gets the general standing rules in place of special ones. A refused group or
        meter has the plan compiled again without it. Another refused flow entry has no fallback: it is sent
        again with the next plan. After :data:`MAX_RETRIES` the plan stays as it is. All that was refused is asked for
        once more after :data:`HELD_CALLS` calls: others may have taken the room for a while.
        """
        self._held = {entry: calls - 1 for entry, calls in self._held.items() if calls > 1}
        if self._retry_in:
            self._retry_in -= 1
            if not self._retry_in and self._plan is not None:
                return self._try_again(self._plan, ports)
        if self._reprogram and self._plan is not None:
            self._reprogram = False
            return self.program(self._plan, ports)
        if not self._refused:
            return ()
        refused, self._refused = frozenset(self._refused), set()
        is_again = self._is_tried_again and not self._last_refused.isdisjoint(refused)
        self._is_tried_again = False
        self._retry_after = min(2 * self._retry_after, LONGEST_RETRY) if is_again else HELD_CALLS
        self._retry_in, self._last_refused = self._retry_after, refused
        present = self.present
        self.present = Standing(
            tuple(flow for flow in present.flows if flow not in refused),
            tuple(group for group in present.groups if group not in refused),
            tuple(meter for meter in present.meters if meter not in refused),
        )
        without_room = [entry for entry in self._held if entry in refused and room.is_rule(entry)]
        if without_room and self._plan is not None:
            return self._make_room(self._plan, without_room, ports)
        has_fallback = any(not isinstance(entry, FlowEntry) for entry in refused)
        if self._plan is None or not has_fallback or self._retries >= MAX_RETRIES:
            return ()
        self._retries += 1
        return self.program(self._plan, ports)

    def _take_left(self) -> None:
        """Take what stands in an unknown form for present, so that it is modified or deleted."""
        groups, meters = self.present.groups, self.present.meters
        ids = {group.group_id for group in groups}, {meter.meter_id for meter in meters}
        left, self._left = self._left, set()
        more_groups = [
            entry for entry in left if isinstance(entry, GroupEntry) and entry.group_id not in ids[0]
        ]
        more_meters = [
            entry for entry in left if isinstance(entry, MeterEntry) and entry.meter_id not in ids[1]
        ]
        self.present = replace(self.present, groups=(*groups, *more_groups), meters=(*meters, *more_meters))

    def _try_again(self, plan: DevicePlan, ports: Mapping[int, Collection[int]]) -> Changes:
        """Return the changes that ask once more for what the device has refused a while ago."""
        self._retry_in = self._retries = 0
        self._is_tried_again = True
        able = self._able
        self.capabilities = replace(
            self.capabilities, select_groups=able.select_groups, controller_meter=able.controller_meter
        )
        self._no_meters.clear()
        self._new_meters[0].update(self._unmarked & self.pin_meters.keys())
        self._unmarked.clear()
        self._room = None
        return self.program(plan, ports)

    def _make_room(
        self, plan: DevicePlan, without_room: Collection[FlowEntry], ports: Mapping[int, Collection[int]]
    ) -> Changes:
        """Return the deletion of special rules that make room for general ones; these follow with the next call."""
        for entry in without_room:
            del self._held[entry]
        accepted = sum(map(room.is_rule, self.present.flows))
        self._room = accepted if self._room is None else min(accepted, self._room - 1)
        compiled = self._compiled(plan, ports)
        deletions = [
            change
            for change in diff.changes(compiled.standing, self.present)
            if change.op is Op.DELETE and isinstance(change.entry, FlowEntry)
        ]
        deleted = {change.entry for change in deletions}
        self.present = replace(
            self.present, flows=tuple(flow for flow in self.present.flows if flow not in deleted)
        )
        self.left_out, self._reprogram = compiled.left_out, True
        return diff.ordered(deletions)


def _without(flows: Sequence[FlowEntry], stale: Sequence[FlowEntry]) -> Sequence[FlowEntry]:
    """Return the entries without some of them, which are mostly the same objects."""
    ids = set(map(id, stale))
    kept = [flow for flow in flows if id(flow) not in ids] if ids else flows
    if len(kept) + len(ids) == len(flows):
        return kept
    equal = set(stale)
    return [flow for flow in flows if flow not in equal]


def _unknown_form(entry: GroupEntry | MeterEntry) -> GroupEntry | MeterEntry:
    """Return a group or meter in a form that is never asked for, so that it differs from every desired one."""
    return replace(entry, buckets=()) if isinstance(entry, GroupEntry) else replace(entry, rate=0)
