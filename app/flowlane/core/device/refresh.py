"""Events about devices: connections, ports, queues, descriptions, the policy, and counters of queues and meters.

An event about ports, queues or VMs only replaces a raw input and puts the rest off to the next catch-up
(:func:`on_catch_up`). :func:`refresh` then makes ports, VMs, the derived policy and the plan from the inputs, and acts
on what differs. So the order of events does not matter, and the work is idempotent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowlane.core.device import (
    claims,
    class_meters,
    cordons,
    hints,
    marking,
    meter_ids,
    passive,
    patching,
    rules,
    unattached,
)
from flowlane.core.device.connections import classifier_of, known_device, name_of, report_connection
from flowlane.core.device.links import note_patch_ports, refresh_senders, tell_others
from flowlane.core.device.plan import make_plan, with_hosts, with_ports
from flowlane.core.device.ports import port_views, refresh_ports
from flowlane.core.device.refit import fit_port, refit_elsewhere, refit_policy, refit_some, refit_vms
from flowlane.core.device.roles import infer_device_role
from flowlane.core.device.takeover import (
    adopt_pins,
    adopt_waiting,
    divide_by_flows,
    remove_ended,
    replace_plan,
)
from flowlane.core.device.vlans import ANY
from flowlane.core.device.vms import refresh_vms, shares_of
from flowlane.core.effects import (
    DeleteLearned,
    DeleteMeter,
    Effect,
    Program,
    ReadQueues,
    Report,
    SetMeter,
)
from flowlane.core.flow.learned import adopt_learned
from flowlane.core.flow.pins import WORTHY, mode
from flowlane.core.model import LIMIT_BY_VM, Queue, QueueKind
from flowlane.core.pacing import paced
from flowlane.core.state.audit import RETRY
from flowlane.core.state.device import Device, Due, State, put_off
from flowlane.core.topology import discovery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.effects import DevicePlan
    from flowlane.core.events import (
        CatchUp,
        ConflictsReported,
        DescriptionRemoved,
        DeviceDescribed,
        DeviceUp,
        PlanLeftOut,
        PolicyReplaced,
        PortChanged,
        PortRemoved,
        QueuesReported,
        RoleGiven,
    )
    from flowlane.core.model import Vm
    from flowlane.core.policy import PolicyOrigin


def on_device_up(state: State, event: DeviceUp, out: list[Effect]) -> None:
    """Take in a connection: what the device reports replaces what it reported before."""
    device = known_device(state, event.dpid)
    cordons.take_ahead(state, device)
    device.connected, device.awaits_database = True, False
    device.since, device.peer = state.now, event.peer
    device.capabilities = event.capabilities
    device.meter_pool.limit = min(event.capabilities.max_meters, LIMIT_BY_VM - 1)
    device.meter_pool.room = device.meter_retry = None
    device.audit.refused_retry = state.now + RETRY if device.flows.rows else None
    device.pins_when_full, device.in_adoption = None, True
    device.next_tick = 0.0
    device.audit.connected(state.now)
    device.unknown_pins.clear()
    device.refused_left_out.clear()
    device.reported_ports = {port.port_no: port for port in event.ports}
    device.reported_queues = dict(event.queues)
    known = {mac for mac, _ in device.hosts}
    device.hosts |= {(mac, ANY): port_no for mac, port_no in event.hosts if mac not in known}
    device.host_seen |= dict.fromkeys(device.hosts.keys() - device.host_seen.keys(), state.now)
    device.tracked = {**dict.fromkeys(event.tracked, state.now), **device.tracked}
    device.plan = None
    discovery.on_connected(device)
    device.name = name_of(device)
    out.append(report_connection(device, "up", f"is connected from {event.peer}"))
    remove_ended(device, event.pins, out)
    meter_ids.reserve(device, event.other_meters)
    device.found_groups = {group_id: dict(weights) for group_id, weights in event.spreads}
    device.found_meters = {meter.meter_id: meter for meter in event.pin_meters}
    _report_conflicts(device, event.unusable, event.conflicts, out)
    of_pins = class_meters.specs_of_pins(device)
    device.readings.connected(event.group, (flow.group for flow in event.learned), state.now)
    changes: list[Effect] = []
    refresh(state, device, changes, at_once=True)
    # Pins that change with the reconnection may use what the device lacks until it has its plan. Their meters follow
    # the plan, since one may have the id of a meter that stood with the rules when the device went away.
    out.extend(effect for effect in changes if isinstance(effect, Program))
    kept = of_pins & class_meters.specs_of_pins(device)
    out.extend(SetMeter(device.dpid, spec) for spec in sorted(kept))
    out.extend(effect for effect in changes if not isinstance(effect, Program))
    adopt_pins(state, device, event.pins, out)
    adopt_learned(state, device, event.learned, out)
    claims.note_flows(state, device, out)
    cordons.count_found(device)
    divide_by_flows(device, state.now)
    if event.pins or device.flows.rows:
        made = device.plan
        changes = []
        replan(state, device, changes)
        replace_plan(out, made, changes)
    _delete_unused_meters(device, {pin.meter_id for pin in event.pins} - {0}, out)
    tell_others(state, device, everywhere=True)


def on_conflicts_reported(state: State, event: ConflictsReported, out: list[Effect]) -> None:
    """Keep, and report, where entries of other controllers conflict with ours."""
    device = state.devices.get(event.dpid)
    if device is not None:
        _report_conflicts(device, device.unusable, event.conflicts, out)


def _report_conflicts(device: Device, unusable: str, conflicts: tuple[str, ...], out: list[Effect]) -> None:
    """Report why a device cannot be used, and where others' entries conflict with ours; the same texts once only."""
    before = {device.unusable, *device.conflicts}
    device.unusable, device.conflicts = unusable, conflicts
    name, data = device.name, {"device": f"{device.dpid:016x}"}
    if unusable and unusable not in before:
        out.append(Report("error", f"{name} is unusable: {unusable}", {**data, "change": "unusable"}))
    out.extend(
        Report("error", f"{name}: {text}", {**data, "change": "conflict"})
        for text in conflicts
        if text not in before
    )


def _delete_unused_meters(device: Device, used: set[int], out: list[Effect]) -> None:
    """Clear meters that nothing uses any more: given up while the device was away, or of pins that were not kept."""
    waiting = {pin.meter_id for pin in device.unknown_pins}
    owed = (device.meters_to_delete | used) - device.meter_pool.specs.keys() - device.meter_pool.reserved
    owed -= waiting
    device.meters_to_delete.clear()
    out.extend(DeleteMeter(device.dpid, meter_id) for meter_id in sorted(owed))


def on_port_changed(state: State, event: PortChanged, out: list[Effect]) -> None:  # noqa: ARG001
    """Take in a port that was added or modified."""
    device = state.devices.get(event.dpid)
    if device and device.reported_ports.get(event.port.port_no) != event.port:
        device.reported_ports[event.port.port_no] = event.port
        device.queues_unread = True
        _put_off_ports(state, device, {event.port.port_no})


def on_port_removed(state: State, event: PortRemoved, out: list[Effect]) -> None:  # noqa: ARG001
    """Remove a port and its queues."""
    device = state.devices.get(event.dpid)
    if device and device.reported_ports.pop(event.port_no, None):
        device.reported_queues.pop(event.port_no, None)
        _put_off_ports(state, device, {event.port_no})


def _put_off_ports(state: State, device: Device, numbers: set[int]) -> None:
    """Leave what follows from some ports to the next catch-up."""
    device.news |= numbers
    put_off(state, device, Due.PORTS)


def _differing(now: Mapping[int, object], before: Mapping[int, object]) -> set[int]:
    """Return the numbers whose values differ, or that only one of the two has."""
    missing = object()
    differing = {number for number, value in before.items() if now.get(number, missing) is not value}
    differing = {number for number in differing if now.get(number, missing) != before[number]}
    return differing | (now.keys() - before.keys())


def on_queues_reported(state: State, event: QueuesReported, out: list[Effect]) -> None:  # noqa: ARG001
    """Take in the queues that the switch reports."""
    device = state.devices.get(event.dpid)
    if device and device.reported_queues != dict(event.queues):
        numbers = _differing(event.queues, device.reported_queues)
        device.reported_queues = dict(event.queues)
        _put_off_ports(state, device, numbers)


def on_device_described(state: State, event: DeviceDescribed, out: list[Effect]) -> None:
    """Take in names, VMs, rates and kinds from OVSDB; the switch is then asked for its queues again."""
    state.described[event.dpid] = event
    device = state.devices.get(event.dpid)
    if device is None:
        changed = unattached.on_described(state, event, out)
        refit_elsewhere(state, None, changed, out)
        hints.follow_ovsdb(state, event.dpid, out)
    if device is None or device.described == event:
        return
    before, device.described = device.described, event
    device.queues_unread = device.connected
    if before is None or replace(before, ports=event.ports) != event:
        put_off(state, device, Due.ALL)
    else:
        _put_off_ports(state, device, _differing(event.ports, before.ports))


def on_description_removed(state: State, event: DescriptionRemoved, out: list[Effect]) -> None:
    """Drop what OVSDB reported about a bridge that is no longer there."""
    state.described.pop(event.dpid, None)
    unattached.forget(state, event.dpid, out)
    device = state.devices.get(event.dpid)
    if device:
        device.described = None
        put_off(state, device, Due.ALL)


def on_role_given(state: State, event: RoleGiven, out: list[Effect]) -> None:
    """Give a device a role in the place of what OVSDB and the policy say, or no longer."""
    device = state.devices.get(event.dpid)
    if event.role is None:
        state.given_roles.pop(event.dpid, None)
    else:
        state.given_roles[event.dpid] = event.role
    if device is not None:
        put_off(state, device, Due.ALL)
        what = "no role by hand any more" if event.role is None else f"role {event.role.value} by hand"
        data = {"device": f"{device.dpid:016x}", "change": "role"}
        out.append(Report("device", f"{device.name} has {what}", data))


def on_plan_left_out(state: State, event: PlanLeftOut, out: list[Effect]) -> None:  # noqa: ARG001
    """Keep the parts of its plan that a device does not get."""
    device = state.devices.get(event.dpid)
    if device is not None:
        device.plan_left_out = event.left_out


def on_policy_replaced(state: State, event: PolicyReplaced, out: list[Effect]) -> None:
    """Replace the policy; every device gets the parts that it can carry out, one after the other.

    A device has its former part until its turn comes, with the next catch-up.
    """
    state.policy, state.policy_origin = event.policy, event.origin
    state.policy_changes += 1
    passive.declare(state, out)
    # Passive switches first, since the plans of the devices before them follow from theirs.
    for device in sorted(state.devices.values(), key=lambda device: device.declared is None):
        put_off(state, device, Due.ALL)
    state.policy_awaited = set(state.devices)
    origin = event.origin
    data = {
        "classes": len(event.policy.classes),
        "hash": origin.hash,
        "source": origin.source,
        "by": origin.by,
        "address": origin.address,
        "change": "replaced",
        "why": "another one was given",
    }
    out.append(Report("policy", _replaced_text(origin), data))


def _replaced_text(origin: PolicyOrigin) -> str:
    """Write who replaced the policy, from where, and the hash of the new one, as far as that is known."""
    whom = f" by {origin.by}" if origin.by else ""
    place = f" from {origin.address or origin.file}" if origin.address or origin.file else ""
    new = f": {origin.source or 'policy'} {origin.hash[:12]}" if origin.hash else ""
    return f"the policy was replaced{whom}{place}{new}"


def declare_passive(state: State, out: list[Effect]) -> None:
    """Make the passive switches of the policy that the engine begins with."""
    passive.declare(state, out)
    for device in state.passive:
        refresh(state, device, out)


def refresh(state: State, device: Device, out: list[Effect], *, at_once: bool = False) -> None:
    """Make everything that follows from a device's inputs anew, and act on what differs.

    Args:
        at_once: also place all flows under a new policy; else catch-ups do that, :data:`MOST_REFITTED` at a time.
    """
    before = device.policy
    device.news.clear()
    device.name = name_of(device)
    device.role = rules.stated_role(state, device) or infer_device_role(
        port_views(device, state.pace).values()
    )
    state.pace()
    entries = rules.rules_for(state.policy, device.dpid, device.name, device.role)
    rechosen = marking.note_marking(state.policy, device)
    refresh_ports(device, [name for entry in entries for name in entry.uplinks], state.now, out, state.pace)
    passive.attach(state, device, out)
    note_patch_ports(state, device)
    state.pace()
    unattached.follow(state, device, out)
    vms_before = _vms_of(state, device)
    state.pace()
    changed = refresh_vms(state, device, out)
    state.pace()
    policy, without = rules.derive(state.policy, _view(state, device))
    if device.declared is not None:  # Limits are the business of the devices before it.
        without = tuple(left for left in without if not left.what.startswith("limit of"))
    device.policy_left_out = (*without, *marking.left_out(device), *passive.left_out(state, device))
    is_changed = policy != before
    state.pace()
    if is_changed:
        device.policy, device.classifier = policy, classifier_of(state, policy)
        device.names_vms = None
        device.samples.flows.clear()
    device.shares = shares_of(device, state.vms.values())
    state.pace()
    class_meters.note_needs(state, device)
    class_meters.retire(device)
    class_meters.allocate(state, device, out)
    for port in paced(list(device.ports.values()), state.pace):
        fit_port(state, device, port, out)
    if is_changed:
        refit_policy(state, device, before, out)
    else:
        refit_vms(state, device, changed, out)
    refit_elsewhere(state, device, changed, out)
    hints.follow_ovsdb(state, device.dpid, out)
    if at_once or rechosen or device.declared is not None:
        refit_some(state, device, None, out)
    _end_refit(state, device, out)
    state.pace()
    discovery.follow_ports(state, device, out)
    if rechosen and (device.plan is not None or device.declared is not None):
        marking.rechoose(device, out)
    state.pace()
    tell_others(state, device, everywhere=is_changed or vms_before != _vms_of(state, device))


def _end_refit(state: State, device: Device, out: list[Effect]) -> None:
    """Make the plan anew where all flows have their places under the policy in force."""
    if device.refit_from is None:
        state.policy_awaited.discard(device.dpid)
        class_meters.retry(state, device, out)
        replan(state, device, out)


def _vms_of(state: State, device: Device) -> list[Vm | None]:
    return [state.vms.get(number) for number in device.port_vm.values()]


MOST_REFITTED = 32
"""Flows of one device that a catch-up places under a new policy: some 0.6 ms."""


def on_catch_up(state: State, event: CatchUp, out: list[Effect]) -> None:
    """Work off, for one device, all news since the last time; the device that has waited longest comes first.

    One device at a time, and of a new policy some flows at a time, so that the messages of others are served in
    between.
    """
    if not event.only_flows:
        _work_off(state, event.dpid, out)
    if event.dpid is not None and not event.only_flows:
        return
    dpid = next(iter(state.refits), None) if event.dpid is None else event.dpid
    device = state.devices.get(dpid) if dpid in state.refits else None
    if device is not None and refit_some(state, device, MOST_REFITTED, out):
        _end_refit(state, device, out)


def _work_off(state: State, dpid: int | None, out: list[Effect]) -> None:
    if dpid is None:
        dpid = next(iter(state.due), None)
    if dpid is None or dpid not in state.due:
        return
    device = state.devices.get(dpid)
    due = state.due.pop(dpid)
    if device is None:
        state.policy_awaited.discard(dpid)
        return
    if device.queues_unread:
        device.queues_unread = False
        out.append(ReadQueues(dpid))
    news, device.news = frozenset(device.news), set()
    patch = patching.take_in(state, device, news, out) if news and due is not Due.ALL else None
    if due is Due.ALL or (news and patch is None):
        refresh(state, device, out)
        return
    if due is Due.PLAN or device.plan is None:
        replan(state, device, out)
    else:
        plan = device.plan if patch is None else with_ports(state, device, device.plan, news, patch.macs)
        _program(device, with_hosts(state, device, plan) if due is Due.HOSTS else plan, out)
    if patch is not None:
        discovery.follow_links(state, device, out)
        tell_others(state, device, everywhere=patch.is_other)


def replan(state: State, device: Device, out: list[Effect]) -> None:
    """Make the standing plan anew; have it programmed when it differs from the last one.

    While flows wait for their places under a new policy, it stays: meters that the plan does not have any more are
    deleted with it, and flows may still be under them.
    """
    if device.refit_from is not None:
        return
    if device.declared is not None:
        passive.replan_before(state, device)
        return
    refresh_senders(state, device)
    state.pace()
    unused = class_meters.follow(state, device, out)
    adopt_waiting(state, device, out)
    plan = make_plan(state, device)
    state.pace()
    _program(device, plan, out)
    state.pace()
    class_meters.release(device, unused)
    if unused and device.meters_left_out:
        put_off(state, device, Due.PLAN)


def _program(device: Device, plan: DevicePlan, out: list[Effect]) -> None:
    if plan != device.plan and device.connected:
        device.plan = plan
        out.append(Program(plan))
        if mode(device) == WORTHY:
            out.extend(DeleteLearned(device.dpid, port_no) for port_no in sorted(device.relearn))
        device.relearn.clear()


def _view(state: State, device: Device) -> rules.DeviceView:
    """Collect what the derivation of the device's rules depends on."""
    kinds = [[queue.kind for queue in port.queues.values()] for port in device.ports.values()]
    return rules.DeviceView(
        dpid=device.dpid,
        name=device.name,
        role=device.role,
        capabilities=device.capabilities,
        physical_queues=max((of_port.count(QueueKind.PHYSICAL) for of_port in kinds), default=0),
        software_queues=max((of_port.count(QueueKind.SOFTWARE) for of_port in kinds), default=0),
        highest_minimum=max((queue.min_rate or 0 for queue in _all_queues(device)), default=0),
        collects=state.collects_samples,
    )


def _all_queues(device: Device) -> list[Queue]:
    return [queue for port in device.ports.values() for queue in port.queues.values()]
