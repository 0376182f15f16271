"""What stands in one device and what should: the changes that lead from one to the other. No connection here.

What a device refuses is done without: the plan is made anew for what it can do, the next best form of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowlane.core.model import LeftOut
from flowlane.southbound.openflow.tables import diff, room
from flowlane.southbound.openflow.tables.desired import Compiled, compile_plan, meter_entry
from flowlane.southbound.openflow.tables.entries import (
    EMPTY,
    Change,
    Entry,
    FlowEntry,
    GroupEntry,
    MeterEntry,
    Op,
    Standing,
)
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.constants import CONTROLLER_METER

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan
    from flowlane.core.model import Capabilities, MeterSpec

Changes = tuple[Change, ...]
MAX_RETRIES = 8
"""How often one plan is made anew because the device refused a part of it."""

HELD = 60
"""Calls of :meth:`Programming.settle`, about one a second, for which an entry of a full table is not sent again."""

_AFTER_ALL = "the table's entry for the rest"

_EXISTS = frozenset(("OFPGMFC_GROUP_EXISTS", "OFPMMFC_METER_EXISTS"))


@dataclass(slots=True)
class Programming:
    """The standing part of one device, and the meters of its pins.

    ``present`` is what was sent last or read back; ``left_out`` what of the plan the device does not get.
    """

    capabilities: Capabilities
    present: Standing = EMPTY
    pin_meters: dict[int, MeterEntry] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    _plan: DevicePlan | None = None
    _refused: set[Entry] = field(default_factory=set)
    _no_meters: set[int] = field(default_factory=set)
    """Standing meters that the device refused: the plan is made without them until it names others."""
    _retries: int = 0
    _room: int | None = None
    """Entries of standing rules that the device has room for, once it has refused one."""
    _held: dict[FlowEntry, int] = field(default_factory=dict)
    """Entries of other tables that are full -> for how many calls of settle they are held back."""
    _due: bool = False

    @property
    def told(self) -> tuple[LeftOut, ...]:
        """List what the device does not get, each item once."""
        full = [
            LeftOut(
                f"entries of table {TableId(table).name.lower()}", "the device's table is full", _AFTER_ALL
            )
            for table in sorted({entry.table_id for entry in self._held})
        ]
        return tuple(dict.fromkeys([*self.left_out, *full]))

    def program(self, plan: DevicePlan, ports: Mapping[int, Collection[int]]) -> Changes:
        """Make the device equal to a plan, by what differs only.

        Args:
            ports: the ports that the device has, each with the ids of its queues.
        """
        if plan != self._plan:
            if self._plan is None or plan.meters != self._plan.meters:
                self._no_meters.clear()
            self._plan, self._retries = plan, 0
        compiled = self._compiled(plan, ports)
        changes = tuple(filter(self._may_go, diff.changes(compiled.standing, self.present)))
        self.present, self.left_out = compiled.standing, compiled.left_out
        return changes

    def _compiled(self, plan: DevicePlan, ports: Mapping[int, Collection[int]]) -> Compiled:
        """The plan as entries, without those for which the device has no room."""
        granted = tuple(meter for meter in plan.meters if meter.meter_id not in self._no_meters)
        plan = replace(plan, meters=granted)
        compiled = compile_plan(plan, self.capabilities, ports)
        if self._room is not None:
            plan, gone = room.trim(plan, compiled.standing.flows, self._room)
            compiled = compile_plan(plan, self.capabilities, ports)
            compiled = replace(compiled, left_out=(*compiled.left_out, *gone))
        flows = tuple(flow for flow in compiled.standing.flows if flow not in self._held)
        return replace(compiled, standing=replace(compiled.standing, flows=flows))

    def _may_go(self, change: Change) -> bool:
        """Deleting a meter that pins use would delete the pins; the engine has it cleared after them."""
        meter = change.entry
        used = isinstance(meter, MeterEntry) and meter.meter_id in self.pin_meters
        return not (used and change.op is Op.DELETE)

    def set_meter(self, meter: MeterSpec) -> Changes:
        """Add or change a pin's meter; one that is there already as it should be is left alone."""
        entry = meter_entry(meter, self.capabilities)
        if entry is None or self.pin_meters.get(entry.meter_id) == entry:
            return ()
        known = entry.meter_id in self.pin_meters
        self.pin_meters[entry.meter_id] = entry
        return (Change(Op.MODIFY if known else Op.ADD, entry),)

    def clear_meter(self, meter_id: int) -> Changes:
        """Delete a pin's meter, also one of an earlier connection: a device that has none such does nothing."""
        entry = self.pin_meters.pop(meter_id, MeterEntry(meter_id, 1, 0))
        return (Change(Op.DELETE, entry),) if self.capabilities.max_meters else ()

    def instead(self, change: Change, why: str) -> Changes:
        """What to send in the place of a change that was refused: a number that is taken is taken over."""
        return (Change(Op.MODIFY, change.entry),) if change.op is Op.ADD and why in _EXISTS else ()

    def refused(self, entry: Entry, why: str = "") -> None:
        """Remember what the device does not take. Pins are the engine's own business."""
        parts = cookies.unpack(entry.cookie) if isinstance(entry, FlowEntry) else None
        if parts is None or parts.kind is not cookies.Kind.PIN:
            self._refused.add(entry)
            if why == room.TABLE_FULL and isinstance(entry, FlowEntry):
                self._held[entry] = HELD
        if isinstance(entry, GroupEntry):
            self.capabilities = replace(self.capabilities, select_groups=False)
        elif isinstance(entry, MeterEntry) and entry.meter_id == CONTROLLER_METER:
            self.capabilities = replace(self.capabilities, controller_meter=False)
        elif isinstance(entry, MeterEntry) and self.pin_meters.get(entry.meter_id) == entry:
            del self.pin_meters[entry.meter_id]
        elif isinstance(entry, MeterEntry):
            self._no_meters.add(entry.meter_id)

    def settle(self, ports: Mapping[int, Collection[int]]) -> Changes:
        """What follows from refusals since the last time: the plan in the next best form.

        A table that is full takes the general standing rules in the place of special ones. Nothing follows from
        another refused flow entry alone, for it has no other form; it is tried again with the next plan, where its
        table was full after :data:`HELD` calls. A plan that is refused again and again is let be.
        """
        self._held = {entry: left - 1 for entry, left in self._held.items() if left > 1}
        if self._due and self._plan is not None:
            self._due = False
            return self.program(self._plan, ports)
        if not self._refused:
            return ()
        refused, self._refused = self._refused, set()
        present = self.present
        self.present = Standing(
            tuple(flow for flow in present.flows if flow not in refused),
            tuple(group for group in present.groups if group not in refused),
            tuple(meter for meter in present.meters if meter not in refused),
        )
        full = [entry for entry in self._held if entry in refused and room.is_rule(entry)]
        if full and self._plan is not None:
            return self._make_room(self._plan, full, ports)
        has_other_form = any(not isinstance(entry, FlowEntry) for entry in refused)
        if self._plan is None or not has_other_form or self._retries >= MAX_RETRIES:
            return ()
        self._retries += 1
        return self.program(self._plan, ports)

    def _make_room(
        self, plan: DevicePlan, full: Collection[FlowEntry], ports: Mapping[int, Collection[int]]
    ) -> Changes:
        """Take the special rules out that the general ones need the room of; these follow with the next call."""
        for entry in full:
            del self._held[entry]
        fit = sum(map(room.is_rule, self.present.flows))
        self._room = fit if self._room is None else min(fit, self._room - 1)
        wanted = self._compiled(plan, ports)
        gone = [
            change
            for change in diff.changes(wanted.standing, self.present)
            if change.op is Op.DELETE and isinstance(change.entry, FlowEntry)
        ]
        removed = {change.entry for change in gone}
        self.present = replace(
            self.present, flows=tuple(flow for flow in self.present.flows if flow not in removed)
        )
        self.left_out, self._due = wanted.left_out, True
        return diff.ordered(gone)
