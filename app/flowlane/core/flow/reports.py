"""Reports of what happens to flows and to their queues: seen, assigned, moved, ended; exclusive, shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.classify.classifier import NO_RULE
from flowlane.core.effects import Effect, FlowReport, Report
from flowlane.core.flowkey import flow_id, flow_text
from flowlane.core.model import NO_QUEUE, Reason
from flowlane.core.state.flows import PINNED

if TYPE_CHECKING:
    from flowlane.core.effects import FlowEvent
    from flowlane.core.state.device import Device


def report_flow(
    device: Device,
    row: int,
    change: FlowEvent,
    out: list[Effect],
    why: str = "",
    old_queue_id: int = NO_QUEUE,
    reason: Reason | None = None,
) -> None:
    """Report what happened to a flow; see :class:`FlowReport`.

    Args:
        reason: in the place of the flow's own.
    """
    flows = device.flows
    key = flows.keys[row]
    assert key is not None
    out.append(
        FlowReport(
            change,
            device.dpid,
            key,
            flows.egress_port[row],
            device.policy.classes[flows.class_index[row]].name,
            flows.queue_id[row],
            old_queue_id,
            flows.meter_id[row],
            flows.reason[row] if reason is None else int(reason),
            bool(flows.flags[row] & PINNED),
            why,
        )
    )


class Had(NamedTuple):
    """What a flow had before a decision: its queue with its kind, its meter, whether it was pinned, and why."""

    queue_id: int
    kind: int
    meter_id: int
    pinned: int
    reason: int


def had_by(device: Device, row: int) -> Had:
    """Return what a flow has now."""
    flows = device.flows
    return Had(
        flows.queue_id[row],
        flows.kind[row],
        flows.meter_id[row],
        flows.flags[row] & PINNED,
        flows.reason[row],
    )


def report_place(device: Device, row: int, had: Had | None, out: list[Effect]) -> None:
    """Report that a flow has its first place (``had`` None), another queue, or another meter, pin or reason."""
    has = had_by(device, row)
    if has == had:
        return
    if had is None or had.queue_id == NO_QUEUE != has.queue_id:
        report_flow(device, row, "assigned", out)
    elif has.queue_id in (NO_QUEUE, had.queue_id):
        report_flow(device, row, "changed", out, old_queue_id=had.queue_id)
    else:
        port = device.ports.get(device.flows.egress_port[row])
        old = None if port is None else port.queues.get(had.queue_id)
        is_gone = port is not None and (old is None or old.kind != had.kind)
        reason = Reason.QUEUE_GONE if is_gone else None
        report_flow(device, row, "moved", out, old_queue_id=had.queue_id, reason=reason)
    was_exclusive = had is not None and had.reason == Reason.EXCLUSIVE
    is_exclusive = has.reason == Reason.EXCLUSIVE
    is_moved = had is not None and had.queue_id != has.queue_id
    if had is not None and was_exclusive and (is_moved or not is_exclusive):
        report_shared(device, row, had.queue_id, out)
    if is_exclusive and (is_moved or not was_exclusive):
        _report_queue(device, row, has.queue_id, is_exclusive=True, out=out)


def report_shared(device: Device, row: int, queue_id: int, out: list[Effect]) -> None:
    """Report that the queue which a flow had to itself is shared again."""
    _report_queue(device, row, queue_id, is_exclusive=False, out=out)


def _report_queue(device: Device, row: int, queue_id: int, *, is_exclusive: bool, out: list[Effect]) -> None:
    """Report that a queue is for one flow alone, or is shared again."""
    flows, key = device.flows, device.flows.keys[row]
    port = device.ports.get(flows.egress_port[row])
    if key is None or port is None:
        return
    change = "exclusive" if is_exclusive else "shared"
    has_it = "is exclusive:" if is_exclusive else "is no longer exclusive:"
    data = {
        "device": f"{device.dpid:016x}",
        "port": port.label,
        "port_no": port.port_no,
        "queue_id": queue_id,
        "flow": flow_id(key),
        "change": change,
        "why": "its class has a queue for each flow" if is_exclusive else "the flow has left it",
    }
    text = f"{device.name}: queue {queue_id} of {port.label} {has_it} {flow_text(key)}"
    out.append(Report("queue", text, data))


def why_class(device: Device, row: int) -> str:
    """Say what gives a flow its class, in short; :mod:`flowlane.core.explain` has the whole."""
    rule = device.flows.rule_index[row]
    if rule != NO_RULE:
        return f"rule {device.policy.rules[rule].name} matches"
    return "a hint of its VM" if device.flows.hint_class[row] else "no rule matches any more"


def count_refusal(device: Device, what: str, why: str, out: list[Effect]) -> None:
    """Count a refusal by what was refused; report the first one and every thousandth."""
    count = device.refusals[what] = device.refusals.get(what, 0) + 1
    if count % 1000 == 1:
        text = f"{device.name}: {what} not set: {why}"
        out.append(
            Report("error", text, {"device": f"{device.dpid:016x}", "what": what, "why": why, "count": count})
        )
