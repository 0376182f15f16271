"""The scene of a restart: a switch with queues, VMs that send all the time, and packets counted one by one."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import threading
import time
import urllib.request
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from lab.inside.manager import Launched, wait_for
from lab.inside.private_ovs import PrivateOvs

BRIDGE, UPLINK, DPID, VMS, QUEUES = "flw-k", "flw-ku", 0x99, 4, 8
ADDRESS = f"{DPID:016x}"
RATE = 1_000_000_000
"""bit/s of the uplink, of which the load is so little that it moves no flow by itself."""

POLICY = """
version: 1
learn-after: 0
classes:
  one: {max-queues: 1}
  slow: {limit: 200Mbit/s, limit-scope: vm}
trust: [{vm: vm3, sources: [rest]}]
rules:
  - {name: one, match: {dst-port: 2001}, class: one}
  - {name: slow, match: {vm: vm2}, class: slow}
"""
OF_NEW_FLOWS = re.compile(r"cookie=0xf10a[45]|tp_src=[2-6]\d{4}")
"""Learned entries with the groups of them that are counted, and pins of flows that come and go: these are compared as
assignments, or not at all."""

STEADY, NEW_FLOWS_AFTER = 10, 0.1
"""Flows of each VM that go on for ever; seconds between two of its flows that come and go."""

_RECEIVE_BUFFER, _OUTGOING, _IPV4 = 33, 4, 0x0800
"""SO_RCVBUFFORCE (socket(7)), PACKET_OUTGOING (packet(7)), the ethertype."""

_TARGET = bytes([10, 0, 0, 99])

_RATE = re.compile(r" rate=\d+ burst_size=\d+")

_NUMBER = struct.Struct("!I")
_NUMBER_AT = 42
"""Place of a packet's number: behind the headers."""


class Snapshot(NamedTuple):
    """What stands, and where the flows are that go on."""

    entries: frozenset[str]
    groups: frozenset[str]
    meters: frozenset[str]
    places: dict[str, Any]


class Host:
    """A switch, and the controller that is killed and started again."""

    def __init__(self, ovs: PrivateOvs, options: tuple[str, ...], manager: Launched) -> None:
        self.ovs, self.manager = ovs, manager
        self.port = manager.openflow_port
        self.options = (*options, f"--ofp-tcp-listen-port={self.port}")

    def rest(self, path: str) -> Any:
        """Read REST."""
        return self.manager.rest(path)

    def steady(self) -> list[Any]:
        """List the flows that go on."""
        return [
            flow
            for port in range(1000, 1000 + STEADY)
            for flow in self.rest(f"/v1/flows?src_port={port}&limit=1000")["items"]
        ]

    def is_connected(self) -> bool:
        """Whether the controller has adopted the switch."""
        return any(device["connected"] for device in self.rest("/v1/devices")["items"])

    def request(self, method: str, path: str, body: object) -> None:
        """Send an order over REST."""
        url = f"http://127.0.0.1:{self.manager.rest_port}{path}"
        head = {"Content-Type": "application/json"}
        made = urllib.request.Request(url, json.dumps(body).encode(), head, method=method)
        urllib.request.urlopen(made, timeout=10).close()


def frame(vm: int, source: int) -> bytearray:
    """Make a UDP packet of a VM for a host behind the uplink; without checksums, which nobody looks at.

    Flows have different rates, by the lengths of their packets. The packet's number is to be filled in.
    """
    load = bytes(60 + source % 5 * 240)
    data = struct.pack("!HHHH", source, 2000 + source % 3, 8 + len(load), 0) + load
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 0, 0, 64, 17, 0)
    macs = b"\x02\0\0\0\0\x63\x02\0\0\0\0" + bytes([vm]) + b"\x08\0"
    return bytearray(macs + head + bytes([10, 0, 0, vm, 10, 0, 0, 99]) + data)


class Load:
    """Packets of flows that go on, and of new ones, until :meth:`stop`; those that leave by the uplink are noted.

    Args:
        pause: seconds between two packets of a flow.
        new_flows_after: seconds between two flows of a VM that come and go.
    """

    def __init__(self, pause: float = 0.1, new_flows_after: float = NEW_FLOWS_AFTER) -> None:
        self._pause, self._new_flows_after = pause, new_flows_after
        self._sent_at = array("d")
        """When each packet was sent, by its number (monotonic clock)."""
        self._received: set[int] = set()
        self._ended, self._drained = threading.Event(), threading.Event()
        self._in = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV4))
        self._in.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER, 64 << 20)
        self._in.bind((UPLINK, _IPV4))
        self._in.settimeout(0.1)
        self._counter = threading.Thread(target=self._count, daemon=True)
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._counter.start()
        self._sender.start()

    @property
    def sent(self) -> int:
        """How many packets were sent."""
        return len(self._sent_at)

    def lost_at(self) -> list[float]:
        """When the packets were sent that were lost (monotonic clock)."""
        return [at for number, at in enumerate(self._sent_at) if number not in self._received]

    def stop(self) -> int:
        """End the load; return how many packets were lost."""
        if not self._ended.is_set():
            self._ended.set()
            self._sender.join()
            time.sleep(2.0)
            self._drained.set()
            self._counter.join()
            self._in.close()
        return self.sent - len(self._received)

    def _count(self) -> None:
        while not self._drained.is_set():
            try:
                data, place = self._in.recvfrom(64)
            except TimeoutError:
                continue
            if place[2] != _OUTGOING and data[30:34] == _TARGET:
                self._received.add(*_NUMBER.unpack_from(data, _NUMBER_AT))

    def _send(self) -> None:
        outs = []
        for vm in range(1, VMS + 1):
            out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            out.bind((f"flw-k{vm}", 0))
            outs.append(out)
        steady = [[frame(vm, source) for source in range(1000, 1000 + STEADY)] for vm in range(1, VMS + 1)]
        turn = time.monotonic()
        while not self._ended.wait(max(0.0, turn - time.monotonic())):
            turn = max(turn + self._pause, time.monotonic() - 1.0)
            now = time.monotonic()
            port = 20_000 + int(now / self._new_flows_after) % 40_000
            for vm, out in enumerate(outs, 1):
                for data in (*steady[vm - 1], frame(vm, port)):
                    _NUMBER.pack_into(data, _NUMBER_AT, self.sent)
                    self._sent_at.append(now)
                    out.send(data)
        for out in outs:
            out.close()


def places(running: Host) -> dict[str, Any]:
    """Queue, entry and reason of each flow that goes on."""
    return {
        flow["id"]: (place["queue_id"], place["pinned"], place["reason"], place["meter"] is not None)
        for flow in running.steady()
        for place in flow["assignments"]
    }


def snapshot(running: Host) -> Snapshot:
    """Read the switch and REST."""
    ofctl = running.ovs.ofctl
    lines = [
        line.strip() for line in ofctl("dump-flows", BRIDGE, "--no-stats").splitlines() if "priority=" in line
    ]
    entries = (line for line in lines if not OF_NEW_FLOWS.search(line))
    groups = (line.strip() for line in ofctl("dump-groups", BRIDGE).splitlines() if "group_id=" in line)
    return Snapshot(
        frozenset(entries),
        frozenset(groups),
        frozenset(meters_in(ofctl("dump-meters", BRIDGE))),
        places(running),
    )


def meters_in(text: str) -> list[str]:
    """List the meters of ``ovs-ofctl dump-meters``; the limit on copies without its rate.

    That follows how late the controller is with what the switch sends (core/device/copies.py). One that has just
    started is not late, and allows what the policy does.
    """
    meters = text.split("meter=")[1:]
    return [_RATE.sub("", meter) if meter.startswith("controller ") else meter for meter in meters]


def differences(before: Snapshot, after: Snapshot) -> dict[str, list[str]]:
    """List what has gone and what has come, by what it is."""
    found: dict[str, list[str]] = {}
    for name in ("entries", "groups", "meters"):
        old, new = getattr(before, name), getattr(after, name)
        found[name] = [f"- {line}" for line in sorted(old - new)] + [
            f"+ {line}" for line in sorted(new - old)
        ]
    found["places"] = [
        f"{flow}: {place} -> {after.places.get(flow)}"
        for flow, place in sorted(before.places.items())
        if after.places.get(flow) != place
    ]
    return {name: lines for name, lines in found.items() if lines}


def settled(running: Host, seconds: float, most: float = 90.0) -> Snapshot:
    """Wait until nothing has changed for so many seconds, or it has taken too long; return what there is then."""
    last = snapshot(running)
    begun = since = time.monotonic()
    while time.monotonic() - since < seconds and time.monotonic() - begun < most:
        time.sleep(0.5)
        now = snapshot(running)
        if differences(last, now):
            last, since = now, time.monotonic()
    return last


def make_bridge(ovs: PrivateOvs) -> None:
    """Make the bridge, without a controller."""
    words: list[str] = []
    for vm in range(1, VMS + 1):
        words += f"add-port {BRIDGE} flw-k{vm} -- set Interface flw-k{vm} type=internal ofport_request={vm}".split()
        words += [f"external_ids:iface-id=vm{vm}", "--"]
    words += f"add-port {BRIDGE} {UPLINK} -- set Interface {UPLINK} type=internal ofport_request=50".split()
    ovs.add_bridge(BRIDGE, (), dpid=DPID)
    ovs.vsctl(*words, "external_ids:flowlane-port=uplink")
    for name in (UPLINK, *(f"flw-k{vm}" for vm in range(1, VMS + 1))):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    ovs.set_queues(UPLINK, {number: {} for number in range(QUEUES)}, max_rate=RATE)


def attach(running: Host) -> None:
    """Give the bridge the controller, and wait until it is programmed."""
    running.ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{running.port}")
    running.ovs.vsctl("set", "Controller", BRIDGE, "max_backoff=1000")
    wait_for(lambda: "table=8" in running.ovs.ofctl("dump-flows", BRIDGE), 60, "not programmed")
    wait_for(lambda: bool(running.rest(f"/v1/devices/{ADDRESS}/queues")["items"]), 60, "no queues")


def order(running: Host) -> None:
    """Give a hint, pin a flow, cordon a queue."""
    wait_for(lambda: len(places(running)) == VMS * STEADY, 60, "not all flows are listed")
    hint = {"class": "one", "match": {"dst-port": 2002}}
    running.request("PUT", "/v1/vms/vm3/hints/bench", hint)
    flow_id, place = next(item for item in places(running).items())
    queue = f"/v1/devices/{ADDRESS}/queues/{UPLINK}/{QUEUES - 1}"
    running.request("PATCH", queue, {"admission": "cordoned"})
    pin = {"queue_id": (place[0] + 1) % (QUEUES - 1), "lifetime": 9e4}
    running.request("PUT", f"/v1/flows/{flow_id}/pin", pin)


@contextmanager
def loaded(pause: float = 0.1, new_flows_after: float = NEW_FLOWS_AFTER) -> Iterator[Load]:
    """Send for the duration of the block."""
    load = Load(pause, new_flows_after)
    try:
        yield load
    finally:
        load.stop()


def quiet_network() -> None:
    """Keep the machine from sending by itself by the ports of the switch."""
    for which in ("default", "all"):
        name = f"net.ipv6.conf.{which}.disable_ipv6=1"
        subprocess.run(["sysctl", "-qw", name], check=False)
