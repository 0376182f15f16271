"""The whole topology is made in parts, between which others run and the state may change."""

from __future__ import annotations

import pytest
from support.engine.links import UPLINK, Network, cable

from flowlane import pauses
from flowlane.core.model import PortFacts
from flowlane.core.topology.expected import Expected
from flowlane.northbound.controller import Clock
from flowlane.northbound.views.topology import topology_view

PARTS = 3


@pytest.mark.parametrize("gone_after", range(PARTS))
def test_others_run_between_the_parts_and_a_device_may_go_meanwhile(
    monkeypatch: pytest.MonkeyPatch, gone_after: int
) -> None:
    network, parts = Network(), 0
    network.device(1, {1: PortFacts("vf0", {"iface-id": "vm1"}), 2: cable("pf0", UPLINK)}, host_name="h1")
    network.device(2, {1: cable("down0"), 2: cable("up0")})
    network.connect((1, 2), (2, 1))

    def others() -> None:
        nonlocal parts
        if parts == gone_after:
            state = network.state
            del state.devices[1], state.described[1]
            state.vms.clear()
        parts += 1

    monkeypatch.setattr(pauses, "give_way", others)
    expected = Expected("net.yaml", {1: "nic", 2: "tor"}, frozenset(), ())
    view = topology_view(network.state, Clock(100.0, 1_800_000_000.0), expected)
    assert parts == PARTS
    assert len(view["links"]) == 1, "it was there when its part was made"
    dpids = {device["dpid"] for device in view["devices"]}
    assert dpids == {f"{dpid:016x}" for dpid in ((2,) if gone_after < PARTS - 1 else (1, 2))}
    assert {dpid for host in view["hosts"] for dpid in host["devices"]} == dpids
