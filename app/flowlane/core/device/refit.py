"""Flows follow what changes under them: queues that come and go, a new policy, VMs with another identity."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from flowlane.core.allocate import depart, hold, new_port, place_on, set_speed, update_queues
from flowlane.core.allocate.state import NEVER
from flowlane.core.classify.classifier import NO_RULE
from flowlane.core.device.vms import shares_of
from flowlane.core.effects import Report, SetMeter
from flowlane.core.flow import manual
from flowlane.core.flow.assign import apply_moves, assign, classify_row, demand_of
from flowlane.core.flow.pins import keep_budget
from flowlane.core.flow.reports import report_flow
from flowlane.core.model import NO_QUEUE
from flowlane.core.state.meters import scope_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from flowlane.core.effects import Effect
    from flowlane.core.model import Queue
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import Device, Port, State


def fit_port(state: State, device: Device, port: Port, out: list[Effect]) -> None:
    """Make a port's allocation fit the queues it has now; flows on queues that are gone move."""
    queues = tuple(queue for _, queue in sorted(port.queues.items()))
    _report_queues(device, port, queues, out)
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


def _report_queues(device: Device, port: Port, queues: tuple[Queue, ...], out: list[Effect]) -> None:
    """Report the queues of a port that have come, that have changed, and that are gone."""
    if queues == port.shaped:
        return
    before = {queue.queue_id: queue for queue in port.shaped}
    now = {queue.queue_id: queue for queue in queues}
    common = before.keys() & now.keys()
    changes = (
        ("added", sorted(now.keys() - before.keys()), "the port has them now"),
        (
            "changed",
            sorted(n for n in common if before[n] != now[n]),
            "their rates, kind or priority are others",
        ),
        ("removed", sorted(before.keys() - now.keys()), "the port does not have them any more"),
    )
    for change, ids, why in changes:
        if ids:
            text = f"{device.name}: queues of {port.label} {change}: {', '.join(map(str, ids))}"
            data = {
                "device": f"{device.dpid:016x}",
                "port": port.label,
                "port_no": port.port_no,
                "queues": ids,
                "change": change,
                "why": why,
            }
            out.append(Report("queue", text, data))


def _place_all(state: State, device: Device, port_no: int, out: list[Effect]) -> None:
    """Place every flow of a port anew: it had no queues, or has none any more."""
    flows = device.flows
    for row in [row for row in flows if flows.egress_port[row] == port_no]:
        assign(state, device, row, out)


def refit_policy(state: State, device: Device, before: Policy, out: list[Effect]) -> None:
    """Begin to classify and place every flow under the new policy; :func:`refit_some` goes on.

    What the policy does not change stays where it is. Until a flow's turn comes it has the class, the rule and the hint
    of the same name, or none, its queue and its meter; the plan is made when all have had their turn.
    """
    _translate(device, before)
    state.pace()
    if before.balance != device.policy.balance or before.shares != device.policy.shares:
        for port in device.ports.values():
            _rebuild(device, port)
    keep_budget(device, out, state.pace)
    _resize_meters(device, out)
    if device.flows.rows:
        device.refit_from = 0
        state.refits[device.dpid] = None


def refit_some(state: State, device: Device, most: int | None, out: list[Effect]) -> bool:
    """Classify and place the next flows under the new policy; return whether that was the last of them.

    Args:
        most: how many; None: all that are left.
    """
    if device.refit_from is None:
        return True
    flows = device.flows
    first, size = device.refit_from, flows.used
    last = size if most is None else min(size, first + most)
    for row in range(first, last):
        if flows.keys[row] is not None:
            before = flows.class_index[row]
            classify_row(state, device, row, flows.parts(row))
            if flows.class_index[row] != before:
                report_flow(device, row, "reclassified", out, "the policy was replaced")
            assign(state, device, row, out)
    device.refit_from = last
    if last == size:
        device.refit_from = None
        state.refits.pop(device.dpid, None)
    return last == size


def _translate(device: Device, before: Policy) -> None:
    """Give each flow the numbers that its class, its rule and its hint have in the new policy, by their names."""
    flows, classes = device.flows, {item.name: item.index for item in device.policy.classes}
    rules = {rule.name: rule.index for rule in device.policy.rules}
    of_class = [classes.get(item.name, 0) for item in before.classes]
    of_hint = [0, *(classes.get(item.name, -1) + 1 for item in before.classes)]
    of_rule = [rules.get(rule.name, NO_RULE) for rule in before.rules]
    of_rule += [NO_RULE] * (NO_RULE + 1 - len(of_rule))
    columns = ((flows.class_index, of_class), (flows.hint_class, of_hint), (flows.rule_index, of_rule))
    for column, translated in columns:
        column[:] = array(column.typecode, map(translated.__getitem__, column))


def refit_vms(state: State, device: Device, numbers: Collection[int], out: list[Effect]) -> None:
    """Classify and place the flows of some VMs anew: their identities or their shares are others now."""
    flows = device.flows
    for row in [row for row in flows if flows.vm_number[row] in numbers] if numbers else ():
        classify_row(state, device, row, flows.parts(row))
        assign(state, device, row, out)


def refit_elsewhere(state: State, device: Device | None, changed: set[int], out: list[Effect]) -> None:
    """Classify and place flows of changed VMs on other devices, where their addresses identify them [0058]."""
    vms = [state.vms[number] for number in changed]
    for other in state.devices.values():
        if other is not device and vms:
            for number in changed:
                other.shares.pop(number, None)
            other.shares.update(shares_of(other, vms))
            refit_vms(state, other, changed, out)


def _rebuild(device: Device, port: Port) -> None:
    """Make a port's allocation anew, by other settings, with every flow left on its queue."""
    if port.allocation is None:
        return
    flows = device.flows
    members, columns = _members(device, port), device.columns
    moved_at = {row: columns.moved_at[row] for row in members if row in columns.moved_at}
    for row in members:
        depart(port.allocation, row)
    weights = tuple(share.weight for share in device.policy.shares)
    port.allocation = new_port(columns, port.shaped, device.policy.balance, weights, port.rate)
    for row in members:
        demand, pin = demand_of(device, row), device.manual_pin(row)
        if pin is not None:
            hold(port.allocation, row, demand, pin.queue_id, moved_at.get(row, NEVER))
        else:
            place_on(port.allocation, row, demand, flows.queue_id[row], flows.keys[row] or b"")
    columns.moved_at.update(moved_at)


def _members(device: Device, port: Port) -> list[int]:
    """List the flows that the port's allocation counts."""
    flows = device.flows
    return [
        row for row in flows if flows.egress_port[row] == port.port_no and flows.queue_id[row] != NO_QUEUE
    ]


def _resize_meters(device: Device, out: list[Effect]) -> None:
    """Change the meters whose limit changed; the others are not written again. The plan has those of classes.

    What passes of the flows under them is estimated anew when their turn comes.
    """
    classes = {traffic_class.name: traffic_class for traffic_class in device.policy.classes}
    pool = device.meter_pool
    for owner in pool.ids:
        traffic_class = classes.get(owner[0])
        if traffic_class is None or traffic_class.rate_limit is None:
            continue  # The meter of a class without a limit now: it is dropped with the next plan.
        if scope_of(owner) is not traffic_class.limit_scope:
            continue  # Its flows are about to leave it.
        spec = pool.resize(owner, traffic_class)
        if spec is not None and owner not in pool.standing_owners:
            out.append(SetMeter(device.dpid, spec, change=True))
