"""Ports of VMs that come, change and go: only what depends on them is made anew, and not the whole device.

To make all ports, VMs and the plan of a device takes some 20 us for each of its VMs. Where nothing has changed but
ports of VMs with an ``iface-id`` of their own and without queues, everything else stays as it is. What is made here is
what :func:`flowlane.core.device.refresh.refresh` would make of the same inputs; where anything speaks against that,
nothing is made here, and all is left to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.device import hints, limits, rules
from flowlane.core.device.connections import name_of
from flowlane.core.device.ports import port_view, refresh_some_ports
from flowlane.core.device.refit import refit_elsewhere, refit_vms
from flowlane.core.device.roles import role_by_itself
from flowlane.core.device.vms import refresh_vms
from flowlane.core.model import PortRole, Role

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from flowlane.core.device.roles import PortView, RoleOf
    from flowlane.core.effects import Effect
    from flowlane.core.model import PortFacts, Vm
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import Device, Port, State

_NAME = "iface-id"


class Patch(NamedTuple):
    """What was taken in: the addresses that the ports' VMs had, or have; whether a port has another VM than before."""

    macs: frozenset[int]
    is_other: bool


def take_in(state: State, device: Device, numbers: Collection[int], out: list[Effect]) -> Patch | None:
    """Take in the ports with these numbers, and their VMs; return None, and do nothing, where all has to be made anew.

    The plan is left to the caller (:func:`flowlane.core.device.plan.with_ports`).
    """
    roles = _roles(state, device, numbers)
    if roles is None or not _stays(state, device, numbers) or not _have_own_vms(state, device, numbers):
        return None
    before = _vms_on(state, device, numbers)
    refresh_some_ports(device, numbers, roles, state.now, out)
    changed = refresh_vms(state, device, out, numbers)
    now = _vms_on(state, device, numbers)
    state.policy_awaited.discard(device.dpid)
    refit_vms(state, device, changed, out)
    refit_elsewhere(state, device, changed, out)
    hints.follow_vms(state, device.dpid, {vm.number for vm in now.values()}, out)
    macs = frozenset(mac for vm in (*before.values(), *now.values()) for mac in vm.macs)
    return Patch(macs, before != now)


def names_vms(policy: Policy) -> bool:
    """Whether rules or shares of a policy depend on which VMs a device has."""
    return (
        any(rule.match.vms is not None or rule.match.hint for rule in policy.rules)
        or any(entry.dscp or entry.pcp for entry in policy.trust)
        or bool(policy.shares)
    )


def _stays(state: State, device: Device, numbers: Collection[int]) -> bool:
    """Whether the device and its other ports stay as they are, whatever becomes of these ports."""
    if device.names_vms is None:
        device.names_vms = names_vms(device.policy)
    is_steady = device.connected and device.plan is not None and device.name == name_of(device)
    waits = device.in_adoption or device.refit_from is not None or device.unknown_pins
    by_vm = any(limits.is_by_vm(device, item) for item in device.policy.classes)
    meters = device.meters_left_out or device.vm_meters or by_vm
    by_mark = device.marking or device.declared or device.passives or state.passive
    others = [port for port in device.ports.values() if port.is_guess or port.role is not PortRole.VM]
    return (
        is_steady
        and not (waits or meters or by_mark or device.names_vms)
        and not any(map(device.bonds.__contains__, numbers))
        and _has_same_role(state, device, numbers)
        and not any(_depends(device, port) for port in others)
    )


def _depends(device: Device, port: Port) -> bool:
    """Whether a port's role, or who is behind it, may depend on other ports or on their VMs."""
    if port.is_guess:
        return True
    if port.role is PortRole.LINK:
        return port.facts is None or port.facts.interface_type != "patch"
    return port.role is PortRole.UPLINK and device.queues_inward


def _has_same_role(state: State, device: Device, numbers: Collection[int]) -> bool:
    """Whether the device's role does not depend on these ports."""
    if rules.stated_role(state, device) is not None or device.role is Role.VSWITCH:
        return True
    return device.role is Role.NIC and any(
        port.facts is not None and (port.facts.external_ids.get(_NAME) or port.facts.queues)
        for port_no, port in device.ports.items()
        if port_no not in numbers
    )


def _roles(state: State, device: Device, numbers: Collection[int]) -> Mapping[int, RoleOf] | None:
    """Find the roles of the ports that the switch reports; None when they are, or were, anything but plain VM ports."""
    entries = rules.rules_for(state.policy, device.dpid, device.name, device.role)
    uplinks = {name for entry in entries for name in entry.uplinks}
    roles: dict[int, RoleOf] = {}
    for port_no in numbers:
        port, view = device.ports.get(port_no), port_view(device, port_no)
        if port is not None and not _was_plain(port):
            return None
        if view is not None:
            role = role_by_itself(view, uplinks)
            if role is None or role.role is not PortRole.VM or not _is_plain(view):
                return None
            roles[port_no] = role
    return roles


def _is_plain(view: PortView) -> bool:
    return not view.queues and not view.neighbour and _is_of_vm(view.facts)


def _was_plain(port: Port) -> bool:
    has_queues = port.queues or port.allocation is not None
    return port.role is PortRole.VM and not has_queues and not port.has_neighbour and _is_of_vm(port.facts)


def _is_of_vm(facts: PortFacts | None) -> bool:
    """Whether an interface is a VM's by its ``iface-id``, and nothing else."""
    if facts is None or not facts.external_ids.get(_NAME):
        return False
    return facts.interface_type != "patch" and not facts.members and not facts.queues


def _have_own_vms(state: State, device: Device, numbers: Collection[int]) -> bool:
    """Whether the VMs of these ports, before and after, are at no other port, and have no other NICs."""
    names: list[str] = []
    uuids: list[str] = []
    for port_no in numbers:
        before = device.port_vm.get(port_no)
        if before is not None and not _is_single(state, before, state.claims[before].current.vm.uuid):
            return False
        facts = device.described.ports.get(port_no) if device.described is not None else None
        if facts is None or port_no not in device.reported_ports:
            continue
        name, uuid = facts.external_ids[_NAME], facts.external_ids.get("vm-uuid", "")
        number = state.vm_numbers.get(name)
        if not _is_single(state, number, uuid) or (number in state.claims and number != before):
            return False
        names.append(name)
        uuids += [uuid] if uuid else []
    return len(set(names)) == len(names) and len(set(uuids)) == len(uuids)


def _is_single(state: State, number: int | None, uuid: str) -> bool:
    of_vm = state.claims.get(number) if number is not None else None
    others = {*state.nics.get(uuid, ())} - {number} if uuid else ()
    return not others and (of_vm is None or len(of_vm.claims) == 1)


def _vms_on(state: State, device: Device, numbers: Collection[int]) -> dict[int, Vm]:
    """Return port number -> VM."""
    claimed = {port_no: device.port_vm[port_no] for port_no in numbers if port_no in device.port_vm}
    return {port_no: state.vms[number] for port_no, number in claimed.items() if number in state.vms}
