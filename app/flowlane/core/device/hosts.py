"""Learned addresses: on which port a source address was seen, and which VM sent a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.model import NOT_A_VM, PortRole

if TYPE_CHECKING:
    from flowlane.core.frame import Frame
    from flowlane.core.state.device import Device, Port, State

MAX_HOSTS_PER_PORT = 4096
"""A port with more source addresses than this floods the controller; further ones are not learned."""


def learn_address(state: State, device: Device, port: Port, frame: Frame) -> bool:
    """Learn on which port a frame's source address is.

    An address that OVSDB gives to a VM stays with the VM, whichever port a packet with it comes from (anti-spoofing).

    Returns:
        Whether the address is new or has moved, so that the plan changes.
    """
    if frame.eth_src[0] & 1 or port.role is PortRole.IGNORE:
        return False
    mac = int.from_bytes(frame.eth_src)
    if device.hosts.get(mac) == port.port_no or not _may_send(state, device, port, mac):
        return False
    if port.host_count >= MAX_HOSTS_PER_PORT:
        return False
    old_port = device.ports.get(device.hosts.get(mac, -1))
    if old_port is not None:
        old_port.host_count -= 1
    device.hosts[mac] = port.port_no
    port.host_count += 1
    return True


def _may_send(state: State, device: Device, port: Port, mac: int) -> bool:
    owner = state.vms.get(state.macs.get(mac, NOT_A_VM))
    if owner is not None and owner.dpid == device.dpid:
        return owner.port_no == port.port_no
    if port.role is PortRole.VM:
        vm = state.vms.get(device.port_vm.get(port.port_no, NOT_A_VM))
        return vm is None or not vm.macs
    return True


def drop_port_hosts(device: Device, port_no: int) -> None:
    """Remove the addresses that were learned on a port."""
    for mac in [mac for mac, learned_on in device.hosts.items() if learned_on == port_no]:
        del device.hosts[mac]


def move_port_hosts(device: Device, old: int, new: int) -> None:
    """Have the addresses that were learned on a port count for another one."""
    for mac in [mac for mac, learned_on in device.hosts.items() if learned_on == old]:
        device.hosts[mac] = new


def sender(state: State, device: Device, port: Port, frame: Frame) -> int:
    """Find the number of the VM that sent a frame; NOT_A_VM when no VM did, or one with another address."""
    if port.role is PortRole.LINK:
        return state.macs.get(int.from_bytes(frame.eth_src), NOT_A_VM)
    if port.role is not PortRole.VM:
        return NOT_A_VM
    number = device.port_vm.get(port.port_no, NOT_A_VM)
    vm = state.vms.get(number)
    if vm is None or (vm.macs and int.from_bytes(frame.eth_src) not in vm.macs):
        return NOT_A_VM
    return number
