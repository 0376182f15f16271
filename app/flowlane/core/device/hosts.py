"""Learned addresses: on which port a source address was seen, and which VM sent a frame."""

from __future__ import annotations

from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING

from flowlane.core.classify.matching import selects
from flowlane.core.device.links import Origin, has_senders, is_known, origin, sent_in
from flowlane.core.device.vlans import ANY, UNTAGGED, Vlan, entering
from flowlane.core.effects import Report
from flowlane.core.flowkey import format_mac
from flowlane.core.model import NOT_A_VM, PortRole
from flowlane.core.policy import PortSecurity

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.frame import Frame
    from flowlane.core.model import Vm
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import Device, Port, State

MAX_HOSTS_PER_PORT = 4096
"""A port with more source addresses than this floods the controller; further ones are not learned."""

MAX_HOSTS_OF_VM = 256
"""The same for the port of a VM, which may have nested ones; what is sent to others has the queue of its prediction."""

MAX_OTHER_MACS = 64
"""Source addresses beside the VM's own that are listed for a port; further ones are not reported."""

OTHER_ADDRESS = "other-address"
"""``change`` of the report of such an address."""


class Learned(IntEnum):
    """What a frame showed of where its source address is."""

    NOTHING = 0
    NEW = 1
    MOVED = 2


def learn_address(state: State, device: Device, port: Port, frame: Frame) -> Learned:
    """Learn on which port a frame's source address is.

    An address that OVSDB gives to a VM stays with the VM, whichever port a packet with it comes from (anti-spoofing).
    Another address from a VM's port is learned unless the policy's port security is strict.

    Returns:
        Whether the address is new or has moved, so that the plan changes.
    """
    mac, vlans = int.from_bytes(frame.eth_src), vlans_of(device, port, frame)
    if frame.eth_src[0] & 1 or port.role is PortRole.IGNORE or not vlans:
        return Learned.NOTHING
    place = mac, vlans[0]
    if device.hosts.get(place) == port.port_no:
        device.host_seen[place] = state.now
        if device.doubtful:
            device.doubtful.pop(mac, None)
        return Learned.NOTHING
    # After a restart the VLANs of addresses are not known, until these send again.
    old_place = place if place in device.hosts else (mac, ANY)
    old_port = device.ports.get(device.hosts.get(old_place, -1))
    most = MAX_HOSTS_OF_VM if port.role is PortRole.VM else MAX_HOSTS_PER_PORT
    is_full = port.host_count >= most and old_port is not port
    if is_full or not _may_send(state, device, port, *place):
        return Learned.NOTHING
    if old_port is not None:
        old_port.host_count -= 1
    device.hosts.pop(old_place, None)
    device.host_seen.pop(old_place, None)
    device.hosts[place], device.host_seen[place] = port.port_no, state.now
    port.host_count += 1
    if old_port is not None and old_port is not port:
        return Learned.MOVED
    return Learned.NEW


def vlans_of(device: Device, port: Port, frame: Frame) -> tuple[Vlan, ...]:
    """Return the VLAN inside of the bridge of a frame that came in by a port; none if the bridge drops it.

    A device with forwarding of its own knows no VLANs.
    """
    return entering(port.facts, frame.vlan or UNTAGGED) if device.capabilities.normal else (ANY,)


def port_of(device: Device, port: Port, frame: Frame) -> int | None:
    """Return the port on which the destination of a frame was learned, in the frame's VLAN; None when on none."""
    mac = int.from_bytes(frame.eth_dst)
    places = (device.hosts.get((mac, vlan)) for vlan in (*vlans_of(device, port, frame), ANY))
    return next((port_no for port_no in places if port_no is not None), None)


def _may_send(state: State, device: Device, port: Port, mac: int, vlan: Vlan) -> bool:
    """Whether an address may be learned on a port: not one that OVSDB gives to another VM in the same VLAN."""
    owners = [
        vm
        for number in state.macs.get(mac, ())
        if (vm := state.vms.get(number)) is not None
        and (vlan is ANY or not sent_in(state, vm).isdisjoint((vlan, ANY)))
    ]
    here = [vm for vm in owners if vm.dpid == device.dpid]
    if here:
        places = {(device.away.get(vm.number), vm.port_no) for vm in here}
        return any(port.port_no in place for place in places)
    if _is_of_another_bridge(state, device, port, mac, vlan):
        return False
    vm = state.vm_on(device.dpid, port.port_no) if port.role is PortRole.VM else None
    if vm is None or not vm.macs or mac in allowed_macs(device.policy, vm):
        return True
    return not owners and device.policy.port_security is not PortSecurity.STRICT


def _is_of_another_bridge(state: State, device: Device, port: Port, mac: int, vlan: Vlan) -> bool:
    """Whether an address is a VM's on a bridge behind a patch port, and comes in by another port.

    What the VM sends to all may come back by the standby member of a bond, where Open vSwitch drops it.
    """
    if port.role is not PortRole.UPLINK:
        return False
    for other in device.ports.values():
        places = ((mac, tag) for tag in dict.fromkeys((ANY, UNTAGGED, vlan)))
        number = next((of for place in places if (of := other.senders.get(place))), NOT_A_VM)
        if number != NOT_A_VM and other is not port and is_known(state, device, other):
            return number not in device.away
    return False


def allowed_macs(policy: Policy, vm: Vm) -> tuple[int, ...]:
    """List the source addresses of a VM: those of OVSDB and of the policy; empty where OVSDB gives it none."""
    if not vm.macs:
        return ()
    extra = (entry.macs for entry in policy.extra_addresses if selects(entry.vms, vm))
    return tuple(sorted({*vm.macs, *(mac for macs in extra for mac in macs)}))


def note_address(state: State, device: Device, port: Port, frame: Frame, out: list[Effect]) -> None:
    """Report a source address that is not among those of the port's VM, once for each port and address."""
    vm = state.vm_on(device.dpid, port.port_no) if port.role is PortRole.VM else None
    mode, mac = device.policy.port_security, int.from_bytes(frame.eth_src)
    if vm is None or not vm.macs or mac in vm.macs or mac in port.other_macs or mode is PortSecurity.OFF:
        return
    if len(port.other_macs) >= MAX_OTHER_MACS or mac in allowed_macs(device.policy, vm):
        return
    port.other_macs[mac] = None
    done = "dropped" if mode is PortSecurity.STRICT else "forwarded as the VM's"
    text = (
        f"VM {vm.name} on port {port.name} of {device.name} sends with source address {format_mac(mac)}, which is "
        f"not its own; such frames are {done} (port-security: {mode.value})"
    )
    data = {"vm": vm.id, "device": f"{device.dpid:016x}", "port": port.name, "change": OTHER_ADDRESS}
    out.append(Report("vm", text, {**data, "mac": format_mac(mac), "port_security": mode.value}))


def drop_port_hosts(device: Device, port_no: int) -> None:
    """Remove the addresses that were learned on a port."""
    for place in [place for place, learned_on in device.hosts.items() if learned_on == port_no]:
        del device.hosts[place]
        device.host_seen.pop(place, None)
    for number in [number for number, away in device.away.items() if away == port_no]:
        del device.away[number]
    if port_no in device.ports:
        device.ports[port_no].host_count = 0


def set_aside_port_hosts(device: Device, port_no: int) -> None:
    """Remove the addresses of a port whose link is down, and keep them for when a flow from there goes on."""
    places = [place for place, learned_on in device.hosts.items() if learned_on == port_no]
    if places:
        device.set_aside.setdefault(port_no, {}).update(dict.fromkeys(places, inf))
    drop_port_hosts(device, port_no)


def note_sending(device: Device, port_no: int, since: float, now: float) -> bool:
    """Note that a flow from a port has gone on since a time; return whether the port has its addresses again.

    Its packets have entries and are not copied, so that nothing else shows that its sender is where it was.
    """
    port, places = device.ports.get(port_no), device.set_aside.get(port_no)
    if port is None or places is None or not port.up or since <= max(places.values()):
        return False
    del device.set_aside[port_no]
    back = [place for place in places if place not in device.hosts]
    device.hosts.update(dict.fromkeys(back, port_no))
    device.host_seen.update(dict.fromkeys(back, now))
    port.host_count += len(back)
    return bool(back)


def move_port_hosts(device: Device, old: int, new: int) -> None:
    """Have the addresses that were learned on a port count for another one."""
    places = [place for place, learned_on in device.hosts.items() if learned_on == old]
    device.hosts.update(dict.fromkeys(places, new))
    device.ports[new].host_count += len(places)
    device.ports[old].host_count = 0


def sender(state: State, device: Device, port: Port, frame: Frame) -> Origin | None:
    """Find the VM that sent a frame; None when no VM did, or the device has dropped it."""
    mac = int.from_bytes(frame.eth_src)
    if has_senders(device, port):
        return origin(state, device, port, mac, frame.vlan)
    if port.role is not PortRole.VM:
        return None
    number = device.port_vm.get(port.port_no, NOT_A_VM)
    vm = state.vms.get(number)
    if vm is None:
        return None
    allowed = allowed_macs(device.policy, vm) if device.policy.port_security is PortSecurity.STRICT else ()
    return None if allowed and mac not in allowed else Origin(number, frame.vlan)
