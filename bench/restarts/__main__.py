"""Kill the controller at random moments under load, again and again, and list what that has changed.

Flows come and go on a real Open vSwitch (userspace datapath), with limits, a hint, a pin by hand and a cordoned queue.
Before each ``kill -9`` and some seconds after the next start the switch's tables, groups and meters are read, and the
assignments of the flows that go on; packets are counted where they enter and leave.

Run as root: ``python -m bench.restarts --kills 50``. With ``--require`` the exit code is 1 where anything has changed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from lab.inside import private_ovs
from lab.inside.manager import Launched, launched, wait_for
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs

BRIDGE, UPLINK, DPID, VMS, QUEUES = "flw-k", "flw-ku", 0x99, 4, 8
ADDRESS = f"{DPID:016x}"
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
OF_NEW_FLOWS = re.compile(r"cookie=0xf10a4|tp_src=[2-6]\d{4}")
"""Learned entries, and pins of flows that come and go: these are compared as assignments, or not at all."""

STEADY, AFTER = 10, 7.0
"""Flows of each VM that go on for ever; seconds after a start in which traces are waited for."""


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


def frame(vm: int, source: int) -> bytes:
    """Make a UDP packet of a VM for a host behind the uplink; without checksums, which nobody looks at."""
    data = struct.pack("!HHHH", source, 2000 + source % 3, 108, 0) + bytes(100)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 0, 0, 64, 17, 0)
    macs = b"\x02\0\0\0\0\x63\x02\0\0\0\0" + bytes([vm]) + b"\x08\0"
    return macs + head + bytes([10, 0, 0, vm, 10, 0, 0, 99]) + data


class Load:
    """Packets of flows that go on, and of new ones, until :meth:`stop`."""

    def __init__(self) -> None:
        self.sent = 0
        self._ended = threading.Event()
        self._task = threading.Thread(target=self._send, daemon=True)
        self._task.start()

    def stop(self) -> None:
        """End the load."""
        self._ended.set()
        self._task.join()

    def _send(self) -> None:
        outs = []
        for vm in range(1, VMS + 1):
            out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            out.bind((f"flw-k{vm}", 0))
            outs.append(out)
        port = 20_000
        while not self._ended.wait(0.1):
            port = 20_000 + (port + 1) % 40_000
            for vm, out in enumerate(outs, 1):
                for source in (*range(1000, 1000 + STEADY), port):
                    out.send(frame(vm, source))
                    self.sent += 1


def received() -> int:
    """Packets that have left by the uplink."""
    shown = subprocess.run(
        ["ip", "-s", "-j", "link", "show", UPLINK], check=True, capture_output=True, text=True
    )
    return int(json.loads(shown.stdout)[0]["stats64"]["rx"]["packets"])


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
    meters = ofctl("dump-meters", BRIDGE).split("meter=")[1:]
    return Snapshot(frozenset(entries), frozenset(groups), frozenset(meters), places(running))


def request(running: Host, method: str, path: str, body: object) -> None:
    """Send an order over REST."""
    url = f"http://127.0.0.1:{running.manager.rest_port}{path}"
    made = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method
    )
    urllib.request.urlopen(made, timeout=10).close()


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


def prepare(running: Host) -> None:
    """Make the bridge, begin no load yet."""
    words: list[str] = []
    for vm in range(1, VMS + 1):
        words += f"add-port {BRIDGE} flw-k{vm} -- set Interface flw-k{vm} type=internal ofport_request={vm}".split()
        words += [f"external_ids:iface-id=vm{vm}", "--"]
    words += f"add-port {BRIDGE} {UPLINK} -- set Interface {UPLINK} type=internal ofport_request=50".split()
    running.ovs.add_bridge(BRIDGE, (), dpid=DPID)
    running.ovs.vsctl(*words, "external_ids:flowlane-port=uplink")
    running.ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{running.port}")
    for name in (UPLINK, *(f"flw-k{vm}" for vm in range(1, VMS + 1))):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    running.ovs.set_queues(UPLINK, {number: {} for number in range(QUEUES)})
    wait_for(lambda: "table=8" in running.ovs.ofctl("dump-flows", BRIDGE), 20, "not programmed")
    wait_for(lambda: bool(running.rest(f"/v1/devices/{ADDRESS}/queues")["items"]), 20, "no queues")


def order(running: Host) -> None:
    """Give a hint, pin a flow, cordon a queue."""
    wait_for(lambda: len(places(running)) == VMS * STEADY, 30, "not all flows are listed")
    request(running, "PUT", "/v1/vms/vm3/hints/bench", {"class": "one", "match": {"dst-port": 2002}})
    flow_id, place = next(item for item in places(running).items())
    request(
        running, "PATCH", f"/v1/devices/{ADDRESS}/queues/{UPLINK}/{QUEUES - 1}", {"admission": "cordoned"}
    )
    request(
        running,
        "PUT",
        f"/v1/flows/{flow_id}/pin",
        {"queue_id": (place[0] + 1) % (QUEUES - 1), "lifetime": 9e4},
    )


def main() -> int:
    """Kill, start, compare; print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settle", type=float, default=20.0, help="seconds of load before the first one")
    parser.add_argument(
        "--require", action="store_true", help="exit code 1 where anything was changed or lost"
    )
    given = parser.parse_args()
    moments, traces = random.Random(given.seed), []
    with ExitStack() as stack:
        stack.enter_context(network_of_its_own())
        subprocess.run(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"], check=False)
        subprocess.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=False)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "state").mkdir()
        ovs = stack.enter_context(private_ovs.running(system=True))
        (folder / "policy.yaml").write_text(POLICY)
        state, policy = f"--state-dir={folder / 'state'}", f"--policy={folder / 'policy.yaml'}"
        options = (f"--ovsdb={ovs.database}", policy, state)
        running = Host(ovs, options, stack.enter_context(launched(*options)))
        prepare(running)
        before_load = received()
        load = Load()
        try:
            order(running)
            time.sleep(given.settle)
            for number in range(given.kills):
                time.sleep(moments.uniform(0.5, 3.0))
                before = snapshot(running)
                running.manager.process.kill()
                running.manager.process.wait()
                running.manager = stack.enter_context(launched(*running.options))
                time.sleep(AFTER)
                found = differences(before, snapshot(running))
                if found:
                    traces.append({"kill": number, **found})
                    print(json.dumps(traces[-1], indent=1)[:3000], flush=True)
        finally:
            load.stop()
        time.sleep(1.0)
        lost = load.sent - (received() - before_load)
        summary = {
            "kills": given.kills,
            "with a trace": len(traces),
            **{
                what: sum(what in trace for trace in traces)
                for what in ("entries", "groups", "meters", "places")
            },
            "packets": load.sent,
            "lost": lost,
        }
        print(json.dumps(summary))
    return 1 if given.require and (traces or lost) else 0


if __name__ == "__main__":
    sys.exit(main())
