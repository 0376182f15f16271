"""Layout of the pipeline on one device: which number each table has there, and the priorities in the start table.

Everything else in this package uses the tables' logical numbers (:class:`.pipeline.TableId`) and the
priorities of :class:`.pipeline.Priority`. They are translated where a message is made or read, so that
Flowlane can work beside the entries of other controllers, and on devices with few tables.

The start table has the entries of others too. Ours have neighbouring priorities there, from ``base`` on
(:data:`START_PRIORITIES`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from flowlane.southbound.openflow.tables.entries import (
    Bucket,
    Change,
    FlowEntry,
    Goto,
    GroupEntry,
    Step,
)
from flowlane.southbound.openflow.tables.pipeline import TABLES, Act, Priority, TableId
from flowlane.southbound.openflow.wire.nicira import Learn, Resubmit, Track

START_PRIORITIES = (
    Priority.MISS,
    Priority.PORT,
    Priority.SOURCE,
    Priority.SOURCE_IN_VLAN,
    Priority.RESERVED,
    Priority.PROBE,
    Priority.FORGED_PROBE,
)
"""All priorities of entries in the start table, from low to high; on the device they are neighbours."""

FIRST_BASE = 1
"""The base where nobody else has entries: an entry that an operator adds with priority 0 stays beneath ours."""

OUTSIDE = 0x100
"""Added to the number of a table of the device that is not in the layout: entries of ours there are deleted."""

_RANKS = {int(priority): rank for rank, priority in enumerate(START_PRIORITIES)}
_MAX_PRIORITY = 0xFFFF


@dataclass(frozen=True)
class Layout:
    """The tables in use -> their numbers on the device, and the lowest of our priorities in the start table."""

    numbers: Mapping[TableId, int]
    base: int = FIRST_BASE
    key: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The same for equal layouts; hashable."""
    _tables: Mapping[int, TableId] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tables = {number: table for table, number in reversed(list(self.numbers.items()))}
        object.__setattr__(self, "_tables", MappingProxyType(tables))
        key = (self.base, *(self.numbers.get(table, -1) for table in TableId))
        object.__setattr__(self, "key", key)

    @property
    def start(self) -> int:
        """The number of the first table."""
        return self.numbers[TableId.INGRESS]

    def number_of(self, table_id: int) -> int:
        """Return the number of a table on the device.

        Raises:
            KeyError: the layout does not have the table.
        """
        return table_id - OUTSIDE if table_id >= OUTSIDE else self.numbers[TableId(table_id)]

    def table_of(self, number: int) -> int:
        """Return the table that has a number on the device; the number and :data:`OUTSIDE` when none has it."""
        return self._tables.get(number, OUTSIDE + number)

    def on_device(self, change: Change) -> Change:
        """Translate a change to the device's numbers and priorities."""
        entry = change.entry
        if isinstance(entry, FlowEntry):
            return Change(change.op, self.flow_on_device(entry))
        if isinstance(entry, GroupEntry):
            return Change(change.op, _with_buckets(entry, self.number_of))
        return change

    def flow_on_device(self, entry: FlowEntry) -> FlowEntry:
        """Translate an entry to the device's numbers and priorities."""
        return replace(
            entry,
            table_id=self.number_of(entry.table_id),
            priority=self.priority_of(entry),
            steps=self.steps_on_device(entry.steps),
        )

    def priority_of(self, entry: FlowEntry) -> int:
        """Return the priority of an entry on the device."""
        is_first = entry.table_id == TableId.INGRESS
        return self.base + _RANKS[entry.priority] if is_first else entry.priority

    def steps_on_device(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """Translate steps to the device's numbers."""
        return _translated(steps, self.number_of)

    def flow_from_device(self, entry: FlowEntry) -> FlowEntry:
        """Translate an entry of ours that was read from the device; what is not in the layout gets OUTSIDE numbers."""
        table_id, priority = self.table_of(entry.table_id), entry.priority
        if table_id == TableId.INGRESS:
            rank = priority - self.base
            if 0 <= rank < len(START_PRIORITIES):
                priority = int(START_PRIORITIES[rank])
            else:
                table_id = OUTSIDE + entry.table_id
        steps = _translated(entry.steps, self.table_of)
        if (table_id, priority, steps) == (entry.table_id, entry.priority, entry.steps):
            return entry
        return replace(entry, table_id=int(table_id), priority=priority, steps=steps)

    def group_from_device(self, entry: GroupEntry) -> GroupEntry:
        """Translate a group of ours that was read from the device."""
        return _with_buckets(entry, self.table_of)


def _translated(steps: tuple[Step, ...], translate: Callable[[int], int]) -> tuple[Step, ...]:
    return tuple(
        replace(step, table_id=translate(step.table_id))
        if isinstance(step, Goto | Resubmit | Learn | Track) and step.table_id is not None
        else step
        for step in steps
    )


def _with_buckets(entry: GroupEntry, translate: Callable[[int], int]) -> GroupEntry:
    return replace(entry, buckets=tuple(_bucket(bucket, translate) for bucket in entry.buckets))


def _bucket(bucket: Bucket, translate: Callable[[int], int]) -> Bucket:
    return bucket if bucket.table_id is None else replace(bucket, table_id=translate(bucket.table_id))


def tables_for(learn: bool, conntrack: bool) -> tuple[TableId, ...]:
    """Return the tables that a device with these actions of Open vSwitch uses."""
    available = {None: True, Act.LEARN: learn, Act.TRACK: learn and conntrack}
    return tuple(table.table_id for table in TABLES if available[table.extension])


def arrange(tables: Iterable[TableId], start: int, free: Iterable[int]) -> Mapping[TableId, int] | None:
    """Give tables numbers: the first one ``start``, the others the lowest numbers of ``free`` above it.

    Returns:
        None when there are not enough.
    """
    names = list(tables)
    numbers = [start, *sorted(number for number in free if number > start)][: len(names)]
    return dict(zip(names, numbers, strict=True)) if len(numbers) == len(names) else None


def probing(start: int) -> Layout:
    """Return the layout of entries that are sent on trial: they are in the start table, and lead to the next."""
    return Layout({table: start if table is TableId.INGRESS else start + 1 for table in TableId})


DEFAULT = Layout({table: int(table) for table in TableId})
"""The layout of a device with all tables and no other controller."""
