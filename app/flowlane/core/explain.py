"""Why a flow is where it is: rule, facts, queues considered, since when, and what would change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import alternatives
from flowlane.core.classify.classifier import NO_RULE
from flowlane.core.classify.gates import OPEN_GATES
from flowlane.core.classify.hints import HINT_TEXTS
from flowlane.core.classify.matching import Facts, unmet
from flowlane.core.flow.assign import find_hint
from flowlane.core.flow.pins import Worth, worth_of
from flowlane.core.flowkey import unpack
from flowlane.core.model import NO_QUEUE, HintSource, QueueKind, Reason
from flowlane.core.policy import PathPreference
from flowlane.core.state.flows import PINNED, REFUSED
from flowlane.units import format_rate

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Alternative
    from flowlane.core.policy import Policy, TrafficClass
    from flowlane.core.state.device import Device, State

REASONS: dict[Reason, str] = {
    Reason.UNPLACED: "it is not placed yet",
    Reason.NO_QUEUES: "its egress port has no queues, so it is served without set_queue",
    Reason.SHARED: "its class shares queues, and this was the least loaded of them",
    Reason.EXCLUSIVE: "its class has a queue for each flow, and this one was free",
    Reason.EXCLUSIVE_UNAVAILABLE: "its class has a queue for each flow, but none is free; it shares until one is",
    Reason.GROUPED: "flows that the policy calls alike are on this queue",
    Reason.VM_TOGETHER: "its class keeps a VM's flows together, and the VM's flows are on this queue",
    Reason.REBALANCED: "it was moved here from a queue that carried more than its part",
    Reason.QUEUE_GONE: "the queue that it was on is gone",
    Reason.OVERFLOW_TO_SOFTWARE: "the hardware queues are taken by flows that deserve them more",
    Reason.SOFTWARE_BY_RULE: "its class uses software queues only",
    Reason.PROMOTED: "a hardware queue became free for it",
    Reason.HARDWARE_ONLY_FULL: "its class uses hardware queues only, so it shares one although they are full",
    Reason.STRATEGY: "the strategy that the policy names chose this queue",
    Reason.METER_ONLY: "its class is limited by a meter and has no queue, so that the device may offload it",
    Reason.ADOPTED: "it was found on this queue when the controller started, and stays",
    Reason.DEVICE_CHOSE: "the device itself chose this queue by its standing rules",
}


class Considered(NamedTuple):
    """A rule that was looked at before the one that took the flow, and the parts that did not hold."""

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


def explain(state: State, device: Device, row: int) -> Explanation:
    """Explain the place of a flow on a device."""
    flows, policy = device.flows, device.policy
    wanted = policy.classes[flows.class_index[row]]
    port = device.ports.get(flows.egress_port[row])
    placed = port is not None and port.allocation is not None and flows.queue_id[row] != NO_QUEUE
    return Explanation(
        device=device.name,
        class_name=wanted.name,
        rule=_rule(policy, flows.rule_index[row], flows.hint_class[row]),
        rules_before=_rules_before(state, device, row),
        hint=_hint(state, device, row),
        queue_id=flows.queue_id[row],
        kind=QueueKind(flows.kind[row]),
        reason=REASONS[Reason(flows.reason[row])],
        since=flows.assigned_since[row],
        alternatives=tuple(alternatives(port.allocation, row)) if placed and port and port.allocation else (),
        not_hardware=_not_hardware(device, row, wanted),
        meter=_meter(device, row, wanted),
        entry=_entry(device, row),
        would_change=tuple(_would_change(device, row, wanted)),
    )


def _rule(policy: Policy, index: int, hint_class: int) -> str:
    if index != NO_RULE:
        rule = policy.rules[index]
        return f"{rule.name} (line {rule.line})" if rule.line else rule.name
    return "no rule takes it; the VM's hint counts" if hint_class else "no rule takes it"


def _facts(state: State, device: Device, row: int) -> Facts:
    flows = device.flows
    key = flows.keys[row]
    assert key is not None
    parts = unpack(key)
    hint = flows.hint_class[row] - 1 if flows.hint_class[row] else None
    opened = flows.gate_state[row] & OPEN_GATES
    return Facts(state.vms.get(parts.vm_number), parts, flows.dscp[row], flows.pcp[row], hint, opened)


def _rules_before(state: State, device: Device, row: int) -> tuple[Considered, ...]:
    facts = _facts(state, device, row)
    index = device.flows.rule_index[row]
    earlier = device.policy.rules if index == NO_RULE else device.policy.rules[:index]
    return tuple(Considered(rule.name, unmet(rule.match, facts)) for rule in earlier)


def _hint(state: State, device: Device, row: int) -> str:
    facts, flows = _facts(state, device, row), device.flows
    given = None
    if facts.vm is not None and facts.vm.id in state.hints_of_vm:
        given = find_hint(state.hints_of_vm[facts.vm.id], facts.parts, facts.dscp, facts.pcp)
    belief = device.classifier.weigh_hints(facts.vm, facts.dscp, facts.pcp, given, flows.gate_state[row])
    text = HINT_TEXTS[belief.verdict]
    return text if belief.source is HintSource.NONE else f"{belief.source.name}: {text}"


def _not_hardware(device: Device, row: int, wanted: TrafficClass) -> str:
    """Why the flow has no physical queue; empty when it has one.

    Why it has the queue that it has is another question: a flow can be the only one of a software queue.
    """
    flows = device.flows
    kind, reason = flows.kind[row], Reason(flows.reason[row])
    if kind == QueueKind.PHYSICAL:
        return ""
    if kind == QueueKind.NONE:
        return REASONS[reason]
    if wanted.path is PathPreference.SOFTWARE:
        return REASONS[Reason.SOFTWARE_BY_RULE]
    if not _has_hardware(device, row):
        return "its egress port has no physical queues"
    return REASONS[reason if reason in (Reason.ADOPTED, Reason.DEVICE_CHOSE) else Reason.OVERFLOW_TO_SOFTWARE]


def _has_hardware(device: Device, row: int) -> bool:
    queues = device.ports[device.flows.egress_port[row]].queues.values()
    return any(queue.kind is QueueKind.PHYSICAL for queue in queues)


def _meter(device: Device, row: int, wanted: TrafficClass) -> str:
    if wanted.rate_limit is None:
        return _foreign_meter(device, row) or "its class has no limit"
    spec = device.meter_pool.specs.get(device.flows.meter_id[row])
    if spec is None:
        why = (
            "no exact entry is to be had for it"
            if _lacks_entry(device, row, wanted)
            else "the device gave no meter"
        )
        return f"its class is limited to {format_rate(wanted.rate_limit)}, but {why}"
    users = device.meter_pool.users[spec.meter_id]
    shared = f", shared by {users} flows" if users > 1 else ""
    return f"meter {spec.meter_id} holds it to {format_rate(spec.rate)} of layer-2 bytes{shared}"


def _lacks_entry(device: Device, row: int, wanted: TrafficClass) -> bool:
    """Whether the flow would have an exact entry if there were room; a flow without one has no meter of its own."""
    unlimited = wanted.rate_limit is not None and not device.flows.meter_id[row]
    return device.pinned >= device.pin_budget and (unlimited or worth_of(device, row) is not Worth.NOTHING)


def _foreign_meter(device: Device, row: int) -> str:
    """The device takes the flow for one of another class, whose limit counts until it has an entry of its own."""
    flows = device.flows
    spec = device.meter_pool.specs.get(flows.device_meter[row])
    if spec is None or flows.flags[row] & PINNED:
        return ""
    held = f"meter {spec.meter_id} holds it to {format_rate(spec.rate)}"
    return f"its class has no limit, but by the device's standing rules {held}"


def _entry(device: Device, row: int) -> str:
    flags = device.flows.flags[row]
    if flags & PINNED:
        return "an exact entry of its own"
    if flags & REFUSED:
        return "the device's standing rules: it refused an entry of its own"
    if _lacks_entry(device, row, device.policy.classes[device.flows.class_index[row]]):
        return (
            "the device's standing rules: the budget of entries is spent on flows to which one is worth more"
        )
    return "the device's standing rules: an entry of its own would not pay"


def _would_change(device: Device, row: int, wanted: TrafficClass) -> list[str]:
    """What would put the flow elsewhere."""
    flows, policy = device.flows, device.policy
    found = []
    for rule in policy.rules:
        if rule.match.gate is None:
            continue
        gate, opened = policy.gates[rule.match.gate], flows.gate_state[row] >> rule.match.gate & 1
        name = policy.classes[rule.class_index].name
        if not opened and rule.class_index != wanted.index:
            above = f"a rate of {format_rate(gate.at_least)} or more for {gate.hold:g} s"
            found.append(f"{above} makes it {name}, if {rule.name} fits")
        elif opened and rule.class_index == wanted.index:
            found.append(f"a rate below {format_rate(gate.below)} ends {rule.name}")
    overflowed = flows.kind[row] == QueueKind.SOFTWARE and wanted.path is not PathPreference.SOFTWARE
    waits = flows.reason[row] == Reason.EXCLUSIVE_UNAVAILABLE
    if waits or (overflowed and _has_hardware(device, row)):
        found.append("a hardware queue that becomes free")
    if wanted.rate_limit is not None and not flows.meter_id[row]:
        missing = "an exact entry" if _lacks_entry(device, row, wanted) else "a meter"
        found.append(f"{missing} that becomes free: its limit would hold")
    if flows.queue_id[row] == NO_QUEUE and flows.reason[row] == Reason.NO_QUEUES:
        found.append("queues on its egress port (flowlane qos apply)")
    return found
