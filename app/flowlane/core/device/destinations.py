"""Destinations of a device: behind which port each address is, by OVSDB, by its ports, and by what packets showed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.device.vlans import ANY, Vlan, entering, sent_by, tags
from flowlane.core.effects import VlanHost
from flowlane.core.pacing import paced

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from flowlane.core.effects import DevicePlan
    from flowlane.core.model import Vm
    from flowlane.core.state.device import Device, Port, State

MAX_IN_VLANS = 256
"""Addresses that several hosts have in different VLANs, on one device; each takes entries for every port."""

_Places = dict[int, dict[Vlan, int]]
"""MAC address -> VLAN inside of the bridge (ANY: the others) -> port."""


def find(state: State, device: Device) -> tuple[tuple[tuple[int, int], ...], tuple[VlanHost, ...]]:
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


def _places(state: State, device: Device, only: Collection[int] | None = None) -> _Places:
    """Find where each address is; for the host and its VMs, OVSDB and the port count over what packets showed.

    Args:
        only: the addresses to find; None: all.
    """
    stated: _Places = {}
    stating = [port for port in device.ports.values() if port.senders or has_own_address(port)]
    for port in paced(stating, state.pace):
        if port.report is not None and has_own_address(port) and _is_in(port.report.mac, only):
            stated.setdefault(port.report.mac, {}).update(dict.fromkeys(sent_by(port.facts), port.port_no))
        for (mac, tag), number in port.senders.items():
            if number in device.away or not _is_in(mac, only) or not _is_there(state, device, number):
                continue
            of_bond = device.of_bond(port.port_no)
            stated.setdefault(mac, {}).update(dict.fromkeys(entering(port.facts, tag), of_bond))
    state.pace()
    for vm in paced(_vms_here(state, device, only), state.pace):
        attached = device.ports.get(vm.port_no)
        for mac in vm.macs if only is None else set(vm.macs).intersection(only):
            of_mac = stated.setdefault(mac, {})
            for vlan in sent_by(attached.facts if attached is not None else None):
                of_mac.setdefault(vlan, vm.port_no)
    places: _Places = {}
    state.pace()
    learned = [item for item in device.hosts.items() if only is None or item[0][0] in only]
    for (mac, vlan), port_no in paced(learned, state.pace):
        if port_no in device.ports and ANY not in stated.get(mac, ()) and not (vlan is ANY and mac in stated):
            places.setdefault(mac, {})[vlan] = port_no
    for mac, of_mac in stated.items():
        places.setdefault(mac, {}).update(of_mac)
    return places


def _is_in(mac: int, only: Collection[int] | None) -> bool:
    return only is None or mac in only


def _is_there(state: State, device: Device, number: int) -> bool:
    """Whether a VM that may send by a link is behind it now, and not on another host, where a port claims it, too."""
    vm, through = state.vms.get(number), device.nearer.get(number, ())
    return vm is None or not through or through[0].dpid == vm.dpid


def _vms_here(state: State, device: Device, only: Collection[int] | None) -> list[Vm]:
    """List the VMs that are on a device, and not announced elsewhere; the ones that are known longest come first.

    Args:
        only: addresses of which they have one; None: any.
    """
    numbers = set(device.port_vm.values()) - device.away.keys()
    if only is not None:
        numbers &= {number for mac in only for number in state.macs.get(mac, ())}
    found = sorted(
        (state.claims[number].since, number, vm)
        for number in paced(numbers, state.pace)
        if (vm := state.vms.get(number)) is not None and vm.dpid == device.dpid
    )
    return [vm for _, _, vm in found]


def has_own_address(port: Port) -> bool:
    """Whether it is the bridge's own port, whose address the switch reports."""
    report = port.report
    return report is not None and report.is_local and report.mac != 0


def with_ports(
    state: State, device: Device, plan: DevicePlan, numbers: Collection[int], macs: Iterable[int]
) -> tuple[tuple[tuple[int, int], ...], tuple[VlanHost, ...]]:
    """List the destinations of the plan, with those anew that may be other ones since some ports have changed."""
    anew = {*macs, *(mac for mac, port_no in plan.hosts if port_no in numbers)}
    anew.update(mac for (mac, _), port_no in device.hosts.items() if port_no in numbers)
    places = _places(state, device, anew)
    if plan.vlan_hosts or any(len(set(ports.values())) > 1 for ports in places.values()):
        return find(state, device)
    hosts = [host for host in plan.hosts if host[0] not in anew]
    hosts += [(mac, next(iter(ports.values()))) for mac, ports in places.items()]
    return tuple(sorted(hosts)), ()
