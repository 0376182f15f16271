"""Flow table of one device, in columns.

A flow has a row as long as it lives. The row's number is in the cookie of the flow's pin, so that no match has to be
parsed for counters and flow-removed messages. Columns are arrays: a flow costs about 250 bytes, and the garbage
collector has nothing to walk. A freed row is used again with the next generation, so that a late message about the
old flow is not taken for one about the new flow.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

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
    "entry_packets": ("Q", 0),
    "entry_octets": ("Q", 0),
    "counted_at": ("d", 0.0),
    "gate_since": ("d", 0.0),
    "first_seen": ("d", 0.0),
    "last_active": ("d", 0.0),
    "assigned_since": ("d", 0.0),
    "moved_at": ("d", -1e9),
}


_ROWS: list[int] = []


def _shared(row: int) -> int:
    """Return a row's number as one object for all devices: of its own for each flow it would take 32 bytes more."""
    if row >= len(_ROWS):
        _ROWS.extend(range(len(_ROWS), row + 1 + (row >> 3)))
    return _ROWS[row]


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
    entry_packets: array[int]
    entry_octets: array[int]
    """Last reading of the entry that counts the flow now; ``packets`` and ``octets`` are of its whole life."""
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
        """Iterate over the rows in use, in the order in which the flows began."""
        return iter(self.rows.values())

    def add(self, key: bytes, now: float) -> int:
        """Add a flow at a time (s); return its row. Its columns have their defaults."""
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
        """Add a flow in a given row, read from a cookie; return False when the row or the key is in use."""
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
        """Remove a flow; its row goes on with the next generation."""
        key = self.keys[row]
        assert key is not None
        del self.rows[key]
        self.keys[row] = None
        self.generation[row] = (self.generation[row] + 1) % GENERATIONS
        for column, default in self._columns:
            column[row] = default
        self._free.append(row)

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
        self.first_seen[row] = self.last_active[row] = self.assigned_since[row] = self.gate_since[row] = now
        self.counted_at[row] = now

    def _grow(self, size: int) -> None:
        """Extend the columns to so many rows and an eighth more: one by one would copy them each time."""
        missing = size - len(self.keys)
        if missing <= 0:
            return
        missing += size >> 3
        self.keys.extend([None] * missing)
        self.generation.extend([0] * missing)
        for column, default in self._columns:
            column.extend(array(column.typecode, [default]) * missing)
