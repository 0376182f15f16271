"""What should stand in a device beside its pins: ports, known destinations, standing rules (M2, M14).

Where devices send new flows, and how many of them: the weights follow the load, in coarse steps.

A queue with less load gets more of the new flows. Each change is a change of groups in the device, so weights
are looked at every few seconds, have few values, and move only when the load has clearly left its step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowlane.core.allocate import queues_for_new_flows
from flowlane.core.device import class_meters
from flowlane.core.device.standing import QueuesOf, standing_rules
from flowlane.core.effects import DevicePlan, PlannedPort
from flowlane.core.flow.pins import REACTIVE, WORTHY, mode
from flowlane.core.model import NOT_A_VM, UNRESOLVED_VM, PortRole, Role

if TYPE_CHECKING:
    from flowlane.core.allocate.state import PortState
    from flowlane.core.state.device import Device, Port, State

INTERVAL = 5.0
"""Seconds between two weighings of a device."""

_STEPS = ((0.5, 8), (2.0, 4))
"""(load over mean load, weight): below the first, up to the second; a queue above it has weight 1."""

_MARGIN = 1.3
"""By how much a load must be beyond the edge of its step before the weight changes."""

_LEAST_SHARE = 0.05
"""Load that is less than this share of the port's rate leaves all weights equal."""

_LEAST_RATE = 10_000_000
"""bit/s, in the place of that share where the port's rate is unknown."""

EVEN = 4


def weigh(device: Device, now: float) -> bool:
    """Look at all loads; True when what the device should do with new flows has changed."""
    if now < device.next_weighing:
        return False
    device.next_weighing = now + INTERVAL
    changed = False
    for port in device.ports.values():
        for index, wanted in enumerate(device.policy.classes):
            if port.allocation is not None and not wanted.meter_only:
                place = (index, port.port_no)
                queues = queues_for(device, port, index)
                changed = changed or device.spreads.get(place) != queues
                device.spreads[place] = queues
    return changed


def queues_for(device: Device, port: Port, class_index: int) -> tuple[tuple[int, int], ...]:
    """(queue id, weight) of the queues to which new flows of a class may go on a port."""
    allocation = port.allocation
    wanted = device.policy.classes[class_index]
    if allocation is None or wanted.meter_only:
        return ()
    group = device.groups.get((wanted.name,), -1)
    queue_ids = queues_for_new_flows(allocation, wanted.path, group, wanted.min_rate or 0)
    before = dict(device.spreads.get((class_index, port.port_no), ()))
    loads = _relative_loads(allocation, queue_ids, port.rate)
    return tuple((queue_id, _weight(loads.get(queue_id), before.get(queue_id))) for queue_id in queue_ids)


def _relative_loads(allocation: PortState, queue_ids: tuple[int, ...], rate: int | None) -> dict[int, float]:
    """Queue id -> load over the mean; empty when the port does little."""
    loads = {slot.queue.queue_id: slot.load for slot in allocation.slots if slot.queue.queue_id in queue_ids}
    total = sum(loads.values())
    if total < (rate * _LEAST_SHARE if rate else _LEAST_RATE):
        return {}
    return {queue_id: load * len(loads) / total for queue_id, load in loads.items()}


def _weight(load: float | None, before: int | None) -> int:
    if load is None:
        return EVEN
    wanted = _step(load)
    if before is None or wanted == before:
        return wanted
    beyond = load * _MARGIN if wanted > before else load / _MARGIN
    return wanted if _step(beyond) == wanted or (_step(beyond) > before) == (wanted > before) else before


def _step(load: float) -> int:
    return next((weight for edge, weight in _STEPS if load < edge), 1)


def with_hosts(state: State, device: Device, plan: DevicePlan) -> DevicePlan:
    """The plan with the destinations that are known now; all else as it was."""
    return replace(plan, hosts=tuple(sorted(_destinations(state, device).items())))


def make_plan(state: State, device: Device) -> DevicePlan:
    """The device's plan, whole; equal inputs give an equal plan."""
    return DevicePlan(
        dpid=device.dpid,
        ports=tuple(_planned_port(state, device, port) for _, port in sorted(device.ports.items())),
        hosts=tuple(sorted(_destinations(state, device).items())),
        unknown_port=_unknown_port(device),
        rules=standing_rules(
            device.policy,
            sorted(device.ports),
            state.vms,
            _queues_of(device),
            class_meters.meter_of(device),
        ),
        meters=class_meters.specs(device),
        flood_ports=_flood_ports(state, device),
        copy_rate=device.policy.copy_rate,
        learned_idle=device.policy.pins.idle_timeout if mode(device) == WORTHY else 0,
        learn_after=device.policy.learn_after if mode(device) == WORTHY else 0,
        reactive=mode(device) == REACTIVE,
    )


def _planned_port(state: State, device: Device, port: Port) -> PlannedPort:
    queues = tuple(sorted(port.queues))
    if port.role is PortRole.LINK:
        return PlannedPort(port.port_no, port.role, UNRESOLVED_VM, (), queues)
    vm = state.vm_on(device.dpid, port.port_no) if port.role is PortRole.VM else None
    if vm is None:
        return PlannedPort(port.port_no, port.role, NOT_A_VM, (), queues)
    return PlannedPort(port.port_no, port.role, vm.number, vm.macs, queues)


def _destinations(state: State, device: Device) -> dict[int, int]:
    """MAC -> port: what OVSDB says of the device's own VMs counts over what was heard."""
    known = {mac: port_no for mac, port_no in device.hosts.items() if port_no in device.ports}
    for vm in state.vms.values():
        if vm.dpid == device.dpid:
            known.update(dict.fromkeys(vm.macs, vm.port_no))
    return known


def _unknown_port(device: Device) -> int | None:
    """The uplink, when there is just one: whoever is not on this host is behind it."""
    uplinks = [port.port_no for port in device.ports.values() if port.role is PortRole.UPLINK]
    return uplinks[0] if len(uplinks) == 1 and device.role is not Role.SWITCH else None


def _flood_ports(state: State, device: Device) -> tuple[int, ...]:
    """Ports of VMs whose addresses nobody told, and of the host: who is there is only known once it spoke."""
    silent = (PortRole.VM, PortRole.HOST)
    ports = [port.port_no for port in device.ports.values() if port.role in silent]
    vms = {port_no: state.vm_on(device.dpid, port_no) for port_no in ports}
    return tuple(sorted(port_no for port_no, vm in vms.items() if vm is None or not vm.macs))


def _queues_of(device: Device) -> QueuesOf:
    """Where new flows of a class may go on a port, with weights (see :mod:`flowlane.core.device.plan`)."""

    def queues_of(class_index: int, port_no: int) -> tuple[tuple[int, int], ...]:
        queues = queues_for(device, device.ports[port_no], class_index)
        device.spreads[class_index, port_no] = queues
        return queues

    return queues_of
