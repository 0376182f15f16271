"""The connection tracker is on the way only where a port begins many flows, as the switch's own trace shows.

Packets pass while that changes: the tables that it takes come and go under traffic.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path

import pytest
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import ether, ipv4, mac, udp
from support.ovs.hosts import Host, host

pytestmark = pytest.mark.ovs

BRIDGE, DPID, VM, UPLINK = "flk-br", 0x91, "flk-vm1", "flk-up"
POLICY = "version: 1\nclasses: {any: {}}\npins: {idle-timeout: 60s}\n"
ABOVE = 50
VM_PORT = 7
LONG = 12
"""Packets after which a flow is old, also where its first ones are counted."""


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


def bridged(taps: PrivateOvs, running: Host) -> None:
    """A VM, and an uplink with four queues."""
    words = f"add-port {BRIDGE} {VM} -- set Interface {VM} type=internal ofport_request={VM_PORT}"
    words += " external_ids:iface-id=vm1"
    words += (
        f" -- add-port {BRIDGE} {UPLINK} -- set Interface {UPLINK} type=internal ofport_request={VM_PORT + 1}"
    )
    running.bridge(BRIDGE, DPID, *words.split(), "external_ids:flowlane-port=uplink")
    running.up(VM, UPLINK)
    taps.set_queues(UPLINK, {number: {} for number in range(4)})
    running.programmed()
    queues = f"/v1/devices/{DPID:016x}/queues"
    running.wait(lambda: len(running.rest(queues)["items"]) == 4, "the uplink has no queues")


def packet(port: int, data: bytes = b"data") -> bytes:
    return ether(mac(9), mac(1), 0x800, ipv4(1, 9, 17, udp(port, 53, data)))


def age(running: Host, port: int) -> None:
    """Send a flow until it is old, and wait until the switch has an entry for it."""
    for _ in range(LONG):
        running.send(VM, packet(port))
        time.sleep(0.01)
    running.wait(
        lambda: f"tp_src={port}," in running.ovs.ofctl("dump-flows", BRIDGE), "the flow has no entry"
    )


def datapath_actions(running: Host, port: int) -> list[str]:
    """What the datapath does with a packet: one list of actions for each time that it passes."""
    lines = running.trace(BRIDGE, VM, packet(port)).splitlines()
    return [line.removeprefix("Datapath actions: ") for line in lines if line.startswith("Datapath actions")]


def tracked_ports(running: Host) -> int:
    return running.ovs.ofctl("dump-flows", BRIDGE, "table=2").count(f"udp,in_port={VM_PORT},")


def test_an_old_flow_passes_the_datapath_once_as_with_set_queue_by_hand(
    taps: PrivateOvs, tmp_path: Path
) -> None:
    with host(taps, tmp_path, POLICY) as running:
        bridged(taps, running)
        age(running, 2000)
        (actions,) = datapath_actions(running, 2000)
        (place,) = running.flows(src_port=2000)[0]["assignments"]
        set_queue = [f"set(skb_priority({place['queue_id']:#x}))"] if place["queue_id"] else []
        outputs = [action for action in actions.split(",") if action.isdigit()]
        assert actions.split(",") == [*set_queue, *outputs]


def test_where_all_ports_are_tracked_it_passes_twice(taps: PrivateOvs, tmp_path: Path) -> None:
    with host(taps, tmp_path, POLICY + "track-above: 0\n") as running:
        bridged(taps, running)
        age(running, 2000)
        first, *_ = datapath_actions(running, 2000)
        assert first.startswith("ct(commit")


def test_a_storm_of_new_flows_has_the_port_tracked_and_an_old_flow_keeps_its_queue(
    taps: PrivateOvs, tmp_path: Path
) -> None:
    with host(taps, tmp_path, POLICY + f"track-above: {ABOVE}\n") as running:
        bridged(taps, running)
        age(running, 2000)
        (before,) = running.flows(src_port=2000)[0]["assignments"]
        assert not tracked_ports(running)
        # So many a second that the port is tracked after some of them, and that the VM keeps within its quota of
        # copies, also where a busy machine takes in two bursts at once.
        for burst in range(24):
            running.send(VM, *(packet(3000 + 1000 * burst + port) for port in range(3 * ABOVE)))
            time.sleep(0.5)
            if tracked_ports(running):
                break
        running.wait(lambda: tracked_ports(running), "the port is not tracked")
        for _ in range(LONG):
            running.send(VM, packet(2000))
        # Its first packets on the way through the tracker are placed anew, until its entry is read again.
        running.wait(
            lambda: running.flows(src_port=2000)[0]["assignments"][0]["queue_id"] == before["queue_id"],
            "it has lost its queue",
        )
        _, behind = datapath_actions(running, 2000)[:2]
        assert "ct(" not in behind, "it is old still: its entry is found behind the tracker"


LONG_QUEUE = 20_000
"""Packets that a tap device holds for a switch that stands still; 500 unless it is told so (ip-link(8), txqueuelen)."""
RCVBUFFORCE = 33
"""SO_RCVBUFFORCE of <asm-generic/socket.h>."""
OLD = range(2000, 2020)
GAP_S = 0.002
"""Between two packets: 500 a second, of which every other one begins a flow."""
ONE_CHANGE_S = 0.5


class Numbered:
    """Numbered packets of old and of new flows, by turns, from the VM to the uplink, and how often each arrived."""

    def __init__(self) -> None:
        self.sent = 0
        self.received: Counter[int] = Counter()
        self._stopped = threading.Event()
        self._in = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._in.bind((VM, 0))
        self._out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
        self._out.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 1 << 24)
        self._out.bind((UPLINK, 0))
        self._out.settimeout(0.1)

    def send(self) -> None:
        """Send until it is stopped."""
        old, new = cycle(OLD), count(10_000)
        while not self._stopped.wait(GAP_S):
            self._in.send(packet(next(new if self.sent % 2 else old), b"no.%08d" % self.sent))
            self.sent += 1

    def receive(self) -> None:
        """Count until it is stopped."""
        while not self._stopped.is_set():
            try:
                data = self._out.recv(2048)
            except TimeoutError:
                continue
            if number := re.search(rb"no\.(\d{8})", data):
                self.received[int(number[1])] += 1

    def stop(self) -> None:
        """Stop both."""
        self._stopped.set()

    def close(self) -> None:
        """Close the sockets."""
        self._in.close()
        self._out.close()


@contextmanager
def numbered() -> Iterator[Numbered]:
    """Send for the duration of the block, and wait for what is on its way at its end."""
    for name in (VM, UPLINK):
        subprocess.run(["ip", "link", "set", name, "txqueuelen", str(LONG_QUEUE)], check=True)
    packets = Numbered()
    receiver, sender = (
        threading.Thread(target=work, daemon=True) for work in (packets.receive, packets.send)
    )
    receiver.start()
    sender.start()
    try:
        yield packets
    finally:
        packets.stop()
        sender.join()
        receiver.join()
        packets.close()


POLICIES = {
    "tracked": POLICY + "track-above: 0\n",
    "not tracked": POLICY + "track-above: 100000\n",
    "learned at once": POLICY + "learn-after: 0\n",
    "a pin for each flow": "version: 1\nclasses: {any: {}}\npins: {which: all, idle-timeout: 60s}\n",
}


def put(running: Host, way: str) -> None:
    """Replace the policy, and wait until the switch's tables follow it."""
    running.put_policy(POLICIES[way])
    running.wait(lambda: bool(tracked_ports(running)) == (way == "tracked"), "its tables are the same")


@pytest.mark.parametrize("other", ["not tracked", "learned at once", "a pin for each flow"])
def test_no_packet_is_lost_when_ports_are_tracked_and_no_longer(
    taps: PrivateOvs, tmp_path: Path, other: str
) -> None:
    """A cached decision of the switch may lead to the tracker still, when the tables behind it have changed."""
    with host(taps, tmp_path, POLICIES[other]) as running:
        bridged(taps, running)
        with numbered() as packets:
            for way in ("tracked", other) * 4:
                put(running, way)
                time.sleep(ONE_CHANGE_S)
            sent = packets.sent
            running.wait(lambda: max(packets.received) > sent, "nothing arrives any more")
        assert sent > 500
        lost = set(range(sent)) - packets.received.keys()
        assert not lost, f"{len(lost)} of {sent}: {sorted(lost)[:20]}"
        assert set(packets.received.values()) == {1}
