"""The topology as it is known now: links, machines, ports of which nothing is known, loops; as a networkx graph.

Everything is computed from the engine's facts when somebody asks for it. Links are those that probes have crossed
(:mod:`flowlane.core.topology.discovery`), patch ports, and tunnels whose ends OVSDB names.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import networkx as nx

from flowlane.core.device.roles import TUNNELS
from flowlane.core.device.vlans import mode
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


class Machine(NamedTuple):
    """A machine with an Open vSwitch database: the dpids of its bridges, and the numbers of the VMs on them."""

    id: str
    name: str
    devices: tuple[int, ...]
    vms: tuple[int, ...]


class Loop(NamedTuple):
    """A loop of links that nobody breaks: the ports on it, and the devices there without spanning tree."""

    ports: tuple[End, ...]
    without_spanning_tree: tuple[int, ...]


class NodeKind(StrEnum):
    """What a node of the graph is; a node is a tuple of its kind and what identifies it."""

    MACHINE = "machine"
    DEVICE = "device"
    PORT = "port"
    VM = "vm"
    UNKNOWN = "unknown"


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


def machines(state: State) -> list[Machine]:
    """List the machines with their bridges, by id; a device that is in no database is on none that is known."""
    names: dict[str, str] = {}
    devices: dict[str, list[int]] = {}
    for dpid, described in sorted(state.described.items()):
        names[described.host] = described.host_name
        devices.setdefault(described.host, []).append(dpid)
    vms: dict[int, list[int]] = {}
    for vm in state.vms.values():
        vms.setdefault(vm.dpid, []).append(vm.number)
    return [
        Machine(
            host, names[host], tuple(dpids), tuple(number for dpid in dpids for number in vms.get(dpid, ()))
        )
        for host, dpids in sorted(devices.items())
    ]


def loops(state: State, known: Iterable[Link]) -> list[Loop]:
    """List the loops of links that are up and that nobody breaks: no bond, not the spanning tree of every device on it.

    Links with no VLAN in common are no loop either.
    """
    made = nx.Graph()
    for link in _one_of_each_bond(state, known):
        nodes = [(NodeKind.DEVICE, link.ends[0][0]), *link.ends, (NodeKind.DEVICE, link.ends[1][0])]
        nx.add_path(made, nodes)
    found = []
    for cycle in nx.cycle_basis(made):
        ends = tuple(sorted(node for node in cycle if node[0] is not NodeKind.DEVICE))
        devices = sorted({dpid for dpid, _ in ends})
        without = tuple(dpid for dpid in devices if not _spanning_tree(state, dpid))
        if without and _have_a_vlan(state, ends):
            found.append(Loop(ends, without))
    return sorted(found)


def _one_of_each_bond(state: State, known: Iterable[Link]) -> Iterator[Link]:
    """Yield the links that are up, of those of one bond the first only: a bond sends nothing back by another member."""
    bonds = {end: (end[0], facts.members[0]) for end, _, facts in _described_ports(state) if facts.members}
    seen: set[End] = set()
    for link in known:
        of_bonds = {bonds[end] for end in link.ends if end in bonds}
        if link.state is LinkState.UP and seen.isdisjoint(of_bonds):
            seen |= of_bonds
            yield link


def graph(state: State) -> nx.Graph:
    """Make the graph of machines, devices, ports, VMs and links; a port without a known other end joins an unknown.

    Edges join what belongs together: machine and device, device and port, port and VM. Edges between ports are the
    links, with their ``kind`` and ``state``.
    """
    made, known = nx.Graph(), links(state)
    for machine in machines(state):
        node = (NodeKind.MACHINE, machine.id)
        made.add_node(node, kind=NodeKind.MACHINE, name=machine.name)
        made.add_edges_from((node, (NodeKind.DEVICE, dpid)) for dpid in machine.devices)
    for dpid in sorted({*state.devices, *state.described}):
        made.add_node((NodeKind.DEVICE, dpid), kind=NodeKind.DEVICE, name=device_name(state, dpid))
        for port_no, name in port_names(state, dpid).items():
            made.add_node((NodeKind.PORT, dpid, port_no), kind=NodeKind.PORT, name=name)
            made.add_edge((NodeKind.DEVICE, dpid), (NodeKind.PORT, dpid, port_no))
    for vm in state.vms.values():
        made.add_node((NodeKind.VM, vm.number), kind=NodeKind.VM, name=vm.name)
        made.add_edge((NodeKind.PORT, vm.dpid, vm.port_no), (NodeKind.VM, vm.number))
    for link in known:
        one, other = ((NodeKind.PORT, *end) for end in link.ends)
        made.add_edge(one, other, kind=link.kind, state=link.state)
    for unknown in unknown_ports(state, known):
        beyond = (NodeKind.UNKNOWN, *unknown.end)
        made.add_node(beyond, kind=NodeKind.UNKNOWN, name=unknown.remote)
        made.add_edge((NodeKind.PORT, *unknown.end), beyond)
    return made


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
    return port_names(state, end[0]).get(end[1], str(end[1]))


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


def _described_ports(state: State) -> Iterator[tuple[End, str, PortFacts]]:
    """Yield every port of OVSDB with its machine."""
    for dpid, described in state.described.items():
        for port_no, facts in described.ports.items():
            yield (dpid, port_no), described.host, facts


def _patches(state: State) -> Iterator[tuple[End, End]]:
    patches = {
        (host, facts.name): (end, facts.options.get("peer", ""))
        for end, host, facts in _described_ports(state)
        if facts.interface_type == "patch"
    }
    for (host, name), (end, peer) in patches.items():
        other, back = patches.get((host, peer), (end, ""))
        if back == name and end < other:
            yield end, other


def _tunnels(state: State) -> Iterator[tuple[End, End]]:
    """Yield the pairs of tunnel ports that lead to each other's machines, where there is one such pair only."""
    by_way: dict[tuple[str, str, str, str], list[End]] = {}
    addresses: dict[str, set[str]] = {}
    tunnels = [item for item in _described_ports(state) if item[2].interface_type in TUNNELS]
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


def _spanning_tree(state: State, dpid: int) -> str:
    described = state.described.get(dpid)
    return described.spanning_tree if described is not None else ""


def _have_a_vlan(state: State, ends: Iterable[End]) -> bool:
    """Whether there is a VLAN that all these ports carry."""
    common: frozenset[int] | None = None
    for end in ends:
        vlans = _vlans(facts_of(state, end))
        if vlans is not None:
            common = vlans if common is None else common & vlans
    return common is None or bool(common)


def _vlans(facts: PortFacts | None) -> frozenset[int] | None:
    """Return the VLANs of a port, 0 for untagged; None: all."""
    if facts is None or (mode(facts) not in ("access", "dot1q-tunnel") and not facts.trunks):
        return None
    of_tag = frozenset((facts.tag or 0,))
    if mode(facts) in ("access", "dot1q-tunnel"):
        return of_tag
    return frozenset(facts.trunks) | (of_tag if mode(facts) != "trunk" else frozenset())
