"""Roles of ports on a real switch: queues on every port, an uplink with one queue, a port that is not to be served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import hello, unicast
from support.ovs.hosts import Host, host

pytestmark = pytest.mark.ovs

BRIDGE, DPID = "flo-br", 0x91
DEVICE = f"/v1/devices/{DPID:016x}"
NAMES = ("flo-h1", "flo-h2", "flo-h3")
POLICY = """
version: 1
learn-after: 0
classes:
  one: {max-queues: 1}
  slow: {limit: 2Mbit/s, max-queues: 1}
rules:
  - {name: one, match: {vm: flo-h1}, class: one}
  - {name: slow, match: {vm: flo-h2}, class: slow}
"""


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


def flat(taps: PrivateOvs, running: Host, queues: dict[str, int]) -> None:
    """A bridge with three ports that nothing is said about, some with so many queues."""
    words: list[str] = []
    for number, name in enumerate(NAMES, 1):
        words += ["--", "add-port", BRIDGE, name, "--", "set", "Interface", name, "type=internal"]
        words += [f"ofport_request={number}"]
    running.bridge(BRIDGE, DPID, *words[1:])
    running.up(*NAMES)
    for name, count in queues.items():
        taps.set_queues(name, {number: {} for number in range(count)})
    running.programmed()
    running.wait(lambda: len(ports(running)) == len(NAMES) + 1, "a port is missing")
    running.wait(
        lambda: {name: len(ports(running)[name]["queues"]) for name in queues} == queues, "queues are missing"
    )


def ports(running: Host) -> dict[str, Any]:
    return {port["name"]: port for port in running.rest(f"{DEVICE}/ports")["items"]}


def roles(running: Host) -> list[str]:
    return [ports(running)[name]["role"] for name in NAMES]


def place(running: Host, src: str, dst: str) -> dict[str, Any]:
    """Where the flow between two addresses is; empty when it is not listed."""
    places: list[dict[str, Any]] = [
        place for flow in running.flows(src=src, dst=dst) for place in flow["assignments"]
    ]
    return places[0] if places else {}


def known(running: Host) -> set[int]:
    """The last byte of each destination that the bridge knows."""
    found = re.findall(r"dl_dst=02:00:00:00:00:0(\d) ", running.ovs.ofctl("dump-flows", BRIDGE))
    return {int(number) for number in found}


def leaves_by(running: Host, name: str, src: str, dst: str) -> bool:
    return bool(place(running, src, dst)) and place(running, src, dst)["port"] == name


def test_with_queues_on_every_port_flows_use_those_of_the_port_that_they_leave_by(
    taps: PrivateOvs, tmp_path: Path
) -> None:
    with host(taps, tmp_path, POLICY) as running:
        flat(taps, running, dict.fromkeys(NAMES, 3))
        assert roles(running) == ["vm"] * 3
        assert [item["ports"] for item in running.rest(DEVICE)["ambiguous"]] == [list(NAMES)]
        assert {vm["name"] for vm in running.rest("/v1/vms")["items"]} == set(NAMES)
        for number, name in enumerate(NAMES, 1):
            running.send(name, hello(number))
        running.wait(lambda: known(running) == {1, 2, 3}, "the addresses are not learned")
        running.send("flo-h1", unicast(1, 3))
        running.wait(partial(leaves_by, running, "flo-h3", "10.0.0.1", "10.0.0.3"), "the flow is not listed")
        there = place(running, "10.0.0.1", "10.0.0.3")
        assert running.queue(BRIDGE, "flo-h1", unicast(1, 3)) == (there["queue_id"] or None)
        assert there["queue_id"] is not None
        running.send("flo-h2", unicast(2, 3))
        running.wait(partial(leaves_by, running, "flo-h3", "10.0.0.2", "10.0.0.3"), "the flow is not listed")
        running.wait(
            lambda: "meter:" in running.trace(BRIDGE, "flo-h2", unicast(2, 3)),
            "the VM's limit is not in force",
        )


def test_an_uplink_with_one_queue_is_no_vm(taps: PrivateOvs, tmp_path: Path) -> None:
    with host(taps, tmp_path, POLICY) as running:
        flat(taps, running, {"flo-h3": 1})
        assert roles(running) == ["vm", "vm", "uplink"]
        (guess,) = running.rest(DEVICE)["ambiguous"]
        assert (guess["ports"], guess["role"]) == (["flo-h3"], "uplink")
        running.send("flo-h1", hello(1), unicast(1, 9))
        running.send("flo-h3", unicast(9, 1))
        running.wait(partial(leaves_by, running, "flo-h3", "10.0.0.1", "10.0.0.9"), "the flow is not listed")
        assert running.flows(src="10.0.0.9") == [], "the network's replies are nobody's flows"
        taps.vsctl("set", "Interface", "flo-h3", "external_ids:flowlane-port=uplink")
        running.wait(lambda: running.rest(DEVICE)["ambiguous"] == [], "what the operator says settles it")


def test_a_port_with_queues_that_is_known_to_be_a_vms_is_no_uplink(taps: PrivateOvs, tmp_path: Path) -> None:
    """Of three ports one has queues: it is taken for the uplink until OVSDB names the VM on it."""
    with host(taps, tmp_path, POLICY) as running:
        flat(taps, running, {"flo-h1": 3})
        assert roles(running) == ["uplink", "vm", "vm"]
        taps.vsctl("set", "Interface", "flo-h1", "external_ids:iface-id=named")
        running.wait(lambda: roles(running) == ["vm"] * 3, "the VM's port is an uplink")
        running.wait(lambda: len(running.rest("/v1/vms")["items"]) == len(NAMES), "a VM is missing")
        assert len(ports(running)["flo-h1"]["queues"]) == 3, "queues towards a VM are used too"


def test_a_port_that_is_not_to_be_served_is_left_to_the_bridge(taps: PrivateOvs, tmp_path: Path) -> None:
    with host(taps, tmp_path, POLICY) as running:
        flat(taps, running, {"flo-h3": 3})
        taps.vsctl("set", "Interface", "flo-h2", "external_ids:flowlane-port=ignore")
        running.wait(lambda: roles(running) == ["vm", "ignore", "uplink"], "the port is not ignored")
        running.wait(
            lambda: "goto_table" not in running.ovs.ofctl("dump-flows", BRIDGE, "table=0,in_port=2"),
            "its packets go through the tables",
        )
        running.send("flo-h2", hello(2), unicast(2, 9))
        trace = running.trace(BRIDGE, "flo-h2", unicast(2, 9))
        assert ("NORMAL" in trace, "CONTROLLER" in trace) == (True, False)
        assert running.flows(src="10.0.0.2") == []
        assert {vm["name"] for vm in running.rest("/v1/vms")["items"]} == {"flo-h1"}
        assert "dl_dst=02:00:00:00:00:02" not in running.ovs.ofctl("dump-flows", BRIDGE)
