"""Flow table of one device, in columns.

A flow has a row as long as it lives. The row's number is in the cookie of the flow's pin, so that no match has to be
parsed for counters and flow-removed messages. Columns are arrays, which the garbage collector does not walk; what few
flows have is in dictionaries by row. A flow costs less than 256 bytes, what the allocator stores of it included
(``bench.controller.flow_memory``). A freed row is used again with the next generation, so that a late message about the
old flow is not taken for one about the new flow.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from flowlane.core.allocate.state import spare
from flowlane.core.flowkey import FlowParts, unpack
from flowlane.core.model import PinRef

GENERATIONS = 1 << 12
"""Generations before a row's number repeats (12 bits of the cookie)."""

PINNED = 1
"""Flag: the flow has a pin."""

REFUSED = 2
"""Flag: the device refused the flow's pin; the flow stays on its standing rule."""

BY_VM = 4
"""Flag: the flow's pin matches on the number of its VM, since the flow comes from a link."""

UNREPORTED = -2
"""In ``device_queue``: the device did not report which queue it gives the flow itself."""

_COLUMNS: dict[str, tuple[str, float]] = {
    "generation": ("H", 0),
    "tag": ("H", 0),
    "in_port": ("I", 0),
    "egress_port": ("I", 0),
    "vm_number": ("I", 0),
    "class_index": ("H", 0),
    "rule_index": ("H", 0),
    "queue_id": ("i", -1),
    "device_queue": ("i", UNREPORTED),
    "mark": ("h", -1),
    "device_mark": ("h", -1),
    "kind": ("B", 0),
    "reason": ("B", 0),
    "meter_id": ("I", 0),
    "device_meter": ("I", 0),
    "dscp": ("B", 0),
    "pcp": ("B", 0),
    "hint_class": ("H", 0),
    "hint_source": ("B", 0),
    "flags": ("B", 0),
    "gate_state": ("H", 0),
    "rate": ("f", 0.0),
    "packets": ("Q", 0),
    "octets": ("Q", 0),
    "counted_at": ("d", 0.0),
    "first_seen": ("d", 0.0),
    "last_active": ("d", 0.0),
}


_ROWS: list[int] = []

_NOTHING = (0, 0)


def _shared(row: int) -> int:
    """Return a row's number as one object for all devices: of its own for each flow it would take 32 bytes more."""
    if row >= len(_ROWS):
        _ROWS.extend(range(len(_ROWS), row + 1 + (row >> 3)))
    return _ROWS[row]


class AssignedSince(dict[int, float]):
    """Row -> since when the flow has been on its queue, where that is not since its first packet."""

    def __init__(self, first_seen: array[float]) -> None:
        super().__init__()
        self._first_seen = first_seen

    def __missing__(self, row: int) -> float:
        """Return the time of a flow that is on the queue of its first packet."""
        return self._first_seen[row]

    def note(self, row: int, now: float) -> None:
        """Note that the flow has another queue."""
        if now != self._first_seen[row]:
            self[row] = now
        else:
            self.pop(row, None)


class FlowTable:
    """Flows by key and by row. The columns are attributes, indexed by the row."""

    generation: array[int]
    tag: array[int]
    """VLAN id + 1 of the flow's packets on this device, 0 for untagged; on a link it may differ from the key's."""
    in_port: array[int]
    egress_port: array[int]
    vm_number: array[int]
    class_index: array[int]
    rule_index: array[int]
    queue_id: array[int]
    device_queue: array[int]
    """Queue that the device gives the flow where it has no pin, as reported."""
    mark: array[int]
    """Mark for the queue of a passive switch behind the egress port; -1: none (see :mod:`flowlane.core.marks`)."""
    device_mark: array[int]
    """Mark that the device writes where the flow has no pin, as reported; -1: none."""
    kind: array[int]
    reason: array[int]
    meter_id: array[int]
    device_meter: array[int]
    """Meter of a class that the device applies to the flow where it has no pin, as reported; 0: none."""
    dscp: array[int]
    pcp: array[int]
    hint_class: array[int]
    hint_source: array[int]
    flags: array[int]
    gate_state: array[int]
    rate: array[float]
    packets: array[int]
    octets: array[int]
    """Of the flow's whole life; :meth:`entry_counters` are those of the entry that counts it now."""
    counted_at: array[float]
    first_seen: array[float]
    last_active: array[float]

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}
        self.keys: list[bytes | None] = []
        self.gate_since: dict[int, float] = {}
        """Row -> the time that belongs to its ``gate_state``, where a gate is watched."""
        self._before: dict[int, tuple[int, int]] = {}
        """Row -> packets and bytes of the flow that its present entry has not counted, where there are any."""
        self._free: array[int] = array("I")
        self.used = 0
        """Rows that are in use or have been; the columns have some more."""
        self._columns: list[tuple[array[float], float]] = []
        for name, (code, default) in _COLUMNS.items():
            column: array[float] = array(code)
            setattr(self, name, column)
            if name != "generation":
                self._columns.append((column, default))
        self.assigned_since = AssignedSince(self.first_seen)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        """Iterate over the rows in use, in the order in which the flows began."""
        return iter(self.rows.values())

    def add(self, key: bytes, now: float) -> int:
        """Add a flow at a time (s); return its row. Its columns have their defaults."""
        if self._free:
            row = self._free.pop()
        else:
            row = self.used
            self.used += 1
            if row == len(self.keys):
                self._grow(row + 1)
        self._fill(row, key, now)
        return row

    def add_at(self, ref: PinRef, key: bytes, now: float) -> bool:
        """Add a flow in a given row, read from a cookie; return False when the row or the key is in use."""
        row = ref.row
        if key in self.rows or (row < len(self.keys) and self.keys[row] is not None):
            return False
        if row >= self.used:
            self._grow(row + 1)
            self._free.extend(range(self.used, row))
            self.used = row + 1
        else:
            self._free.remove(row)
        self.generation[row] = ref.generation
        self._fill(row, key, now)
        return True

    def remove(self, row: int) -> None:
        """Remove a flow; its row goes on with the next generation."""
        key = self.keys[row]
        assert key is not None
        del self.rows[key]
        self.keys[row] = None
        self.assigned_since.pop(row, None)
        self.gate_since.pop(row, None)
        self._before.pop(row, None)
        self.generation[row] = (self.generation[row] + 1) % GENERATIONS
        for column, default in self._columns:
            column[row] = default
        self._free.append(row)

    def entry_counters(self, row: int) -> tuple[int, int]:
        """Return packets and bytes of the last reading of the entry that counts the flow now."""
        packets, octets = self._before.get(row, _NOTHING)
        return self.packets[row] - packets, self.octets[row] - octets

    def with_earlier(self, rows: Iterable[int]) -> set[int]:
        """Return those of some rows whose flow has packets that its present entry has not counted."""
        return self._before.keys() & rows if self._before else set()

    def set_first_seen(self, row: int, time: float) -> None:
        """Set the time of the first packet of a flow that has its queue already, since the time that is known."""
        since = self.assigned_since[row]
        self.first_seen[row] = time
        self.assigned_since.note(row, since)

    def set_entry_counters(self, row: int, packets: int, octets: int) -> None:
        """Note what the entry that counts the flow now has counted of its packets and bytes; 0 for a new entry."""
        before = self.packets[row] - packets, self.octets[row] - octets
        if before != _NOTHING:
            self._before[row] = before
        elif row in self._before:
            del self._before[row]

    def device_key(self, row: int) -> bytes:
        """Return the flow's key with the VLAN that its packets have on this device."""
        key = self.keys[row]
        assert key is not None
        return key[:4] + self.tag[row].to_bytes(2) + key[6:]

    def parts(self, row: int) -> FlowParts:
        """Return the parts of the flow's key as its packets are on this device."""
        return unpack(self.device_key(row))

    def ref(self, row: int) -> PinRef:
        """Make the reference of the flow that is in a row now."""
        return PinRef(row, self.generation[row])

    def holds(self, row: int, generation: int) -> bool:
        """Check whether a message about (row, generation) is about the flow that is in the row now."""
        return row < len(self.keys) and self.keys[row] is not None and self.generation[row] == generation

    def _fill(self, row: int, key: bytes, now: float) -> None:
        self.rows[key] = _shared(row)
        self.keys[row] = key
        self.first_seen[row] = self.last_active[row] = self.counted_at[row] = now

    def _grow(self, size: int) -> None:
        """Extend the columns to so many rows and some more (:func:`spare`): one by one would copy them each time."""
        missing = size - len(self.keys)
        if missing <= 0:
            return
        missing += spare(size)
        self.keys.extend([None] * missing)
        self.generation.extend([0] * missing)
        for column, default in self._columns:
            column.extend(array(column.typecode, [default]) * missing)
