"""What stands in one device and what should: the changes that lead from one to the other. No connection here.

What a device refuses is done without: the plan is made anew for what it can do, the next best form of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowlane.southbound.openflow import cookies, diff
from flowlane.southbound.openflow.entries import (
    CONTROLLER_METER,
    EMPTY,
    Change,
    Entry,
    FlowEntry,
    GroupEntry,
    MeterEntry,
    Op,
    Standing,
)
from flowlane.southbound.openflow.rules import compile_plan, meter_entry

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan
    from flowlane.core.model import Capabilities, MeterSpec
    from flowlane.southbound.openflow.spread import LeftOut

Changes = tuple[Change, ...]
MAX_RETRIES = 8
"""How often one plan is made anew because the device refused a part of it."""

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

    def program(self, plan: DevicePlan, ports: Mapping[int, Collection[int]]) -> Changes:
        """Make the device equal to a plan, by what differs only.

        Args:
            ports: the ports that the device has, each with the ids of its queues.
        """
        if plan != self._plan:
            if self._plan is None or plan.meters != self._plan.meters:
                self._no_meters.clear()
            self._plan, self._retries = plan, 0
        granted = tuple(meter for meter in plan.meters if meter.meter_id not in self._no_meters)
        compiled = compile_plan(replace(plan, meters=granted), self.capabilities, ports)
        changes = tuple(filter(self._may_go, diff.changes(compiled.standing, self.present)))
        self.present, self.left_out = compiled.standing, compiled.left_out
        return changes

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

    def refused(self, entry: Entry) -> None:
        """Remember what the device does not take. Pins are the engine's own business."""
        parts = cookies.unpack(entry.cookie) if isinstance(entry, FlowEntry) else None
        if parts is None or parts.kind is not cookies.Kind.PIN:
            self._refused.add(entry)
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

        Nothing follows from a refused flow entry alone, for it has no other form; it is tried again with the
        next plan. A plan that is refused again and again is let be.
        """
        if not self._refused:
            return ()
        refused, self._refused = self._refused, set()
        present = self.present
        self.present = Standing(
            tuple(flow for flow in present.flows if flow not in refused),
            tuple(group for group in present.groups if group not in refused),
            tuple(meter for meter in present.meters if meter not in refused),
        )
        has_other_form = any(not isinstance(entry, FlowEntry) for entry in refused)
        if self._plan is None or not has_other_form or self._retries >= MAX_RETRIES:
            return ()
        self._retries += 1
        return self.program(self._plan, ports)
