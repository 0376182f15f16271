"""What ``latency_lab.py`` runs inside the guest: traffic, four ways to place it, and what came of it as JSON.

Small flows: UDP requests of fixed size at a fixed pace, answered at the far end; a request's time runs from
before its ``sendto`` to after its answer's ``recv``. Heavy flows: iperf3's TCP. All flows leave by the uplink
``pf0``, whose HTB is the bottleneck.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from labtools.counters import BRIDGE, UPLINK_PORT, classes, ofctl, run, settle
from labtools.namespaces import FAR_END, inside, udp_socket

if TYPE_CHECKING:
    from collections.abc import Iterator

STAMP = struct.Struct("!d")
ECHO_PORT, HEAVY_PORT = 5000, 5201
REQUEST_BYTES = 96
LOST_S = 2.0
"""A request that was not answered within it counts as this long."""

HASH_GROUP = 1
VMS = [f"vm{number}" for number in range(1, int(os.environ["LAB_VMS"]) + 1)]
"""The first sends the heavy flows, the others the small ones."""


def empty_switch() -> None:
    """Take the switch from the controller, and out of it what anybody has put in."""
    run("ovs-vsctl", "del-controller", BRIDGE)
    for what in ("flows", "groups", "meters"):
        ofctl(f"del-{what}", BRIDGE)


def place_by_hand(actions: str) -> None:
    """Send what VMs send to the uplink with these actions."""
    empty_switch()
    buckets = ",".join(f"bucket=set_queue:{queue},output:{UPLINK_PORT}" for queue in sorted(classes()))
    ofctl("add-group", BRIDGE, f"group_id={HASH_GROUP},type=select,{buckets}")
    ofctl("add-flow", BRIDGE, "priority=1,actions=NORMAL")
    for port in range(1, len(VMS) + 1):
        ofctl("add-flow", BRIDGE, f"priority=9,in_port={port},ip,actions={actions}")


def place_by_flowlane() -> None:
    """Give the switch, emptied, to the controller."""
    empty_switch()
    run("ovs-vsctl", "set-controller", BRIDGE, os.environ["LATENCY_CONTROLLER"])
    run("ovs-vsctl", "set", "controller", BRIDGE, "max_backoff=1000")
    assert settle(lambda: run("ovs-vsctl", "get", "controller", BRIDGE, "is_connected") == "true\n", 60)


def assignments() -> list[dict[str, Any]]:
    """All pages of the controller's assignments."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        with urllib.request.urlopen(
            f"{os.environ['LATENCY_REST']}/v1/assignments{cursor}", timeout=20
        ) as answer:
            page = json.loads(answer.read())
        found += page["items"]
        if not page["next"]:
            return found
        cursor = f"?cursor={page['next']}"


ONE_QUEUE = f"set_queue:0,output:{UPLINK_PORT}"
PLACEMENTS = {
    "nothing heavy": lambda: place_by_hand(ONE_QUEUE),
    "one queue": lambda: place_by_hand(ONE_QUEUE),
    "hash": lambda: place_by_hand(f"group:{HASH_GROUP}"),
    "flowlane": place_by_flowlane,
}


@contextlib.contextmanager
def in_background(work: Any, *arguments: Any) -> Iterator[None]:
    """Run a function in a child with real-time priority, so that the emulated CPU's other work is not measured."""
    child = os.fork()
    if child == 0:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))
        work(*arguments)
        os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def answer() -> None:
    """Send every request back."""
    server = udp_socket("wire", ECHO_PORT)
    server.settimeout(None)
    while True:
        data, sender = server.recvfrom(2048)
        server.sendto(data, sender)


class Asker:
    """Small flows in one thread: an open loop, so that slow answers do not thin the requests out."""

    def __init__(self, flows: int, interval: float) -> None:
        senders = VMS[1:]
        self.sockets = [udp_socket(senders[number % len(senders)]) for number in range(flows)]
        self.interval = interval
        self.poll = select.poll()
        self.by_descriptor: dict[int, socket.socket] = {}
        for sender in self.sockets:
            sender.setblocking(False)
            sender.connect((FAR_END, ECHO_PORT))
            self.poll.register(sender, select.POLLIN)
            self.by_descriptor[sender.fileno()] = sender
        self.times: list[float] = []
        self.sent = 0
        self.counts_from = self.counts_to = 0.0

    def run(self, seconds: float, *, count_after: float) -> None:
        """Ask for so long; requests sent after ``count_after`` s count. Returns when the answers are in or lost."""
        began = time.monotonic()
        self.counts_from, self.counts_to = began + count_after, began + seconds
        gap = self.interval / len(self.sockets)
        due, turn = began, 0
        while (now := time.monotonic()) < self.counts_to:
            if now >= due:
                self._ask(self.sockets[turn % len(self.sockets)], now)
                due, turn = due + gap, turn + 1
            self._collect(max(0.0, due - time.monotonic()))
        while len(self.times) < self.sent and time.monotonic() < self.counts_to + LOST_S:
            self._collect(0.1)
        self.times += [LOST_S] * (self.sent - len(self.times))

    def _ask(self, sender: socket.socket, now: float) -> None:
        with contextlib.suppress(BlockingIOError):
            sender.send(STAMP.pack(now).ljust(REQUEST_BYTES, b"."))
        self.sent += now >= self.counts_from

    def _collect(self, seconds: float) -> None:
        for descriptor, _ in self.poll.poll(seconds * 1000):
            with contextlib.suppress(OSError):
                (sent_at,) = STAMP.unpack_from(self.by_descriptor[descriptor].recv(2048))
                if sent_at >= self.counts_from:
                    self.times.append(min(LOST_S, time.monotonic() - sent_at))


def everybody_reaches_the_far_end() -> bool:
    """Whether the switch forwards for every VM; it also learns where the far end is."""
    pings = [["ip", "netns", "exec", vm, "ping", "-c", "1", "-W", "2", FAR_END] for vm in VMS]
    return all(subprocess.run(ping, stdout=subprocess.DEVNULL, check=False).returncode == 0 for ping in pings)


def start_heavy(flows: int, seconds: float) -> subprocess.Popen[str]:
    """Start the heavy flows, all of one VM."""
    words = ["-c", FAR_END, "-p", str(HEAVY_PORT), "-t", str(int(seconds)), "-P", str(flows), "-J"]
    command = ["ip", "netns", "exec", "vm1", "iperf3", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def heavy_rates(client: subprocess.Popen[str]) -> list[float]:
    """Mean rate of each heavy flow in bit/s of payload received."""
    out, _ = client.communicate(timeout=120)
    return [stream["receiver"]["bits_per_second"] for stream in json.loads(out)["end"]["streams"]]


def busy_seconds() -> tuple[float, float]:
    """CPU seconds used and passed since boot, over all CPUs (proc(5), /proc/stat)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), sum(ticks) / os.sysconf("SC_CLK_TCK")


def one_round(placement: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one placement once."""
    PLACEMENTS[placement]()
    assert settle(everybody_reaches_the_far_end, 60)
    seconds = arguments.warm_up + arguments.seconds
    asker = Asker(arguments.small, arguments.interval)
    heavy = None if placement == "nothing heavy" else start_heavy(arguments.heavy, seconds + 4)
    before = classes()
    used, passed = busy_seconds()
    with inside("vm2"):
        asker.run(seconds, count_after=arguments.warm_up)
    used_after, passed_after = busy_seconds()
    result = {
        "placement": placement,
        "latency_s": [round(value, 6) for value in asker.times],
        "lost": sum(value >= LOST_S for value in asker.times),
        "queue_packets": {queue: row.packets - before[queue].packets for queue, row in classes().items()},
        "cpu_share": (used_after - used) / (passed_after - passed),
    }
    if placement == "flowlane":
        columns = ("class", "dst_port", "queue_id", "rate", "reason")
        result["assignments"] = [[row[name] for name in columns] for row in assignments()]
    result["heavy_bit_s"] = heavy_rates(heavy) if heavy else []
    for sender in asker.sockets:
        sender.close()
    return result


def main() -> None:
    """Alternate the placements, so that what drifts on the machine falls on all of them alike."""
    parser = argparse.ArgumentParser()
    for name, kind in (
        ("rounds", int),
        ("seconds", float),
        ("heavy", int),
        ("small", int),
        ("interval", float),
    ):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--warm-up", type=float, required=True)
    parser.add_argument("--placements", nargs="+", choices=PLACEMENTS, default=list(PLACEMENTS))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    command = ["ip", "netns", "exec", "wire", "iperf3", "-s", "-p", str(HEAVY_PORT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results = []
    with in_background(answer):
        for number in range(arguments.rounds):
            for placement in arguments.placements:
                result = one_round(placement, arguments)
                results.append({"round": number, **result})
                middle = sorted(result["latency_s"])[len(result["latency_s"]) // 2]
                print(f"round {number + 1}: {placement}: p50 {middle * 1000:.1f} ms", flush=True)
                arguments.out.write_text(json.dumps(results))
    server.kill()


if __name__ == "__main__":
    main()
