"""Links between the ports of devices, as they are known now, and the ports of which the other end is not known.

Links are those that probes have crossed (:mod:`flowlane.core.topology.discovery`), patch ports, and tunnels whose ends
OVSDB names. They are computed from the engine's facts when somebody asks for them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.device.roles import TUNNELS
from flowlane.core.model import PortRole
from flowlane.core.state.links import LinkState
from flowlane.core.topology.discovery import all_links

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowlane.core.model import PortFacts
    from flowlane.core.state.device import Port, State
    from flowlane.core.state.links import End


class LinkKind(StrEnum):
    """What a link is made of."""

    CABLE = "cable"
    PATCH = "patch"
    TUNNEL = "tunnel"


class Link(NamedTuple):
    """A link between two ports, its ends in order of dpid and port number.

    ``since``: when it got its state, in seconds of the engine's clock; None where OVSDB alone names it. ``seen_at``:
    the ends at which a probe has come in; probes that come in at one end only show a link that carries nothing back.
    """

    ends: tuple[End, End]
    kind: LinkKind
    state: LinkState
    since: float | None = None
    seen_at: tuple[End, ...] = ()

    def other(self, end: End) -> End:
        """Return the end opposite to one."""
        return self.ends[1] if end == self.ends[0] else self.ends[0]


class Unknown(NamedTuple):
    """A port to the network of which the other end is not known.

    ``addresses``: how many source addresses were learned there. ``remote``: where its tunnel ends, '': no tunnel.
    """

    end: End
    addresses: int
    remote: str = ""


def links(state: State) -> list[Link]:
    """List the links, in order of their ends."""
    found = {
        link.ends: Link(
            link.ends, _kind(state, link.ends), link.state, link.since, tuple(sorted(link.probed))
        )
        for link in all_links(state)
    }
    for ends in _patches(state):
        found.setdefault(ends, Link(ends, LinkKind.PATCH, LinkState.UP))
    for ends in _tunnels(state):
        found.setdefault(ends, Link(ends, LinkKind.TUNNEL, LinkState.UP))
    for ends in _declared(state):
        found.setdefault(ends, Link(ends, LinkKind.CABLE, LinkState.UP))
    return [found[ends] for ends in sorted(found)]


def unknown_ports(state: State, known: Iterable[Link]) -> list[Unknown]:
    """List the ports to the network that are up and of which the other end is not known."""
    linked = {end for link in known if link.state is LinkState.UP for end in link.ends}
    return [
        Unknown((dpid, port_no), _addresses(state, dpid, port), _remote(port.facts))
        for dpid, device in sorted(state.devices.items())
        for port_no, port in sorted(device.ports.items())
        if port.role in (PortRole.UPLINK, PortRole.LINK)
        and (port.report is None or port.report.up)
        and (dpid, port_no) not in linked
    ]


def device_name(state: State, dpid: int) -> str:
    """Name a device, connected or only described; '' when it is neither."""
    device, described = state.devices.get(dpid), state.described.get(dpid)
    if device is not None:
        return device.name
    return described.name if described is not None else ""


def port_names(state: State, dpid: int) -> dict[int, str]:
    """Map the port numbers of a device, connected or only described, to names."""
    device, described = state.devices.get(dpid), state.described.get(dpid)
    if device is not None:
        return {number: port.name for number, port in sorted(device.ports.items())}
    return {number: facts.name for number, facts in described.ports.items()} if described is not None else {}


def port_name(state: State, end: End) -> str:
    """Name a port; its number when its name is not known."""
    dpid, port_no = end
    device = state.devices.get(dpid)
    port = device.ports.get(port_no) if device is not None else None
    facts = facts_of(state, end)
    if port is not None:
        return port.name
    return facts.name if device is None and facts is not None else str(port_no)


def facts_of(state: State, end: End) -> PortFacts | None:
    """Return what OVSDB has of a port; None: nothing."""
    described = state.described.get(end[0])
    return described.ports.get(end[1]) if described is not None else None


def by_end(known: Iterable[Link]) -> dict[End, Link]:
    """Map ports to their links; of several links of one port, to one that is up."""
    found: dict[End, Link] = {}
    for link in known:
        for end in link.ends:
            if end not in found or found[end].state is not LinkState.UP:
                found[end] = link
    return found


def _kind(state: State, ends: tuple[End, End]) -> LinkKind:
    facts = [facts_of(state, end) for end in ends]
    is_tunnel = any(of_port is not None and of_port.interface_type in TUNNELS for of_port in facts)
    return LinkKind.TUNNEL if is_tunnel else LinkKind.CABLE


def described_ports(state: State) -> Iterator[tuple[End, str, PortFacts]]:
    """Yield every port of OVSDB with its machine."""
    for dpid, described in state.described.items():
        for port_no, facts in described.ports.items():
            yield (dpid, port_no), described.host, facts


def _patches(state: State) -> Iterator[tuple[End, End]]:
    patches = {
        (host, facts.name): (end, facts.options.get("peer", ""))
        for end, host, facts in described_ports(state)
        if facts.interface_type == "patch"
    }
    for (host, name), (end, peer) in patches.items():
        other, back = patches.get((host, peer), (end, ""))
        if back == name and end < other:
            yield end, other


def _declared(state: State) -> Iterator[tuple[End, End]]:
    """List the links to passive switches, which answer no probes: they are as the policy declares them."""
    if not state.passive:
        return
    for dpid, device in state.devices.items():
        for port_no, passive in device.passives.items():
            first, second = sorted(((dpid, port_no), (passive.device.dpid, passive.in_port)))
            yield first, second


def _tunnels(state: State) -> Iterator[tuple[End, End]]:
    """Yield the pairs of tunnel ports that lead to each other's machines, where there is one such pair only."""
    by_way: dict[tuple[str, str, str, str], list[End]] = {}
    addresses: dict[str, set[str]] = {}
    tunnels = [item for item in described_ports(state) if item[2].interface_type in TUNNELS]
    for end, host, facts in tunnels:
        stated = (facts.options.get("local_ip", ""), *state.described[end[0]].tunnel_addresses)
        addresses.setdefault(host, set()).update(address for address in stated if address)
    for end, host, facts in tunnels:
        key = facts.options.get("key", "")
        for local in addresses[host]:
            way = (facts.interface_type, key, local, facts.options.get("remote_ip", ""))
            by_way.setdefault(way, []).append(end)
    for (kind, key, local, remote), ends in by_way.items():
        others = by_way.get((kind, key, remote, local), [])
        if len(ends) == len(others) == 1 and ends[0] < others[0]:
            yield ends[0], others[0]


def _addresses(state: State, dpid: int, port: Port) -> int:
    device = state.devices[dpid]
    return device.ports[device.of_bond(port.port_no)].host_count


def _remote(facts: PortFacts | None) -> str:
    return facts.options.get("remote_ip", "") if facts is not None and facts.interface_type in TUNNELS else ""
