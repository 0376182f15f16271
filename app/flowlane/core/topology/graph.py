"""The topology as a networkx graph; machines with their bridges, and loops that nobody breaks.

Everything is computed from the engine's facts and the links (:mod:`flowlane.core.topology.adjacency`) when somebody
asks for it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import networkx as nx

from flowlane.core.device.vlans import mode
from flowlane.core.state.links import LinkState
from flowlane.core.topology.adjacency import (
    described_ports,
    device_name,
    facts_of,
    links,
    port_names,
    unknown_ports,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowlane.core.model import PortFacts
    from flowlane.core.state.device import State
    from flowlane.core.state.links import End
    from flowlane.core.topology.adjacency import Link


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
    bonds = {end: (end[0], facts.members[0]) for end, _, facts in described_ports(state) if facts.members}
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
