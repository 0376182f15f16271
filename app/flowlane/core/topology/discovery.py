"""Discovery of links: which ports send probes and when, and the links that received probes show.

A probe is an LLDP frame (IEEE 802.1AB) that a device sends by a port towards the network, and that the device at the
other end copies to the controller. Ports of VMs send none. Its address is one that no bridge forwards, so a probe
crosses one cable and no switch. A patch port needs none, since OVSDB names its peer.

A link is down as soon as a port at one of its ends is. Where no port reports a failure, it is unconfirmed when probes
have stayed out for :data:`HOLD` seconds; it is not called down, since copies to the controller may be lost instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.device.quotas import note_copy
from flowlane.core.device.roles import TUNNELS
from flowlane.core.effects import ProbeLinks, Report
from flowlane.core.events import NO_SENDER
from flowlane.core.model import NOT_A_VM, PortRole
from flowlane.core.pacing import paced
from flowlane.core.state.device import Due, put_off
from flowlane.core.state.links import LinkState, SeenLink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.effects import Effect
    from flowlane.core.events import LinkSeen
    from flowlane.core.state.device import Device, Port, State
    from flowlane.core.state.links import End

INTERVAL = 30.0
"""Seconds between two probes of a port (IEEE 802.1AB-2016, 9.2.5.7, msgTxInterval)."""

FAST_INTERVAL, FAST_PROBES = 1.0, 4
"""Seconds between the first probes, after a port came up or a neighbour was found, and their number (ibid.,
msgFastTx and txFastInit)."""

HOLD = 4 * INTERVAL
"""Seconds after the last probe until a link is unconfirmed (ibid., 9.2.5.6, msgTxHold)."""


def on_link_seen(state: State, event: LinkSeen, out: list[Effect]) -> None:
    """Take in a probe: the port where it came in has a link to the port that sent it."""
    end, sender = (event.dpid, event.port_no), (event.from_dpid, event.from_port)
    if sender == NO_SENDER and (device := state.devices.get(event.dpid)) is not None:
        note_copy(state, device, device.port_vm.get(event.port_no, NOT_A_VM), False, out)
        return
    port = _port_at(state, end)
    if port is None or _port_at(state, sender) is None or not _may_be_link(port):
        return
    ends = (end, sender) if end < sender else (sender, end)
    link = next((known for known in links_at(state, end) if known.ends == ends), None)
    if link is None:
        link = _add(state, ends, out)
        for of_link in {*ends}:
            _expect_more(state, of_link)
    port.has_neighbour, link.probed[end] = True, state.now
    _set_state(state, link, _state_of(state, link), out)


def follow_ports(state: State, device: Device, out: list[Effect]) -> None:
    """Follow what has changed of a device's ports: the state of its links, and the ports that send probes."""
    follow_links(state, device, out)
    for port in paced(device.ports.values(), state.pace):
        if not (state.sends_probes and _sends_probes(device, port)):
            port.probe_at = None
        elif port.probe_at is None:
            port.probe_at, port.fast_probes = state.now, FAST_PROBES
    _set_next(device)


def on_connected(device: Device) -> None:
    """Have the ports of a device that has connected send probes at once."""
    for port in device.ports.values():
        port.probe_at = None


def follow_time(state: State, device: Device, out: list[Effect]) -> None:
    """Send the probes of a device that are due, and note links that are unconfirmed."""
    follow_links(state, device, out)
    if state.now < device.next_probe or not device.connected:
        return
    due = [port for port in device.ports.values() if port.probe_at is not None and port.probe_at <= state.now]
    for port in due:
        port.probe_at = state.now + (FAST_INTERVAL if port.fast_probes > 1 else INTERVAL)
        port.fast_probes = max(0, port.fast_probes - 1)
    _set_next(device)
    if due:
        out.append(ProbeLinks(device.dpid, tuple(sorted(port.port_no for port in due))))


def links_at(state: State, end: End) -> tuple[SeenLink, ...]:
    """Return the links of a port: several where more than two devices share a segment, or the cable was moved."""
    return state.links.get(end[0], {}).get(end[1], ())


def all_links(state: State) -> Iterator[SeenLink]:
    """Yield every link once."""
    for dpid, by_port in state.links.items():
        for port_no, links in by_port.items():
            yield from (link for link in links if link.ends[0] == (dpid, port_no))


def _sends_probes(device: Device, port: Port) -> bool:
    """Whether a port is to send probes: it leads to the network, is up, and its peer is not known by OVSDB."""
    if not device.connected or device.unusable or not _is_up(port):
        return False
    if port.role not in (PortRole.UPLINK, PortRole.LINK):
        return False
    facts = port.facts
    if facts is None:
        return True
    remote = facts.options.get("remote_ip", "")
    return facts.interface_type != "patch" and (
        facts.interface_type not in TUNNELS or remote not in ("", "flow")
    )


def _may_be_link(port: Port) -> bool:
    """Whether a probe that came in by a port is believed: not where OVSDB or the operator says that a VM is there."""
    return port.role in (PortRole.UPLINK, PortRole.LINK) or (port.role is PortRole.VM and port.is_guess)


def _expect_more(state: State, end: End) -> None:
    """Have a port answer a new neighbour soon; the role of a port without any other evidence follows from it."""
    device = state.devices[end[0]]
    port = device.ports[end[1]]
    if port.is_guess:
        put_off(state, device, Due.ALL)
    if port.probe_at is not None:
        port.probe_at, port.fast_probes = state.now, FAST_PROBES
        device.next_probe = state.now


def _set_next(device: Device) -> None:
    times = (port.probe_at for port in device.ports.values() if port.probe_at is not None)
    device.next_probe = min(times, default=float("inf"))


def follow_links(state: State, device: Device, out: list[Effect]) -> None:
    """Follow what the ends of a device's links show of them."""
    for links in list(state.links.get(device.dpid, {}).values()):
        for link in links:
            if any(dpid not in state.devices for dpid, _ in link.ends):
                _remove(state, link)
            else:
                _set_state(state, link, _state_of(state, link), out)


def _state_of(state: State, link: SeenLink) -> LinkState:
    ports = [_port_at(state, end) for end in link.ends]
    if not all(port is not None and _is_up(port) for port in ports):
        return LinkState.DOWN
    last = max(link.probed.values(), default=None)
    return LinkState.UP if last is not None and state.now - last < HOLD else LinkState.UNCONFIRMED


def _set_state(state: State, link: SeenLink, found: LinkState, out: list[Effect]) -> None:
    if found is LinkState.DOWN:
        link.probed.clear()
    if found is not link.state:
        link.state, link.since = found, state.now
        for dpid, _ in link.ends:
            put_off(state, state.devices[dpid], Due.PLAN)
        words = {
            LinkState.UP: "is up",
            LinkState.DOWN: "is down",
            LinkState.UNCONFIRMED: "is unconfirmed: no probe has crossed it lately",
        }
        out.append(_report(state, link, words[found], found.value))


def _add(state: State, ends: tuple[End, End], out: list[Effect]) -> SeenLink:
    """Add a link; others of its ports that no probe has crossed lately are not there any more."""
    for end in ends:
        for link in links_at(state, end):
            if link.state is not LinkState.UP:
                _remove(state, link)
                out.append(_report(state, link, "is gone: a port of it has another neighbour", "gone"))
    link = SeenLink(ends, state.now)
    for dpid, port_no in dict.fromkeys(ends):
        by_port = state.links.setdefault(dpid, {})
        by_port[port_no] = (*by_port.get(port_no, ()), link)
    out.append(_report(state, link, "is up", "found"))
    return link


def _remove(state: State, link: SeenLink) -> None:
    for dpid, port_no in dict.fromkeys(link.ends):
        by_port = state.links.get(dpid, {})
        others = tuple(other for other in by_port.get(port_no, ()) if other is not link)
        if others:
            by_port[port_no] = others
        else:
            by_port.pop(port_no, None)
            if (port := _port_at(state, (dpid, port_no))) is not None:
                port.has_neighbour = False
        if not by_port:
            state.links.pop(dpid, None)


def _report(state: State, link: SeenLink, words: str, change: str) -> Report:
    names = [name_of(state, end) for end in link.ends]
    (dpid, port_no), (other, other_port) = link.ends
    data = {
        "device": f"{dpid:016x}",
        "port_no": port_no,
        "other_device": f"{other:016x}",
        "other_port_no": other_port,
        "change": change,
    }
    return Report("link", f"link {names[0]} - {names[1]} {words}", data)


def name_of(state: State, end: End) -> str:
    """Name an end for people: ``DEVICE/PORT``."""
    device, port = state.devices.get(end[0]), _port_at(state, end)
    return f"{device.name if device else f'{end[0]:016x}'}/{port.name if port else end[1]}"


def _port_at(state: State, end: End) -> Port | None:
    device = state.devices.get(end[0])
    return device.ports.get(end[1]) if device is not None else None


def _is_up(port: Port) -> bool:
    """Whether the port's own link is up, also where it stands for a bond."""
    return port.report.up if port.report is not None else port.up
