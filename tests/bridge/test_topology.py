"""A flow over four devices with real packets: software switch, NIC, top-of-rack in no database, the far NIC.

The top-of-rack is in an Open vSwitch of its own, whose database the controller does not read. The NIC is connected to
it by a bond of two cables.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import ether, ipv4, mac, udp
from support.ovs.hosts import Host, host

from flowlane.southbound.openflow.wire import lldp

pytestmark = pytest.mark.ovs

VSW, NICA, NICB, TOR = "flw-vsw", "flw-nica", "flw-nicb", "flw-tor"
DPIDS = {VSW: 0x81, NICA: 0xA1, NICB: 0xB1, TOR: 0xC1}
HERE, THERE = "flw-vm1", "flw-vm2"
CABLES = (("flw-a0", "flw-t0"), ("flw-a1", "flw-t1"), ("flw-c0", "flw-t2"))
CONTROL = ("192.0.2.1", "192.0.2.2")
POLICY = """
version: 1
classes:
  all: {}
  slow: {limit: 2Mbit/s}
rules:
  - {name: slow, match: {dst-port: 7}, class: slow}
"""


@dataclass
class Racks:
    """The host with its controller, and the switch of the top-of-rack."""

    host: Host
    tor: PrivateOvs

    def topology(self) -> Any:
        return self.host.rest("/v1/topology")

    def links(self) -> dict[tuple[str, ...], str]:
        """The ports of each link -> its state; with a word where probes come in at one end only."""
        return {
            tuple(end["port"] for end in link["ends"]): link["state"]
            + (" one way" if link["one_way"] else "")
            for link in self.topology()["links"]
        }

    def explained(self, **where: str | int) -> Any:
        """The explanation of the only flow with these values; None: there is none."""
        flows = self.host.flows(**where)
        return self.host.rest(f"/v1/flows/{flows[0]['id']}/explain") if len(flows) == 1 else None

    def way(self, **where: str | int) -> list[tuple[str, bool]]:
        """The devices on the way of a flow, and whether each has an assignment of it."""
        explained = self.explained(**where)
        return [(hop["device_name"], hop["assigned"]) for hop in explained["way"]] if explained else []


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def beside(process: int, *words: str) -> None:
    """Run a command in the network namespace of a process."""
    subprocess.run(["nsenter", f"--net=/proc/{process}/ns/net", *words], check=True)


def connect(process: int, here: str, there: str) -> None:
    """Lay a cable to the network namespace of a process."""
    ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", str(process))
    ip("link", "set", here, "up")
    beside(process, "ip", "link", "set", there, "up")


@pytest.fixture(scope="module")
def racks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Racks]:
    with (
        network_of_its_own(),
        private_ovs.running(system=True) as tor,
        network_of_its_own(),
        private_ovs.running(system=True) as ovs,
    ):
        process = tor.process
        connect(process, "flw-m0", "flw-m1")
        ip("address", "add", f"{CONTROL[0]}/24", "dev", "flw-m0")
        beside(process, "ip", "address", "add", f"{CONTROL[1]}/24", "dev", "flw-m1")
        for here, there in CABLES:
            connect(process, here, there)
        with host(ovs, tmp_path_factory.mktemp("racks"), POLICY, "--ofp-listen-host=0.0.0.0") as running:
            build(running, tor)
            found = Racks(running, tor)
            running.wait(
                lambda: set(found.links().values()) == {"up"} and len(found.links()) == len(CABLES) + 1,
                "not all links are known in both directions",
            )
            yield found


def build(running: Host, tor: PrivateOvs) -> None:
    ovs = running.ovs
    tor.add_bridge(TOR, (), dpid=DPIDS[TOR])
    tor.vsctl(*("add-port", TOR, "flw-t0", "--", "add-port", TOR, "flw-t1", "--", "add-port", TOR, "flw-t2"))
    tor.set_queues("flw-t2", {number: {} for number in range(2)})
    tor.vsctl("set-controller", TOR, f"tcp:{CONTROL[0]}:{running.port}")
    for bridge in (VSW, NICA, NICB):
        ovs.add_bridge(bridge, (), dpid=DPIDS[bridge])
        running.bridges.append(bridge)
    for name, bridge, number in ((HERE, VSW, 1), (THERE, NICB, 2)):
        ids = [f"external_ids:iface-id={name}", f'external_ids:attached-mac="{mac(number).hex(":")}"']
        ovs.vsctl("add-port", bridge, name, "--", "set", "Interface", name, "type=internal", *ids)
    for bridge, name, peer in ((VSW, "flw-p0", "flw-p1"), (NICA, "flw-p1", "flw-p0")):
        ovs.vsctl(
            *("add-port", bridge, name, "--", "set", "Interface", name, "type=patch", f"options:peer={peer}")
        )
    ovs.vsctl("add-bond", NICA, "flw-bond", "flw-a0", "flw-a1", "bond_mode=active-backup")
    ovs.vsctl(
        "add-port", NICB, "flw-c0", "--", "set", "Interface", "flw-c0", "external_ids:flowlane-port=uplink"
    )
    for port in ("flw-bond", "flw-c0", HERE, THERE):
        ovs.set_queues(port, {number: {} for number in range(4)})
    running.up(HERE, THERE)
    for bridge in running.bridges:
        ovs.vsctl("set-controller", bridge, f"tcp:127.0.0.1:{running.port}")
    running.programmed()


def packet(port: int, back: bool = False) -> bytes:
    """A packet from one VM to the other."""
    src, dst = (2, 1) if back else (1, 2)
    return ether(mac(dst), mac(src), 0x0800, ipv4(src, dst, 17, udp(1000, port)))


@contextmanager
def received(interface: str, port: int) -> Iterator[list[float]]:
    """Collect the times at which packets to a port reach an interface during the block."""
    found: list[float] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as listener:
        listener.bind((interface, 0))
        listener.settimeout(0.1)
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                try:
                    frame, address = listener.recvfrom(2048)
                except TimeoutError:
                    continue
                is_ours = frame[12:14] == b"\x08\x00" and frame[36:38] == port.to_bytes(2)
                if is_ours and address[2] != socket.PACKET_OUTGOING:
                    found.append(time.monotonic())

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield found
        finally:
            ended.set()
            thread.join()


def roles(racks: Racks) -> dict[str, str]:
    """The roles of the top-of-rack's cables."""
    ports = racks.host.rest(f"/v1/devices/{DPIDS[TOR]:016x}/ports")["items"]
    ends = {there for _, there in CABLES}
    return {port["name"]: port["role"] for port in ports if port["name"] in ends}


def test_links_hosts_and_roles(racks: Racks) -> None:
    links = {there: "link" for _, there in CABLES}
    racks.host.wait(lambda: roles(racks) == links, "ports with probes did not become links")
    topology = racks.topology()
    assert topology["unknown"] == topology["loops"] == []
    hosts = {device["dpid"]: device["host"] for device in topology["devices"]}
    assert len({hosts[f"{DPIDS[name]:016x}"] for name in (VSW, NICA, NICB)}) == 1
    assert hosts[f"{DPIDS[TOR]:016x}"] is None


def test_one_flow_is_assigned_on_every_device_of_its_way_in_both_directions(racks: Racks) -> None:
    tor = f"{DPIDS[TOR]:016x}"
    forth = [(VSW, True), (NICA, True), (tor, True), (NICB, True)]
    with received(THERE, 9) as there, received(HERE, 9) as here:

        def whole() -> bool:
            racks.host.send(HERE, packet(9))
            racks.host.send(THERE, packet(9, back=True))
            ways = racks.way(src="10.0.0.1", dst_port=9), racks.way(src="10.0.0.2", dst_port=9)
            return ways == (forth, forth[::-1])

        racks.host.wait(whole, "the flows are not assigned on all devices")
        racks.host.wait(lambda: there and here, "no packet has come through")
    for src in ("10.0.0.1", "10.0.0.2"):
        explained = racks.explained(src=src, dst_port=9)
        assert [item["device_name"] for item in explained["devices"]] == [
            hop["device_name"] for hop in explained["way"]
        ]
    forwards = {
        hop["device_name"]: hop["queue_id"] for hop in racks.explained(src="10.0.0.1", dst_port=9)["way"]
    }
    assert all(forwards[name] is not None for name in (NICA, tor, NICB)), "each has queues of its own"


def test_a_limit_is_enforced_once_on_the_way(racks: Racks) -> None:
    def whole() -> bool:
        racks.host.send(THERE, packet(7, back=True))
        racks.host.send(HERE, packet(7))
        return [assigned for _, assigned in racks.way(src="10.0.0.1", dst_port=7)] == [True] * len(DPIDS)

    racks.host.wait(whole, "the flow is not on all devices")
    racks.host.wait(lambda: limiting(racks) == [VSW], "not one device has the limit")


def limiting(racks: Racks) -> list[str]:
    devices = racks.explained(src="10.0.0.1", dst_port=7)["devices"]
    return [item["device_name"] for item in devices if "enforces" not in item["meter"]]


def test_lldp_of_others_is_the_bridges(racks: Racks) -> None:
    others = bytes.fromhex("0180c200000e020000000001") + lldp.frame(1, 2, bytes(8), 120)[12:]
    racks.host.ovs.vsctl("set", "Bridge", NICA, "other_config:forward-bpdu=true")
    try:
        for frame, ours in ((others, False), (lldp.frame(1, 2, bytes(8), 120), True)):
            actions = racks.host.trace(NICA, "flw-p1", frame).rsplit("Datapath actions:", 1)[1].strip()
            assert ("controller" in actions) is ours, actions
            only_copied = re.fullmatch(r"(sample|userspace)\(.*\)", actions) is not None
            assert only_copied if ours else actions != "drop", actions
    finally:
        racks.host.ovs.vsctl("remove", "Bridge", NICA, "other_config", "forward-bpdu")


def active(racks: Racks) -> str:
    """The member of the bond that carries packets."""
    text = racks.host.ovs.appctl("bond/show", "flw-bond")
    found = re.search(r"active(?:-backup primary)? (?:slave|member)(?: mac)?: \S*\(?(flw-a\d)", text)
    assert found is not None, text
    return found[1]


def test_a_failed_link_with_a_standby_loses_less_than_a_second(racks: Racks) -> None:
    member = active(racks)
    cable = next(ends for ends in CABLES if ends[0] == member)
    with received(THERE, 8) as found:
        began = time.monotonic()
        failed_at = seen_at = 0.0
        while time.monotonic() - began < 3:
            racks.host.send(HERE, packet(8))
            if not failed_at and time.monotonic() - began > 1:
                failed_at = time.monotonic()
                racks.host.down(member)
            if failed_at and not seen_at and racks.links()[cable] == "down":
                seen_at = time.monotonic()
            time.sleep(0.01)
    racks.host.up(member)
    assert max(later - earlier for earlier, later in pairwise(found)) < 1, "the standby took too long"
    assert found[-1] > failed_at + 1
    assert 0 < seen_at - failed_at < 1
    racks.host.wait(lambda: racks.links()[cable] == "up", "the link did not come back")
