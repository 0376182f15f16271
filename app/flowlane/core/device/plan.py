"""Device plans: ports, known destinations, standing rules and the weights of queues for new flows (M2, M14).

A plan is everything that should stand in a device beside its pins. The standing rules send new flows to queues by
weight, and a queue with more room gets more of them. Each change of a weight changes groups in the device, so weights
are computed every few seconds, every second where flows begin, have four values, and change with hysteresis.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowlane.core.allocate import Demand, queues_for_new_flows
from flowlane.core.device import class_meters
from flowlane.core.device.arrivals import tracks_all
from flowlane.core.device.copies import copy_rate
from flowlane.core.device.hosts import allowed_macs
from flowlane.core.device.links import has_senders, is_known
from flowlane.core.device.marking import gets_priority_tags
from flowlane.core.device.passive import choices, with_marks
from flowlane.core.device.quotas import over_quota
from flowlane.core.device.standing import QueuesOf, group_of_class, standing_rules
from flowlane.core.device.vlans import ANY, Vlan, entering, sent_by, tags
from flowlane.core.effects import DevicePlan, PlannedPort, Sampling, VlanHost, VmMeter
from flowlane.core.flow.pins import REACTIVE, WORTHY, mode
from flowlane.core.model import NO_PORT, NOT_A_VM, UNRESOLVED_VM, PortRole, Role
from flowlane.core.pacing import paced
from flowlane.core.policy import PortSecurity

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    hosts, vlan_hosts = _destinations(state, device)
    return replace(plan, hosts=hosts, vlan_hosts=vlan_hosts)


def make_plan(state: State, device: Device) -> DevicePlan:
    """Make a device's plan; equal inputs give equal plans."""
    hosts, vlan_hosts = _destinations(state, device)
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
        flood_ports=_flood_ports(state, device),
        learning_ports=_learning_ports(device),
        copy_rate=copy_rate(device),
        learned_idle=device.policy.pins.idle_timeout if mode(device) == WORTHY else 0,
        learn_after=device.policy.learn_after if mode(device) == WORTHY else 0,
        tracked_ports=_tracked_ports(device),
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


def _tracked_ports(device: Device) -> tuple[int, ...]:
    """List the ports whose young flows the device is to count."""
    if not device.policy.learn_after or mode(device) != WORTHY:
        return ()
    over = over_quota(device)
    with_vms = (port.port_no for port in device.ports.values() if port.role in (PortRole.VM, PortRole.LINK))
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


MAX_IN_VLANS = 256
"""Addresses that several hosts have in different VLANs, on one device; each takes entries for every port."""

_Places = dict[int, dict[Vlan, int]]
"""MAC address -> VLAN inside of the bridge (ANY: the others) -> port."""


def _destinations(state: State, device: Device) -> tuple[tuple[tuple[int, int], ...], tuple[VlanHost, ...]]:
    """List the known destinations: those at one port in all VLANs, and the others.

    Of more than :data:`MAX_IN_VLANS` others the port is not predicted.
    """
    hosts: list[tuple[int, int]] = []
    others: list[VlanHost] = []
    in_vlans = 0
    for mac, places in _places(state, device).items():
        ports = set(places.values())
        if len(ports) == 1:
            hosts.append((mac, ports.pop()))
        elif in_vlans < MAX_IN_VLANS:
            in_vlans += 1
            others += _in_vlans(device, mac, places)
    return tuple(sorted(hosts)), tuple(
        sorted(others, key=lambda host: (host.mac, host.in_port, host.tag or -1))
    )


def _in_vlans(device: Device, mac: int, places: dict[Vlan, int]) -> Iterator[VlanHost]:
    for port in device.ports.values():
        tagged = {tag: port_no for vlan, port_no in places.items() for tag in tags(port.facts, vlan)}
        for tag, port_no in tagged.items():
            yield VlanHost(mac, port.port_no, tag, port_no)


def _places(state: State, device: Device) -> _Places:
    """Find where each address is; for the host and its VMs, OVSDB and the port count over what packets showed."""
    stated: _Places = {}
    for port in paced(device.ports.values(), state.pace):
        if port.report is not None and _has_own_address(port):
            stated.setdefault(port.report.mac, {}).update(dict.fromkeys(sent_by(port.facts), port.port_no))
        for (mac, tag), number in port.senders.items():
            if number in device.away or not _is_there(state, device, number):
                continue
            of_bond = device.of_bond(port.port_no)
            stated.setdefault(mac, {}).update(dict.fromkeys(entering(port.facts, tag), of_bond))
    state.pace()
    for vm in paced(_vms_here(state, device), state.pace):
        attached = device.ports.get(vm.port_no)
        for mac in vm.macs:
            of_mac = stated.setdefault(mac, {})
            for vlan in sent_by(attached.facts if attached is not None else None):
                of_mac.setdefault(vlan, vm.port_no)
    places: _Places = {}
    state.pace()
    for (mac, vlan), port_no in paced(device.hosts.items(), state.pace):
        if port_no in device.ports and ANY not in stated.get(mac, ()) and not (vlan is ANY and mac in stated):
            places.setdefault(mac, {})[vlan] = port_no
    for mac, of_mac in stated.items():
        places.setdefault(mac, {}).update(of_mac)
    return places


def _is_there(state: State, device: Device, number: int) -> bool:
    """Whether a VM that may send by a link is behind it now, and not on another host, where a port claims it, too."""
    vm, through = state.vms.get(number), device.nearer.get(number, ())
    return vm is None or not through or through[0].dpid == vm.dpid


def _vms_here(state: State, device: Device) -> list[Vm]:
    """List the VMs that are on a device, and not announced elsewhere; the ones that are known longest come first."""
    numbers = {number for number in device.port_vm.values() if number not in device.away}
    vms = [vm for number in numbers if (vm := state.vms.get(number)) is not None and vm.dpid == device.dpid]
    state.pace()
    return sorted(vms, key=lambda vm: (state.claims[vm.number].since, vm.number))


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


def _flood_ports(state: State, device: Device) -> tuple[int, ...]:
    """List the ports of the host, of VMs without a configured address, and ignored ones: who is there is not known."""
    roles = (PortRole.VM, PortRole.HOST, PortRole.IGNORE)
    ports = [port.port_no for port in device.ports.values() if port.role in roles]
    ports = [port_no for port_no in ports if not _has_own_address(device.ports[port_no])]
    state.pace()
    vms = {port_no: state.vm_on(device.dpid, port_no) for port_no in ports}
    return tuple(sorted(port_no for port_no, vm in vms.items() if vm is None or not vm.macs))


def _has_own_address(port: Port) -> bool:
    """Whether it is the bridge's own port, whose address the switch reports."""
    return port.report is not None and port.report.is_local and port.report.mac != 0


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
