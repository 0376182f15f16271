"""The strategies known from NICs and schedulers: hash, round-robin, least loaded, one VM one queue.

They follow the path preference of the flow's class and ignore the rest of the class: no exclusive queues, no
grouping, no shares of the hardware. They never rebalance: a flow keeps its queue while the queue exists. The
flows of a queue that is removed are spread over the queues that are left by the same rule that places new
flows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate.pools import find_group
from flowlane.core.allocate.state import PortState, Slot
from flowlane.core.allocate.strategies.rss import IndirectionTable, rss_hash
from flowlane.core.model import QueueKind, Reason
from flowlane.core.policy import PathPreference

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Demand
    from flowlane.core.allocate.strategies.combined import Choice


def hashed(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:
    """Choose as RSS does: by the flow's 5-tuple, whatever it sends. A flow without a key goes by its row."""
    slots = candidates(state, demand)
    if current in slots:
        return choice(current, demand)
    kind = slots[0].queue.kind
    table = state.indirection.get(kind)
    if table is None:
        table = state.indirection[kind] = IndirectionTable(slots)
    elif table.slots != slots:
        table.update(slots)
    return choice(table.lookup(rss_hash(key) if key else row), demand)


def round_robin(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """Choose the next queue in turn; hardware and software queues take turns apart from each other."""
    slots = candidates(state, demand)
    if current in slots:
        return choice(current, demand)
    kind = slots[0].queue.kind
    turn = state.turns.get(kind, 0)
    state.turns[kind] = turn + 1
    return choice(slots[turn % len(slots)], demand)


def least_loaded(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """Choose the queue with the least load now; of equals the one with fewest flows."""
    slots = candidates(state, demand)
    if current in slots:
        return choice(current, demand)
    return choice(min(slots, key=lambda slot: (slot.load * slot.scale, slot.count * slot.scale)), demand)


def one_vm_one_queue(state: PortState, row: int, demand: Demand, key: bytes, current: Slot | None) -> Choice:  # noqa: ARG001
    """Choose the queue of the flow's VM, as VMQ and NetQueue give a queue to each virtual NIC.

    A VM's queue is picked by its number, once. When that queue is removed, the VM gets the queue with fewest
    VMs.
    """
    slots = candidates(state, demand)
    kind = slots[0].queue.kind
    slot = state.vm_slots.get((kind, demand.vm_number))
    if slot is None:
        slot = slots[demand.vm_number % len(slots)]
    elif slot not in slots:
        slot = _slot_with_fewest_vms(state, slots)
    if slot is not state.unqueued:
        state.vm_slots[kind, demand.vm_number] = slot
    return choice(slot, demand)


def _slot_with_fewest_vms(state: PortState, slots: list[Slot]) -> Slot:
    vms = dict.fromkeys(slots, 0)
    for slot in state.vm_slots.values():
        if slot in vms:
            vms[slot] += 1
    return min(slots, key=vms.__getitem__)


def adopt_vm_queue(state: PortState, row: int, demand: Demand, slot: Slot, key: bytes) -> int:  # noqa: ARG001
    """Make the queue on which a flow was found its VM's queue, unless the VM has one."""
    place = slot.queue.kind, demand.vm_number
    if state.vm_slots.get(place) not in state.slots:
        state.vm_slots[place] = slot
    return 0


def candidates(state: PortState, demand: Demand) -> list[Slot]:
    """Return the queues of the flow's path: hardware where there is any, unless its class says software."""
    kind = QueueKind.SOFTWARE if demand.path is PathPreference.SOFTWARE else QueueKind.PHYSICAL
    slots = [slot for slot in state.slots if slot.queue.kind is kind]
    return slots or state.slots or [state.unqueued]


def choice(slot: Slot, demand: Demand, number: int = 0) -> Choice:
    """Return a choice with the reason that the strategy chose; ``number``: of what keeps together with the flow."""
    reason = Reason.STRATEGY if slot.queue.queue_id >= 0 else Reason.NO_QUEUES
    return slot, find_group(slot.region, demand), number, reason
