"""The expected network against the one that is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.engine.links import Network, cable

from flowlane.core import events as ev
from flowlane.core.topology.adjacency import links
from flowlane.core.topology.expected import Expected, deviations
from flowlane.topology.expected import load

FILE = Path(__file__).parents[3] / "topologies" / "two-hosts.yaml"
NICA, NICB, TOR = 0xA1, 0xB1, 0xC1
EXPECTED = load(FILE)


def network(*dpids: int) -> Network:
    """The devices of topologies/two-hosts.yaml, without cables."""
    found = Network()
    ports = {NICA: ("pf0",), NICB: ("pf1",), TOR: ("down0", "down1", "up0")}
    for dpid in dpids or ports:
        found.device(dpid, {number: cable(name) for number, name in enumerate(ports[dpid], 1)})
    return found


def found(of: Network, expected: Expected = EXPECTED) -> list[tuple[str, str]]:
    return [(item.kind.value, item.text) for item in deviations(of.state, expected, links(of.state))]


def test_a_file_gives_devices_and_links() -> None:
    assert EXPECTED.devices == {NICA: "nica", NICB: "nicb", TOR: "tor"}
    assert EXPECTED.links == (((NICA, "pf0"), (TOR, "down0")), ((NICB, "pf1"), (TOR, "down1")))
    assert load(FILE.with_name("demo.yaml")).uncontrolled == {0xB1}


def test_a_network_that_is_as_expected() -> None:
    of = network()
    of.connect((NICA, 1), (TOR, 1))
    of.connect((NICB, 1), (TOR, 2))
    assert found(of) == []


def test_missing_and_unexpected_links() -> None:
    of = network()
    of.connect((NICA, 1), (TOR, 1))
    of.device(0xD1, {1: cable("p1")})
    of.connect((0xD1, 1), (TOR, 3))
    assert found(of) == [
        ("unexpected-device", "device d209 (00000000000000d1) is not in two-hosts.yaml"),
        ("missing-link", "link nicb/pf1 - tor/down1: it is not there"),
        ("unexpected-link", "link d193/up0 - d209/p1 is not in two-hosts.yaml"),
    ]


def test_two_cables_that_were_swapped() -> None:
    of = network()
    of.connect((NICA, 1), (TOR, 2))
    of.connect((NICB, 1), (TOR, 1))
    assert found(of) == [
        ("miswired", "link nica/pf0 - tor/down0: found d161/pf0 - d193/down1 instead"),
        ("miswired", "link nicb/pf1 - tor/down1: found d177/pf1 - d193/down0 instead"),
    ]


def test_a_link_that_is_down() -> None:
    of = network()
    of.connect((NICA, 1), (TOR, 1))
    of.connect((NICB, 1), (TOR, 2))
    of.carrier(TOR, 2, up=False)
    assert found(of) == [("down", "link nicb/pf1 - tor/down1: it is down")]


def test_what_cannot_be_seen_is_unknown() -> None:
    of = network(NICA, TOR)
    of.connect((NICA, 1), (TOR, 1))
    assert found(of) == [
        ("missing-device", "device nicb (00000000000000b1) is not connected"),
        ("unknown", "link nicb/pf1 - tor/down1: nicb is not connected"),
    ]
    passive = EXPECTED._replace(uncontrolled=frozenset((NICB,)))
    assert found(of, passive) == [
        ("unknown", "link nicb/pf1 - tor/down1: nicb has no connection to Flowlane")
    ]


def test_a_link_that_the_spanning_tree_may_block_is_unknown() -> None:
    of = network()
    of.connect((NICA, 1), (TOR, 1))
    of.do(replace(of.state.described[NICB], spanning_tree="rstp"))
    assert found(of) == [("unknown", "link nicb/pf1 - tor/down1: not seen; the spanning tree may block it")]


def test_a_port_that_is_not_there() -> None:
    of = network()
    of.connect((NICA, 1), (TOR, 1))
    of.do(ev.PortRemoved(NICB, 1))
    assert found(of) == [("missing-link", "link nicb/pf1 - tor/down1: there is no port nicb/pf1")]
