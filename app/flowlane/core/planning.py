"""What should stand in a device beside its pins: ports, known destinations, standing rules (M2, M14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core import class_meters
from flowlane.core.effects import DevicePlan, PlannedPort
from flowlane.core.model import NOT_A_VM, UNRESOLVED_VM, PortRole, Role
from flowlane.core.pinning import REACTIVE, WORTHY, mode
from flowlane.core.standing import QueuesOf, standing_rules
from flowlane.core.weights import queues_for

if TYPE_CHECKING:
    from flowlane.core.state import Device, Port, State


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
    """Where new flows of a class may go on a port, with weights (see :mod:`flowlane.core.weights`)."""

    def queues_of(class_index: int, port_no: int) -> tuple[tuple[int, int], ...]:
        queues = queues_for(device, device.ports[port_no], class_index)
        device.spreads[class_index, port_no] = queues
        return queues

    return queues_of
