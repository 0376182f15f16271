"""Assignments: the way of a flow to its queue, meter and pin on one device, and out of them again.

1. :func:`classify_row` sets the flow's class from rules, hints and rates.
2. ``choose_queue`` asks the allocator of the egress port, or keeps the device's own choice (:func:`may_stay`).
3. :func:`flowlane.core.flow.target.decide` makes a target of it: queue, meter, pin.
4. :func:`apply` compares the target with what the flow has, and emits the effects that differ.

This is the hot path: packed keys and small integers only, no text.

A device spreads new flows over the queues that its standing rules name [0054]. It reports which one it took, in a
register of the packet-in and in the entry that it learned. Moving a flow costs an entry and may reorder its packets,
so the device's choice stands unless something that only the controller has learned speaks against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import (
    arrive,
    begins_limited,
    change,
    depart,
    hold,
    place_on,
    queues_for_new_flows,
)
from flowlane.core.allocate.state import NEVER, Demand, Placement
from flowlane.core.classify.hints import find_hint
from flowlane.core.effects import DeleteMeter, Effect, SetMeter
from flowlane.core.flow import new_pins
from flowlane.core.flow.corrections import corrects
from flowlane.core.flow.limits import passed_rate, rate_in_class, update_load
from flowlane.core.flow.pins import WORTHY, Worth, mode, put_pin, remove_pin, unmark, worth_of
from flowlane.core.flow.rates import band
from flowlane.core.flow.reports import (
    count_refusal,
    had_by,
    report_flow,
    report_place,
    report_shared,
    why_class,
)
from flowlane.core.flow.target import decide
from flowlane.core.model import NO_PORT, NO_QUEUE, QueueKind, Reason
from flowlane.core.policy import Alike
from flowlane.core.state.flows import PINNED, UNREPORTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flowlane.core.allocate.state import Move, PortState
    from flowlane.core.flow.target import Target
    from flowlane.core.flowkey import FlowParts
    from flowlane.core.policy import TrafficClass
    from flowlane.core.state.device import Device, State
    from flowlane.core.state.meters import Owner

_SPREADING = "combined"
"""The strategy whose choice for a small flow may as well be the device's; the others choose themselves."""


def may_stay(device: Device, allocation: PortState, row: int, demand: Demand) -> bool:
    """Whether the queue that the device gave a flow is one of those that its class may have.

    For a flow that was found on the device, not seen to begin, any queue will do: a later rebalance moves what does not
    fit. While a device is adopted, which queues a class has follows from where its flows are.
    """
    queue_id = device.flows.device_queue[row]
    if queue_id in (UNREPORTED, NO_QUEUE) or device.policy.balance.strategy != _SPREADING:
        return False
    traffic_class = device.policy.classes[demand.class_index]
    if device.adopting:
        return not traffic_class.meter_only and any(
            slot.queue.queue_id == queue_id for slot in allocation.all_slots
        )
    bound = (
        demand.exclusive
        or demand.share >= 0
        or traffic_class.alike
        or traffic_class.keep_vm_together
        or traffic_class.meter_only
        or traffic_class.max_queues is not None
    )
    queues = queues_for_new_flows(allocation, demand.path, demand.group, demand.min_rate)
    return not bound and queue_id in queues


NO_QUEUES = Placement(NO_QUEUE, QueueKind.NONE, Reason.NO_QUEUES)
NO_ONE_PORT = Placement(NO_QUEUE, QueueKind.NONE, Reason.NO_ONE_PORT)
METER_ONLY = Placement(NO_QUEUE, QueueKind.NONE, Reason.METER_ONLY)
MARK_KEPT = Placement(NO_QUEUE, QueueKind.NONE, Reason.MARK_KEPT)


def demand_of(device: Device, row: int) -> Demand:
    """Return what the flow asks of its port's queues, by its class."""
    flows = device.flows
    traffic_class = device.policy.classes[flows.class_index[row]]
    number = flows.vm_number[row]
    # By position, since this is made for every new flow: keywords take twice as long.
    return Demand(
        passed_rate(device, row) if flows.meter_id[row] else int(flows.rate[row]),
        traffic_class.index,
        _group(device, traffic_class, row),
        traffic_class.exclusive,
        traffic_class.path,
        traffic_class.priority,
        number,
        device.shares.get(number, -1),
        traffic_class.min_queues,
        traffic_class.max_queues,
        traffic_class.keep_vm_together,
        traffic_class.min_rate or 0,
        bool(traffic_class.alike),
    )


def _group(device: Device, traffic_class: TrafficClass, row: int) -> int:
    """Return the number of the flow's group: equal for flows that the policy calls alike.

    What makes flows alike goes across classes [claims 5 and 6]; where a class does not say, its own flows are alike.
    """
    likeness: tuple[object, ...] = (traffic_class.name,)
    if traffic_class.alike:
        likeness = tuple((alike, _ALIKE[alike](device, traffic_class, row)) for alike in traffic_class.alike)
    return device.groups.setdefault(likeness, len(device.groups))


_ALIKE: dict[Alike, Callable[[Device, TrafficClass, int], object]] = {
    Alike.RATE_LIMIT: lambda _device, traffic_class, _row: traffic_class.rate_limit,
    Alike.PRIORITY: lambda _device, traffic_class, _row: traffic_class.priority,
    Alike.QOS: lambda _device, traffic_class, _row: traffic_class.qos,
    Alike.VM: lambda device, _wanted, row: device.flows.vm_number[row],
    Alike.RATE_BAND: lambda device, _wanted, row: band(device.flows.rate[row]),
}


def assign(state: State, device: Device, row: int, out: list[Effect]) -> None:
    """Give a classified flow its queue, meter and pin; what it has already and still fits stays."""
    apply(state, device, row, decide(state, device, row, choose_queue(state, device, row)), out)


def reassign(state: State, device: Device, row: int, out: list[Effect]) -> None:
    """Decide again about the meter and the pin of a flow; the allocator is not asked for another queue."""
    apply(state, device, row, decide(state, device, row, _placement(device, row)), out)


def _placement(device: Device, row: int) -> Placement:
    flows = device.flows
    return Placement(flows.queue_id[row], QueueKind(flows.kind[row]), Reason(flows.reason[row]))


def choose_queue(state: State, device: Device, row: int) -> Placement:
    """Ask the allocator of the egress port for the queue of a new flow, or of one whose class has changed."""
    flows = device.flows
    if flows.egress_port[row] == NO_PORT:
        return NO_ONE_PORT
    port = device.ports.get(flows.egress_port[row])
    if port is None or port.allocation is None:
        return NO_QUEUES
    ordered = _ordered(state, device, row, port.allocation)
    if ordered is not None:
        return ordered
    demand, key = demand_of(device, row), flows.keys[row] or b""
    if demand.rate:
        demand = demand._replace(rate=rate_in_class(device, row))
    if flows.queue_id[row] != NO_QUEUE:
        placement = change(port.allocation, row, demand, state.now, key)
        if port.allocation.restless:
            state.restless.add(device.dpid)
        return placement
    if may_stay(device, port.allocation, row, demand) and not corrects(
        state, device, port.allocation, row, demand
    ):
        placement = place_on(port.allocation, row, demand, flows.device_queue[row])
        return placement._replace(reason=Reason.DEVICE_CHOSE)
    placement = arrive(port.allocation, row, demand, key)
    if demand.max_queues is not None and begins_limited(port.allocation, row):
        state.restless.add(device.dpid)
    return placement


def _ordered(state: State, device: Device, row: int, allocation: PortState) -> Placement | None:
    """Return the placement of a flow for which the allocator makes no choice; None for others."""
    without, pin = without_queue(device, row), device.manual_pin(row)
    if pin is not None and without is not MARK_KEPT:
        state.restless.add(device.dpid)
        return hold(allocation, row, demand_of(device, row), pin.queue_id, state.now)
    if without is not None:
        _leave_queue(device, row)
    return without


def without_queue(device: Device, row: int) -> Placement | None:
    """Return the placement of a flow that is to have no queue of the allocator's; None for others."""
    flows = device.flows
    if device.policy.classes[flows.class_index[row]].meter_only:
        return METER_ONLY
    is_kept = device.marking is not None and device.marking.kept(flows.dscp[row], flows.pcp[row])
    return MARK_KEPT if is_kept else None


def apply(state: State, device: Device, row: int, target: Target, out: list[Effect]) -> None:
    """Bring a flow from what it has to its target: a new meter before the pin that names it, an unused one after."""
    flows = device.flows
    before = flows.queue_id[row], flows.meter_id[row]
    had = None if flows.reason[row] == Reason.UNPLACED else had_by(device, row)
    if target.yields:
        _move_to_device_queue(device, row)
    set_place(state, device, row, target.placement)
    unused = None
    if device.meter_owner.get(row) != target.owner:
        unused = _swap_meter(device, row, target.owner, out)
    for what, why in target.lacks:
        count_refusal(device, what, why, out)
    if target.pin is not None:
        pinned = flows.flags[row] & PINNED
        if not pinned:
            new_pins.note(device, row, state.now)
        if not pinned or before != (flows.queue_id[row], flows.meter_id[row]):
            put_pin(device, row, target.pin, target.evicted, out)
        if not pinned and flows.counted_at[row] != flows.first_seen[row]:
            # What the flow sent since the last reading was counted by another entry, which nobody reads now.
            flows.counted_at[row] = state.now
    report_place(device, row, had, out)
    if unused is not None:
        _delete_meter(device, unused, out)
    if flows.rate[row] and (
        before[1] or device.policy.classes[flows.class_index[row]].rate_limit is not None
    ):
        update_load(device, row)


def _move_to_device_queue(device: Device, row: int) -> Placement | None:
    """Let the allocator count a flow on the queue that the device itself gives it; None when that is not known."""
    flows = device.flows
    queue_id = flows.device_queue[row]
    port = device.ports.get(flows.egress_port[row])
    if port is None or port.allocation is None or queue_id not in port.queues:
        return None
    moved_at = device.columns.moved_at[row]
    _leave_queue(device, row)
    placement = place_on(port.allocation, row, demand_of(device, row), queue_id, flows.keys[row] or b"")
    if moved_at != NEVER:
        device.columns.moved_at[row] = moved_at
    return placement._replace(reason=Reason.DEVICE_CHOSE)


def follow_device(
    state: State, device: Device, row: int, queue_id: int, meter_id: int, out: list[Effect]
) -> None:
    """Note the queue and meter that the device gives a flow without a pin; it stays there if its class may."""
    flows = device.flows
    flows.device_queue[row], flows.device_meter[row] = queue_id, meter_id
    port = device.ports.get(flows.egress_port[row])
    placement = None
    if (
        queue_id != flows.queue_id[row]
        and port is not None
        and port.allocation is not None
        and may_stay(device, port.allocation, row, demand_of(device, row))
    ):
        placement = _move_to_device_queue(device, row)
    if placement is not None:
        had = had_by(device, row)
        set_place(state, device, row, placement)
        report_place(device, row, had, out)
    if worth_of(device, row) is not Worth.NOTHING:
        reassign(state, device, row, out)


def remove_flow(device: Device, row: int, out: list[Effect], unpin: bool, why: str) -> None:
    """Give back the queue, meter and row of a flow that has ended.

    Args:
        unpin: its entry may stand still.
        why: why it has ended, for its report; empty: it goes on by other ports, and its end is not reported.
    """
    passive = device.passive_row(row)
    if passive is not None:
        remove_flow(*passive, out, unpin=False, why=why)
    if device.flows.reason[row] == Reason.EXCLUSIVE:
        report_shared(device, row, device.flows.queue_id[row], out)
    if why:
        report_flow(device, row, "ended", out, why)
    if unpin:
        remove_pin(device, row, out)
    else:
        unmark(device, row)
    _leave_queue(device, row)
    unused = release_meter(device, row)
    if unused is not None:
        _delete_meter(device, unused, out)
    device.replaced.discard(row)
    device.origins.pop(row, None)
    _count_down(device, device.flows.vm_number[row])
    device.flows.remove(row)


def _count_down(device: Device, number: int) -> None:
    left = device.flows_of_vm.get(number, 0) - 1
    if left > 0:
        device.flows_of_vm[number] = left
    else:
        device.flows_of_vm.pop(number, None)


def apply_moves(state: State, device: Device, moves: Iterable[Move], out: list[Effect]) -> None:
    """Carry out the allocator's moves: the rows' queues, their pins, a report of each."""
    flows = device.flows
    for move in moves:
        row, placement = move.row, Placement(move.new, move.kind, move.reason)
        if _is_needless(device, move):
            placement = _move_to_device_queue(device, row) or placement
            set_place(state, device, row, placement)
            _give_token_back(device, row)
            continue
        if without_queue(device, row) is not None:
            # It was on a queue only because the device had put it there.
            placement = choose_queue(state, device, row)
        if move.old != move.new and _is_left_to_device(device, move):
            # The device's learned entries for the port are removed; its next choice is reported.
            had = had_by(device, row)
            set_place(state, device, row, placement)
            flows.device_queue[row] = UNREPORTED
            report_place(device, row, had, out)
        else:
            apply(state, device, row, decide(state, device, row, placement), out)


def _is_left_to_device(device: Device, move: Move) -> bool:
    """Whether the device itself chooses another queue for a flow whose queue has gone."""
    pinned = device.flows.flags[move.row] & PINNED
    return move.reason is Reason.QUEUE_GONE and mode(device) == WORTHY and not pinned


def _is_needless(device: Device, move: Move) -> bool:
    """Whether a flow is to move, by a pin that it does not have yet, though it sends nothing any more."""
    flows, row = device.flows, move.row
    quiet = flows.last_active[row] < flows.counted_at[row]
    known = flows.device_queue[row] == move.old
    return (
        quiet
        and known
        and move.reason in (Reason.REBALANCED, Reason.VACATED)
        and not flows.flags[row] & PINNED
    )


def _give_token_back(device: Device, row: int) -> None:
    """Let another flow of the port be moved in the place of one that stays."""
    allocation = device.ports[device.flows.egress_port[row]].allocation
    if allocation is not None:
        allocation.tokens += 1


def set_place(state: State, device: Device, row: int, placement: Placement) -> None:
    """Write down where a flow is; the time only when its queue changed."""
    flows = device.flows
    if flows.queue_id[row] != placement.queue_id or flows.reason[row] == Reason.UNPLACED:
        flows.queue_id[row] = placement.queue_id
        flows.assigned_since.note(row, state.now)
    flows.kind[row] = placement.kind
    flows.reason[row] = placement.reason
    if device.declared is not None:
        device.replaced.add(row)


def _leave_queue(device: Device, row: int) -> None:
    """Have the allocator count a flow no longer; the flow's own columns are :func:`set_place`'s business."""
    port = device.ports.get(device.flows.egress_port[row])
    if port is not None and port.allocation is not None and device.columns.is_placed(row):
        depart(port.allocation, row)


def _swap_meter(device: Device, row: int, owner: Owner | None, out: list[Effect]) -> int | None:
    """Put the flow under the meter of an owner, and release the one that it had.

    Return the id of a meter that no flow uses once the flow's pin has changed, None when there is none. The flow may
    get the meter that it had, by another owner: the device has it.
    """
    had = device.meter_pool.specs.get(device.flows.meter_id[row])
    unused = release_meter(device, row)
    if owner is None:
        return unused
    spec, new = device.meter_pool.acquire(owner, device.policy.classes[device.flows.class_index[row]])
    assert spec is not None, "decide() asked the pool"
    device.meter_owner[row] = owner
    device.flows.meter_id[row] = spec.meter_id
    is_there = unused == spec.meter_id
    if new and not (is_there and had == spec):
        out.append(SetMeter(device.dpid, spec, change=is_there))
    return None if is_there else unused


def release_meter(device: Device, row: int) -> int | None:
    """Take the flow from under its meter; the meter's id when no flow uses it any more."""
    owner = device.meter_owner.pop(row, None)
    device.flows.meter_id[row] = 0
    return device.meter_pool.release(owner) if owner is not None else None


def _delete_meter(device: Device, meter_id: int, out: list[Effect]) -> None:
    """Have a meter deleted that no entry uses any more; deleting a used one would delete its entries."""
    out.append(DeleteMeter(device.dpid, meter_id))
    if not device.connected:
        device.meters_to_delete.add(meter_id)


def regroup(state: State, device: Device, row: int, out: list[Effect]) -> None:
    """Move a flow to the flows it is like now, where the policy goes by the band of its rate."""
    traffic_class = device.policy.classes[device.flows.class_index[row]]
    if Alike.RATE_BAND in traffic_class.alike and device.flows.queue_id[row] != NO_QUEUE:
        assign(state, device, row, out)


def classify_row(state: State, device: Device, row: int, parts: FlowParts) -> None:
    """Set the flow's class, rule and trusted hint from what is known of it now."""
    flows = device.flows
    vm = state.vms.get(parts.vm_number)
    dscp, pcp, level = flows.dscp[row], flows.pcp[row], flows.gate_state[row]
    hints = state.hints_of(vm, device.origins.get(row)) if vm and state.hints_of_vm else ()
    given = find_hint(hints, parts, dscp, pcp) if hints else None
    hint, source, _verdict = device.classifier.weigh_hints(vm, dscp, pcp, given, level)
    flows.hint_class[row] = 0 if hint is None else hint + 1
    flows.hint_source[row] = source
    flows.class_index[row], flows.rule_index[row] = device.classifier.classify(
        vm, parts, dscp, pcp, hint, level
    )


def reclassify(state: State, device: Device, row: int, out: list[Effect]) -> bool:
    """Classify a flow anew; place it anew when that changed what it asks. Returns whether its class changed."""
    flows = device.flows
    before = flows.class_index[row]
    classify_row(state, device, row, flows.parts(row))
    if flows.class_index[row] == before:
        return False
    report_flow(device, row, "reclassified", out, why_class(device, row))
    assign(state, device, row, out)
    return True
