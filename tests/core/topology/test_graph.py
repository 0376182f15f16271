"""The topology computed from probes and OVSDB: links, unknown ends, machines, loops, the networkx graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx as nx
import pytest
from support.engine.links import ABLE, UPLINK, Network, cable

from flowlane.core import events as ev
from flowlane.core.model import PortFacts, PortReport
from flowlane.core.topology import graph
from flowlane.core.topology.adjacency import LinkKind
from flowlane.core.topology.graph import NodeKind


def triangle(**settings: Any) -> Network:
    """Three devices, each connected to the other two."""
    network = Network()
    for dpid in (1, 2, 3):
        network.device(dpid, {1: cable("a", **settings), 2: cable("b", **settings)})
    network.connect((1, 1), (2, 2))
    network.connect((2, 1), (3, 2))
    network.connect((3, 1), (1, 2))
    return network


def test_machines_have_their_bridges_and_vms() -> None:
    network = Network()
    network.device(1, {1: PortFacts("vf0", {"iface-id": "vm1"})}, "h", host_name="compute1")
    network.device(2, {1: cable("pf0")}, "h", host_name="compute1")
    network.do(ev.DeviceUp(9, ABLE, (PortReport(1, "p"),), {}))
    (machine,) = graph.machines(network.state)
    assert machine[:3] == ("h", "compute1", (1, 2))
    assert [network.state.vms[number].id for number in machine.vms] == ["vm1"]


def test_a_loop_that_nobody_breaks() -> None:
    network = triangle()
    (loop,) = network.loops()
    assert loop.ports == ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2))
    assert loop.without_spanning_tree == (1, 2, 3)
    network.carrier(3, 1, up=False)
    assert network.loops() == []


def test_a_loop_is_broken_by_the_spanning_tree_of_all_devices_on_it() -> None:
    network = triangle()
    for dpid in (1, 2, 3):
        described = network.state.described[dpid]
        network.do(replace(described, spanning_tree="rstp"))
        missing = tuple(other for other in (1, 2, 3) if other > dpid)
        assert [loop.without_spanning_tree for loop in network.loops()] == ([missing] if missing else [])


def test_two_cables_between_two_devices_are_a_loop_and_a_bond_is_none() -> None:
    network = Network()
    members: dict[str, Any] = {"members": (1, 2), "bond_mode": "active-backup"}
    network.device(1, {1: cable("pf0"), 2: cable("pf1")})
    network.device(2, {1: cable("t0"), 2: cable("t1")})
    network.connect((1, 1), (2, 1))
    network.connect((1, 2), (2, 2))
    assert [loop.ports for loop in network.loops()] == [((1, 1), (1, 2), (2, 1), (2, 2))]
    described = network.state.described[1]
    network.do(
        replace(described, ports={no: replace(facts, **members) for no, facts in described.ports.items()})
    )
    assert network.loops() == []


def test_a_port_that_receives_its_own_probe_is_a_loop() -> None:
    network = Network()
    network.device(1, {1: cable("pf0")})
    network.do(ev.LinkSeen(1, 1, 1, 1))
    assert [loop.ports for loop in network.loops()] == [((1, 1),)]


@pytest.mark.parametrize(("last", "count"), [((30,), 0), ((20,), 1), ((), 1)])
def test_links_with_no_vlan_in_common_are_no_loop(last: tuple[int, ...], count: int) -> None:
    network = triangle(trunks=(10, 20))
    described = network.state.described[3]
    ports = {no: replace(facts, trunks=last) for no, facts in described.ports.items()}
    network.do(replace(described, ports=ports))
    assert len(network.loops()) == count


def test_the_graph_joins_what_belongs_together() -> None:
    network = Network()
    network.device(1, {1: PortFacts("vf0", {"iface-id": "vm1"}), 2: cable("pf0", UPLINK)}, "h")
    network.device(2, {1: cable("down0"), 2: cable("up0")})
    network.connect((1, 2), (2, 1))
    made = graph.graph(network.state)
    (vm,) = network.state.vms
    path = nx.shortest_path(made, (NodeKind.VM, vm), (NodeKind.UNKNOWN, 2, 2))
    assert [node[0].value for node in path] == [
        "vm",
        "port",
        "device",
        "port",
        "port",
        "device",
        "port",
        "unknown",
    ]
    assert made.edges[(NodeKind.PORT, 1, 2), (NodeKind.PORT, 2, 1)]["kind"] is LinkKind.CABLE
    assert made.nodes[(NodeKind.MACHINE, "h")]["kind"] is NodeKind.MACHINE
