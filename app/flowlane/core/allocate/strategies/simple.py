"""The strategies that users know from NICs and schedulers: where flows stay where they came.

They keep to the path that the class names, and to nothing else of it: no exclusive queues, no likeness, no
shares, no moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate.pools import find_group
from flowlane.core.allocate.state import PortState, Slot
from flowlane.core.allocate.strategies.rss import bucket
from flowlane.core.model import QueueKind, Reason
from flowlane.core.policy import PathPreference

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Demand
    from flowlane.core.allocate.strategies.combined import Choice


def hashed(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """What RSS does: the flow's 5-tuple decides, whatever it sends."""
    slots = candidates(state, demand)
    return _choice(slots[bucket(key, len(slots)) if key and len(slots) > 1 else 0], demand)


def round_robin(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """The next queue for each new flow."""
    slots = candidates(state, demand)
    state.cursor += 1
    return _choice(slots[(state.cursor - 1) % len(slots)], demand)


def least_loaded(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """The queue with the least load when the flow comes."""
    return _choice(min(candidates(state, demand), key=lambda slot: slot.load), demand)


def one_vm_one_queue(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """A queue for each VM, by its number, as VMQ and NetQueue give one to each virtual NIC."""
    slots = candidates(state, demand)
    return _choice(slots[demand.vm_number % len(slots)], demand)


def candidates(state: PortState, demand: Demand) -> list[Slot]:
    """The queues of the path that a flow takes: hardware if there is any, unless its class says software."""
    kind = QueueKind.SOFTWARE if demand.path is PathPreference.SOFTWARE else QueueKind.PHYSICAL
    slots = [slot for slot in state.slots if slot.queue.kind is kind]
    return slots or state.slots or [state.limbo]


def _choice(slot: Slot, demand: Demand) -> Choice:
    reason = Reason.STRATEGY if slot.queue.queue_id >= 0 else Reason.NO_QUEUES
    return slot, find_group(slot.region, demand), 0, reason
