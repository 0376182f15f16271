"""What the engine knows of a device, as values that can be compared: that two paths come to the same."""

from __future__ import annotations

from typing import Any

from flowlane.core.allocate.state import PortState
from flowlane.core.state.device import Device
from flowlane.core.state.flows import _COLUMNS


def facts(device: Device) -> dict[str, Any]:
    """What is known of a device, as values that can be compared."""
    flows, columns = device.flows, device.columns
    rows = range(len(flows.keys))
    of_flows = {name: list(getattr(flows, name)) for name in _COLUMNS}
    of_allocator = {
        name: [list(getattr(columns, name))[row] for row in rows if columns.is_placed(row)]
        for name in ("cell", "prev", "next", "band", "profile", "rate", "flags")
    }
    names = ("looks", "looks_at", "begun", "flows_of_vm", "usages", "copies", "hosts", "host_seen", "pinned")
    return {
        "rows": dict(flows.rows),
        "since": dict(flows.assigned_since),
        **of_flows,
        **of_allocator,
        **{name: getattr(device, name) for name in names},
        "begun in all": device.readings.begun,
        "claims": {no: (claim.seen, claim.sign, claim.lost) for no, claim in device.claims.items()},
        "ports": {
            no: sums(port.allocation) for no, port in device.ports.items() if port.allocation is not None
        },
    }


def sums(state: PortState) -> Any:
    """The sums of an allocation."""
    return (
        [(slot.load, slot.count, slot.exclusive_row) for slot in state.all_slots],
        [(cell.load, cell.count, dict(cell.heads)) if cell else None for cell in state.cells],
        [
            (group.key, group.load, group.count)
            for region in state.hardware
            for group in region.groups.values()
        ],
        (state.load, state.count, state.arrived, state.references, set(state.misplaced)),
    )
