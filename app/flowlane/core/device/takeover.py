"""Taking over a device that has worked without us: what stands there is right until something says otherwise.

A device that comes (back) tells of its pins and learned flows in one go, or, where the database is heard later than
the switch, in the first readings. They are counted where they are found, and the queues are divided by that, so
that neither its standing rules nor its flows are disturbed by our not having known them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import place_on, redivide
from flowlane.core.effects import Program, UnpinFlow
from flowlane.core.flow.assign import apply, choose_queue, classify_row, demand_of, remove_flow
from flowlane.core.flow.pins import FREE, adopt, put_pin, worth_of
from flowlane.core.flow.target import decide
from flowlane.core.flowkey import unpack
from flowlane.core.model import NOT_A_VM
from flowlane.core.state.device import Due, put_off
from flowlane.core.state.flows import PINNED
from flowlane.core.state.meters import owner_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.effects import DevicePlan, Effect
    from flowlane.core.events import FoundPin
    from flowlane.core.model import PinRef
    from flowlane.core.state.device import Device, State

TAKING_OVER = 5.0
"""Seconds from a device's connection: two readings of its counters, and more than OVSDB takes to tell."""


def take_stock(device: Device, now: float) -> None:
    """Divide the queues of all ports among the groups of flows by where these are."""
    for port in device.ports.values():
        if port.allocation is not None:
            redivide(port.allocation, now)


def replace_plan(out: list[Effect], made: DevicePlan | None, changes: list[Effect]) -> None:
    """Let the plan that goes by what was found take the place, in ``out``, of the one that was ``made`` before."""
    places = (place for place, one in enumerate(out) if isinstance(one, Program) and one.plan is made)
    first = next(places, None)
    if first is not None and changes:
        out[first] = changes.pop(0)
    out.extend(changes)


def end_taking_over(state: State, device: Device) -> None:
    """Decide about the queues of flows again, once what was there has had time to show."""
    if device.taking_over and state.now - device.since >= TAKING_OVER:
        device.taking_over = False
        put_off(state, device, Due.PLAN)
        take_stock(device, state.now)


def pinned_flows(device: Device) -> list[PinRef]:
    """List the flows that have a pin."""
    flows = device.flows
    return [flows.ref(row) for row in flows if flows.flags[row] & PINNED]


def adopt_pins(
    state: State,
    device: Device,
    pins: Iterable[FoundPin],
    expected: Iterable[PinRef],
    out: list[Effect],
) -> None:
    """Make flows and pins agree after a (re)connection: the device's own tables are the truth.

    A pin that we do not know is taken over with its flow, where it is (after a restart of the controller);
    one that cannot be is removed; a flow whose pin has gone meanwhile has ended: one of the ``expected``, which
    are the :func:`pinned_flows` of before the connection. Later pins are still on their way to the device.
    """
    flows = device.flows
    present = {found.ref for found in pins}
    for ref in expected:
        if flows.holds(*ref) and flows.flags[ref.row] & PINNED and ref not in present:
            remove_flow(device, ref.row, out, unpin=False)
    for found in pins:
        if flows.holds(*found.ref):
            _confirm(device, found, out)
        else:
            _take_over(state, device, found, out)


def _confirm(device: Device, found: FoundPin, out: list[Effect]) -> None:
    """The pin of a flow that we know: put right only what differs."""
    flows, row = device.flows, found.ref.row
    adopt(device, row)
    wanted = flows.queue_id[row], flows.meter_id[row], flows.egress_port[row], flows.in_port[row]
    if wanted != (found.queue_id, found.meter_id, found.egress_port, found.in_port):
        put_pin(device, row, worth_of(device, row), FREE, out)


def _take_over(state: State, device: Device, found: FoundPin, out: list[Effect]) -> None:
    """A pin of an earlier run of the controller: its flow lives on, on its queue, under its meter."""
    flows, row = device.flows, found.ref.row
    number = device.port_vm.get(found.in_port, NOT_A_VM)
    key = number.to_bytes(4) + found.key[4:]
    if number == NOT_A_VM or not flows.add_at(found.ref, key, state.now):
        gone = UnpinFlow(device.dpid, found.ref, found.key, found.in_port, found.egress_port)
        out.append(gone)
        return
    flows.in_port[row], flows.egress_port[row], flows.vm_number[row] = (
        found.in_port,
        found.egress_port,
        number,
    )
    flows.packets[row] = flows.entry_packets[row] = found.packets
    flows.octets[row] = flows.entry_octets[row] = found.octets
    adopt(device, row)
    classify_row(state, device, row, unpack(key))
    wanted = device.policy.classes[flows.class_index[row]]
    if wanted.rate_limit is not None and found.meter_id:
        owner = owner_of(wanted, number, row)
        if device.meter_pool.adopt(owner, found.meter_id, wanted):
            device.meter_owner[row], flows.meter_id[row] = owner, found.meter_id
    port = device.ports.get(found.egress_port)
    allocation = port.allocation if port is not None and found.queue_id in port.queues else None
    if allocation is None or wanted.meter_only:
        placement = choose_queue(state, device, row)
    else:
        placement = place_on(allocation, row, demand_of(device, row), found.queue_id)
    apply(state, device, row, decide(device, row, placement)._replace(pin=None), out)
    _confirm(device, found, out)
