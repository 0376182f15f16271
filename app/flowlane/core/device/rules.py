"""Policy of one device, derived from the operator's (406 -> 420): the same, altered, or a subset [0054, 0061].

Two things decide: the policy's own entries for devices (``devices:``), and the device's capabilities. What the device
does not get is listed, with the reason and what would help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from flowlane.core.model import Capabilities, LeftOut, Role
from flowlane.core.policy import PathPreference, Policy, TrafficClass
from flowlane.units import counted

if TYPE_CHECKING:
    from flowlane.core.policy import ClassChange, DeviceRules, DeviceSelector, Trust
    from flowlane.core.state.device import Device, State


@dataclass(frozen=True, slots=True)
class DeviceView:
    """What the derivation needs of a device. Queue counts are those of the port with most queues of the kind.

    ``highest_minimum`` is the highest min-rate (bit/s) of its queues in OVSDB; 0: none has one. ``collects``: the
    controller receives samples.
    """

    dpid: int
    name: str = ""
    role: Role = Role.NIC
    capabilities: Capabilities = field(default_factory=Capabilities)
    physical_queues: int = 0
    software_queues: int = 0
    highest_minimum: int = 0
    collects: bool = True


def derive(policy: Policy, device: DeviceView) -> tuple[Policy, tuple[LeftOut, ...]]:
    """Derive the policy of a device from the operator's.

    The indexes of classes and rules stay those of the operator's policy.

    Returns:
        The policy (the same object when nothing differs), and what of the operator's policy is left out.
    """
    left_out: list[LeftOut] = []
    derived = policy
    for rules in rules_for(policy, device.dpid, device.name, device.role):
        derived = _with_changes(_subset(derived, rules.only, left_out), rules.changes)
        if rules.sampling is not None:
            derived = replace(derived, sampling=rules.sampling)
    classes = tuple(_fit_class(traffic_class, device, left_out) for traffic_class in derived.classes)
    if classes != derived.classes:
        derived = replace(derived, classes=classes)
    for fit in (_fit_pins, _fit_shares, _fit_sampling):
        derived = fit(derived, device, left_out)
    _check_spread(derived, device, left_out)
    return derived, tuple(left_out)


def rules_for(policy: Policy, dpid: int, name: str, role: Role | None) -> tuple[DeviceRules, ...]:
    """List the policy's entries for a device, in order; an empty selector selects all devices."""
    return tuple(rules for rules in policy.devices if _selects(rules.devices, dpid, name, role))


def stated_role(state: State, device: Device) -> Role | None:
    """Return the role that an operator over REST, OVSDB or the policy gives the device."""
    if device.dpid in state.given_roles:
        return state.given_roles[device.dpid]
    stated = device.described.role if device.described else None
    if stated in set(Role):
        return Role(stated)
    entries = rules_for(state.policy, device.dpid, device.name, None)
    return next((entry.role for entry in entries if entry.role), None)


def _selects(selector: DeviceSelector, dpid: int, name: str, role: Role | None) -> bool:
    return (
        (not selector.roles or role in selector.roles)
        and (not selector.dpids or dpid in selector.dpids)
        and (not selector.names or any(fnmatchcase(name, glob) for glob in selector.names))
    )


def _subset(policy: Policy, only: tuple[int, ...] | None, left_out: list[LeftOut]) -> Policy:
    """Keep the rules and hints of some classes. Class 0 always stays, since every flow has a class."""
    if only is None:
        return policy
    kept = {0, *only}
    for traffic_class in policy.classes:
        if traffic_class.index not in kept:
            why = "the policy gives this device other classes only"
            left_out.append(
                LeftOut(f"class {traffic_class.name}", why, "name the class in the device's 'only'")
            )
    return replace(
        policy,
        rules=tuple(rule for rule in policy.rules if rule.class_index in kept),
        trust=tuple(_trust_subset(entry, kept) for entry in policy.trust),
    )


def _trust_subset(entry: Trust, kept: set[int]) -> Trust:
    return replace(
        entry,
        classes=entry.classes & kept,
        dscp=tuple(pair for pair in entry.dscp if pair[1] in kept),
        pcp=tuple(pair for pair in entry.pcp if pair[1] in kept),
    )


def _with_changes(policy: Policy, changes: tuple[ClassChange, ...]) -> Policy:
    """Apply the operator's changes of classes for the device."""
    if not changes:
        return policy
    classes = list(policy.classes)
    for change in changes:
        classes[change.class_index] = _changed(classes[change.class_index], change)
    return replace(policy, classes=tuple(classes))


def _changed(traffic_class: TrafficClass, change: ClassChange) -> TrafficClass:
    limit = None if change.no_rate_limit else change.rate_limit or traffic_class.rate_limit
    return replace(
        traffic_class,
        rate_limit=limit,
        burst=traffic_class.burst if limit == traffic_class.rate_limit else None,
        exclusive=traffic_class.exclusive if change.exclusive is None else change.exclusive,
        path=change.path or traffic_class.path,
        max_queues=change.max_queues or traffic_class.max_queues,
        min_queues=min(traffic_class.min_queues, change.max_queues or traffic_class.min_queues),
        meter_only=traffic_class.meter_only if change.meter_only is None else change.meter_only,
    )


def _fit_class(traffic_class: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    """Take from a class what the device is not capable of."""
    for fit in _CLASS_FITS:
        traffic_class = fit(traffic_class, device, left_out)
    return traffic_class


def _fit_limit(traffic_class: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    if traffic_class.rate_limit is None or device.capabilities.max_meters:
        return traffic_class
    remedy = "set max-rate on a queue of its own in OVSDB, or limit the class on a device that has meters"
    left_out.append(LeftOut(f"limit of class {traffic_class.name}", "the device has no meters", remedy))
    return replace(traffic_class, rate_limit=None, burst=None)


def _fit_burst(traffic_class: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    if traffic_class.burst is None or traffic_class.rate_limit is None or device.capabilities.meter_burst:
        return traffic_class
    why = "the device's meters take no burst size"
    left_out.append(
        LeftOut(f"burst of class {traffic_class.name}", why, "none needed: the device uses its own burst")
    )
    return replace(traffic_class, burst=None)


def _fit_path(traffic_class: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    """Let a class use the only kind of queue that the device has, where the policy forbids it."""
    missing = _missing_kind(traffic_class.path, device)
    if missing is None or traffic_class.meter_only:
        return traffic_class
    remedy = f"add {missing} queues to the egress port (flowlane qos), or change the class's path"
    left_out.append(
        LeftOut(
            f"path {traffic_class.path.value} of class {traffic_class.name}",
            f"the device has no {missing} queues",
            remedy,
        )
    )
    return replace(traffic_class, path=PathPreference.PREFER_HARDWARE)


def _missing_kind(path: PathPreference, device: DeviceView) -> str | None:
    if path is PathPreference.HARDWARE and device.software_queues and not device.physical_queues:
        return "physical"
    if path is PathPreference.SOFTWARE and device.physical_queues and not device.software_queues:
        return "software"
    return None


def _fit_exclusive(traffic_class: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    if not traffic_class.exclusive or _queues_for(traffic_class, device) >= 2:
        return traffic_class
    why = f"no port has two queues for it (it has {_queues_for(traffic_class, device)})"
    left_out.append(
        LeftOut(
            f"exclusive queues of class {traffic_class.name}",
            why,
            "add queues to the egress port (flowlane qos)",
        )
    )
    return replace(traffic_class, exclusive=False)


def _fit_min_queues(traffic_class: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    available = _queues_for(traffic_class, device)
    if traffic_class.min_queues <= available:
        return traffic_class
    why = f"the port with most queues for it has {available}"
    left_out.append(
        LeftOut(
            f"min-queues {traffic_class.min_queues} of class {traffic_class.name}",
            why,
            "add queues, or lower min-queues",
        )
    )
    return replace(traffic_class, min_queues=available)


def _check_minimum(traffic_class: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    """Report a minimum that no queue guarantees: it takes a queue with a min-rate. The class stays as it is."""
    if traffic_class.min_rate is not None and traffic_class.min_rate > device.highest_minimum:
        why = "no queue of the device is known to have a min-rate as high"
        left_out.append(
            LeftOut(f"minimum of class {traffic_class.name}", why, "set min-rate in OVSDB (flowlane qos)")
        )
    return traffic_class


def _queues_for(traffic_class: TrafficClass, device: DeviceView) -> int:
    """Count the queues that the class may use, on the port with most of them."""
    hardware = 0 if traffic_class.path is PathPreference.SOFTWARE else device.physical_queues
    return hardware + (0 if traffic_class.path is PathPreference.HARDWARE else device.software_queues)


_CLASS_FITS: tuple[Callable[[TrafficClass, DeviceView, list[LeftOut]], TrafficClass], ...] = (
    _fit_limit,
    _fit_burst,
    _fit_path,
    _fit_exclusive,
    _fit_min_queues,
    _check_minimum,
)


def _fit_pins(policy: Policy, device: DeviceView, left_out: list[LeftOut]) -> Policy:
    room = device.capabilities.pin_room
    if room is None or room >= policy.pins.budget:
        return policy
    why = f"the device's table for exact entries holds {room}"
    remedy = "pins: {which: worthy} spends them where they pay"
    left_out.append(LeftOut(f"{policy.pins.budget - room} of {policy.pins.budget} pins", why, remedy))
    return replace(policy, pins=replace(policy.pins, budget=room))


def _fit_shares(policy: Policy, device: DeviceView, left_out: list[LeftOut]) -> Policy:
    """Drop the shares where there are fewer physical queues than shares."""
    if not policy.shares or device.physical_queues >= len(policy.shares):
        return policy
    why = f"{counted(len(policy.shares), 'share')} cannot divide {counted(device.physical_queues, 'physical queue')}"
    left_out.append(LeftOut("the shares of the hardware", why, "add queues, or put VMs into fewer shares"))
    return replace(policy, shares=())


def _fit_sampling(policy: Policy, device: DeviceView, left_out: list[LeftOut]) -> Policy:
    """Drop sampling where the device lacks it, where it would sample nothing, and where nobody receives the samples."""
    why = remedy = ""
    if policy.sampling and not device.capabilities.sample:
        why, remedy = "the switch has no sample action", "none needed: its counters show heavy flows, later"
    elif policy.sampling and not (device.capabilities.learn and policy.pins.which == "worthy"):
        why = "every flow has a pin there, and packets with a pin are not sampled"
        remedy = "pins: {which: worthy}, on a switch with the learn action"
    elif policy.sampling and not device.collects:
        why, remedy = (
            "the controller receives no samples",
            "start flowlane-manager with --ipfix-listen HOST:PORT",
        )
    if not why:
        return policy
    left_out.append(LeftOut("sampling", why, remedy))
    return replace(policy, sampling=0)


def _check_spread(policy: Policy, device: DeviceView, left_out: list[LeftOut]) -> None:
    """Report a device without select groups: it puts all new flows of a class on one queue, until they are pinned."""
    several = [
        traffic_class.name
        for traffic_class in policy.classes
        if not traffic_class.exclusive and _queues_for(traffic_class, device) > 1
    ]
    if several and not device.capabilities.select_groups:
        why = "the device has no select groups"
        remedy = "none needed: the controller moves flows with exact entries"
        left_out.append(LeftOut(f"spreading of new flows by the device ({_names(several)})", why, remedy))


def _names(names: Iterable[str], most: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
