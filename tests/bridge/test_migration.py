"""Live migration between two hosts with real packets: nothing is lost, and queue, limit and listing follow at once.

Each host is a bridge with Flowlane, with an uplink that has queues; between them is a bridge without Flowlane. A VM is
a tap on each host, of which one sends. It talks with a peer behind the network, and with a neighbour on its first host.
"""

from __future__ import annotations

import itertools
import select
import socket
import statistics
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab.inside import private_ovs, proxy
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from lab.inside.proxy import Error, Refuse
from support.ovs.frames import BROADCAST, arp, ether, hello, ipv4, mac, udp
from support.ovs.hosts import Host, host

pytestmark = pytest.mark.ovs

A, B, NET = "mig-a", "mig-b", "mig-net"
PEER, NEIGHBOUR = "mig-peer", "mig-near"
DPIDS = {A: 0x91, B: 0x92}
PEERS = {PEER: 201, NEIGHBOUR: 202}
"""Where a host is -> the number in its addresses."""
POLICY = """
version: 1
learn-after: 0
classes:
  other: {}
  mine: {max-queues: 1, limit: 500Mbit/s, limit-scope: vm}
rules:
  - {name: mine, match: {vm: "vm-*", protocol: udp, dst-port: 5000}, class: mine}
"""
GAP = 0.2
"""Seconds after an announcement in which all has followed: the median of the migrations of a test."""
PERIOD = 0.004
"""Seconds between two packets of each of the three streams."""
SIGNS: dict[str, Callable[[int], bytes]] = {
    "RARP": lambda n: ether(BROADCAST, mac(n), 0x8035, arp(n, n, 3)),
    "gratuitous ARP": lambda n: ether(BROADCAST, mac(n), 0x806, arp(n, n)),
    "nothing": lambda n: data(n, PEERS[PEER], 0),
}
AGAIN = (0.05, 0.2, 0.45, 0.8)
"""Seconds after which an announcement is repeated, as QEMU does (announce-initial 50 ms, announce-step 100 ms).

Open vSwitch counts what a cached flow has forwarded up to 0.5 s later, and then learns the address at the port of that
flow again (ofproto/ofproto-dpif-xlate-cache.c, XC_NORMAL). With a pause of 0.7 s before the move none is late.
"""
WAYS = tuple((sign, source) for sign in SIGNS for source in ("stays", "goes first", "goes last"))
"""How a VM is announced, and when the port at its source goes."""


def refuse_normal(message: bytes) -> Error | None:
    is_change = message[1] in (proxy.FLOW_MOD, proxy.GROUP_MOD)
    return Error(2, 4) if is_change and b"\0\0\0\x10\xff\xff\xff\xfa" in message else None


def data(src: int, dst: int, number: int) -> bytes:
    payload = udp(4000, 5000, b"no.%08x" % number)
    return ether(mac(dst), mac(src), 0x800, ipv4(src, dst, 17, payload))


@contextmanager
def two_hosts(taps: PrivateOvs, folder: Path, refuse: Refuse) -> Iterator[Host]:
    with host(taps, folder, POLICY) as running, proxy.running(running.port, refuse) as between:
        taps.add_bridge(NET, (), dpid=0x90)
        taps.ofctl("add-flow", NET, "actions=NORMAL")
        taps.vsctl("add-port", NET, PEER, "--", "set", "Interface", PEER, "type=internal")
        for name, dpid in DPIDS.items():
            up, far = f"{name}-up", f"{name}-far"
            subprocess.run(["ip", "link", "add", up, "type", "veth", "peer", "name", far], check=True)
            running.up(up, far)
            taps.add_bridge(name, (), dpid=dpid)
            ids = "external_ids:flowlane-port=uplink"
            taps.vsctl("add-port", name, up, "--", "set", "Interface", up, ids, "--", "add-port", NET, far)
            taps.set_queues(up, {number: {} for number in range(4)})
            taps.vsctl("set-controller", name, f"tcp:127.0.0.1:{between.port}")
        with taps.together():
            plug(taps, A, NEIGHBOUR, "neighbour", PEERS[NEIGHBOUR])
            for number in range(1, len(WAYS) + 1):
                plug(taps, A, f"mig-a{number}", f"vm-{number}", number)
        running.up(NEIGHBOUR, *(f"mig-a{number}" for number in range(1, len(WAYS) + 1)))
        running.bridges += (A, B, NET)
        running.up(PEER)
        wait = "table=4" if refuse is refuse_normal else "table=8"
        running.wait(lambda: all(wait in taps.ofctl("dump-flows", name) for name in (A, B)), "no tables")
        for dpid in DPIDS.values():
            path = f"/v1/devices/{dpid:016x}/queues"
            running.wait(partial(queues, running, path), "no queues")
        source, destination = (running.rest(f"/v1/devices/{dpid:016x}") for dpid in DPIDS.values())
        assert [source["forwarding"], destination["forwarding"]] == [
            "own" if refuse is refuse_normal else "normal"
        ] * 2
        running.wait(
            lambda: sum(item["up"] or False for item in ports(running, A)) > len(WAYS), "ports are down"
        )
        with taps.together():
            for number in range(1, len(WAYS) + 1):
                plug(taps, B, f"mig-b{number}", f"vm-{number}", number)
        running.up(*(f"mig-b{number}" for number in range(1, len(WAYS) + 1)))
        numbers = range(1, len(WAYS) + 1)
        running.wait(
            lambda: all(claims(running, f"vm-{n}").get(f"mig-b{n}") == "waiting" for n in numbers),
            "the destinations are not listed",
        )
        running.wait(
            lambda: all(is_ready(running, B, f"mig-b{n}", n) for n in numbers),
            "the destination has no limits",
        )
        try:
            yield running
        finally:
            for name in DPIDS:
                subprocess.run(["ip", "link", "del", f"{name}-up"], check=False)
            taps.vsctl("del-br", NET)
            running.bridges.remove(NET)


def plug(taps: PrivateOvs, bridge: str, port: str, vm: str, number: int) -> None:
    ids = (f"external_ids:iface-id={vm}", f'external_ids:attached-mac="{mac(number).hex(":")}"')
    taps.vsctl("add-port", bridge, port, "--", "set", "Interface", port, "type=internal", *ids)


def queues(running: Host, path: str) -> list[Any]:
    found: list[Any] = running.rest(path)["items"]
    return found


def ports(running: Host, bridge: str) -> list[Any]:
    found: list[Any] = running.rest(f"/v1/devices/{DPIDS[bridge]:016x}/ports")["items"]
    return [port for port in found if port["role"] == "vm"]


@dataclass
class Traffic:
    """Three streams: from the VM to the peer, and from the peer and the neighbour to the VM.

    ``sent`` and ``received`` are by stream: number -> time, and (number, place) -> time.
    """

    vm: int
    sockets: dict[str, socket.socket]
    at: str | None
    sent: dict[str, dict[int, float]] = field(default_factory=lambda: {"vm": {}, PEER: {}, NEIGHBOUR: {}})
    received: dict[str, dict[tuple[int, str], float]] = field(
        default_factory=lambda: {"vm": {}, PEER: {}, NEIGHBOUR: {}}
    )
    quiet: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def send(self) -> None:
        due = time.monotonic()
        for number in itertools.count(1):
            if self.quiet.wait(max(0.0, due - time.monotonic())):
                return
            due += PERIOD
            if (at := self.at) is not None:
                self.sent["vm"][number] = time.monotonic()
                self.sockets[at].send(data(self.vm, PEERS[PEER], number))
            for name, peer in PEERS.items():
                self.sent[name][number] = time.monotonic()
                self.sockets[name].send(data(peer, self.vm, number))

    def receive(self) -> None:
        names = {sock.fileno(): name for name, sock in self.sockets.items()}
        streams = {mac(self.vm): "vm", mac(PEERS[PEER]): PEER, mac(PEERS[NEIGHBOUR]): NEIGHBOUR}
        while not self.over.is_set():
            for sock in select.select(list(self.sockets.values()), [], [], 0.05)[0]:
                try:
                    frame, address = sock.recvfrom(2048)
                except OSError:
                    continue  # Its port is gone.
                stream, at = streams.get(frame[6:12]), frame.find(b"no.")
                if address[2] != socket.PACKET_OUTGOING and stream and at > 0:
                    place = int(frame[at + 3 : at + 11], 16), names[sock.fileno()]
                    self.received[stream].setdefault(place, time.monotonic())

    def lost(self, stream: str, place: str) -> list[float]:
        """When the packets of a stream were sent that did not arrive at a place."""
        there = {number for number, at in self.received[stream] if at == place}
        return [moment for number, moment in self.sent[stream].items() if number not in there]


@contextmanager
def traffic(vm: int, first: str, *names: str) -> Iterator[Traffic]:
    with ExitStack() as stack:
        sockets = {}
        for name in (*names, *PEERS):
            sockets[name] = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300))
            sockets[name].bind((name, 3))
            size = struct.pack("i", 1 << 20)
            sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        running = Traffic(vm, sockets, first)
        threads = [threading.Thread(target=work) for work in (running.send, running.receive)]
        for thread in threads:
            thread.start()
        try:
            yield running
        finally:
            running.quiet.set()
            running.over.set()
            for thread in threads:
                thread.join()


def place(running: Host, vm: str) -> tuple[str, str] | None:
    """The device and the port of a VM, as listed."""
    found = [item for item in running.rest("/v1/vms?limit=1000")["items"] if item["id"] == vm]
    return (found[0]["device"][-2:], found[0]["port"]) if found else None


def claims(running: Host, vm: str) -> dict[str, str]:
    shown: Any = running.rest(f"/v1/vms/{vm}")
    return {claim["port"]: claim["state"] for claim in shown["claims"]}


def is_ready(running: Host, bridge: str, port: str, vm: int) -> bool:
    """Whether a host would put the VM's packets under its limit, whether the VM is there or not."""
    # Without the bytes of a packet, since with them the switch learns from it and copies it.
    fields = f"dl_src={mac(vm).hex(':')},dl_dst={mac(PEERS[PEER]).hex(':')},nw_src=10.0.0.{vm}"
    return "meter:" in running.ovs.trace(
        bridge, f"udp,in_port={port},{fields},nw_dst=10.0.0.1,udp_src=1,udp_dst=5000"
    )


def announce_again(sender: socket.socket, frame: bytes, begin: float) -> None:
    for moment in AGAIN:
        time.sleep(max(0.0, begin + moment - time.monotonic()))
        sender.send(frame)


def migrate(running: Host, number: int, sign: str, source: str, own: bool) -> tuple[float, float]:
    """Migrate a VM from A to B; return the seconds until it was listed there, and until its packets came there."""
    vm, old, new = f"vm-{number}", f"mig-a{number}", f"mig-b{number}"
    assert is_ready(running, B, new, number), "the destination has the limit before the VM"
    assert (place(running, vm), claims(running, vm)) == (("91", old), {old: "current", new: "waiting"})
    running.send(old, hello(number))
    running.send(PEER, hello(PEERS[PEER]))
    running.send(NEIGHBOUR, hello(PEERS[NEIGHBOUR]))
    with traffic(number, old, old, new) as packets:
        running.wait(lambda: len(packets.received[PEER]) > 20, "nothing arrives")
        running.wait(lambda: running.flows(vm=vm, dst_port=5000), "its flow is not listed")
        packets.at, paused = None, time.monotonic()
        packets.over.wait(0.05)
        if source == "goes first":
            running.ovs.vsctl("del-port", old)
        announced = time.monotonic()
        packets.sockets[new].send(SIGNS[sign](number))
        packets.at = new
        repeat = threading.Thread(
            target=announce_again, args=(packets.sockets[new], SIGNS[sign](number), announced)
        )
        repeat.start()
        running.wait(lambda: place(running, vm) == ("92", new), "the VM is not listed where it is", 20)
        listed = time.monotonic() - announced
        packets.over.wait(max(0.0, announced + 1.5 * GAP - time.monotonic()))
        if source == "goes last":
            running.ovs.vsctl("del-port", old)
        running.wait(lambda: running.flows(vm=vm, dst_port=5000), "its flow is not listed again")
        (flow,) = running.flows(vm=vm, dst_port=5000)
        places = [(item["device"][-2:], item["meter"] is not None) for item in flow["assignments"]]
        assert places == [("92", True)]
        # Where nothing announces the VM, its first host's bridge forwards to the old port until it ages there.
        streams = [PEER] if sign == "nothing" and not own and source != "goes first" else list(PEERS)
        running.wait(
            lambda: all(any(at == new for _, at in list(packets.received[name])) for name in streams),
            "packets to the VM do not arrive",
        )
        repeat.join()
        packets.quiet.set()
        running.wait(
            lambda: all((len(packets.sent[name]), new) in packets.received[name] for name in streams),
            "the last packets to the VM do not arrive",
        )
        lost = f"packets of the VM are lost ({sign}, the source {source})"
        running.wait(lambda: not packets.lost("vm", PEER), lost, 5)
    assert [moment for moment in packets.lost(PEER, old) if moment < paused] == [], "lost before it moved"
    late = [
        moment - announced for stream in streams for moment in packets.lost(stream, new) if moment > announced
    ]
    assert claims(running, vm) == {"stays": {old: "left", new: "current"}}.get(source, {new: "current"})
    return listed, max(late, default=0.0) + PERIOD


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


@pytest.mark.parametrize("refuse", [proxy.refuse_nothing, refuse_normal], ids=["normal", "own"])
def test_a_vm_moves(taps: PrivateOvs, tmp_path: Path, refuse: Refuse) -> None:
    with two_hosts(taps, tmp_path, refuse) as running:
        figures = {
            (sign, source): migrate(running, number, sign, source, refuse is refuse_normal)
            for number, (sign, source) in enumerate(WAYS, 1)
        }
        for way, (listed, gap) in figures.items():
            print(f"{', the source '.join(way)}: listed after {listed:.3f} s, reached after {gap:.3f} s")
        for what in (0, 1):
            assert statistics.median(figure[what] for figure in figures.values()) < GAP, figures
        assert max(max(figure) for figure in figures.values()) < 5, figures
