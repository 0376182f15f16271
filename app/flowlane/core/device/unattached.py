"""Bridges that have no connection to the controller, behind patch ports of those that have: their VMs, by OVSDB alone.

An operator may attach the bridge with the uplink and leave the one with the VMs to another controller; after a restart
of the controller one of them connects first. Flows of these VMs are theirs on the attached bridge all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.classify.classifier import compile_rules
from flowlane.core.device.links import host_of, note_patch_ports
from flowlane.core.device.ports import port_views, refresh_ports
from flowlane.core.device.roles import IDENTITY_KEYS, infer_device_role
from flowlane.core.device.vms import detach_all, refresh_vms
from flowlane.core.model import NO_IDS, PortReport, PortRole
from flowlane.core.state.device import Device, Due, put_off

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.effects import Effect
    from flowlane.core.events import DeviceDescribed
    from flowlane.core.state.device import State

PATCH = "patch"


def follow(state: State, device: Device, out: list[Effect]) -> None:
    """Make the bridges behind a device's patch ports known, as far as they are described and not connected."""
    wanted = [facts for port in device.ports.values() if (facts := port.facts) is not None]
    while wanted:
        facts = wanted.pop()
        peer = facts.options.get("peer", "")
        known = state.patch_ports.get((host_of(device), peer), (0, 0))
        if facts.interface_type != PATCH or known[0] in state.devices:
            continue
        bridge = _bridge_with(state, host_of(device), peer)
        if bridge is not None and bridge.dpid not in state.devices and bridge.dpid not in state.unattached:
            _describe(state, bridge, out)
            wanted.extend(bridge.ports.values())


def on_described(state: State, event: DeviceDescribed, out: list[Effect]) -> set[int]:
    """Take in what OVSDB reports about a bridge without a connection; return the numbers of VMs that have changed."""
    if event.dpid in state.unattached:
        changed = _describe(state, event, out)
        _plan_again(state, Due.PLAN)
        return changed
    if any(facts.interface_type == PATCH for facts in event.ports.values()):
        _plan_again(state, Due.ALL)
    return set()


def forget(state: State, dpid: int, out: list[Effect]) -> None:
    """Drop a bridge that is gone from OVSDB, with its VMs."""
    bridge = state.unattached.pop(dpid, None)
    if bridge is not None:
        detach_all(state, bridge, out)
        _plan_again(state, Due.PLAN)


def attach(state: State, device: Device) -> None:
    """Give a device that has connected for the first time the VMs that are known to be on it."""
    bridge = state.unattached.pop(device.dpid, None)
    if bridge is not None:
        device.port_vm, device.claims = bridge.port_vm, bridge.claims


def _plan_again(state: State, what: Due) -> None:
    """Leave to the next catch-up what devices with patch ports plan."""
    for device in state.devices.values():
        if any(
            port.facts is not None and port.facts.interface_type == PATCH for port in device.ports.values()
        ):
            put_off(state, device, what)


def _describe(state: State, event: DeviceDescribed, out: list[Effect]) -> set[int]:
    bridge = state.unattached.get(event.dpid)
    if bridge is None:
        bridge = Device(
            event.dpid, state.policy, compile_rules(state.policy, state.classifier), name=event.name
        )
        state.unattached[event.dpid] = bridge
    bridge.described = event
    bridge.reported_ports = {
        number: PortReport(number, facts.name, facts.mac, is_local=facts.name == event.name)
        for number, facts in event.ports.items()
    }
    bridge.role = infer_device_role(port_views(bridge).values())
    unused: list[Effect] = []
    refresh_ports(bridge, (), state.now, unused)
    note_patch_ports(state, bridge)
    for port in bridge.ports.values():
        ids = port.facts.external_ids if port.facts is not None else NO_IDS
        if port.role is PortRole.VM and not any(ids.get(key) for key in IDENTITY_KEYS):
            port.role = PortRole.IGNORE
    return refresh_vms(state, bridge, out)


def _bridge_with(state: State, host: str, name: str) -> DeviceDescribed | None:
    """Find the bridge of a machine that has an interface of a name."""
    described: Iterable[DeviceDescribed] = (event for event in state.described.values() if event.host == host)
    return next(
        (event for event in described if any(facts.name == name for facts in event.ports.values())), None
    )
