"""Device plans: ports, known destinations, standing rules and the weights of queues for new flows (M2, M14).

A plan is everything that should stand in a device beside its pins. The standing rules send new flows to queues by
weight, and a queue with more room gets more of them. Each change of a weight changes groups in the device, so weights
are computed every few seconds, every second where flows begin, have four values, and change with hysteresis.
"""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

from flowlane.core.allocate import Demand, queues_for_new_flows
from flowlane.core.device import class_meters, destinations
from flowlane.core.device.arrivals import tracks_all
from flowlane.core.device.copies import copy_rate
from flowlane.core.device.hosts import allowed_macs
from flowlane.core.device.links import has_senders, is_known
from flowlane.core.device.marking import gets_priority_tags
from flowlane.core.device.passive import choices, with_marks
from flowlane.core.device.quotas import over_quota
from flowlane.core.device.standing import QueuesOf, group_of_class, standing_rules
from flowlane.core.effects import DevicePlan, PlannedPort, Sampling, VmMeter
from flowlane.core.flow.pins import REACTIVE, WORTHY, mode
from flowlane.core.model import NO_PORT, NOT_A_VM, UNRESOLVED_VM, PortRole, Role
from flowlane.core.pacing import paced
from flowlane.core.policy import PortSecurity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from flowlane.core.allocate.state import PortState
    from flowlane.core.model import Vm
    from flowlane.core.state.device import Device, Port, State

INTERVAL = 5.0
"""Seconds between two computations of a device's weights where few flows begin."""

FAST_INTERVAL = 1.0
"""The same where what begins matters: the device's tables change with every new flow there anyway."""

_MATTERS = 0.01
"""Part of a port's load from which the flows that began within a second matter."""

_STEPS = (1, 2, 4, 8)
"""Weights."""

_MARGIN = 1.2
"""Hysteresis: the factor by which a share must be beyond the bound before the weight changes."""

_LEAST_SHARE = 0.05
"""Load that is less than this share of the port's rate leaves all weights equal."""

_LEAST_RATE = 10_000_000
"""bit/s, in the place of that share where the port's rate is unknown."""

_MOST_SPEED = 8
"""How many times as fast as the slowest queue a queue counts at most.

Open vSwitch hashes into up to 256 buckets for a group, and to fewer where the sum of the weights over the least is less
(ofproto/ofproto-dpif.c, group_setup_dp_hash_table()); with more it does not follow the weights.
"""

_LEAST_NEW = 0.25
"""Share of the load that new flows are taken to bring at least until the weights are computed again.

Less would send a sudden crowd of flows to the one queue that carries least now.
"""

_FADES = 0.98
"""What is left of the largest crowd of new flows after a second."""

EVEN = 8
"""The weight of all queues where nothing speaks for one: that of the queue with most room."""


def weigh(device: Device, now: float) -> bool:
    """Compute the weights of all queues anew when they are due; return whether one has changed."""
    crowded = [_follow_crowds(port, now) for port in device.ports.values()]
    if now < device.next_weighing and not any(crowded):
        return False
    device.next_weighing = now + INTERVAL
    changed = False
    for port in device.ports.values():
        for index, traffic_class in enumerate(device.policy.classes):
            if port.allocation is not None and not traffic_class.meter_only:
                place = (index, port.port_no)
                queues = queues_for(device, port, index)
                changed = changed or device.spreads.get(place) != queues
                device.spreads[place] = queues
    return changed


def queues_for(device: Device, port: Port, class_index: int) -> tuple[tuple[int, int], ...]:
    """Return (queue id, weight) for the queues to which new flows of a class may go on a port."""
    allocation = port.allocation
    traffic_class = device.policy.classes[class_index]
    if allocation is None or traffic_class.meter_only:
        return ()
    group = device.groups.get((traffic_class.name,), -1)
    limited = None
    if traffic_class.max_queues is not None and not traffic_class.exclusive:
        limited = Demand(
            class_index=class_index,
            path=traffic_class.path,
            priority=traffic_class.priority,
            max_queues=traffic_class.max_queues,
            min_rate=traffic_class.min_rate or 0,
        )
    queue_ids = queues_for_new_flows(
        allocation, traffic_class.path, group, traffic_class.min_rate or 0, limited
    )
    before = dict(device.spreads.get((class_index, port.port_no), ()))
    if device.in_adoption and device.found_groups:
        # No rate is measured yet that says anything against the weights that the device has.
        found = _found_weights(device, port, traffic_class.name)
        if found.keys() == set(queue_ids):
            return tuple(found.items())
    if len(queue_ids) < 2:  # There is nothing to weigh against.
        return tuple((queue_id, EVEN) for queue_id in queue_ids)
    room, speeds = _room(allocation, queue_ids, port), _relative_speeds(allocation, queue_ids)
    most = max(room.values(), default=0.0)
    weights = {
        queue_id: _weight(room[queue_id] / most if most else None, _divided(before.get(queue_id), speed))
        for queue_id, speed in speeds.items()
    }
    return tuple((queue_id, speeds[queue_id] * weight) for queue_id, weight in weights.items())


def _found_weights(device: Device, port: Port, class_name: str) -> dict[int, int]:
    """Return queue id -> weight, as a group in the device has them; nothing where it chooses marks, too."""
    found = device.found_groups.get(group_of_class(port.port_no, class_name), {})
    if port.port_no in device.passives:
        return {}
    queues = ((device.chosen(choice), weight) for choice, weight in found.items())
    return {queue_id: weight for queue_id, weight in queues if queue_id is not None}


def _divided(weight: int | None, speed: int) -> int | None:
    return None if weight is None else weight // speed


def _relative_speeds(allocation: PortState, queue_ids: tuple[int, ...]) -> dict[int, int]:
    """Map queue ids to what the queue carries, in about the proportion of the slowest of them; in their order."""
    weights = {slot.queue.queue_id: slot.weight for slot in allocation.slots}
    slowest = min((weights[queue_id] for queue_id in queue_ids), default=1)
    return {queue_id: min(round(weights[queue_id] / slowest), _MOST_SPEED) for queue_id in queue_ids}


def _follow_crowds(port: Port, now: float) -> bool:
    """Note the load of the largest crowd of new flows, as the next may be as large; return whether a crowd has come."""
    allocation = port.allocation
    seconds = now - port.crowd_at
    if allocation is None or seconds < FAST_INTERVAL:
        return False
    new = max(0, allocation.arrived - port.arrived) / seconds
    port.arrived, port.crowd_at = allocation.arrived, now
    load = new * allocation.load / max(1, allocation.count)
    port.crowd = max(port.crowd * _FADES**seconds, load)
    return load > _MATTERS * allocation.load


def _room(allocation: PortState, queue_ids: tuple[int, ...], port: Port) -> dict[int, float]:
    """Map queue ids to the load (bit/s per weight) that new flows should bring, so that all carry as much per weight.

    All are equal where the port carries little.
    """
    of_class = set(queue_ids)
    slots = [slot for slot in allocation.slots if slot.queue.queue_id in of_class]
    total = sum(slot.load for slot in slots)
    if total < (port.rate * _LEAST_SHARE if port.rate else _LEAST_RATE):
        return dict.fromkeys(queue_ids, 0.0)
    new = max(total * _LEAST_NEW, port.crowd)
    level = _level([(slot.load / slot.weight, slot.weight) for slot in slots], new)
    return {slot.queue.queue_id: max(0.0, level - slot.load / slot.weight) for slot in slots}


def _level(loads: list[tuple[float, int]], more: float) -> float:
    """Return the load per weight up to which ``more`` load fills queues with (load per weight, weight)."""
    filled = weight = 0.0
    for load, own in sorted(loads):
        if weight and load * weight - filled >= more:
            break
        filled, weight = filled + load * own, weight + own
    return (filled + more) / weight


def _weight(share: float | None, before: int | None) -> int:
    """Return the weight for a share of the room of the queue that has most."""
    if share is None:
        return EVEN
    new = _step(share)
    if before is None or new == before:
        return new
    beyond = share / _MARGIN if new > before else share * _MARGIN
    return new if _step(beyond) == new or (_step(beyond) > before) == (new > before) else before


def _step(share: float) -> int:
    return next((weight for weight in _STEPS if share * _STEPS[-1] <= weight * 1.42), _STEPS[-1])


def with_hosts(state: State, device: Device, plan: DevicePlan) -> DevicePlan:
    """Return the plan with the destinations that are known now, and everything else unchanged."""
    hosts, vlan_hosts = destinations.find(state, device)
    return replace(plan, hosts=hosts, vlan_hosts=vlan_hosts)


def with_ports(
    state: State, device: Device, plan: DevicePlan, numbers: Collection[int], macs: Iterable[int]
) -> DevicePlan:
    """Return the plan with some ports as they are now: of VMs, without queues, before and after.

    A port without queues has the rules of packets whose port is not known.

    Args:
        macs: addresses that the VMs of these ports had, or have.
    """
    ports = [device.ports[port_no] for port_no in sorted(numbers) if port_no in device.ports]
    of_none = [rule for rule in plan.rules if rule.egress_port == NO_PORT]
    rules = [rule._replace(egress_port=port.port_no) for port in ports for rule in of_none]
    device.spreads.update(
        {(item.index, port.port_no): () for port in ports for item in device.policy.classes}
    )
    hosts, vlan_hosts = destinations.with_ports(state, device, plan, numbers, macs)
    return replace(
        plan,
        ports=_merged(plan.ports, numbers, [_planned_port(state, device, port) for port in ports], 0),
        hosts=hosts,
        vlan_hosts=vlan_hosts,
        rules=_merged(plan.rules, numbers, rules, 2),
        flood_ports=_with(plan.flood_ports, numbers, _flood_ports(state, device, ports)),
        tracked_ports=_with(plan.tracked_ports, numbers, _tracked_ports(device, ports)),
    )


_Part = TypeVar("_Part", bound=tuple[object, ...])


def _merged(
    parts: Iterable[_Part], numbers: Collection[int], new: list[_Part], port_at: int
) -> tuple[_Part, ...]:
    """Return the parts of a plan in the order of their ports, with those of some ports replaced.

    Args:
        port_at: where a part has its port.
    """
    kept = [part for part in parts if part[port_at] not in numbers]
    return tuple(sorted((*kept, *new), key=itemgetter(port_at)))


def _with(ports: Iterable[int], numbers: Collection[int], new: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted([*(port_no for port_no in ports if port_no not in numbers), *new]))


def make_plan(state: State, device: Device) -> DevicePlan:
    """Make a device's plan; equal inputs give equal plans."""
    hosts, vlan_hosts = destinations.find(state, device)
    return DevicePlan(
        dpid=device.dpid,
        ports=tuple(_planned_port(state, device, port) for port in _in_order(state, device)),
        hosts=hosts,
        vlan_hosts=vlan_hosts,
        unknown_port=_unknown_port(device),
        rules=standing_rules(
            device.policy,
            (NO_PORT, *(port_no for port_no in sorted(device.ports) if device.of_bond(port_no) == port_no)),
            own_vms(state, device),
            _queues_of(device),
            class_meters.meter_of(device),
            state.pace,
        ),
        meters=class_meters.specs(device),
        vm_meters=tuple(VmMeter(*place, meter_id) for place, meter_id in sorted(device.vm_meters.items())),
        flood_ports=_flood_ports(state, device, device.ports.values()),
        learning_ports=_learning_ports(device),
        copy_rate=copy_rate(device),
        learned_idle=device.policy.pins.idle_timeout if mode(device) == WORTHY else 0,
        learn_after=device.policy.learn_after if mode(device) == WORTHY else 0,
        tracked_ports=_tracked_ports(device, device.ports.values()),
        in_vlan=tuple(
            sorted(port.port_no for port in device.ports.values() if gets_priority_tags(device, port))
        ),
        reactive=mode(device) == REACTIVE,
        sampling=_sampling(device),
        over_quota=over_quota(device),
    )


def _in_order(state: State, device: Device) -> Iterator[Port]:
    """Yield the ports by their numbers, with places for a pause."""
    return paced([port for _, port in sorted(device.ports.items())], state.pace)


def _sampling(device: Device) -> Sampling | None:
    """Sample what leaves by ports with queues, where a class depends on a rate."""
    with_queues = (port for port in device.ports.values() if port.allocation is not None)
    ports = tuple(
        sorted(port.port_no for port in with_queues if device.of_bond(port.port_no) == port.port_no)
    )
    wanted = device.policy.sampling and device.marking is None and device.policy.gates and ports
    return Sampling(device.policy.sampling, ports) if wanted else None


def _tracked_ports(device: Device, ports: Iterable[Port]) -> tuple[int, ...]:
    """List those of some ports whose young flows the device is to count."""
    if not device.policy.learn_after or mode(device) != WORTHY:
        return ()
    over = over_quota(device)
    with_vms = (port.port_no for port in ports if port.role in (PortRole.VM, PortRole.LINK))
    return tuple(
        sorted(
            port_no
            for port_no in with_vms
            if (tracks_all(device) or port_no in device.tracked) and device.port_vm.get(port_no) not in over
        )
    )


def _planned_port(state: State, device: Device, port: Port) -> PlannedPort:
    if port.port_no in device.passives:
        behind = device.passives[port.port_no].device
        planned = _planned_port_of(state, device, port, choices(device, port))
        return planned if behind.marking is None else planned._replace(keep_marks=behind.marking.keep)
    queues = tuple(device.choice(queue_id) for queue_id in sorted(port.queues))
    planned = _planned_port_of(state, device, port, queues)
    return planned if device.marking is None else planned._replace(keep_marks=device.marking.keep)


def _planned_port_of(state: State, device: Device, port: Port, queues: tuple[int, ...]) -> PlannedPort:
    if has_senders(device, port):
        is_known_link = port.role is PortRole.UPLINK or is_known(state, device, port)
        number = NOT_A_VM if is_known_link else UNRESOLVED_VM
        senders = sorted(
            ((mac, vlan, of_vm) for (mac, vlan), of_vm in port.senders.items()),
            key=lambda sender: (sender[0], -1 if sender[1] is None else sender[1]),
        )
        return PlannedPort(port.port_no, port.role, number, (), queues, tuple(senders))
    vm = state.vm_on(device.dpid, port.port_no) if port.role is PortRole.VM else None
    if vm is None:
        return PlannedPort(port.port_no, port.role, NOT_A_VM, (), queues)
    strict = device.policy.port_security is PortSecurity.STRICT
    macs = allowed_macs(device.policy, vm) if strict else ()
    return PlannedPort(port.port_no, port.role, vm.number, macs, queues)


def own_vms(state: State, device: Device) -> dict[int, Vm]:
    """Return the VMs whose packets the device may meet, by number: on its ports, and behind its links.

    The others' numbers are never in its metadata, so rules on them would only take entries.
    """
    numbers = {*device.port_vm.values(), *device.nearer}
    return {number: vm for number in sorted(numbers) if (vm := state.vms.get(number)) is not None}


def _unknown_port(device: Device) -> int | None:
    """Return the port for multicast and unknown destinations: the uplink of a host, when it has exactly one.

    Of several, it is the one whose link is up. A bridge without an uplink reaches the network by its link.
    """
    if device.role is Role.SWITCH:
        return None
    for role in (PortRole.UPLINK, PortRole.LINK):
        ports = [
            port
            for port in device.ports.values()
            if port.role is role and device.of_bond(port.port_no) == port.port_no
        ]
        if ports:
            candidates = ports if len(ports) == 1 else [port for port in ports if port.up]
            return candidates[0].port_no if len(candidates) == 1 else None
    return None


def _flood_ports(state: State, device: Device, ports: Iterable[Port]) -> tuple[int, ...]:
    """List those of some ports of which it is not known who is there.

    They are ports of the host, of VMs without a configured address, and ignored ones.
    """
    roles = (PortRole.VM, PortRole.HOST, PortRole.IGNORE)
    numbers = [
        port.port_no for port in ports if port.role in roles and not destinations.has_own_address(port)
    ]
    state.pace()
    vms = {port_no: state.vm_on(device.dpid, port_no) for port_no in numbers}
    return tuple(sorted(port_no for port_no, vm in vms.items() if vm is None or not vm.macs))


def _learning_ports(device: Device) -> tuple[tuple[int, int], ...]:
    """List the ports to the network whose source addresses have to be known to predict the egress port.

    Behind a single uplink of a device that forwards by itself is whatever is not known, so it counts only where the VMs
    there have to be known. Each port comes with the one that stands for its bond, else with itself.
    """
    roles = (PortRole.UPLINK, PortRole.LINK)
    ports = [port for port in device.ports.values() if port.role in roles]
    uplinks = {device.of_bond(port.port_no) for port in ports if port.role is PortRole.UPLINK}
    if device.capabilities.normal and len(uplinks) < 2 and not device.queues_inward:
        return ()
    return tuple(sorted((port.port_no, device.of_bond(port.port_no)) for port in ports))


def _queues_of(device: Device) -> QueuesOf:
    """Make the function that returns the queues for new flows of a class on a port, with their weights."""

    def queues_of(class_index: int, port_no: int) -> tuple[tuple[int, int], ...]:
        if port_no == NO_PORT:
            return ()
        queues = queues_for(device, device.ports[port_no], class_index)
        device.spreads[class_index, port_no] = queues
        if port_no in device.passives:
            behind = device.passives[port_no]
            egress = behind.device.ports[behind.egress_port]
            of_passive = queues_for(behind.device, egress, class_index)
            return with_marks(device, device.ports[port_no], queues, of_passive)
        return tuple((device.choice(queue_id), weight) for queue_id, weight in queues)

    return queues_of
