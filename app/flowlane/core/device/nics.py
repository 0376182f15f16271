"""NICs of one virtual machine, and the paths to the network that they are: direct (SR-IOV) and software.

NICs belong together by ``vm-uuid``. Without one, a failover pair does: the direct and the software path of one host
with one address, as libvirt's ``<teaming>`` and virtio-net's ``VIRTIO_NET_F_STANDBY`` make it (Linux,
Documentation/networking/net_failover.rst). The pair may have one ``iface-id``, too: it is one VM with two ports then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.device.links import host_of
from flowlane.core.model import Role
from flowlane.core.state.device import device_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.model import Vm
    from flowlane.core.state.device import Device, Port, State

PATHS = frozenset((Role.NIC, Role.VSWITCH))
"""Roles of the devices of a direct and a software path."""


class Nic(NamedTuple):
    """An interface of a virtual machine, where it is; ``port`` is None while the device does not have it."""

    vm: Vm
    device: Device
    port: Port | None

    @property
    def is_up(self) -> bool:
        """Whether it can send: its device is connected, and the link of its port is up."""
        return self.device.connected and self.port is not None and self.port.up


def are_paths(state: State, one: Vm, other: Vm) -> bool:
    """Whether two places of VMs are the direct and the software path of one host."""
    devices = device_of(state, one.dpid), device_of(state, other.dpid)
    if devices[0] is None or devices[1] is None or devices[0] is devices[1]:
        return False
    host = host_of(devices[0])
    return host != "" and host == host_of(devices[1]) and {devices[0].role, devices[1].role} == PATHS


def is_one_vm(state: State, vm: Vm, other: Vm) -> bool:
    """Whether two NICs are of one virtual machine: by ``vm-uuid``, else as the two paths of one address."""
    if vm.uuid and other.uuid:
        return vm.uuid == other.uuid
    return not {*vm.macs}.isdisjoint(other.macs) and are_paths(state, vm, other)


def other_nics(state: State, vm: Vm) -> list[Vm]:
    """List the other NICs of a VM, and the other ports of one that is the direct and the software path."""
    numbers = dict.fromkeys(state.nics.get(vm.uuid, ())) if vm.uuid else {}
    for mac in vm.macs:
        numbers |= dict.fromkeys(state.macs.get(mac, ()))
    found = [
        other
        for number in numbers
        if number != vm.number
        and (other := state.vms.get(number)) is not None
        and is_one_vm(state, vm, other)
    ]
    of_vm = state.claims.get(vm.number)
    if of_vm is not None and len(of_vm.claims) > 1:
        found += [one.vm for one in of_vm.claims if are_paths(state, vm, one.vm)]
    return found


def paths_of(state: State, vm: Vm) -> Iterator[Nic]:
    """Yield the interfaces of a VM that has several, itself first; nothing for a VM with one."""
    others = other_nics(state, vm)
    for nic in (vm, *others) if others else ():
        device = device_of(state, nic.dpid)
        if device is not None:
            yield Nic(nic, device, device.ports.get(nic.port_no))
