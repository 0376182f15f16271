"""Connections of devices: a device that is new, waits for its database, is gone, or shares its dpid with another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.classify.classifier import compile_rules
from flowlane.core.device import unattached
from flowlane.core.device.links import tell_others
from flowlane.core.effects import Effect, Report
from flowlane.core.state.device import Device, Due, State, put_off

if TYPE_CHECKING:
    from flowlane.core.classify.classifier import Classifier
    from flowlane.core.events import DeviceDown, DeviceWaits, DpidShared
    from flowlane.core.policy import Policy


def classifier_of(state: State, policy: Policy) -> Classifier:
    """Return the classifier of a policy, which devices with equal rules share."""
    state.classifier = compile_rules(policy, state.classifier, state.pace)
    return state.classifier


def known_device(state: State, dpid: int) -> Device:
    """Return a device, which is made where it is new."""
    if dpid not in state.devices:
        device = state.devices[dpid] = Device(dpid, state.policy, classifier_of(state, state.policy))
        device.described = state.described.get(dpid)
        unattached.attach(state, device)
    return state.devices[dpid]


def on_device_waits(state: State, event: DeviceWaits, out: list[Effect]) -> None:
    """Note a device that is left as it is until its database has been read."""
    device = known_device(state, event.dpid)
    device.awaits_database, device.since, device.peer = True, state.now, event.peer
    device.name = name_of(device)
    text, why = f"is connected from {event.peer} and waits for its database", "until then it stays as it is"
    out.append(report_connection(device, "waits", text, why))


def on_device_down(state: State, event: DeviceDown, out: list[Effect]) -> None:
    """Note the end of a connection; the device keeps forwarding, and its flows stay listed."""
    device = state.devices.get(event.dpid)
    if device is not None and device.awaits_database:
        device.awaits_database, device.since = False, state.now
    if device is None or not device.connected:
        return
    device.connected = False
    device.since = state.now
    device.known_senders.clear()
    if device.described is None:
        put_off(state, device, Due.ALL)  # Its VMs may be elsewhere by now.
    tell_others(state, device, everywhere=True)
    out.append(report_connection(device, "down", "is gone", event.why or "its connection has ended"))


def on_dpid_shared(state: State, event: DpidShared, out: list[Effect]) -> None:
    """Note, and report once, that several switches have the dpid of a device."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    if event.peers and not device.rivals:
        text = (
            f"{device.name}: several switches connect with this dpid in turns, from {', '.join(event.peers)}"
        )
        out.append(Report("error", text, {"device": f"{device.dpid:016x}", "change": "dpid shared"}))
    device.rivals = event.peers


def report_connection(device: Device, change: str, text: str, why: str = "") -> Report:
    """Make the report of a change of a device's connection."""
    dpid = f"{device.dpid:016x}"
    name = dpid if device.name == dpid else f"{device.name} ({dpid})"
    data = {"device": dpid, "change": change, "peer": device.peer, "why": why}
    return Report("device", f"{name} {text}{f': {why}' if why else ''}", data)


def name_of(device: Device) -> str:
    """Return the bridge's name from OVSDB, else the datapath id."""
    return device.described.name if device.described else f"{device.dpid:016x}"
