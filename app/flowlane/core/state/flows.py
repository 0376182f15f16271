"""One device's flows, in columns.

A row number stands for a flow as long as it lives; it is the object part of its pin's cookie, so that
counters and flow-removed need no match parsing. Columns are arrays: a flow costs about 250 bytes, and the
garbage collector has nothing to walk. A freed row is used again with the next generation, so that a late
message about the old flow is not taken for the new one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from flowlane.core.model import PinRef

GENERATIONS = 1 << 12
"""Generations before a row's number repeats (12 bits of the cookie)."""

PINNED = 1
"""Flag: an exact entry of this flow was sent to the device."""

REFUSED = 2
"""Flag: the device refused the flow's entry or meter; it stays on its standing rule."""

UNREPORTED = -2
"""In ``device_queue``: nobody told which queue the device itself would give the flow."""

_COLUMNS: dict[str, tuple[str, float]] = {
    "generation": ("H", 0),
    "in_port": ("I", 0),
    "egress_port": ("I", 0),
    "vm_number": ("I", 0),
    "class_index": ("H", 0),
    "rule_index": ("H", 0),
    "queue_id": ("i", -1),
    "device_queue": ("i", UNREPORTED),
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
    "entry_packets": ("Q", 0),
    "entry_octets": ("Q", 0),
    "counted_at": ("d", 0.0),
    "gate_since": ("d", 0.0),
    "first_seen": ("d", 0.0),
    "last_active": ("d", 0.0),
    "assigned_since": ("d", 0.0),
    "moved_at": ("d", -1e9),
}


class FlowTable:
    """Flows by key and by row. Column names are attributes; see the module for what a row is."""

    generation: array[int]
    in_port: array[int]
    egress_port: array[int]
    vm_number: array[int]
    class_index: array[int]
    rule_index: array[int]
    queue_id: array[int]
    device_queue: array[int]
    """The queue that the device gives the flow where it has no pin, as the device told."""
    kind: array[int]
    reason: array[int]
    meter_id: array[int]
    device_meter: array[int]
    """The meter of its class under which the device itself puts the flow, as the device told; 0 for none."""
    dscp: array[int]
    pcp: array[int]
    hint_class: array[int]
    hint_source: array[int]
    flags: array[int]
    gate_state: array[int]
    rate: array[float]
    packets: array[int]
    octets: array[int]
    entry_packets: array[int]
    entry_octets: array[int]
    """The last reading of the entry that counts the flow now; packets and octets are of its whole life."""
    counted_at: array[float]
    gate_since: array[float]
    first_seen: array[float]
    last_active: array[float]
    assigned_since: array[float]
    moved_at: array[float]

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}
        self.keys: list[bytes | None] = []
        self._free: array[int] = array("I")
        self._used = 0
        self._columns: list[tuple[array[float], float]] = []
        for name, (code, default) in _COLUMNS.items():
            column: array[float] = array(code)
            setattr(self, name, column)
            if name != "generation":
                self._columns.append((column, default))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        """Rows in use, in the order the flows came."""
        return iter(self.rows.values())

    def add(self, key: bytes, now: float) -> int:
        """Take a free row for a flow that is not known yet, its columns at their defaults."""
        if self._free:
            row = self._free.pop()
        else:
            row = self._used
            self._used += 1
            if row == len(self.keys):
                self._grow(row + 1)
        self._fill(row, key, now)
        return row

    def add_at(self, ref: PinRef, key: bytes, now: float) -> bool:
        """Take a given row (read from a device's cookie); False when it or the flow is in use already."""
        row = ref.row
        if key in self.rows or (row < len(self.keys) and self.keys[row] is not None):
            return False
        if row >= self._used:
            self._grow(row + 1)
            self._free.extend(range(self._used, row))
            self._used = row + 1
        else:
            self._free.remove(row)
        self.generation[row] = ref.generation
        self._fill(row, key, now)
        return True

    def remove(self, row: int) -> None:
        """Free a row; its generation moves on."""
        key = self.keys[row]
        assert key is not None
        del self.rows[key]
        self.keys[row] = None
        self.generation[row] = (self.generation[row] + 1) % GENERATIONS
        for column, default in self._columns:
            column[row] = default
        self._free.append(row)

    def ref(self, row: int) -> PinRef:
        """Name the flow that is in a row now."""
        return PinRef(row, self.generation[row])

    def holds(self, row: int, generation: int) -> bool:
        """Whether a message about (row, generation) is about the flow that is there now."""
        return row < len(self.keys) and self.keys[row] is not None and self.generation[row] == generation

    def _fill(self, row: int, key: bytes, now: float) -> None:
        self.rows[key] = row
        self.keys[row] = key
        self.first_seen[row] = self.last_active[row] = self.assigned_since[row] = self.gate_since[row] = now
        self.counted_at[row] = now

    def _grow(self, size: int) -> None:
        """Make room for so many rows, and an eighth more: growing by one would copy the columns each time."""
        missing = size - len(self.keys)
        if missing <= 0:
            return
        missing += size >> 3
        self.keys.extend([None] * missing)
        self.generation.extend([0] * missing)
        for column, default in self._columns:
            column.extend(array(column.typecode, [default]) * missing)
