"""Flows follow what changes under them: queues that come and go, a new policy, VMs with another identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import depart, hold, new_port, place_on, set_speed, update_queues
from flowlane.core.effects import SetMeter
from flowlane.core.flow import manual
from flowlane.core.flow.assign import apply_moves, assign, classify_row, demand_of
from flowlane.core.flow.limits import update_load
from flowlane.core.flow.pins import keep_budget
from flowlane.core.model import NO_QUEUE

if TYPE_CHECKING:
    from collections.abc import Collection

    from flowlane.core.effects import Effect
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import Device, Port, State
    from flowlane.core.state.meters import Owner


def fit_port(state: State, device: Device, port: Port, out: list[Effect]) -> None:
    """Make a port's allocation fit the queues it has now; flows on queues that are gone move."""
    queues = tuple(queue for _, queue in sorted(port.queues.items()))
    if port.allocation is not None and queues:
        set_speed(port.allocation, port.rate)
        if queues != port.shaped:
            if {queue.queue_id for queue in port.shaped} - port.queues.keys():
                device.relearn.add(port.port_no)
            apply_moves(state, device, update_queues(port.allocation, queues, device.flows.keys), out)
            manual.end_where_gone(state, device, port, out)
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
        manual.end_where_gone(state, device, port, out)
        device.relearn.add(port.port_no)
        _place_all(state, device, port.port_no, out)
    port.shaped = queues


def _place_all(state: State, device: Device, port_no: int, out: list[Effect]) -> None:
    """Place every flow of a port anew: it had no queues, or has none any more."""
    flows = device.flows
    for row in [row for row in flows if flows.egress_port[row] == port_no]:
        assign(state, device, row, out)


def refit_policy(state: State, device: Device, before: Policy, out: list[Effect]) -> None:
    """Classify and place every flow under the new policy; what that does not change stays where it is."""
    # All are classified first: an old class's number may mean another class now, or none.
    for row in device.flows:
        classify_row(state, device, row, device.flows.parts(row))
    if before.balance != device.policy.balance or before.shares != device.policy.shares:
        for port in device.ports.values():
            _rebuild(device, port)
    keep_budget(device, out)
    for row in list(device.flows):
        assign(state, device, row, out)
    _resize_meters(device, out)


def refit_vms(state: State, device: Device, numbers: Collection[int], out: list[Effect]) -> None:
    """Classify and place the flows of some VMs anew: their identities or their shares are others now."""
    flows = device.flows
    for row in [row for row in flows if flows.vm_number[row] in numbers] if numbers else ():
        classify_row(state, device, row, flows.parts(row))
        assign(state, device, row, out)


def _rebuild(device: Device, port: Port) -> None:
    """Make a port's allocation anew, by other settings, with every flow left on its queue."""
    if port.allocation is None:
        return
    flows = device.flows
    members, columns = _members(device, port), device.columns
    moved_at = {row: columns.moved_at[row] for row in members}
    for row in members:
        depart(port.allocation, row)
    weights = tuple(share.weight for share in device.policy.shares)
    port.allocation = new_port(columns, port.shaped, device.policy.balance, weights, port.rate)
    for row in members:
        demand, pin = demand_of(device, row), device.manual_pin(row)
        if pin is not None:
            hold(port.allocation, row, demand, pin.queue_id, moved_at[row])
        else:
            place_on(port.allocation, row, demand, flows.queue_id[row], flows.keys[row] or b"")
        columns.moved_at[row] = moved_at[row]


def _members(device: Device, port: Port) -> list[int]:
    """List the flows that the port's allocation counts."""
    flows = device.flows
    return [
        row for row in flows if flows.egress_port[row] == port.port_no and flows.queue_id[row] != NO_QUEUE
    ]


def _resize_meters(device: Device, out: list[Effect]) -> None:
    """Change the meters whose limit changed; the others are not written again. The plan has those of classes."""
    classes = {traffic_class.name: traffic_class for traffic_class in device.policy.classes}
    pool = device.meter_pool
    resized: set[Owner] = set()
    for owner in pool.ids:
        traffic_class = classes.get(owner[0])
        if traffic_class is None or traffic_class.rate_limit is None:
            continue  # The meter of a class without a limit now: it is dropped with the next plan.
        spec = pool.resize(owner, traffic_class)
        if spec is not None:
            resized.add(owner)
            if owner not in pool.standing_owners:
                out.append(SetMeter(device.dpid, spec, change=True))
    for row, owner in device.meter_owner.items() if resized else ():
        if owner in resized:
            update_load(device, row)
