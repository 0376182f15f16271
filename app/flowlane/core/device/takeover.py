"""Adopting a device that forwards already: its pins, learned flows and queues are kept as they stand.

After a connection the device reports its pins and learned flows, all at once, or in the first readings of its counters
when OVSDB reports later than the switch. Each flow is counted on the queue where it is, and the queues are divided by
that. So neither standing rules nor flows change because the controller was restarted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import place_on, redivide
from flowlane.core.device.links import has_senders, native
from flowlane.core.effects import DeleteMeter, FlowReport, Program, Report, SetMeter, UnpinFlow
from flowlane.core.flow import kept
from flowlane.core.flow.assign import (
    apply,
    choose_queue,
    classify_row,
    demand_of,
    reassign,
    remove_flow,
)
from flowlane.core.flow.manual import take_ahead
from flowlane.core.flow.pins import FREE, adopt, keep_budget, put_pin, worth_of
from flowlane.core.flow.reports import report_flow
from flowlane.core.flow.target import decide
from flowlane.core.flow.track import FOUND, begin_behind
from flowlane.core.flowkey import pack, unpack
from flowlane.core.marks import split
from flowlane.core.model import NOT_A_VM, Reason
from flowlane.core.pacing import paced
from flowlane.core.state.device import Due, put_off
from flowlane.core.state.flows import PINNED
from flowlane.core.state.meters import owner_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.allocate.state import Placement
    from flowlane.core.effects import DevicePlan, Effect
    from flowlane.core.events import FoundPin
    from flowlane.core.flow.kept import KeptFlow
    from flowlane.core.state.device import Device, State

ADOPTION_TIME = 5.0
"""Seconds after a connection in which flows are adopted: two readings of counters, and longer than OVSDB needs."""


def divide_by_flows(device: Device, now: float) -> None:
    """Divide the queues of all ports among the groups of flows by the queues that these are on."""
    for port in device.ports.values():
        if port.allocation is not None:
            redivide(port.allocation, now)


def replace_plan(out: list[Effect], old: DevicePlan | None, changes: list[Effect]) -> None:
    """Put the plan that follows from adopted flows in the place of the ``old`` one among the effects ``out``."""
    indexes = (
        index for index, effect in enumerate(out) if isinstance(effect, Program) and effect.plan is old
    )
    first = next(indexes, None)
    if first is not None and changes:
        out[first] = changes.pop(0)
    out.extend(changes)


def end_adoption(state: State, device: Device, out: list[Effect]) -> None:
    """Resume decisions about the queues of flows, :data:`ADOPTION_TIME` after the connection."""
    if device.in_adoption and state.now - device.since >= ADOPTION_TIME:
        device.in_adoption = False
        adopt_waiting(state, device, out)
        kept.forget(state, device.dpid)
        device.found_groups.clear()
        put_off(state, device, Due.PLAN)
        divide_by_flows(device, state.now)


def remove_ended(device: Device, pins: Iterable[FoundPin], out: list[Effect]) -> None:
    """Remove the flows whose pins a device does not have any more at a (re)connection: they have ended.

    That comes before anything is sent to the device: a flow that goes then leaves no entry behind. Meters that no flow
    uses any more are deleted when the pins have been adopted.
    """
    flows, present = device.flows, {pin.ref for pin in pins}
    gone = [row for row in flows if flows.flags[row] & PINNED and flows.ref(row) not in present]
    effects: list[Effect] = []
    for row in gone:
        remove_flow(device, row, effects, unpin=False, why="the device has no pin of it any more")
    device.meters_to_delete |= {effect.meter_id for effect in effects if isinstance(effect, DeleteMeter)}
    out.extend(effect for effect in effects if isinstance(effect, FlowReport | Report))


def adopt_pins(state: State, device: Device, pins: Iterable[FoundPin], out: list[Effect]) -> None:
    """Reconcile flows with the pins that a device has after a (re)connection: its tables are the truth.

    A pin of a known flow is corrected if it differs. An unknown one is adopted with its flow and queue (after a restart
    of the controller), or removed if it cannot be.
    """
    flows = device.flows
    for pin in paced(pins, state.pace):
        if flows.holds(*pin.ref):
            _confirm(device, pin, out)
        else:
            _adopt_pin(state, device, pin, out)
    for row in paced(keep_budget(device, out, state.pace), state.pace):
        reassign(state, device, row, out)


def _confirm(device: Device, pin: FoundPin, out: list[Effect]) -> None:
    """Keep the pin of a known flow; correct it only if it differs."""
    flows, row = device.flows, pin.ref.row
    adopt(device, row, pin.by_vm)
    choice = device.choice(flows.queue_id[row], flows.mark[row])
    desired = choice, flows.meter_id[row], flows.egress_port[row], flows.in_port[row]
    if desired != (pin.queue_id, pin.meter_id, pin.egress_port, pin.in_port):
        put_pin(device, row, worth_of(device, row), FREE, out)


def adopt_waiting(state: State, device: Device, out: list[Effect]) -> None:
    """Adopt the pins of flows from links whose VMs have become known since the connection."""
    pins, device.unknown_pins = device.unknown_pins, []
    for pin in pins:
        _adopt_pin(state, device, pin, out)


def _key_of(device: Device, pin: FoundPin, number: int) -> bytes:
    """Return the key of a pin's flow: with the VM's number, and the VLAN tag with which the VM sends it."""
    key = number.to_bytes(4) + pin.key[4:]
    port = device.ports.get(pin.in_port)
    if not pin.by_vm or port is None:
        return key
    parts = unpack(key)
    return pack(parts._replace(vlan=native(port, number, parts.vlan)))


def _adopt_pin(state: State, device: Device, pin: FoundPin, out: list[Effect]) -> None:
    """Adopt a pin of an earlier run of the controller: its flow keeps its queue and its meter.

    The VM of a flow from a link may not be known yet, if its own bridge connects later: such pins wait.
    """
    flows, row = device.flows, pin.ref.row
    port = device.ports.get(pin.in_port)
    number = device.port_vm.get(pin.in_port, NOT_A_VM)
    if port is not None and has_senders(device, port) and pin.by_vm:
        number = int.from_bytes(pin.key[:4])
        if number not in port.vms_behind:
            if device.in_adoption:
                device.unknown_pins.append(pin)
                return
            number = NOT_A_VM
    key = _key_of(device, pin, number)
    if number == NOT_A_VM or not flows.add_at(pin.ref, key, state.now):
        gone = UnpinFlow(device.dpid, pin.ref, pin.key, pin.in_port, pin.egress_port, pin.by_vm)
        out.append(gone)
        return
    parts = unpack(pin.key)._replace(vm_number=number)
    flows.tag[row] = 0 if parts.vlan is None else parts.vlan + 1
    flows.in_port[row], flows.egress_port[row], flows.vm_number[row] = (
        pin.in_port,
        pin.egress_port,
        number,
    )
    device.flows_of_vm[number] = device.flows_of_vm.get(number, 0) + 1
    flows.packets[row], flows.octets[row] = pin.packets, pin.octets
    adopt(device, row, pin.by_vm)
    before = kept.recall(state, device, row, is_found=True)
    classify_row(state, device, row, parts)
    report_flow(device, row, "seen", out, FOUND)
    _adopt_meter(device, row, pin, out)
    take_ahead(state, device, row)
    placement = _found_place(state, device, row, pin, before)
    apply(state, device, row, decide(state, device, row, placement)._replace(pin=None), out)
    if device.passives:
        flows.mark[row] = flows.device_mark[row] = split(pin.queue_id)[1]
        device.adopting = True
        begin_behind(state, device, row, out)
        device.adopting = False
    kept.recall_place(device, row, before)
    _confirm(device, pin, out)


def _adopt_meter(device: Device, row: int, pin: FoundPin, out: list[Effect]) -> None:
    """Adopt the meter of a pin, where its flow's class has a limit."""
    flows, pool = device.flows, device.meter_pool
    traffic_class = device.policy.classes[flows.class_index[row]]
    if traffic_class.rate_limit is None or not pin.meter_id:
        return
    owner = owner_of(traffic_class, device.limit_owner(flows.vm_number[row]), row)
    if pool.adopt(owner, pin.meter_id, traffic_class):
        device.meter_owner[row], flows.meter_id[row] = owner, pin.meter_id
        found = device.found_meters.get(pin.meter_id)
        if found is not None and owner not in pool.standing_owners and not pool.is_ours(found):
            # It has the rate of another policy. One that is right is not written, which would fill its bucket.
            out.append(SetMeter(device.dpid, pool.specs[pin.meter_id], change=True))


def _found_place(state: State, device: Device, row: int, pin: FoundPin, before: KeptFlow | None) -> Placement:
    """Have the allocator count a flow on the queue of its pin; where it has none for that, ask for another one."""
    flows = device.flows
    port = device.ports.get(pin.egress_port)
    queue_id = device.chosen(pin.queue_id)
    allocation = port.allocation if port is not None and queue_id in port.queues else None
    meter_only = device.policy.classes[flows.class_index[row]].meter_only
    if allocation is None or queue_id is None or meter_only or device.manual_pin(row) is not None:
        return choose_queue(state, device, row)
    may_be_alone = before is None or before.reason == Reason.EXCLUSIVE
    demand, key = demand_of(device, row), flows.keys[row] or b""
    return place_on(allocation, row, demand, queue_id, key, may_be_alone=may_be_alone)
