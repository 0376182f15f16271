"""What is known of flows from before a restart, and is not in the tables of their device: reasons, rates, times.

A flow that is found on its device, on the queue where it was, goes on with that. On another queue only its rate and the
gates that it has opened count. What is kept of a device is dropped when its adoption has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.model import Reason

if TYPE_CHECKING:
    from flowlane.core.state.device import Device, State


class KeptFlow(NamedTuple):
    """What is kept of one flow on one device. Times are those of the engine's clock; ``rate`` is bit/s."""

    queue_id: int
    reason: int
    dscp: int
    pcp: int
    gate_state: int
    gate_since: float
    rate: float
    first_seen: float
    since: float


_FOUND = frozenset((Reason.ADOPTED, Reason.DEVICE_CHOSE))
"""Reasons of a flow that was found where it is."""

_OWN = frozenset(
    (Reason.UNPLACED, Reason.EXCLUSIVE, Reason.PINNED_BY_HAND, Reason.NO_QUEUES, Reason.NO_ONE_PORT)
)
"""Reasons that hold only while something else does, which is found out anew."""


def keep(device: Device, row: int) -> KeptFlow:
    """Return what is to be kept of a flow."""
    flows = device.flows
    return KeptFlow(
        flows.queue_id[row],
        flows.reason[row],
        flows.dscp[row],
        flows.pcp[row],
        flows.gate_state[row],
        flows.gate_since.get(row, 0.0),
        flows.rate[row],
        flows.first_seen[row],
        flows.assigned_since[row],
    )


def kept_of(state: State, device: Device, row: int, *, is_found: bool = False) -> KeptFlow | None:
    """Return what is kept of a flow that was found on its device; None for nothing."""
    kept = state.kept.get(device.dpid) if state.kept and (is_found or device.adopting) else None
    return None if kept is None else kept.get(device.flows.keys[row] or b"")


def recall(state: State, device: Device, row: int, *, is_found: bool = False) -> KeptFlow | None:
    """Give a flow that was found on its device the marks, gates and rate that it had; return what is kept of it."""
    kept = kept_of(state, device, row, is_found=is_found)
    if kept is not None:
        flows = device.flows
        flows.dscp[row], flows.pcp[row] = kept.dscp, kept.pcp
        flows.rate[row] = kept.rate
        flows.gate_state[row] = kept.gate_state
        if kept.gate_since:
            flows.gate_since[row] = kept.gate_since
    return kept


def recall_place(device: Device, row: int, kept: KeptFlow | None) -> None:
    """Give a flow the reason and the times that it had, where it is on the same queue for no newer reason."""
    flows = device.flows
    if kept is None or flows.queue_id[row] != kept.queue_id:
        return
    flows.set_first_seen(row, kept.first_seen)
    flows.assigned_since.note(row, kept.since)
    if flows.reason[row] in _FOUND and kept.reason not in _OWN:
        flows.reason[row] = kept.reason


def forget(state: State, dpid: int) -> None:
    """Drop what is kept of the flows of a device."""
    state.kept.pop(dpid, None)
