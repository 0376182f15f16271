"""VMs behind links: which VM sent a frame that came in from another bridge, by its source address and VLAN.

Several bridges of one host often share the work: VMs are on one, uplink and queues on another, with a pair of patch
ports between them. A flow is then its VM's on both. OVSDB names the peer of a patch port, so the VMs behind it are
those of the peer's bridge, and of the bridges behind that one. Behind any other link are the VMs whose address was
learned on it.

The VLAN of a frame on a link follows from the VLAN settings of the ports on its way (ovs-vswitchd.conf.db(5), table
Port, ``vlan_mode``). Where the switch tags what a VM sent without a tag, that tag is not part of the flow's key, so
that the flow has one id on all devices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.device.vlans import ANY, NATIVE, UNTAGGED, Vlan, entering, mode, sent_by
from flowlane.core.model import PortRole
from flowlane.core.pacing import paced
from flowlane.core.state.device import Due, put_off
from flowlane.core.state.links import LinkState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.model import PortFacts, Vm
    from flowlane.core.state.device import Device, Port, State

MAX_LEARNED = 64
"""Learned addresses of one VM that are looked for behind a link, beside those of OVSDB."""


class Origin(NamedTuple):
    """Who sent a frame, and the VLAN tag with which the VM itself sent it."""

    number: int
    vlan: int | None


class _Sender(NamedTuple):
    vm: Vm
    mac: int
    vlan: Vlan
    attached: bool
    through: tuple[Device, ...]
    """The devices from the VM's to the link, the VM's own first."""


def origin(state: State, device: Device, port: Port, mac: int, vlan: int | None) -> Origin | None:
    """Find the VM behind a link that sent a frame; None when none did.

    Args:
        vlan: VLAN id of the frame as it came in, None without a tag.
    """
    number = port.senders.get((mac, vlan or UNTAGGED))
    if number is not None:
        return Origin(number, None)
    number = port.senders.get((mac, ANY))
    if number is not None:
        return Origin(number, vlan)
    if is_known(state, device, port):
        return None
    owners = [state.vms[number] for number in state.macs.get(mac, ()) if number in state.vms]
    tagged = [vm for vm in owners if (vlan or UNTAGGED) in sent_in(state, vm)]
    if tagged:
        return Origin(tagged[0].number, None)
    return Origin(owners[0].number, vlan) if len(owners) == 1 else None


def native(port: Port, number: int, vlan: int | None) -> int | None:
    """Return the tag with which a VM behind a link sends what comes in by the link with a tag."""
    tag = vlan or UNTAGGED
    tags = {of_sender for (_, of_sender), sender in port.senders.items() if sender == number}
    return None if tag in tags else vlan


def is_known(state: State, device: Device, port: Port) -> bool:
    """Whether all VMs behind a port are known by OVSDB: it is a patch port to a bridge that is ours."""
    return peer_of(state, device, port) is not None


def has_senders(device: Device, port: Port) -> bool:
    """Whether frames that come in by a port may be flows of VMs behind it.

    By an uplink they are where flows towards VMs are placed: on the receiver's NIC.
    """
    return port.role is PortRole.LINK or (port.role is PortRole.UPLINK and device.queues_inward)


def refresh_senders(state: State, device: Device) -> None:
    """Find the VMs behind each link of a device anew, and the devices between them and this one."""
    device.nearer = {}
    device.queues_inward = device.queues_to_vms or any(
        other.queues_to_vms for other in neighbours(state, device)
    )
    owners = _LearnedOwners(state, device)
    for port in paced(device.ports.values(), state.pace):
        if has_senders(device, port):
            port.senders = {}
            senders = _behind(state, device, port, {device.dpid}, owners)
            for sender in sorted(senders, key=lambda sender: _weight(state, sender)):
                if sender.vm.dpid == device.dpid:
                    continue
                port.senders.setdefault((sender.mac, sender.vlan), sender.vm.number)
                device.nearer.setdefault(sender.vm.number, sender.through)
            port.vms_behind = frozenset(port.senders.values())
        elif port.senders:
            port.senders, port.vms_behind = {}, frozenset()
    device.has_links = any(_is_other_link(device, port) for port in device.ports.values())


def note_patch_ports(state: State, device: Device) -> None:
    """Note where the device's patch ports are, for the bridges at their other ends."""
    for port in device.ports.values():
        if port.facts is not None and port.facts.interface_type == "patch":
            state.patch_ports[host_of(device), port.name] = device.dpid, port.port_no


def neighbours(state: State, device: Device) -> list[Device]:
    """List the devices that a device is connected to by patch ports, directly or by others."""
    found, queue = {device.dpid: device}, [device]
    while queue:
        of_device = queue.pop()
        for port in [port for port in of_device.ports.values() if port.role is PortRole.LINK]:
            peer = peer_of(state, of_device, port)
            if peer is not None and peer[0].dpid not in found:
                found[peer[0].dpid] = peer[0]
                queue.append(peer[0])
    del found[device.dpid]
    return list(found.values())


def tell_others(state: State, device: Device, everywhere: bool) -> None:
    """Leave to the next catch-up what other devices plan for VMs of this one.

    Args:
        everywhere: also devices with links other than patch ports, whose other end is not known.
    """
    for other in neighbours(state, device):
        put_off(state, other, Due.PLAN)
    if everywhere:
        for other in state.devices.values():
            if other.has_links and other is not device:
                put_off(state, other, Due.PLAN)


def tell_knowing(state: State, device: Device, port: Port, mac: int, vlan: int | None) -> None:
    """Leave to the next catch-up what devices plan that have learned an address by a link before its VM was known.

    Args:
        vlan: the tag with which the VM sends.
    """
    vlans = {ANY, UNTAGGED, vlan, *sent_by(port.facts)}
    for other in state.devices.values():
        has_links = other.has_links and other is not device
        if has_links and any((mac, inside) in other.hosts for inside in vlans):
            put_off(state, other, Due.PLAN)


def _is_other_link(device: Device, port: Port) -> bool:
    return has_senders(device, port) and (port.facts is None or port.facts.interface_type != "patch")


def _weight(state: State, sender: _Sender) -> tuple[bool, float, int]:
    """Sort addresses of OVSDB before those that were learned, and of two VMs the one that is known longer first."""
    of_vm = state.claims.get(sender.vm.number)
    return not sender.attached, of_vm.since if of_vm is not None else 0.0, sender.vm.number


def host_of(device: Device) -> str:
    """Return the machine of a device: the names of patch ports repeat on others."""
    return device.described.host if device.described is not None else ""


def peer_of(state: State, of_device: Device, port: Port) -> tuple[Device, Port] | None:
    """Find the other end of a patch port; None when the bridge there is not known."""
    if port.role is not PortRole.LINK or port.facts is None or port.facts.interface_type != "patch":
        return None
    name = port.facts.options.get("peer", "")
    dpid, port_no = state.patch_ports.get((host_of(of_device), name), (0, 0))
    device = state.devices.get(dpid) or state.unattached.get(dpid)
    peer = device.ports.get(port_no) if device is not None else None
    return (device, peer) if device is not None and peer is not None and peer.name == name else None


class _LearnedOwners:
    """The VMs whose addresses were learned on their ports of other devices; found once for all links of a device."""

    def __init__(self, state: State, device: Device) -> None:
        self._state, self._device = state, device
        self._owners: dict[int, dict[int, None]] | None = None

    def of(self, mac: int) -> tuple[int, ...]:
        if self._owners is None:
            self._owners = {}
            for other in self._state.devices.values():
                for (learned, _), port_no in other.hosts.items() if other is not self._device else ():
                    if port_no in other.port_vm:
                        self._owners.setdefault(learned, {})[other.port_vm[port_no]] = None
        return tuple(self._owners.get(mac, ()))


def _behind(
    state: State, device: Device, port: Port, seen: set[int], owners: _LearnedOwners
) -> Iterator[_Sender]:
    """List who may send frames that come in by a link, with the VLAN that they have there."""
    peer = peer_of(state, device, port)
    if peer is None:
        if _is_other_link(device, port):
            yield from _learned_behind(state, device, port, owners)
        return
    other, end = peer
    if other.dpid in seen:
        return
    seen = seen | {other.dpid}
    for sender in _senders_on(state, other):
        yield from _leaving(end.facts, sender)
    for link in other.ports.values():
        if has_senders(other, link) and link is not end:
            for sender in _behind(state, other, link, seen, owners):
                farther = sender._replace(through=(*sender.through, other))
                for inside in entering(link.facts, sender.vlan):
                    yield from _leaving(end.facts, farther._replace(vlan=inside))


def _senders_on(state: State, device: Device) -> Iterator[_Sender]:
    """List the VMs of a device with their addresses and the VLANs inside of the bridge."""
    learned: dict[int, list[int]] = {}
    for (mac, _), port_no in device.hosts.items():
        learned.setdefault(port_no, []).append(mac)
    for port_no, number in device.port_vm.items():
        vm, port = state.vms.get(number), device.ports.get(port_no)
        if vm is None or port is None:
            continue
        macs = dict.fromkeys(learned.get(port_no, ())[:MAX_LEARNED], False) | dict.fromkeys(vm.macs, True)
        for mac, attached in macs.items():
            for vlan in sent_by(port.facts):
                yield _Sender(vm, mac, vlan, attached, (device,))


def _learned_behind(state: State, device: Device, port: Port, learned: _LearnedOwners) -> Iterator[_Sender]:
    """List the VMs of other devices whose address was learned on a link."""
    of_bond, nearer = device.of_bond(port.port_no), _towards(state, device, port)
    for mac in dict.fromkeys(mac for (mac, _), learned_on in device.hosts.items() if learned_on == of_bond):
        numbers = state.macs.get(mac) or learned.of(mac)
        owners = [vm for number in numbers if (vm := state.vms.get(number)) and vm.dpid != device.dpid]
        for vm in owners:
            tags = sent_in(state, vm)
            for vlan in tags if len(owners) > 1 else {*tags, ANY}:
                yield _Sender(vm, mac, vlan, True, _through(state, nearer, vm.dpid))


def _towards(state: State, device: Device, port: Port) -> dict[int, int]:
    """Map each device that is reached by the links of a port to the next one towards ``device``; 0 for none."""
    found = {
        dpid: 0
        for dpid, link in _linked(state, device)
        if device.of_bond(link) == device.of_bond(port.port_no) and dpid != device.dpid
    }
    queue = list(found)
    for dpid in queue:
        if dpid in state.devices:
            for other, _ in _linked(state, state.devices[dpid]):
                if other not in found and other != device.dpid:
                    found[other] = dpid
                    queue.append(other)
    return found


def _linked(state: State, device: Device) -> Iterator[tuple[int, int]]:
    """List the devices to which links of a device lead, with the number of its port."""
    for port_no, links in state.links.get(device.dpid, {}).items():
        for link in links:
            if link.state is LinkState.UP:
                yield link.other((device.dpid, port_no))[0], port_no
    for port in device.ports.values():
        peer = peer_of(state, device, port)
        if peer is not None:
            yield peer[0].dpid, port.port_no


def _through(state: State, nearer: dict[int, int], dpid: int) -> tuple[Device, ...]:
    """List the connected devices from one to that before ours; the first one only where no links are known."""
    passed = []
    while dpid:
        if dpid in state.devices:
            passed.append(state.devices[dpid])
        dpid = nearer.get(dpid, 0)
    return tuple(passed)


def sent_in(state: State, vm: Vm) -> set[Vlan]:
    """List the VLANs of a VM's packets inside of its bridge."""
    device = state.devices.get(vm.dpid) or state.unattached.get(vm.dpid)
    port = device.ports.get(vm.port_no) if device is not None else None
    return set(sent_by(port.facts)) if port is not None else {ANY}


def _leaving(facts: PortFacts | None, sender: _Sender) -> Iterator[_Sender]:
    """Yield the sender with the tag that its frames have when they leave a bridge by a port, if they do."""
    of_port, vlan = mode(facts), sender.vlan
    if facts is None or vlan is ANY:
        yield sender if of_port not in ("access", "dot1q-tunnel") else sender._replace(vlan=UNTAGGED)
        return
    is_native = vlan == (facts.tag or UNTAGGED)
    if of_port in ("access", "dot1q-tunnel"):
        if is_native:
            yield sender._replace(vlan=UNTAGGED if of_port == "access" else ANY)
    elif of_port in NATIVE and is_native:
        yield sender._replace(vlan=UNTAGGED if of_port == "native-untagged" else vlan)
    elif not facts.trunks or vlan in facts.trunks:
        yield sender
