"""What REST says of 200 flows is what stands in the switch, and ended flows leave both."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from lab.inside.compare import differences, placements_in_rest, placements_in_switch
from lab.inside.dump_flows import dump, queues_named
from support.hosts.network import eventually, running

if TYPE_CHECKING:
    from pathlib import Path

    from support.hosts.network import Controller, Flow, Network

IDLE = 10
"""Seconds without a packet after which the built-in policy lets an entry go."""


def both_sides(network: Network, controller: Controller, version: str = "OpenFlow13") -> list[str]:
    rest = placements_in_rest(controller.all("/v1/assignments"))
    return differences(placements_in_switch(dump(network.bridge, version)), rest)


def missing(controller: Controller, flows: set[Flow]) -> set[Flow]:
    known = {key[:5] for key in placements_in_rest(controller.all("/v1/assignments"))}
    return {flow for flow in flows if tuple(flow) not in known}


def test_200_flows_on_4_queues(host_of_eight: tuple[Network, Controller]) -> None:
    network, controller = host_of_eight
    network.serve("7000")
    asking = [network.start_requests(f"vm{number}", udp=15, tcp=10, interval=0.3) for number in range(1, 9)]
    flows = set().union(*(one.flows for one in asking))
    assert len(flows) == 200

    eventually("all 200 flows are known", lambda: not missing(controller, flows), 15)
    eventually("REST and the switch agree", lambda: not both_sides(network, controller), 5)

    placed = placements_in_rest(controller.all("/v1/assignments"))
    used = Counter(where.queue for key, where in placed.items() if tuple(key[:5]) in flows)
    assert set(used) == {0, 1, 2, 3}, "every physical queue has its share of the flows"
    assert min(used.values()) >= 20
    assert {vm["name"] for vm in controller.all("/v1/vms")} >= {f"vm{number}" for number in range(1, 9)}

    summaries = [one.stop() for one in asking]
    assert all(summary["answered"] >= 0.98 * summary["sent"] > 0 for summary in summaries), summaries

    # Others stay: the VMs' kernels look for routers again and again.
    eventually(
        "ended flows leave the switch",
        lambda: not flows & {tuple(key[:5]) for key in placements_in_switch(dump(network.bridge))},
        IDLE + 5,
    )
    eventually("ended flows leave REST", lambda: missing(controller, flows) == flows, IDLE + 5)
    assert controller.process.poll() is None


@pytest.mark.parametrize(
    ("version", "number"), [("OpenFlow13", "1.3"), ("OpenFlow14", "1.4"), ("OpenFlow15", "1.5")]
)
def test_every_version_of_openflow(tmp_path: Path, version: str, number: str) -> None:
    with running(tmp_path, "small.yaml", (0, 1), version) as (network, controller):
        assert [device["version"] for device in controller.all("/v1/devices")] == [number]
        network.serve("7000")
        asking = network.start_requests("vm1", udp=6, tcp=4)
        eventually("all flows are known", lambda: not missing(controller, asking.flows), 10)
        eventually("REST and the switch agree", lambda: not both_sides(network, controller, version), 5)
        assert queues_named(network.bridge, version) == {0, 1}
        summary = asking.stop()
        assert summary["answered"] >= 0.98 * summary["sent"] > 0
