"""From a flow to its queue and meter on one device: classify, ask the allocator, take a meter, pin.

The way of one flow through here is the hot path: packed keys and small integers only, no text.

The device's own choice of a queue for a new flow: when it is as good as any, and when its class wants another.

A device spreads flows over queues that its standing rules name [0054]; which one it took, it says (a register
in the packet-in, and the entry that it learned). Moving a flow costs an entry and may reorder its packets, so
the choice stands unless something that only the controller knows speaks against it.

A flow's class, set and set again: the one place where rules, hints and rates meet a flow's row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import arrive, change, depart, place_on, queues_for_new_flows
from flowlane.core.allocate.state import Demand, Placement
from flowlane.core.classify.matching import Facts, holds
from flowlane.core.effects import DeleteMeter, Effect, Report, SetMeter
from flowlane.core.flow.pins import WORTHY, Worth, mode, pin, remove_pin, unmark, worth_of
from flowlane.core.flow.rates import band
from flowlane.core.flowkey import flow_id, flow_text, unpack
from flowlane.core.model import NO_QUEUE, QueueKind, Reason
from flowlane.core.policy import Alike
from flowlane.core.state.device import count_refusal
from flowlane.core.state.flows import PINNED, UNREPORTED
from flowlane.core.state.meters import owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flowlane.core.allocate.state import Move, PortState
    from flowlane.core.flowkey import FlowParts
    from flowlane.core.model import Hint
    from flowlane.core.policy import TrafficClass
    from flowlane.core.state.device import Device, State

_SPREADING = "combined"
"""The strategy whose choice for a small flow may as well be the device's; the others choose themselves."""


def accept(device: Device, allocation: PortState, row: int, demand: Demand) -> Placement | None:
    """Take a new flow over on the queue that the device chose; None when it has to be placed."""
    if not may_stay(device, allocation, row, demand):
        return None
    placement = place_on(allocation, row, demand, device.flows.device_queue[row])
    return placement._replace(reason=Reason.DEVICE_CHOSE)


def may_stay(device: Device, allocation: PortState, row: int, demand: Demand) -> bool:
    """Whether the queue that the device gave a flow is one of those that its class may have.

    For what is found in a device that is taken over any will do: which queues a class has follows from where its
    flows are, and what does not fit then is moved home little by little, as any stray.
    """
    queue_id = device.flows.device_queue[row]
    if queue_id in (UNREPORTED, NO_QUEUE) or device.policy.balance.strategy != _SPREADING:
        return False
    wanted = device.policy.classes[demand.class_index]
    if device.adopting:
        return not wanted.meter_only and any(slot.queue.queue_id == queue_id for slot in allocation.slots)
    bound = (
        demand.exclusive
        or demand.share >= 0
        or wanted.alike
        or wanted.keep_vm_together
        or wanted.meter_only
        or wanted.max_queues is not None
    )
    queues = queues_for_new_flows(allocation, demand.path, demand.group, demand.min_rate)
    return not bound and queue_id in queues


NO_QUEUES = Placement(NO_QUEUE, QueueKind.NONE, Reason.NO_QUEUES)
METER_ONLY = Placement(NO_QUEUE, QueueKind.NONE, Reason.METER_ONLY)


def demand_of(device: Device, row: int) -> Demand:
    """What the flow asks of its port's queues, by its class."""
    flows = device.flows
    wanted = device.policy.classes[flows.class_index[row]]
    number = flows.vm_number[row]
    return Demand(
        class_index=wanted.index,
        group=_group(device, wanted, row),
        rate=int(flows.rate[row]),
        exclusive=wanted.exclusive,
        path=wanted.path,
        priority=wanted.priority,
        vm_number=number,
        share=device.shares.get(number, -1),
        min_queues=wanted.min_queues,
        max_queues=wanted.max_queues,
        keep_vm_together=wanted.keep_vm_together,
        min_rate=wanted.min_rate or 0,
    )


def _group(device: Device, wanted: TrafficClass, row: int) -> int:
    """The small number of the flow's likeness: equal for flows that the policy calls alike.

    What makes flows alike goes across classes [claims 5 and 6]; where a class does not say, its own flows are alike.
    """
    likeness: tuple[object, ...] = tuple(
        (alike, _ALIKE[alike](device, wanted, row)) for alike in wanted.alike
    ) or (wanted.name,)
    return device.groups.setdefault(likeness, len(device.groups))


_ALIKE: dict[Alike, Callable[[Device, TrafficClass, int], object]] = {
    Alike.RATE_LIMIT: lambda _device, wanted, _row: wanted.rate_limit,
    Alike.PRIORITY: lambda _device, wanted, _row: wanted.priority,
    Alike.QOS: lambda _device, wanted, _row: wanted.qos,
    Alike.VM: lambda device, _wanted, row: device.flows.vm_number[row],
    Alike.RATE_BAND: lambda device, _wanted, row: band(device.flows.rate[row]),
}


def place(state: State, device: Device, row: int, out: list[Effect]) -> None:
    """Give a classified flow its queue and meter, and pin it. It holds neither yet."""
    flows = device.flows
    port = device.ports.get(flows.egress_port[row])
    wanted = device.policy.classes[flows.class_index[row]]
    if port is None or port.allocation is None:
        placement = NO_QUEUES
    elif wanted.meter_only:
        placement = METER_ONLY
    else:
        demand = demand_of(device, row)
        placement = accept(device, port.allocation, row, demand) or arrive(
            port.allocation, row, demand, flows.keys[row] or b""
        )
    set_place(state, device, row, placement)
    unused = take_meter(device, row, wanted, out)
    pin_or_yield(state, device, row, out)
    clear_meter(device, unused, out)


def pin_or_yield(state: State, device: Device, row: int, out: list[Effect]) -> None:
    """Pin the flow as far as it needs it; where no pin is to be had, it is where the device puts it, without limit."""
    flows = device.flows
    had_pin = flows.flags[row] & PINNED
    if pin(device, row, out):
        if flows.flags[row] & PINNED and not had_pin and flows.counted_at[row] != flows.first_seen[row]:
            # What the flow sent since the last reading was counted by another entry, which nobody reads now.
            flows.counted_at[row] = state.now
        return
    if flows.meter_id[row] not in (0, flows.device_meter[row]):
        clear_meter(device, release_meter(device, row), out)
        count_refusal(device, "limit", "no pin is to be had for it", out)
    if flows.device_queue[row] in (UNREPORTED, flows.queue_id[row]):
        return
    move_to_device_queue(state, device, row)


def move_to_device_queue(state: State, device: Device, row: int) -> None:
    """Note that a flow without a pin is on the queue that the device gave it."""
    flows = device.flows
    queue_id = flows.device_queue[row]
    port = device.ports.get(flows.egress_port[row])
    if port is None or port.allocation is None or queue_id not in port.queues:
        # The device cannot have meant a queue that is gone: it chooses again, and says so.
        return
    _leave_queue(device, row)
    placement = place_on(port.allocation, row, demand_of(device, row), queue_id)
    set_place(state, device, row, placement._replace(reason=Reason.DEVICE_CHOSE))


def follow_device(state: State, device: Device, row: int, chosen: tuple[int, int], out: list[Effect]) -> None:
    """The device says which queue and meter it gives a flow that has no pin: so be it unless its class forbids."""
    flows = device.flows
    flows.device_queue[row], flows.device_meter[row] = chosen
    port = device.ports.get(flows.egress_port[row])
    if (
        flows.device_queue[row] != flows.queue_id[row]
        and port is not None
        and port.allocation is not None
        and may_stay(device, port.allocation, row, demand_of(device, row))
    ):
        move_to_device_queue(state, device, row)
    if worth_of(device, row) is not Worth.NOTHING:
        pin_or_yield(state, device, row, out)


def replace(state: State, device: Device, row: int, out: list[Effect]) -> None:
    """Place a flow anew after its class changed; it keeps its queue where the allocator says so."""
    flows = device.flows
    port = device.ports.get(flows.egress_port[row])
    wanted = device.policy.classes[flows.class_index[row]]
    before = flows.queue_id[row], flows.meter_id[row]
    if port is None or port.allocation is None:
        placement = NO_QUEUES
    elif wanted.meter_only:
        _leave_queue(device, row)
        placement = METER_ONLY
    elif flows.queue_id[row] == NO_QUEUE:
        placement = arrive(port.allocation, row, demand_of(device, row), flows.keys[row] or b"")
    else:
        placement = change(port.allocation, row, demand_of(device, row), state.now, flows.keys[row] or b"")
    set_place(state, device, row, placement)
    unused = take_meter(device, row, wanted, out)
    if before != (flows.queue_id[row], flows.meter_id[row]) or not flows.flags[row] & PINNED:
        pin_or_yield(state, device, row, out)
    clear_meter(device, unused, out)


def forget(device: Device, row: int, out: list[Effect], unpin: bool) -> None:
    """The flow has ended: give back its queue, meter and row."""
    if unpin:
        remove_pin(device, row, out)
    else:
        unmark(device, row)
    _leave_queue(device, row)
    clear_meter(device, release_meter(device, row), out)
    device.flows.remove(row)


def apply_moves(state: State, device: Device, moves: Iterable[Move], out: list[Effect]) -> None:
    """Carry out the allocator's moves: the rows' queues, their pins, a report of each."""
    flows = device.flows
    for move in moves:
        if _is_needless(device, move):
            move_to_device_queue(state, device, move.row)
            continue
        set_place(state, device, move.row, Placement(move.new, move.kind, move.reason))
        if move.old == move.new:
            if not flows.flags[move.row] & PINNED:
                pin_or_yield(state, device, move.row, out)
            continue
        flows.moved_at[move.row] = state.now
        if move.reason is Reason.QUEUE_GONE and mode(device) == WORTHY and not flows.flags[move.row] & PINNED:
            # The device forgets what it learned about the port, and says where it puts the flow next.
            flows.device_queue[move.row] = UNREPORTED
        else:
            pin_or_yield(state, device, move.row, out)
        key = flows.keys[move.row]
        assert key is not None
        out.append(
            Report(
                "move",
                f"{flow_text(key)}: from queue {move.old} to {move.new}",
                {
                    "device": f"{device.dpid:016x}",
                    "flow": flow_id(key),
                    "port": flows.egress_port[move.row],
                    "from": move.old,
                    "to": move.new,
                    "reason": move.reason.name.lower(),
                },
            )
        )


def _is_needless(device: Device, move: Move) -> bool:
    """Whether a flow is to move, by a pin that it does not have yet, though it sends nothing any more."""
    flows, row = device.flows, move.row
    quiet = flows.last_active[row] < flows.counted_at[row]
    known = flows.device_queue[row] == move.old
    return quiet and known and move.reason is Reason.REBALANCED and not flows.flags[row] & PINNED


def set_place(state: State, device: Device, row: int, placement: Placement) -> None:
    """Write down where a flow is; the time only when its queue changed."""
    flows = device.flows
    if flows.queue_id[row] != placement.queue_id or flows.reason[row] == Reason.UNPLACED:
        flows.queue_id[row] = placement.queue_id
        flows.assigned_since[row] = state.now
    flows.kind[row] = placement.kind
    flows.reason[row] = placement.reason


def _leave_queue(device: Device, row: int) -> None:
    flows = device.flows
    port = device.ports.get(flows.egress_port[row])
    if flows.queue_id[row] != NO_QUEUE and port is not None and port.allocation is not None:
        depart(port.allocation, row)
    flows.queue_id[row] = NO_QUEUE
    flows.kind[row] = QueueKind.NONE


def take_meter(device: Device, row: int, wanted: TrafficClass, out: list[Effect]) -> int | None:
    """Put the flow under the meter of its class's limit, if it has one, and give back the one it had.

    Returns the number of a meter that nobody uses once the flow's pin has changed, None when there is none.
    """
    flows = device.flows
    owner = owner_of(wanted, flows.vm_number[row], row) if wanted.rate_limit is not None else None
    if device.meter_owner.get(row) == owner:
        return None
    unused = release_meter(device, row)
    if owner is None:
        return unused
    spec, new = device.meter_pool.acquire(owner, wanted)
    if spec is None:
        why = "the device has no meter left" if device.meter_pool.limit else "the device has no meters"
        count_refusal(device, "meter", why, out)
        return unused
    device.meter_owner[row] = owner
    flows.meter_id[row] = spec.meter_id
    if new:
        out.append(SetMeter(device.dpid, spec))
    return None if unused == spec.meter_id else unused


def release_meter(device: Device, row: int) -> int | None:
    """Take the flow from under its meter; the meter's number when nobody uses it any more."""
    owner = device.meter_owner.pop(row, None)
    device.flows.meter_id[row] = 0
    return device.meter_pool.release(owner) if owner is not None else None


def clear_meter(device: Device, unused: int | None, out: list[Effect]) -> None:
    """Have a meter cleared that no entry uses any more; deleting a used one would delete its entries."""
    if unused is not None:
        out.append(DeleteMeter(device.dpid, unused))
        if not device.connected:
            device.meters_to_delete.add(unused)


def regroup(state: State, device: Device, row: int, out: list[Effect]) -> None:
    """Move a flow to the flows it is like now, where the policy goes by the band of its rate."""
    wanted = device.policy.classes[device.flows.class_index[row]]
    if Alike.RATE_BAND in wanted.alike and device.flows.queue_id[row] != NO_QUEUE:
        replace(state, device, row, out)


def report_flow(state: State, device: Device, row: int, change: str, out: list[Effect]) -> None:
    """Tell people of a flow that was seen or has ended, if anybody listens."""
    if not state.watched:
        return
    flows = device.flows
    key = flows.keys[row]
    assert key is not None
    data = {
        "device": f"{device.dpid:016x}",
        "flow": flow_id(key),
        "change": change,
        "port": flows.egress_port[row],
        "queue_id": flows.queue_id[row],
        "class": device.policy.classes[flows.class_index[row]].name,
    }
    out.append(Report("flow", f"{flow_text(key)}: {change}", data))


def classify_row(state: State, device: Device, row: int, parts: FlowParts) -> None:
    """Set the flow's class, rule and believed hint from what is known of it now."""
    flows = device.flows
    vm = state.vms.get(parts.vm_number)
    dscp, pcp, level = flows.dscp[row], flows.pcp[row], flows.gate_state[row]
    given = (
        find_hint(state.hints_of_vm[vm.id], parts, dscp, pcp) if vm and vm.id in state.hints_of_vm else None
    )
    hint, source, _verdict = device.classifier.weigh_hints(vm, dscp, pcp, given, level)
    flows.hint_class[row] = 0 if hint is None else hint + 1
    flows.hint_source[row] = source
    flows.class_index[row], flows.rule_index[row] = device.classifier.classify(
        vm, parts, dscp, pcp, hint, level
    )


def reclassify(state: State, device: Device, row: int, out: list[Effect]) -> bool:
    """Classify a flow anew; place it anew when that changed what it asks. Returns whether its class changed."""
    flows = device.flows
    key = flows.keys[row]
    assert key is not None
    before = flows.class_index[row]
    classify_row(state, device, row, unpack(key))
    if flows.class_index[row] == before:
        return False
    replace(state, device, row, out)
    return True


def find_hint(hints: Iterable[Hint], parts: FlowParts, dscp: int, pcp: int) -> Hint | None:
    """Find the first hint whose match holds for a flow."""
    facts = Facts(None, parts, dscp, pcp)
    return next((hint for hint in hints if holds(hint.match, facts)), None)
