"""``flowlane topology``: the tree, and the graph for Graphviz."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from rich.console import Console
from support.engine.links import UPLINK, Network, cable

from flowlane.cli.client import Answer
from flowlane.cli.main import main
from flowlane.cli.topology import dot, tree
from flowlane.core.events import PolicyReplaced
from flowlane.core.model import PortFacts, Queue
from flowlane.core.policy import PassivePort, PassiveSwitch, QueuesBy
from flowlane.core.topology.expected import Expected
from flowlane.northbound.controller import Clock
from flowlane.northbound.views.topology import topology_view

ENDS = ((1, "pf0"), (2, "down1"))


def answer() -> Answer:
    """A host with a VM, its cable to a switch that goes down, a port with an unknown other end."""
    network = Network()
    network.device(
        1, {1: PortFacts("vf0", {"iface-id": "vm1"}), 2: cable("pf0", UPLINK)}, host_name="compute1"
    )
    network.device(2, {1: cable("down0"), 2: cable("down1"), 3: cable("up 0")})
    network.connect((1, 2), (2, 1))
    network.connect((2, 2), (2, 3))
    network.carrier(1, 2, up=False)
    expected = Expected("net.yaml", {1: "nic", 2: "tor"}, frozenset(), (ENDS,))
    view = topology_view(network.state, Clock(100.0, 1_800_000_000.0), expected)
    shown: Answer = json.loads(json.dumps(view))
    return shown


def test_the_tree_has_hosts_devices_links_and_findings() -> None:
    console = Console(width=200, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(tree(answer()))
    lines = [re.sub(r"^[ │├└─]+", "", line).rstrip() for line in captured.get().splitlines()]
    assert lines == [
        "host compute1",
        "switch d1 (0000000000000001)",
        "pf0 - d2/down0 (cable, down)",
        "VMs: vm1",
        "host h2",
        "switch d2 (0000000000000002)",
        "down0 - d1/pf0 (cable, down)",
        "down1 - d2/up 0 (cable, up)",
        "up 0 - d2/down1 (cable, up)",
        "down0 - unknown (0 addresses learned)",
        "a loop that nobody breaks: d2/down1, d2/up 0 (without spanning tree: d2)",
        "miswired: link nic/pf0 - tor/down1: found d1/pf0 - d2/down0 instead",
    ]


def test_the_graph_names_every_device_and_link() -> None:
    text = dot(answer())
    assert text.startswith("graph topology {\n")
    assert '"0000000000000001" [label="d1\\n1 VM"];' in text
    assert '"0000000000000001" -- "0000000000000002" [label="pf0 - down0", style=dotted];' in text
    assert text.count("{") == text.count("}") == 3


def test_a_passive_switch_is_declared() -> None:
    network = Network()
    switch = PassiveSwitch("tor", QueuesBy.DSCP, (PassivePort("up", (Queue(0),)),), ())
    network.do(PolicyReplaced(replace(network.state.policy, passive_switches=(switch,))))
    view = topology_view(network.state, Clock(100.0, 1_800_000_000.0), None)
    (device,) = view["devices"]
    console = Console(width=200, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(tree(json.loads(json.dumps(view))))
    assert f"switch tor ({device['dpid']}, declared)" in captured.get()


@pytest.mark.parametrize(("number", "words"), [(0, "0 addresses"), (1, "1 address"), (2, "2 addresses")])
def test_learned_addresses_are_counted_in_words(number: int, words: str) -> None:
    shown = answer()
    shown["unknown"][0]["addresses"] = number
    console = Console(width=200, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(tree(shown))
    assert f"unknown ({words} learned)" in captured.get()


def test_the_command(controller_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topology", "--url", controller_url]) == 0
    assert "host compute1" in capsys.readouterr().out
    assert main(["topology", "--url", controller_url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hosts"][0]["name"] == "compute1"
    assert main(["topology", "--url", controller_url, "--dot"]) == 0
    assert capsys.readouterr().out.startswith("graph topology {")
    assert main(["addresses", "--url", controller_url, "--device", "br-nic"]) == 0
    assert "02:00:00:00:00:01" in capsys.readouterr().out
    assert main(["hosts", "--url", controller_url]) == 0
    shown = capsys.readouterr().out
    assert "machine-1" in shown
    assert "br-nic" in shown
