"""Who sits where: source addresses that packets showed, and which VM sent a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.model import NOT_A_VM, PortRole

if TYPE_CHECKING:
    from flowlane.core.frame import Frame
    from flowlane.core.state.device import Device, Port, State

MAX_HOSTS_PER_PORT = 4096
"""A port that shows more addresses than this is flooding us; further ones are not learnt."""


def learn_address(state: State, device: Device, port: Port, frame: Frame) -> bool:
    """Learn where a frame's source address is; True when that is news, and the plan should follow.

    An address that OVSDB gives to a VM is not moved by a packet that carries it elsewhere (anti-spoofing).
    """
    if frame.eth_src[0] & 1:
        return False
    mac = int.from_bytes(frame.eth_src)
    if device.hosts.get(mac) == port.port_no or not _may_send(state, device, port, mac):
        return False
    if port.host_count >= MAX_HOSTS_PER_PORT:
        return False
    before = device.ports.get(device.hosts.get(mac, -1))
    if before is not None:
        before.host_count -= 1
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
    """Forget the addresses that were behind a port."""
    for mac in [mac for mac, place in device.hosts.items() if place == port_no]:
        del device.hosts[mac]


def sender(state: State, device: Device, port: Port, frame: Frame) -> int:
    """The number of the VM that sent a frame; NOT_A_VM when no VM did, or one whose address it is not."""
    if port.role is PortRole.LINK:
        return state.macs.get(int.from_bytes(frame.eth_src), NOT_A_VM)
    if port.role is not PortRole.VM:
        return NOT_A_VM
    number = device.port_vm.get(port.port_no, NOT_A_VM)
    vm = state.vms.get(number)
    if vm is None or (vm.macs and int.from_bytes(frame.eth_src) not in vm.macs):
        return NOT_A_VM
    return number
