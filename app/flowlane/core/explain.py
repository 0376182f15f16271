"""Explanation of a flow's class and queue: rule, hint, reason, queues considered, and what would change it."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import alternatives
from flowlane.core.classify.changes import (
    Change,
    HintChange,
    HintEnd,
    IdsChange,
    RateChange,
    Situation,
    changes,
)
from flowlane.core.classify.gates import OPEN_GATES
from flowlane.core.classify.hints import HINT_TEXTS, HintVerdict
from flowlane.core.classify.matching import unmet
from flowlane.core.device.limits import enforced_by, given_meter
from flowlane.core.flow.gates import gates_at
from flowlane.core.flow.pins import Worth, worth_of
from flowlane.core.model import NO_QUEUE, HintSource, QueueKind, Reason
from flowlane.core.other_paths import other_paths
from flowlane.core.policy import PathPreference
from flowlane.core.state.flows import PINNED, REFUSED
from flowlane.units import format_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.allocate.state import Alternative
    from flowlane.core.other_paths import OtherPath
    from flowlane.core.policy import Policy, Rule, TrafficClass
    from flowlane.core.state.claims import Origin
    from flowlane.core.state.device import Device, State

REASONS: dict[Reason, str] = {
    Reason.UNPLACED: "it is not placed yet",
    Reason.NO_QUEUES: "its egress port has no queues, so it is served without set_queue",
    Reason.DEMOTED: "it has sent more bytes than flows on a queue of higher priority may",
    Reason.VACATED: "it was moved here from a queue that another flow has to itself now",
    Reason.GATHERED: "its class was on more queues than its max-queues",
    Reason.NO_ONE_PORT: "it is not known by which one port it leaves, so it is served without set_queue",
    Reason.SHARED: "its class shares queues, and this was the least loaded of them",
    Reason.EXCLUSIVE: "its class has a queue for each flow, and the other flows do not miss this one",
    Reason.EXCLUSIVE_UNAVAILABLE: "its class has a queue for each flow, but the others would miss it; it shares",
    Reason.GROUPED: "flows that the policy calls alike are on this queue",
    Reason.VM_TOGETHER: "its class keeps a VM's flows together, and the VM's flows are on this queue",
    Reason.REBALANCED: "it was moved here from a queue that carried more than its share",
    Reason.QUEUE_GONE: "the queue that it was on is gone",
    Reason.OVERFLOW_TO_SOFTWARE: "the hardware queues are taken by flows that come before it",
    Reason.SOFTWARE_BY_RULE: "its class uses software queues only",
    Reason.PROMOTED: "a hardware queue became free for it",
    Reason.HARDWARE_ONLY_FULL: "its class uses hardware queues only, so it shares one although they are full",
    Reason.STRATEGY: "the strategy that the policy names chose this queue",
    Reason.METER_ONLY: "its class is limited by a meter and has no queue, so that the device may offload it",
    Reason.ADOPTED: "it was found on this queue when the controller started, and stays",
    Reason.PINNED_BY_HAND: "an operator pinned it to this queue, for a time",
    Reason.DRAINED: "it was moved here from a queue that an operator drains",
    Reason.MARK_KEPT: "the policy keeps its own mark, by which the device chooses its queue",
    Reason.DEVICE_CHOSE: "the device itself chose this queue by its standing rules",
}


class Considered(NamedTuple):
    """A rule before the one that takes the flow, and the parts of it that do not hold."""

    rule: str
    unmet: tuple[str, ...]


class Explanation(NamedTuple):
    """Everything about one flow on one device. Rates are bit/s, times the engine's clock."""

    device: str
    class_name: str
    rule: str
    rules_before: tuple[Considered, ...]
    hint: str
    queue_id: int
    kind: QueueKind
    reason: str
    since: float
    alternatives: tuple[Alternative, ...]
    not_hardware: str
    meter: str
    entry: str
    would_change: tuple[str, ...]
    origin: Origin | None
    other_paths: tuple[OtherPath, ...]


def explain(state: State, device: Device, row: int) -> Explanation:
    """Explain the place of a flow on a device."""
    flows, policy = device.flows, device.policy
    traffic_class = policy.classes[flows.class_index[row]]
    rule = _rule_at(policy, flows.rule_index[row])
    situation = _situation(state, device, row)
    port = device.ports.get(flows.egress_port[row])
    placed = port is not None and port.allocation is not None and flows.queue_id[row] != NO_QUEUE
    return Explanation(
        device=device.name,
        class_name=traffic_class.name,
        rule=_rule_text(rule, flows.hint_class[row]),
        rules_before=_rules_before(situation, rule),
        hint=_hint(situation),
        queue_id=flows.queue_id[row],
        kind=QueueKind(flows.kind[row]),
        reason=REASONS[Reason(flows.reason[row])],
        since=flows.assigned_since[row],
        alternatives=tuple(alternatives(port.allocation, row)) if placed and port and port.allocation else (),
        not_hardware=_not_hardware(device, row, traffic_class),
        meter=_meter(state, device, row, traffic_class),
        entry=_entry(state, device, row),
        would_change=(
            *(_change_text(policy, rule, change) for change in changes(situation)),
            *_placement_changes(state, device, row, traffic_class),
        ),
        origin=device.origins.get(row),
        other_paths=other_paths(state, device, row),
    )


def _rule_at(policy: Policy, index: int) -> Rule | None:
    """Find a rule by its index in the operator's policy, of which the device may have a part only."""
    return next((rule for rule in policy.rules if rule.index == index), None)


def _rule_text(rule: Rule | None, hint_class: int) -> str:
    if rule is not None:
        return f"{rule.name} (line {rule.line})" if rule.line else rule.name
    return "the VM's hint: no rule matches" if hint_class else "the default: no rule matches"


def _situation(state: State, device: Device, row: int) -> Situation:
    flows = device.flows
    parts = flows.parts(row)
    vm = state.vms.get(parts.vm_number)
    return Situation(
        device.classifier,
        vm,
        parts,
        flows.dscp[row],
        flows.pcp[row],
        state.hints_of(vm, device.origins.get(row)) if vm is not None else (),
        flows.gate_state[row] & OPEN_GATES,
        gates_at(device, flows.egress_port[row], state.now),
    )


def _rules_before(situation: Situation, rule: Rule | None) -> tuple[Considered, ...]:
    rules, facts = situation.classifier.policy.rules, situation.facts()
    earlier = takewhile(lambda other: other is not rule, rules)
    return tuple(Considered(other.name, unmet(other.match, facts)) for other in earlier)


def _hint(situation: Situation) -> str:
    result = situation.weigh()
    marks = (("DSCP", situation.dscp), ("PCP", situation.pcp))
    if result.verdict is HintVerdict.NONE_GIVEN and any(value for _, value in marks):
        given = " and ".join(f"{name} {value}" for name, value in marks if value)
        return f"{given}: no trust entry of the policy makes a class of it for the VM"
    text = HINT_TEXTS[result.verdict]
    return text if result.source is HintSource.NONE else f"{result.source.name}: {text}"


def _not_hardware(device: Device, row: int, traffic_class: TrafficClass) -> str:
    """Explain why the flow has no physical queue; empty when it has one.

    This is not the reason for its queue: a flow may be the only one of a software queue.
    """
    flows = device.flows
    kind, reason = flows.kind[row], Reason(flows.reason[row])
    if kind == QueueKind.PHYSICAL:
        return ""
    if kind == QueueKind.NONE:
        return REASONS[reason]
    if traffic_class.path is PathPreference.SOFTWARE:
        return REASONS[Reason.SOFTWARE_BY_RULE]
    if not _has_hardware(device, row):
        return "its egress port has no physical queues"
    return REASONS[reason if reason in (Reason.ADOPTED, Reason.DEVICE_CHOSE) else Reason.OVERFLOW_TO_SOFTWARE]


def _has_hardware(device: Device, row: int) -> bool:
    queues = device.ports[device.flows.egress_port[row]].queues.values()
    return any(queue.kind is QueueKind.PHYSICAL for queue in queues)


def _meter(state: State, device: Device, row: int, traffic_class: TrafficClass) -> str:
    if traffic_class.rate_limit is None:
        return _foreign_meter(device, row) or "its class has no limit"
    other = _enforced_by(state, device, row, traffic_class)
    if other is not None:
        limit = format_rate(traffic_class.rate_limit)
        return f"its class is limited to {limit}, which {other.name} enforces: it is nearer to the VM"
    spec = device.meter_pool.specs.get(device.flows.meter_id[row])
    if spec is None:
        why = (
            "there is no room for its pin"
            if _lacks_pin(state, device, row, traffic_class)
            else "the device has no meter for it"
        )
        return f"its class is limited to {format_rate(traffic_class.rate_limit)}, but {why}"
    users = device.meter_pool.users[spec.meter_id]
    shared = f", shared by {users} flows" if users > 1 else ""
    return f"meter {spec.meter_id} holds it to {format_rate(spec.rate)} of layer-2 bytes{shared}"


def _enforced_by(state: State, device: Device, row: int, traffic_class: TrafficClass) -> Device | None:
    flows = device.flows
    return enforced_by(state, device, flows.vm_number[row], traffic_class.name, flows.keys[row])


def _lacks_pin(state: State, device: Device, row: int, traffic_class: TrafficClass) -> bool:
    """Check whether the flow would have a pin if there were room; without one it has no meter of its own."""
    unlimited = traffic_class.rate_limit is not None and not device.flows.meter_id[row]
    unlimited = unlimited and _enforced_by(state, device, row, traffic_class) is None
    return device.pinned >= device.pin_budget and (unlimited or worth_of(device, row) is not Worth.NOTHING)


def _foreign_meter(device: Device, row: int) -> str:
    """Name the meter of another class that the device applies to the flow by its standing rules."""
    flows = device.flows
    spec = device.meter_pool.specs.get(given_meter(device, row))
    if spec is None or flows.flags[row] & PINNED:
        return ""
    held = f"meter {spec.meter_id} holds it to {format_rate(spec.rate)}"
    return f"its class has no limit, but by the device's standing rules {held}"


def _entry(state: State, device: Device, row: int) -> str:
    flags = device.flows.flags[row]
    if device.declared is not None:
        before = device.upstream.get(device.flows.in_port[row])
        return f"none: its packets have the mark that {before.name if before else 'nobody'} writes"
    if flags & PINNED:
        return "a pin: an exact entry of its own"
    if flags & REFUSED:
        return "the device's standing rules: it refused a pin"
    if _lacks_pin(state, device, row, device.policy.classes[device.flows.class_index[row]]):
        return "the device's standing rules: the budget of pins is spent on flows whose pins are worth more"
    return "the device's standing rules: a pin would change nothing"


def _placement_changes(state: State, device: Device, row: int, traffic_class: TrafficClass) -> Iterator[str]:
    """List what would give the flow another queue, or its limit, without another class."""
    flows = device.flows
    pin = device.manual_pin(row)
    if pin is not None:
        yield f"the end of its pin by hand, in {max(0.0, pin.expires - state.now):.0f} s"
    overflowed = flows.kind[row] == QueueKind.SOFTWARE and traffic_class.path is not PathPreference.SOFTWARE
    waits = flows.reason[row] == Reason.EXCLUSIVE_UNAVAILABLE
    if waits or (overflowed and _has_hardware(device, row)):
        yield "a hardware queue that becomes free"
    lacks_limit = traffic_class.rate_limit is not None and not flows.meter_id[row]
    if lacks_limit and _enforced_by(state, device, row, traffic_class) is None:
        missing = "room for a pin" if _lacks_pin(state, device, row, traffic_class) else "a meter"
        yield f"{missing} that becomes free: its limit would apply"
    if flows.queue_id[row] == NO_QUEUE and flows.reason[row] == Reason.NO_QUEUES:
        yield "queues on its egress port (flowlane qos apply)"


def _change_text(policy: Policy, present: Rule | None, change: Change) -> str:
    """Word a change of class. Only the rule that takes the flow now, or one before it, is named."""
    name = policy.classes[change.outcome.class_index].name
    match change:
        case RateChange():
            ends = change.low == 0 and present is not None and present.match.gate is not None
            what = f"{_rate_text(change)} ends {present.name} and" if ends and present else _rate_text(change)
        case HintChange():
            sources = " or ".join(source.name for source in change.sources)
            what = f"a hint of the VM by {sources} for class {policy.classes[change.asked].name}"
        case HintEnd():
            what = f"the end of the VM's hint {change.hint.id}"
        case IdsChange():
            ids = change.rule.match.vms.external_ids if change.rule.match.vms else ()
            pairs = ", ".join(f"{key}={glob}" for key, glob in ids)
            what = f"external_ids {pairs} of the VM, for which rule {change.rule.name} asks,"
    return f"{what} makes it {name}"


def _rate_text(change: RateChange) -> str:
    low, high = format_rate(change.low), format_rate(change.high)
    hold = f" for {change.hold:g} s" if change.hold else ""
    if change.high is None:
        return f"a rate of {low} or more{hold}"
    return f"a rate from {low} to {high}{hold}" if change.low else f"a rate below {high}"
