"""What differs between two plans of a device, where that is single ports of VMs and hosts: only their entries change.

To compile a plan takes some 20 us for each port, whatever has changed. A port of a VM that has neither queues nor
meters has entries of its own, and no other entry depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from flowlane.core.model import PortRole
from flowlane.southbound.openflow.tables import young
from flowlane.southbound.openflow.tables.desired import host_entries, port_entries

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, PlannedPort, StandingRule
    from flowlane.core.model import Capabilities
    from flowlane.southbound.openflow.tables.entries import FlowEntry

Ports = Mapping[int, tuple[int, ...]]
"""Port number -> ids of its queues, as the switch reports them."""


class Side(NamedTuple):
    """One of two plans that are compared, with the ports that the device had then."""

    plan: DevicePlan
    ports: Ports


def differing_ports(old: Side, new: Side, capabilities: Capabilities) -> frozenset[int] | None:
    """Return the ports by which two plans differ; None where they differ in more than such ports and in hosts."""
    plan, before = new.plan, old.plan
    merged = replace(
        before,
        hosts=plan.hosts,
        ports=plan.ports,
        rules=plan.rules,
        flood_ports=plan.flood_ports,
        tracked_ports=plan.tracked_ports,
    )
    if merged != plan or (before.flood_ports != plan.flood_ports and not capabilities.normal):
        return None
    of_plan, of_rules = _others(before.ports, plan.ports), _others(before.rules, plan.rules)
    numbers = {port.port_no for port in of_plan} | {rule.egress_port for rule in of_rules}
    numbers |= set(before.tracked_ports) ^ set(plan.tracked_ports)
    if old.ports != new.ports:
        numbers |= {port_no for port_no, _ in old.ports.items() ^ new.ports.items()}
    if not numbers:
        return frozenset()
    is_more = young.tracks(before, capabilities) != young.tracks(plan, capabilities)
    is_more |= bool(plan.vlan_hosts or plan.over_quota)
    limited = any(rule.meter_id for one in (before, plan) for rule in one.rules)
    if is_more or limited or not all(_are_plain(side, numbers) for side in (old, new)):
        return None
    return frozenset(numbers)


_Part = TypeVar("_Part", "PlannedPort", "StandingRule")


def _others(one: Sequence[_Part], other: Sequence[_Part]) -> list[_Part]:
    """Return the parts that only one of two plans has; most are the same objects in both."""
    ids = set(map(id, one)), set(map(id, other))
    only = (
        [part for part in one if id(part) not in ids[1]],
        [part for part in other if id(part) not in ids[0]],
    )
    common = set(only[0]).intersection(only[1])
    return [part for parts in only for part in parts if part not in common]


def _are_plain(side: Side, numbers: frozenset[int] | set[int]) -> bool:
    """Whether ports are of VMs or not there at all, and no entry but their own depends on them."""
    plan = side.plan
    ports = [port for port in plan.ports if port.port_no in numbers]
    return (
        {port.port_no for port in ports} == numbers.intersection(side.ports)
        and all(
            port.role is PortRole.VM and not (port.queues or port.senders or port.keep_marks)
            for port in ports
        )
        and numbers.isdisjoint(port_no for port_no, _ in plan.learning_ports)
        and not any(rule.queues for rule in plan.rules if rule.egress_port in numbers)
    )


def entries(
    side: Side, numbers: frozenset[int], other: Side, capabilities: Capabilities
) -> tuple[FlowEntry, ...]:
    """Make the entries of a plan's ports with these numbers, and of its hosts there or that the other plan has not."""
    plan, ports = side
    others = set(other.plan.hosts)
    hosts = [host for host in plan.hosts if host[1] in numbers or host not in others]
    of_hosts = host_entries(plan, hosts, capabilities, ports).values() if hosts else ()
    return (*of_hosts, *(port_entries(plan, numbers, capabilities, ports) if numbers else ()))
