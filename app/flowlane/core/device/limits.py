"""Limits on the way of a flow: on which device a limit is enforced, and for which VMs a device has meters.

A flow that crosses several devices (VMs on one bridge, uplink and queues on another) is under its limit once: on the
device nearest to its VM that has the limit and a meter for it (docs/decisions/0018). The devices between a VM and this
one are found with the VMs behind links (:mod:`flowlane.core.device.links`).

A limit that each VM has of its own, or that holds for some VMs of a device only, has a number in the standing rules.
The device finds the meter by that number and the VM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from flowlane.core.classify.matching import selects
from flowlane.core.device.links import has_senders
from flowlane.core.effects import VmMeter
from flowlane.core.model import LIMIT_BY_VM, NOT_A_VM, UNRESOLVED_VM
from flowlane.core.policy import LimitScope
from flowlane.core.state.meters import class_owner, vm_owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.policy import Policy, TrafficClass
    from flowlane.core.state.device import Device, State


def enforced_by(
    state: State, device: Device, number: int, name: str, key: bytes | None = None
) -> Device | None:
    """Find the device nearer to a VM that enforces the limit of a class for it; None: that is left to ``device``.

    Args:
        number: the VM's number.
        name: the class's name.
        key: the key of one flow; None: any flow.
    """
    return next(
        (other for other in _nearer(state, device, number) if _enforces(other, number, name, key)), None
    )


def _nearer(state: State, device: Device, number: int) -> tuple[Device, ...]:
    """List the devices that a VM's packets pass before this one, the VM's own first."""
    on_the_way = device.nearer.get(number)
    if on_the_way is not None:
        return on_the_way
    vm = state.vms.get(number)
    if vm is None or vm.dpid == device.dpid or number in device.port_vm.values():
        return ()
    own = state.devices.get(vm.dpid)
    return () if own is None else (own,)


def _enforces(other: Device, number: int, name: str, key: bytes | None) -> bool:
    """Whether a device has the limit of a class for a VM, and a meter for it; a device without meters has no limits."""
    traffic_class = next((found for found in other.policy.classes if found.name == name), None)
    if not other.connected or other.unusable or traffic_class is None or traffic_class.rate_limit is None:
        return False
    pool = other.meter_pool
    if traffic_class.limit_scope is LimitScope.CLASS:
        return class_owner(traffic_class) in pool.ids
    if not pool.is_full:
        return True
    if traffic_class.limit_scope is LimitScope.VM:
        return vm_owner(traffic_class, other.limit_owner(number)) in pool.ids
    row = other.flows.rows.get(key) if key is not None else None
    return key is None or (row is not None and other.flows.meter_id[row] != 0)


def find_enforced(state: State, device: Device) -> frozenset[tuple[str, int]]:
    """Find (class name, VM number) of the limits of VMs behind links that other devices enforce."""
    names = [item.name for item in device.policy.classes if item.rate_limit is not None]
    return frozenset(
        (name, number)
        for number in device.nearer
        for name in names
        if enforced_by(state, device, number, name)
    )


def groups_of_nics(state: State, device: Device) -> dict[int, int]:
    """Map the NICs of VMs that have several on a device to one of them, whose number stands for the VM.

    NICs of one VM have one ``vm-uuid``. Those behind the device's links count, too.
    """
    of_uuid: dict[str, list[int]] = {}
    for number in {*device.port_vm.values(), *device.nearer}:
        vm = state.vms.get(number)
        if vm is not None and vm.uuid:
            of_uuid.setdefault(vm.uuid, []).append(number)
    return {number: min(nics) for nics in of_uuid.values() if len(nics) > 1 for number in nics}


def limited_vms(state: State, device: Device, traffic_class: TrafficClass) -> Iterator[int]:
    """List the VMs whose packets may be of a class on a device, and that have their limit there, by number."""
    for number in sorted({*device.port_vm.values(), *device.nearer} - {NOT_A_VM}):
        state.pace()
        if (traffic_class.name, number) not in device.enforced_elsewhere and _may_have(
            state, device, number, traffic_class.index
        ):
            yield number


def _may_have(state: State, device: Device, number: int, class_index: int) -> bool:
    """Whether a rule, or a hint that is trusted, may give a VM's flows a class."""
    vm = state.vms.get(number)
    return (
        class_index == 0
        or device.classifier.may_give(class_index, vm)
        or any(class_index in entry.classes and selects(entry.vms, vm) for entry in device.policy.trust)
    )


def numbers(policy: Policy) -> dict[str, int]:
    """Map classes to the numbers of their limits: the same ones as long as a class has its name.

    Learned entries name them, so they do not depend on the order of classes.
    """
    taken: dict[int, str] = {}
    for name in sorted(item.name for item in policy.classes if item.rate_limit is not None):
        number = LIMIT_BY_VM | crc32(name.encode())
        while number in taken:
            number = LIMIT_BY_VM | number + 1 & 0xFFFFFFFF
        taken[number] = name
    return {name: number for number, name in taken.items()}


def is_by_vm(device: Device, traffic_class: TrafficClass) -> bool:
    """Whether the meter for a limit depends on the VM: each has its own, or some have it on another device."""
    if traffic_class.rate_limit is None or traffic_class.limit_scope is LimitScope.FLOW:
        return False
    if traffic_class.limit_scope is LimitScope.VM:
        return True
    return any(name == traffic_class.name for name, _ in device.enforced_elsewhere)


def vm_meters(state: State, device: Device) -> tuple[VmMeter, ...]:
    """List the meters of VMs for the limits that standing rules name by number."""
    pool, number_of = device.meter_pool, numbers(device.policy)
    found: list[VmMeter] = []
    for traffic_class in device.policy.classes:
        if not is_by_vm(device, traffic_class):
            continue
        vms = list(limited_vms(state, device, traffic_class))
        if traffic_class.limit_scope is LimitScope.CLASS:
            owners = dict.fromkeys((*vms, UNRESOLVED_VM), class_owner(traffic_class))
        else:
            owners = {vm: vm_owner(traffic_class, device.limit_owner(vm)) for vm in vms}
        limit = number_of[traffic_class.name]
        found += (
            VmMeter(limit, vm, pool.ids[owner])
            for vm, owner in owners.items()
            if owner in pool.standing_owners
        )
    return tuple(sorted(found))


def given_meter(device: Device, row: int) -> int:
    """Return the meter under which the device itself puts a flow; 0: none."""
    flows = device.flows
    given = flows.device_meter[row]
    if given < LIMIT_BY_VM:
        return given
    number, port = flows.vm_number[row], device.ports.get(flows.in_port[row])
    if port is not None and has_senders(device, port) and number not in port.vms_behind:
        number = UNRESOLVED_VM
    return device.vm_meters.get((given, number), 0)
