"""Flows follow what changes under them: queues that come and go, a new policy, pins found after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import depart, new_port, place_on, set_speed, update_queues
from flowlane.core.effects import SetMeter, UnpinFlow
from flowlane.core.flow.assign import (
    apply_moves,
    classify_row,
    clear_meter,
    demand_of,
    forget,
    place,
    replace,
    set_place,
    take_meter,
)
from flowlane.core.flow.pins import adopt, pin
from flowlane.core.flowkey import unpack
from flowlane.core.model import NO_QUEUE, NOT_A_VM
from flowlane.core.state.flows import PINNED
from flowlane.core.state.meters import owner_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from flowlane.core.effects import Effect
    from flowlane.core.events import FoundPin
    from flowlane.core.model import PinRef
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import Device, Port, State


def fit_port(state: State, device: Device, port: Port, out: list[Effect]) -> None:
    """Make a port's allocation fit the queues it has now; flows on queues that are gone move."""
    queues = tuple(queue for _, queue in sorted(port.queues.items()))
    if port.allocation is not None and queues:
        set_speed(port.allocation, port.rate)
        if queues != port.shaped:
            if {queue.queue_id for queue in port.shaped} - port.queues.keys():
                device.relearn.add(port.port_no)
            apply_moves(
                state, device, update_queues(port.allocation, queues, device.flows.keys, state.now), out
            )
            for row in _members(device, port):
                device.flows.kind[row] = port.queues[device.flows.queue_id[row]].kind
    elif queues:
        weights = tuple(share.weight for share in device.policy.shares)
        port.allocation = new_port(device.columns, queues, device.policy.balance, weights, port.rate)
        _place_all(state, device, port.port_no, out)
    elif port.allocation is not None:
        for row in _members(device, port):
            depart(port.allocation, row)
        port.allocation = None
        device.relearn.add(port.port_no)
        _place_all(state, device, port.port_no, out)
    port.shaped = queues


def _place_all(state: State, device: Device, port_no: int, out: list[Effect]) -> None:
    """Place every flow of a port anew: it had no queues, or has none any more."""
    flows = device.flows
    for row in [row for row in flows if flows.egress_port[row] == port_no]:
        flows.queue_id[row] = NO_QUEUE
        place(state, device, row, out)


def refit_policy(state: State, device: Device, before: Policy, out: list[Effect]) -> None:
    """Classify and place every flow under the new policy; what that does not change stays where it is."""
    # All are classified first: an old class's number may mean another class now, or none.
    for row in device.flows:
        key = device.flows.keys[row]
        assert key is not None
        classify_row(state, device, row, unpack(key))
    if before.balance != device.policy.balance or before.shares != device.policy.shares:
        for port in device.ports.values():
            _rebuild(device, port)
    for row in list(device.flows):
        replace(state, device, row, out)
    _resize_meters(device, out)


def refit_vms(state: State, device: Device, numbers: Collection[int], out: list[Effect]) -> None:
    """Classify and place the flows of some VMs anew: their identities or their shares are others now."""
    flows = device.flows
    for row in [row for row in flows if flows.vm_number[row] in numbers] if numbers else ():
        key = flows.keys[row]
        assert key is not None
        classify_row(state, device, row, unpack(key))
        replace(state, device, row, out)


def _rebuild(device: Device, port: Port) -> None:
    """Make a port's allocation anew, by other settings, with every flow left on its queue."""
    if port.allocation is None:
        return
    flows = device.flows
    members = _members(device, port)
    for row in members:
        depart(port.allocation, row)
    weights = tuple(share.weight for share in device.policy.shares)
    port.allocation = new_port(device.columns, port.shaped, device.policy.balance, weights, port.rate)
    for row in members:
        place_on(port.allocation, row, demand_of(device, row), flows.queue_id[row])


def _members(device: Device, port: Port) -> list[int]:
    """The flows that the port's allocation knows."""
    flows = device.flows
    return [
        row for row in flows if flows.egress_port[row] == port.port_no and flows.queue_id[row] != NO_QUEUE
    ]


def _resize_meters(device: Device, out: list[Effect]) -> None:
    """Change the meters whose limit changed; the others are not written again. The plan has those of classes."""
    classes = {traffic_class.name: traffic_class for traffic_class in device.policy.classes}
    pool = device.meter_pool
    for owner in pool.ids:
        traffic_class = classes.get(owner[0])
        if traffic_class is None or traffic_class.rate_limit is None:
            continue  # The meter of a class without a limit now: it is dropped with the next plan.
        spec = pool.resize(owner, traffic_class)
        if spec is not None and owner not in pool.class_owners:
            out.append(SetMeter(device.dpid, spec, change=True))


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
            forget(device, ref.row, out, unpin=False)
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
        pin(device, row, out)


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
    if (
        port is not None
        and port.allocation is not None
        and found.queue_id in port.queues
        and not wanted.meter_only
    ):
        set_place(
            state,
            device,
            row,
            place_on(port.allocation, row, demand_of(device, row), found.queue_id),
        )
        clear_meter(device, take_meter(device, row, wanted, out), out)
        _confirm(device, found, out)
    else:
        place(state, device, row, out)
