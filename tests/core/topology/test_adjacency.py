"""Links as probes and OVSDB show them, and ports of which the other end is not known."""

from __future__ import annotations

from support.engine.links import UPLINK, Network, cable, patch, tunnel

from flowlane.core.topology import adjacency
from flowlane.core.topology.adjacency import LinkKind


def test_links_are_cables_patch_ports_and_tunnels() -> None:
    network = Network()
    network.device(1, {1: cable("pf0"), 2: patch("to-2", "to-1"), 3: tunnel("v0", "10.1.0.2", "10.1.0.1")})
    network.device(2, {1: patch("to-1", "to-2"), 2: patch("dangling", "nowhere")}, "h1", connected=False)
    network.device(3, {1: cable("down0"), 2: tunnel("v0", "10.1.0.1")}, "h3", tunnel_addresses=("10.1.0.2",))
    network.connect((1, 1), (3, 1))
    assert [(link.ends, link.kind) for link in adjacency.links(network.state)] == [
        (((1, 1), (3, 1)), LinkKind.CABLE),
        (((1, 2), (2, 1)), LinkKind.PATCH),
        (((1, 3), (3, 2)), LinkKind.TUNNEL),
    ]
    assert adjacency.unknown_ports(network.state, adjacency.links(network.state)) == []


def test_the_other_end_of_a_port_is_unknown_where_nothing_shows_it() -> None:
    network = Network()
    network.device(1, {1: cable("pf0"), 2: cable("pf1", UPLINK), 3: tunnel("v0", "10.1.0.9"), 4: cable("x")})
    network.carrier(1, 4, up=False)
    network.state.devices[1].ports[2].host_count = 5
    unknown = adjacency.unknown_ports(network.state, adjacency.links(network.state))
    assert unknown == [
        adjacency.Unknown((1, 1), 0),
        adjacency.Unknown((1, 2), 5),
        adjacency.Unknown((1, 3), 0, "10.1.0.9"),
    ]
