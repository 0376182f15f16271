"""Views of status, devices, queues, VMs, hints and policy: JSON-ready objects made from the engine's state."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, cast

import flowlane
from flowlane import hub, pauses
from flowlane.core.classify.hints import HINT_TEXTS, HintVerdict, verdict_of
from flowlane.core.device.cordons import open_queues
from flowlane.core.device.rules import stated_role
from flowlane.core.flow.pins import mode
from flowlane.core.marks import value_of
from flowlane.core.model import Admission, HintSource, QueueKind, Role
from flowlane.core.pacing import paced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from flowlane.core import model
    from flowlane.core.allocate.state import Slot
    from flowlane.core.policy import DeviceRules, Policy, PolicyOrigin, Rule, TrafficClass, Trust
    from flowlane.core.state.device import Device, Port, State
    from flowlane.northbound import types
    from flowlane.northbound.controller import Check, Clock, Database
    from flowlane.northbound.types import databases as database_types
    from flowlane.northbound.types import hints as hint_types
    from flowlane.northbound.types import policies as policy_types

ROWS_AT_ONCE = 4096
"""Rows of a flow table that are counted before others are served: 0.3 ms."""

_OPENFLOW_VERSIONS = {1: "1.0", 2: "1.1", 3: "1.2", 4: "1.3", 5: "1.4", 6: "1.5"}
"""Wire version to name (OpenFlow 1.5.1, 7.1.1)."""

KIND_WORDS: Mapping[int, types.Kind] = {
    QueueKind.NONE: "none",
    QueueKind.PHYSICAL: "physical",
    QueueKind.SOFTWARE: "software",
}
HINT_WORDS: Mapping[int, types.HintOrigin] = {
    HintSource.DSCP: "dscp",
    HintSource.PCP: "pcp",
    HintSource.REST: "rest",
    HintSource.OVSDB: "ovsdb",
}


def dpid_text(dpid: int) -> str:
    """Write a datapath id: 16 hex digits."""
    return f"{dpid:016x}"


def moment(clock: Clock, time: float) -> str:
    """Write a moment of the engine's clock as RFC 3339, in UTC, to the millisecond."""
    return unix_text(clock.unix(time))


def unix_text(time: float) -> str:
    """Write Unix time as RFC 3339, in UTC, to the millisecond."""
    seconds, rest = divmod(round(time * 1e6), 1_000_000)
    return f"{_second_text(seconds)}.{rest // 1000:03}Z"


@lru_cache(maxsize=4096)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def status_view(
    state: State, clock: Clock, started: float, checks: Sequence[Check], databases: Sequence[Database]
) -> types.Status:
    """Make the view of the controller's own state."""
    hosts = [item.watcher.state for item in databases if item.watcher.state != "listening"]
    return {
        "version": flowlane.__version__,
        "started": unix_text(started),
        "uptime": round(clock.wall - started, 3),
        "ready": not any(check.problem for check in checks),
        "checks": check_results(checks),
        "devices": {
            "known": len(state.devices) - len(state.passive),
            "connected": sum(device.connected for device in state.devices.values()),
            "waiting": sum(device.awaits_database for device in state.devices.values()),
        },
        "databases": {"known": len(hosts), "synchronized": hosts.count("synchronized")},
        "vms": len(state.vms),
        "flows": sum(len(device.flows) for device in state.devices.values()),
        "assignments": kind_counts(state.devices.values()),
        "policy": policy_summary(state.policy),
    }


def check_results(checks: Sequence[Check]) -> list[types.CheckResult]:
    """Make the view of the conditions of readiness."""
    return [{"name": item.name, "ok": not item.problem, "problem": item.problem} for item in checks]


def database_view(database: Database, clock: Clock) -> database_types.DatabaseView:
    """Make the view of a database."""
    watcher = database.watcher
    return {
        "name": database.name,
        "target": database.target,
        "source": database.source,
        "state": cast("database_types.DatabaseState", watcher.state),
        "since": moment(clock, clock.now - watcher.seconds),
        "problem": watcher.problem,
        "system_id": watcher.system_id,
        "hostname": watcher.hostname,
        "ovs_version": watcher.ovs_version,
        "cluster": watcher.cluster,
        "bridges": watcher.bridges,
        "devices": [dpid_text(dpid) for dpid in database.dpids],
        "conflicts": [
            {"device": dpid_text(dpid), "described_by": owner} for dpid, owner in database.conflicts
        ],
        "age": None if watcher.age is None else round(watcher.age, 3),
        "sessions": watcher.sessions,
        "ignored": [f"{where}: {what}" for where, what, _ in watcher.defects],
    }


def kind_counts(devices: Iterable[Device]) -> types.KindCounts:
    """Count assignments by kind of queue: 10 us for 100,000. Unused rows have the kind ``none``, and are subtracted."""
    counts: Counter[int] = Counter()
    for device in devices:
        kinds = device.flows.kind.tobytes()
        for kind in QueueKind:
            counts[kind] += kinds.count(kind)
        counts[QueueKind.NONE] -= len(device.flows.keys) - len(device.flows)
    return {
        "physical": counts[QueueKind.PHYSICAL],
        "software": counts[QueueKind.SOFTWARE],
        "none": counts[QueueKind.NONE],
    }


def policy_summary(policy: Policy) -> types.PolicySummary:
    """Make the view of the names in a policy."""
    return {
        "classes": [item.name for item in policy.classes],
        "rules": [rule.name for rule in policy.rules],
        "strategy": policy.balance.strategy,
    }


def device_view(state: State, device: Device, clock: Clock) -> types.DeviceView:
    """Make the view of a device: ports, capabilities, counts."""
    return {
        "dpid": dpid_text(device.dpid),
        "name": device.name,
        "role": device.role.value,
        "role_source": role_source(state, device),
        "connected": device.connected,
        "waits_for": "database" if device.awaits_database else None,
        "declared": device.declared is not None,
        "since": moment(clock, device.since),
        "peer": device.peer,
        "version": _OPENFLOW_VERSIONS.get(device.capabilities.version, str(device.capabilities.version)),
        "forwarding": "normal" if device.capabilities.normal else "own",
        "queues_by": device.marking.by.value if device.marking else "set-queue",
        "capabilities": _capabilities(device.capabilities),
        "ports": device_ports(device),
        "ambiguous": [
            {"ports": list(item.ports), "role": item.role.value, "why": item.why}
            for item in device.ambiguities
        ],
        "flows": len(device.flows),
        "pinned": device.pinned,
        "mode": mode(device),
        "pin_budget": device.pin_budget,
        "copies_dropped": device.copies_dropped,
        "sampling": _sampling(device),
        "meters": len(device.meters),
        "queues": {
            "physical": _queue_counts(device, QueueKind.PHYSICAL),
            "software": _queue_counts(device, QueueKind.SOFTWARE),
        },
        "left_out": [{"what": item.what, "why": item.why, "remedy": item.remedy} for item in device.left_out],
        "refusals": dict(device.refusals),
        "unusable": device.unusable or None,
        "conflicts": list(device.conflicts),
        "dpid_shared_by": list(device.rivals),
        "vms_in_conflict": sorted(
            state.vms[number].id for number in device.port_vm.values() & state.conflicts.keys()
        ),
    }


def role_source(state: State, device: Device) -> Literal["rest", "ovsdb", "policy", "inferred"]:
    """Return who says which role a device has."""
    if device.dpid in state.given_roles:
        return "rest"
    if device.described is not None and device.described.role in set(Role):
        return "ovsdb"
    return "inferred" if stated_role(state, device) is None else "policy"


def _sampling(device: Device) -> types.SamplingView | None:
    sampling = None if device.plan is None else device.plan.sampling
    if sampling is None:
        return None
    counts = device.samples
    return {
        "one_in": sampling.one_in,
        "ports": list(sampling.ports),
        "samples": counts.taken,
        "noticed": counts.noticed,
    }


def _capabilities(capabilities: model.Capabilities) -> types.Capabilities:
    return {
        "max_meters": capabilities.max_meters,
        "meter_burst": capabilities.meter_burst,
        "select_groups": capabilities.select_groups,
        "max_groups": capabilities.max_groups,
        "tables": capabilities.tables,
        "learn": capabilities.learn,
        "conntrack": capabilities.conntrack,
        "sample": capabilities.sample,
        "controller_meter": capabilities.controller_meter,
        "description": capabilities.description,
    }


def device_ports(device: Device) -> list[types.PortView]:
    """Make the views of a device's ports, by port number."""
    return [_port(port) for _, port in sorted(device.ports.items())]


def _port(port: Port) -> types.PortView:
    return {
        "port_no": port.port_no,
        "name": port.name,
        "role": port.role.value,
        "role_reason": port.role_reason,
        "up": port.report.up if port.report else None,
        "bond": _bond(port.facts),
        "vlan": _vlan(port.facts),
        "queues": sorted(port.queues),
        "rate": port.rate,
    }


def _bond(facts: model.PortFacts | None) -> types.BondView | None:
    if facts is None or not facts.members:
        return None
    return {"name": facts.port, "mode": facts.bond_mode or "active-backup", "members": list(facts.members)}


def _vlan(facts: model.PortFacts | None) -> types.VlanView | None:
    if facts is None:
        return None
    mode = facts.vlan_mode or ("trunk" if facts.tag is None else "access")
    return {"mode": mode, "tag": facts.tag, "trunks": list(facts.trunks)}


def _queue_counts(device: Device, kind: QueueKind) -> types.QueueCounts:
    queues = [(slots(port), queue) for port in device.ports.values() for queue in port.queues.values()]
    flows = [_count(by_id.get(queue.queue_id)) for by_id, queue in queues if queue.kind == kind]
    return {"total": len(flows), "free": flows.count(0)}


def slots(port: Port) -> dict[int, Slot]:
    """Return the allocator's slots of a port's queues, by queue id."""
    return {slot.queue.queue_id: slot for slot in port.allocation.all_slots} if port.allocation else {}


def admission_word(
    cordon: model.Cordon | None, flows: int
) -> Literal["open", "cordoned", "draining", "drained"]:
    """Return which flows a queue takes, as a word: ``drained`` where none is left of a queue that is drained."""
    if cordon is None:
        return "open"
    if cordon.admission is Admission.CORDONED:
        return "cordoned"
    return "draining" if flows else "drained"


def _count(slot: Slot | None) -> int:
    return slot.count if slot else 0


def device_queues(device: Device, clock: Clock, *, classified: bool = True) -> list[types.QueueView]:
    """Make the views of a device's queues, by port number and queue id.

    Without ``classified`` their class is missing, which saves time.
    """
    classes = _classes_on_queues(device) if classified else {}
    return [
        _queue(device, clock, port, queue_id, classes, count)
        for _, port in sorted(device.ports.items())
        for count in (open_queues(port),)
        for queue_id in sorted(port.queues)
    ]


def _queue(
    device: Device,
    clock: Clock,
    port: Port,
    queue_id: int,
    classes: Mapping[tuple[int, int], list[int]],
    open_count: int,
) -> types.QueueView:
    queue, slot = port.queues[queue_id], slots(port).get(queue_id)
    counters = device.queue_counters.get((port.port_no, queue_id), (None, None, None))
    indices = classes.get((port.port_no, queue_id), [])
    cordon = device.cordons.get((port.port_no, queue_id))
    return {
        "device": dpid_text(device.dpid),
        "port": port.label,
        "port_no": port.port_no,
        "queue_id": queue_id,
        "kind": KIND_WORDS[queue.kind],
        "admission": admission_word(cordon, _count(slot)),
        "other_open_queues": open_count - (queue.admission is Admission.OPEN),
        "cordoned_since": None if cordon is None else moment(clock, cordon.since),
        "cordoned_flows": None if cordon is None else cordon.flows,
        "mark": value_of(device.marking.mark_of(queue_id)) if device.marking else None,
        "min_rate": queue.min_rate,
        "max_rate": queue.max_rate,
        "flows": _count(slot),
        "load": slot.load if slot else 0,
        "exclusive": bool(slot and slot.exclusive_row >= 0),
        "class": device.policy.classes[indices[0]].name if len(indices) == 1 else None,
        "classes": [device.policy.classes[index].name for index in sorted(indices)],
        "tx_packets": counters[0],
        "tx_bytes": counters[1],
        "tx_errors": counters[2],
    }


def _classes_on_queues(device: Device) -> dict[tuple[int, int], list[int]]:
    """Map (port number, queue id) to the indices of its flows' classes: some 6 ms for 100,000 flows, in slices.

    Unused rows have port 0, which no port has.
    """
    flows, found = device.flows, set[tuple[int, int, int]]()
    for first in range(0, len(flows.keys), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        found.update(zip(flows.egress_port[rows], flows.queue_id[rows], flows.class_index[rows], strict=True))
        pauses.give_way()
    classes: dict[tuple[int, int], list[int]] = {}
    for port_no, queue_id, index in found:
        classes.setdefault((port_no, queue_id), []).append(index)
    return classes


def limit_of(device: Device, row: int, traffic_class: TrafficClass) -> int | None:
    """Return a flow's limit in bit/s: its meter's rate, else its class's limit."""
    meter = device.meters.get(device.flows.meter_id[row])
    return meter.rate if meter else traffic_class.rate_limit


def hints_view(state: State, clock: Clock, vm_id: str) -> hint_types.Hints:
    """Make the view of a VM's hints, by id."""
    hints = [hint for _, hint in sorted(state.hints.items()) if hint.vm == vm_id]
    return {"vm": vm_id, "hints": [hint_view(state, clock, hint) for hint in hints]}


def hint_id(vm_id: str, name: str) -> str:
    """Make the id of a hint that came over REST, of its name or its place in the list."""
    return f"rest:{vm_id}:{name}"


def hint_view(state: State, clock: Clock, hint: model.Hint) -> hint_types.HintView:
    """Make the view of a hint."""
    prefix = hint_id(hint.vm, "")
    vm = next((vm for vm in state.vms.values() if hint.vm in (vm.id, vm.uuid)), None)
    verdict = verdict_of(state.policy, vm, hint)
    return {
        "id": hint.id,
        "name": hint.id.removeprefix(prefix) if hint.id.startswith(prefix) else None,
        "vm": hint.vm,
        "match": dict(hint.given),
        "class": hint.class_name,
        "source": HINT_WORDS[hint.source],
        "expires": None if hint.expires is None else moment(clock, hint.expires),
        "ignored": None if verdict is HintVerdict.TRUSTED else HINT_TEXTS[verdict],
    }


def policy_view(policy: Policy, origin: PolicyOrigin, is_kept: bool) -> types.PolicyView:
    """Make the view of the policy in force."""
    return {
        "text": policy.text,
        "hash": origin.hash,
        "origin": {
            "source": cast("policy_types.PolicySource", origin.source or "built-in"),
            "time": unix_text(origin.time),
            "by": origin.by or None,
            "address": origin.address or None,
            "file": origin.file or None,
            "kept": is_kept,
        },
        "classes": [_class(item) for item in policy.classes],
        "rules": [rule.name for rule in policy.rules],
        "strategy": policy.balance.strategy,
    }


def _class(item: TrafficClass) -> types.ClassView:
    return {
        "name": item.name,
        "priority": item.priority,
        "qos": item.qos,
        "rate_limit": item.rate_limit,
        "min_rate": item.min_rate,
        "exclusive": item.exclusive,
        "path": item.path.value,
    }


def policy_change(old: Policy, new: Policy, *, applied: bool) -> types.PolicyChange:
    """Make the view of the differences from ``old`` to ``new``, by names of classes and rules, and by other keys.

    A rule has changed when its match, its class or its position differs; its line in the file does not
    matter. Others are served in between where there are thousands of rules.
    """
    pace = hub.TimeSlice().check
    old_classes, new_classes = _classes(old), _classes(new)
    old_rules, new_rules = _rules(old, pace), _rules(new, pace)
    return {
        "applied": applied,
        "classes_added": _missing(new_classes, old_classes),
        "classes_removed": _missing(old_classes, new_classes),
        "classes_changed": _changed(old_classes, new_classes, pace),
        "rules_added": _missing(new_rules, old_rules),
        "rules_removed": _missing(old_rules, new_rules),
        "rules_changed": _changed(old_rules, new_rules, pace),
        "settings_changed": _changed(_settings(old), _settings(new), pace),
    }


def _classes(policy: Policy) -> dict[str, object]:
    return {item.name: replace(item, index=0) for item in policy.classes}


def _rules(policy: Policy, pace: Callable[[], None]) -> dict[str, object]:
    return {rule.name: _meaning(policy, rule) for rule in paced(policy.rules, pace)}


def _meaning(policy: Policy, rule: Rule) -> object:
    """Replace the indices in a rule by values, so that it can be compared with a rule of another policy."""
    gate = None if rule.match.gate is None else policy.gates[rule.match.gate]
    hint = tuple(policy.classes[index].name for index in rule.match.hint)
    match = replace(rule.match, gate=None, hint=())
    return rule.index, match, gate, hint, policy.classes[rule.class_index].name


def _settings(policy: Policy) -> dict[str, object]:
    """Map the other keys of a policy to what they mean, with names in the place of indices."""
    return {
        "default": policy.classes[0].name,
        "shares": policy.shares,
        "trust": [_trust_meaning(policy, entry) for entry in policy.trust],
        "devices": [_device_meaning(policy, entry) for entry in policy.devices],
        "balance": policy.balance,
        "pins": policy.pins,
        "copy-rate": policy.copy_rate,
        "port-security": policy.port_security,
        "passive-switches": policy.passive_switches,
        "extra-addresses": policy.extra_addresses,
        "learn-after": policy.learn_after,
        "track-above": policy.track_above,
        "vm-flows": policy.vm_flows,
        "sampling": policy.sampling,
    }


def _trust_meaning(policy: Policy, entry: Trust) -> object:
    names = [item.name for item in policy.classes]
    marks = [[(value, names[index]) for value, index in marked] for marked in (entry.dscp, entry.pcp)]
    gate = None if entry.gate is None else policy.gates[entry.gate]
    return entry.vms, entry.sources, {names[index] for index in entry.classes}, marks, gate


def _device_meaning(policy: Policy, entry: DeviceRules) -> object:
    names = [item.name for item in policy.classes]
    only = None if entry.only is None else [names[index] for index in entry.only]
    changed = [(names[change.class_index], replace(change, class_index=0)) for change in entry.changes]
    return entry.devices, only, changed, entry.role, entry.uplinks, entry.sampling


def _missing(names: Mapping[str, object], others: Mapping[str, object]) -> list[str]:
    return [name for name in names if name not in others]


def _changed(old: Mapping[str, object], new: Mapping[str, object], pace: Callable[[], None]) -> list[str]:
    return [name for name in paced(new, pace) if name in old and old[name] != new[name]]
