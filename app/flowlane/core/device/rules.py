"""What one device gets of the operator's rules (406 -> 420): the same, altered, or a subset [0054, 0061].

Two things decide: what the policy says for the device (``devices:``), and what the device is able to do.
Whatever it does not get is told, with the reason and what would help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from flowlane.core.model import Capabilities, LeftOut, Role
from flowlane.core.policy import PathPreference, Policy, TrafficClass

if TYPE_CHECKING:
    from flowlane.core.policy import ClassChange, DeviceRules, DeviceSelector, Trust


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device as the derivation sees it. Queue counts are those of the port that has most of the kind.

    ``highest_minimum`` is the highest rate (bit/s) that OVSDB guarantees to one of its queues; 0: none known.
    """

    dpid: int
    name: str = ""
    role: Role = Role.NIC
    capabilities: Capabilities = field(default_factory=Capabilities)
    physical_queues: int = 0
    software_queues: int = 0
    highest_minimum: int = 0


def derive(policy: Policy, device: DeviceView) -> tuple[Policy, tuple[LeftOut, ...]]:
    """Make a device's policy, and tell what is left out.

    Class and rule indexes stay those of the operator's policy. When the device gets all of it as it is, the
    very same object comes back.
    """
    left_out: list[LeftOut] = []
    wanted = policy
    for rules in rules_for(policy, device.dpid, device.name, device.role):
        wanted = _altered(_subset(wanted, rules.only, left_out), rules.changes)
    classes = tuple(_able(one, device, left_out) for one in wanted.classes)
    if classes != wanted.classes:
        wanted = replace(wanted, classes=classes)
    for limit in (_fit_pins, _fit_shares):
        wanted = limit(wanted, device, left_out)
    _tell_spread(wanted, device, left_out)
    return wanted, tuple(left_out)


def rules_for(policy: Policy, dpid: int, name: str, role: Role | None) -> tuple[DeviceRules, ...]:
    """The policy's device entries that mean this device, in order; a selector that is empty means all."""
    return tuple(rules for rules in policy.devices if _selects(rules.devices, dpid, name, role))


def _selects(selector: DeviceSelector, dpid: int, name: str, role: Role | None) -> bool:
    return (
        (not selector.roles or role in selector.roles)
        and (not selector.dpids or dpid in selector.dpids)
        and (not selector.names or any(fnmatchcase(name, glob) for glob in selector.names))
    )


def _subset(policy: Policy, only: tuple[int, ...] | None, left_out: list[LeftOut]) -> Policy:
    """Keep the rules and hints of some classes; class 0 is always there, a flow has to be of some class."""
    if only is None:
        return policy
    kept = {0, *only}
    for one in policy.classes:
        if one.index not in kept:
            why = "the policy gives this device other classes only"
            left_out.append(LeftOut(f"class {one.name}", why, "name the class in the device's 'only'"))
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


def _altered(policy: Policy, changes: tuple[ClassChange, ...]) -> Policy:
    """Apply the operator's changes for the device."""
    if not changes:
        return policy
    classes = list(policy.classes)
    for change in changes:
        classes[change.class_index] = _changed(classes[change.class_index], change)
    return replace(policy, classes=tuple(classes))


def _changed(one: TrafficClass, change: ClassChange) -> TrafficClass:
    limit = None if change.no_rate_limit else change.rate_limit or one.rate_limit
    return replace(
        one,
        rate_limit=limit,
        burst=one.burst if limit == one.rate_limit else None,
        exclusive=one.exclusive if change.exclusive is None else change.exclusive,
        path=change.path or one.path,
        max_queues=change.max_queues or one.max_queues,
        min_queues=min(one.min_queues, change.max_queues or one.min_queues),
        meter_only=one.meter_only if change.meter_only is None else change.meter_only,
    )


def _able(one: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    """Take from a class what the device cannot do."""
    for limit in _ABILITIES:
        one = limit(one, device, left_out)
    return one


def _fit_limit(one: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    if one.rate_limit is None or device.capabilities.max_meters:
        return one
    remedy = "set max-rate on a queue of its own in OVSDB, or limit the class on a device that has meters"
    left_out.append(LeftOut(f"limit of class {one.name}", "the device has no meters", remedy))
    return replace(one, rate_limit=None, burst=None)


def _fit_burst(one: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    if one.burst is None or one.rate_limit is None or device.capabilities.meter_burst:
        return one
    why = "the device's meters take no burst size"
    left_out.append(LeftOut(f"burst of class {one.name}", why, "none needed: the device uses its own burst"))
    return replace(one, burst=None)


def _fit_path(one: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    """With one kind of queue only, a class that must not use it would have none."""
    missing = _missing_kind(one.path, device)
    if missing is None or one.meter_only:
        return one
    remedy = f"add {missing} queues to the egress port (flowlane qos), or change the class's path"
    left_out.append(
        LeftOut(f"path {one.path.value} of class {one.name}", f"the device has no {missing} queues", remedy)
    )
    return replace(one, path=PathPreference.PREFER_HARDWARE)


def _missing_kind(path: PathPreference, device: DeviceView) -> str | None:
    if path is PathPreference.HARDWARE and device.software_queues and not device.physical_queues:
        return "physical"
    if path is PathPreference.SOFTWARE and device.physical_queues and not device.software_queues:
        return "software"
    return None


def _fit_exclusive(one: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    if not one.exclusive or _queues_for(one, device) >= 2:
        return one
    why = f"no port has two queues for it (it has {_queues_for(one, device)})"
    left_out.append(
        LeftOut(f"exclusive queues of class {one.name}", why, "add queues to the egress port (flowlane qos)")
    )
    return replace(one, exclusive=False)


def _fit_min_queues(one: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    there = _queues_for(one, device)
    if one.min_queues <= there:
        return one
    why = f"the port with most queues for it has {there}"
    left_out.append(
        LeftOut(f"min-queues {one.min_queues} of class {one.name}", why, "add queues, or lower min-queues")
    )
    return replace(one, min_queues=there)


def _tell_minimum(one: TrafficClass, device: DeviceView, left_out: list[LeftOut]) -> TrafficClass:
    """A minimum is the scheduler's to keep, by a queue's min-rate; without one the class keeps its other properties."""
    if one.min_rate is not None and one.min_rate > device.highest_minimum:
        why = "no queue of the device is known to have a min-rate as high"
        left_out.append(LeftOut(f"minimum of class {one.name}", why, "set min-rate in OVSDB (flowlane qos)"))
    return one


def _queues_for(one: TrafficClass, device: DeviceView) -> int:
    """Queues of the best port that the class may use."""
    hardware = 0 if one.path is PathPreference.SOFTWARE else device.physical_queues
    return hardware + (0 if one.path is PathPreference.HARDWARE else device.software_queues)


_ABILITIES: tuple[Callable[[TrafficClass, DeviceView, list[LeftOut]], TrafficClass], ...] = (
    _fit_limit,
    _fit_burst,
    _fit_path,
    _fit_exclusive,
    _fit_min_queues,
    _tell_minimum,
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
    """Shares divide physical queues; with fewer queues than shares there is nothing to divide."""
    if not policy.shares or device.physical_queues >= len(policy.shares):
        return policy
    why = f"{len(policy.shares)} shares cannot divide {device.physical_queues} physical queues"
    left_out.append(LeftOut("the shares of the hardware", why, "add queues, or put VMs into fewer shares"))
    return replace(policy, shares=())


def _tell_spread(policy: Policy, device: DeviceView, left_out: list[LeftOut]) -> None:
    """Without select groups the device puts all new flows of a class on one queue, until pins correct it."""
    several = [one.name for one in policy.classes if not one.exclusive and _queues_for(one, device) > 1]
    if several and not device.capabilities.select_groups:
        why = "the device has no select groups"
        remedy = "none needed: the controller moves flows with exact entries"
        left_out.append(LeftOut(f"spreading of new flows by the device ({_names(several)})", why, remedy))


def _names(names: Iterable[str], most: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
