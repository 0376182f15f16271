"""The networks of ``topologies/`` with real hosts: they stand, Flowlane knows queues and VMs, packets get through.

``single-host``, ``small`` and ``demo`` are those of the other tests here.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.hosts.network import MININET_PYTHON, ROOT, Controller, Network, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHERS = ("single-host", "small", "demo", "migration")
FILES = sorted(path.stem for path in (ROOT / "topologies").glob("*.yaml") if path.stem not in OTHERS)


@contextmanager
def running(folder: Path, name: str, *options: str) -> Iterator[tuple[Network, Controller]]:
    network = Network(f"{name}.yaml", folder, "OpenFlow13,OpenFlow14,OpenFlow15", "--queues")
    try:
        controller = Controller(folder, *options)
        try:
            eventually("a device is connected", controller.has_device, 20)
            yield network, controller
        finally:
            controller.close()
    finally:
        network.close()


def queues_of(controller: Controller) -> dict[str, int]:
    """Port (BRIDGE/PORT) -> number of queues, of every device that Flowlane has."""
    found: dict[str, int] = {}
    for device in controller.all("/v1/devices?limit=100"):
        for queue in controller.get(f"/v1/devices/{device['dpid']}/queues")["items"]:
            place = f"{device['name']}/{queue['port']}"
            found[place] = found.get(place, 0) + 1
    return found


def declared(network: Network) -> dict[str, int]:
    """Port (BRIDGE/PORT) -> number of queues, of the bridges that have a controller."""
    bridges = network.data["bridges"]
    return {
        place: queues["count"]
        for place, queues in network.data["queues"].items()
        if bridges[place.partition("/")[0]].get("controller", True)
    }


def port_of(controller: Controller, vm: str) -> str:
    """Name of the port where a VM is listed; empty when it is not."""
    vms = controller.all("/v1/vms?limit=100")
    return next((str(item["port"]) for item in vms if item["id"] == vm), "")


def senders(controller: Controller) -> set[str]:
    """Ids of the VMs that have flows."""
    return {flow["vm"] for flow in controller.all("/v1/flows?limit=100")}


def reaches(network: Network, sender: str, address: str) -> bool:
    return network.run(sender, "ping", "-c", "1", "-W", "1", address).returncode == 0


@pytest.mark.parametrize("name", FILES)
def test_network_stands_and_flowlane_knows_it(tmp_path: Path, name: str) -> None:
    with running(tmp_path, name) as (network, controller):
        eventually("all queues are known", lambda: queues_of(controller) == declared(network), 20)
        vms = [name for name, host in network.data["hosts"].items() if host["kind"] == "vm"]
        target = network.hosts[list(network.data["hosts"])[-1]]["ip"].partition("/")[0]
        for vm in (vm for vm in vms if network.hosts[vm]["ip"].partition("/")[0] != target):
            # Spanning trees and bonds take their time.
            eventually(f"{vm} reaches {target}", lambda vm=vm: reaches(network, vm, target), 30)  # type: ignore[misc]
        listed = {vm["port"]: vm["id"] for vm in controller.all("/v1/vms?limit=100")}
        ports = {network.data["hosts"][vm]["port"].partition("/")[2] for vm in vms}
        assert ports <= set(listed), listed
        mine = {listed[port] for port in ports}
        eventually("their flows are listed", lambda: mine & senders(controller), 20)


def test_run_topo_gives_flowlane_the_file() -> None:
    """So it has the passive switch, and compares its links with the file's."""
    shown = subprocess.run(
        [str(ROOT / "run"), "topo", "passive-switch"],
        cwd="/",
        input="sh flowlane devices\nsh flowlane topology\nexit\n",
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    text = shown.stdout + shown.stderr
    assert re.search(r"\btor\b.* switch +declared", text), text
    assert re.search(r"passive-switch\.yaml|unknown: ", text), text


@pytest.mark.parametrize("announce", ["rarp", "none"])
def test_a_vm_that_moves_is_listed_where_it_is(tmp_path: Path, announce: str) -> None:
    """Without an announcement it is known as soon as it sends anything."""
    with running(tmp_path, "migration") as (network, controller):
        eventually("vm2 reaches vm1", lambda: reaches(network, "vm2", "10.0.0.1"), 30)
        eventually("vm1 is where it began", lambda: port_of(controller, "vm1") == "pf0vf0", 10)
        network.change_hosts(do="migrate", host="vm1", announce=announce)
        if announce == "none":
            eventually("vm1 sends", lambda: reaches(network, "vm1", "10.0.0.100"), 30)
        eventually("vm1 is where it went", lambda: port_of(controller, "vm1") == "pf1vf0", 10)
        eventually("vm2 reaches vm1", lambda: reaches(network, "vm2", "10.0.0.1"), 30)
        assert {vm["id"] for vm in controller.all("/v1/vms?limit=100")} == {"vm1", "vm2", "vm3"}


FLOWS = 12
SEND_UDP = """
import socket, sys, time
for port in range(40000, 40012):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("", port))
    for _ in range(int(sys.argv[1])):
        sender.sendto(bytes(100), ("10.0.0.100", 9))
        time.sleep(0.002)
"""


def by_dscp() -> dict[int, int]:
    """Packets that each entry of the passive switch has counted, by the DSCP that it matches."""
    dump = ["ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "tor"]
    lines = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    rows = re.findall(r"n_packets=(\d+),.*,ip,nw_tos=(\d+)", lines)
    return {int(tos) // 4: int(packets) for packets, tos in rows}


def test_a_passive_switch_of_the_network_file_counts_each_flow_in_its_queue(tmp_path: Path) -> None:
    """The judge is the switch itself: its entries from DSCP to queue, which Flowlane neither makes nor reads."""
    file = ROOT / "topologies/passive-switch.yaml"
    marks = {0: 0, 1: 8, 2: 16, 3: 24}
    with running(tmp_path, "passive-switch", f"--topology={file}") as (network, controller):
        eventually("vm1 reaches the far end", lambda: reaches(network, "vm1", "10.0.0.100"), 30)

        def queues() -> dict[int, int]:
            rows = controller.all("/v1/assignments?limit=100")
            names = {device["dpid"]: device["name"] for device in controller.all("/v1/devices?limit=100")}
            on_tor = (row for row in rows if names[row["device"]] == "tor" and row["dst_port"] == 9)
            return {row["src_port"]: row["queue_id"] for row in on_tor}

        def measure() -> tuple[dict[int, int], dict[int, int]]:
            """Send on all flows; return what the switch counted, and what it has to by the list, by DSCP."""
            placed, before = queues(), by_dscp()
            assert network.run("vm1", MININET_PYTHON, "-c", SEND_UDP, 20).returncode == 0
            subprocess.run(["ovs-appctl", "revalidator/wait"], check=True)
            counted = {dscp: count - before[dscp] for dscp, count in by_dscp().items()}
            return counted, {dscp: 20 * list(placed.values()).count(queue) for queue, dscp in marks.items()}

        assert network.run("vm1", MININET_PYTHON, "-c", SEND_UDP, 2).returncode == 0
        eventually("all flows are listed", lambda: len(queues()) == FLOWS, 20)
        counted, expected = measure()
        for _ in range(5):  # A flow may be moved meanwhile.
            if counted != expected:
                counted, expected = measure()
        assert counted == expected
        assert min(expected.values()) > 0


def test_mininets_own_command_runs_a_network() -> None:
    """``--test pingall`` of Mininet is the judge; it exits with 0 whatever it finds, and prints what it lost."""
    assert "FLOWLANE_PRIVATE" in os.environ
    command = ["mn", "--custom", "topologies/mn.py", "--topo", "int-and-ex"]
    run = subprocess.run(
        [*command, "--controller", "none", "--test", "pingall"],
        check=False, capture_output=True, text=True, timeout=120, cwd=ROOT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "0% dropped (12/12 received)" in run.stdout + run.stderr, run.stdout + run.stderr
