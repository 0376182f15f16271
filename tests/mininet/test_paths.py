"""A heavy stream changes from its VM's direct interface to the software one and back: nothing lost, heavy at once.

The guest's own means are used: a route, and a link that goes down. The judge of loss is the receiver.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.hosts.network import MININET_PYTHON, Controller, Network, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = """
version: 1
classes:
  small: {}
  heavy: {queues: exclusive}
pins: {idle-timeout: 60s}
rules:
  - {name: heavy, match: {protocol: udp, rate: ">= 1Mbit/s for 1s until below 300kbit/s"}, class: heavy}
"""
RECEIVE = """
import json, socket, struct
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
listener.bind(("10.0.0.100", 5000))
print("listening", flush=True)
seen = set()
while (number := struct.unpack("!Q", listener.recv(2000)[:8])[0]) < 1 << 32:
    seen.add(number)
print(json.dumps(sorted(set(range(max(seen))) - seen)), flush=True)
"""
SEND = """
import itertools, json, signal, socket, struct, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind(("10.0.0.1", 4000))
marks, over = [], []
signal.signal(signal.SIGUSR1, lambda *_: marks.append(number))
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
for number in itertools.count():
    if number == 1:
        print("sending", flush=True)
    if over:
        break
    sender.sendto(struct.pack("!Q", number) + bytes(800), ("10.0.0.100", 5000))
    time.sleep(0.002)
for _ in range(5):
    time.sleep(0.1)
    sender.sendto(struct.pack("!Q", 1 << 32), ("10.0.0.100", 5000))
print(json.dumps([number, *marks]), flush=True)
"""
FAILOVER = 50
"""Packets (of 0.1 s at least) that the guest's own failover may lose: they were handed to the link that went down."""


@pytest.fixture
def two_paths(tmp_path: Path) -> Iterator[tuple[Network, Controller]]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    network = Network("two-paths.yaml", tmp_path, "OpenFlow13,OpenFlow14,OpenFlow15", "--queues")
    try:
        controller = Controller(tmp_path, "--policy", str(policy))
        try:
            eventually("both devices are connected", lambda: are_connected(controller), 20)
            yield network, controller
        finally:
            controller.close()
    finally:
        network.close()


def are_connected(controller: Controller) -> bool:
    return controller.has_device() and bool(controller.get("/v1/status")["devices"]["connected"] == 2)


def of_stream(controller: Controller) -> dict[str, dict[str, Any]]:
    """NIC -> the stream's flow there."""
    flows = controller.all("/v1/flows?limit=100")
    return {flow["vm"]: flow for flow in flows if (flow["src_port"], flow["dst_port"]) == (4000, 5000)}


def place_of(controller: Controller, nic: str) -> dict[str, Any]:
    """Return the stream's flow as it is listed first of a NIC."""
    flow: dict[str, Any] = eventually(f"it is on {nic}", lambda: of_stream(controller).get(nic, {}), 6)
    return flow


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return line


def test_a_heavy_stream_changes_its_path_and_back(two_paths: tuple[Network, Controller]) -> None:
    network, controller = two_paths
    vm1 = "vm1"

    def ip(*words: str) -> None:
        run = network.run(vm1, "ip", *words)
        assert run.returncode == 0, run.stderr

    listing = network.run("remote", "ip", "-j", "addr")
    links = json.loads(listing.stdout)
    (far,) = [
        link["address"] for link in links if any(addr["local"] == "10.0.0.100" for addr in link["addr_info"])
    ]
    direct = network.hosts[vm1]["interface"]
    names = [link["ifname"] for link in json.loads(network.run(vm1, "ip", "-j", "link").stdout)]
    (soft,) = [name for name in names if name.startswith("vm1-") and name != direct]
    for interface in (direct, soft):  # No packet waits for ARP: what is lost is lost on the paths.
        ip("neigh", "replace", "10.0.0.100", "lladdr", far, "dev", interface, "nud", "permanent")

    receiver = network.start("remote", MININET_PYTHON, "-c", RECEIVE)
    assert read_line(receiver) == "listening\n"
    sender = network.start(vm1, MININET_PYTHON, "-c", SEND)
    assert read_line(sender) == "sending\n"
    eventually(
        "the stream is heavy on the direct path",
        lambda: of_stream(controller).get("vm1-direct", {}).get("class") == "heavy",
        10,
    )
    assert set(of_stream(controller)) == {"vm1-direct"}

    ip("route", "replace", "10.0.0.100/32", "dev", soft, "src", "10.0.0.1")
    seen = place_of(controller, "vm1-soft")
    assert seen["class"] == "heavy", "at once, not after a second"
    assert seen["assignments"][0]["queue_id"] is not None
    eventually("its old queue is given up", lambda: set(of_stream(controller)) == {"vm1-soft"}, 10)
    (why,) = controller.get(f"/v1/flows/{seen['id']}/explain")["devices"]
    assert (why["came_from"]["device_name"], why["came_from"]["in_port"]) == ("nic0", "pf0vf0")
    assert "by its other interface" in why["came_from"]["why"]
    paths = controller.get("/v1/vms/vm1-soft")["paths"]
    assert {(path["role"], path["vm"]) for path in paths} == {("nic", "vm1-direct"), ("vswitch", "vm1-soft")}

    os.kill(sender.pid, signal.SIGUSR1)
    ip("link", "set", soft, "down")  # The kernel removes the route, and the direct one is left.
    back = place_of(controller, "vm1-direct")
    assert back["class"] == "heavy"
    eventually("the other one's queue is given up", lambda: set(of_stream(controller)) == {"vm1-direct"}, 10)
    sender.terminate()
    sent, marked = json.loads(read_line(sender))
    lost = json.loads(read_line(receiver))
    assert marked > 1000
    assert [number for number in lost if number < marked] == [], "the change by a route loses nothing"
    assert len(lost) <= FAILOVER, f"{lost} of {sent}"
