"""What ``bench.lab.latency`` runs inside the guest: ways to place the same traffic, and what came of it as JSON.

All flows leave by the uplink ``pf0``, whose HTB is the bottleneck. All VMs send small flows, the first of them
heavy ones too. The far end is the namespace ``wire``, the controller a process of the guest that gives way to all
others (SCHED_IDLE, sched(7)), as if it had a CPU of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.inside.controller import Controller
from lab.inside.counters import BRIDGE, UPLINK_PORT, classes, ofctl, run, wait_until
from lab.inside.experiment import (
    VMS,
    RequestSender,
    all_vms_reach_the_far_end,
    busy_seconds,
    heavy_rates,
    start_heavy,
    use_realtime_priority,
)
from lab.inside.leaves import FQ_CODEL, NO_LEAF, set_leaves
from lab.inside.namespaces import udp_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HASH_GROUP = 1
HEAVY_OUTLASTS_S = 1
"""Heavy flows go on for so long after the last request, for iperf3 starts them one after another."""

ECHO_PORT, HEAVY_PORT = 7, 5201
"""The far end's: UDP requests, and the iperf3 of the first VM; the next VM's has the next port."""


class Load(NamedTuple):
    """Small flows: how many, seconds between two requests of one flow, bytes of a request (UDP payload)."""

    flows: int
    interval: float
    size: int


LOADS = {"light": Load(40, 1.0, 96), "busy": Load(40, 0.2, 600)}
"""By name: 0.04 and 1.03 Mbit/s together."""


class Elephants(NamedTuple):
    """Heavy flows of one VM, and the far end's port that takes them."""

    vm: str
    flows: int
    port: int


def elephants(flows: int) -> list[Elephants]:
    """Deal heavy flows to all VMs but the last: the first gets one more where they do not come out even."""
    senders = VMS[:-1]
    shares = [len(range(number, flows, len(senders))) for number in range(len(senders))]
    return [
        Elephants(vm, share, HEAVY_PORT + number)
        for number, (vm, share) in enumerate(zip(senders, shares, strict=True))
        if share
    ]


def empty_switch() -> None:
    """Take the switch from the controller, and out of it what anybody has put in."""
    run("ovs-vsctl", "del-controller", BRIDGE)
    for what in ("flows", "groups", "meters"):
        ofctl(f"del-{what}", BRIDGE)
    ofctl("add-flow", BRIDGE, "priority=1,actions=NORMAL")


def add_rule(match: str, actions: str, priority: int) -> None:
    """Place what every VM sends and what matches."""
    for port in range(1, len(VMS) + 1):
        ofctl("add-flow", BRIDGE, f"priority={priority},in_port={port},{match},actions={actions}")


def to_queue(queue: int) -> str:
    """Return the actions that send by a queue of the uplink."""
    return f"set_queue:{queue},output:{UPLINK_PORT}"


def place_in_one_queue() -> None:
    """Send everything by queue 0."""
    empty_switch()
    add_rule("ip", to_queue(0), 9)


def place_by_hash() -> None:
    """Spread flows over the queues as RSS does."""
    empty_switch()
    buckets = ",".join(f"bucket=set_queue:{queue},output:{UPLINK_PORT}" for queue in sorted(classes()))
    ofctl("add-group", BRIDGE, f"group_id={HASH_GROUP},type=select,{buckets}")
    add_rule("ip", f"group:{HASH_GROUP}", 9)


def place_by_static_rules() -> None:
    """Do what an operator would who knows the ports of what is heavy: queue 0 is kept for all else."""
    empty_switch()
    add_rule("ip", to_queue(0), 9)
    others = sorted(classes())[1:]
    for number, sender in enumerate(elephants(len(VMS) - 1)):
        add_rule(f"tcp,tp_dst={sender.port}", to_queue(others[number % len(others)]), 10)


def place_by_flowlane() -> None:
    """Give the switch, emptied, to the controller."""
    empty_switch()
    ofctl("del-flows", BRIDGE)
    run("ovs-vsctl", "set-controller", BRIDGE, "tcp:127.0.0.1:6653")
    run("ovs-vsctl", "set", "controller", BRIDGE, "max_backoff=1000")
    assert wait_until(lambda: run("ovs-vsctl", "get", "controller", BRIDGE, "is_connected") == "true\n", 60)


class Placement(NamedTuple):
    """How flows are placed, and what is under the queues."""

    place: Callable[[], None]
    leaf: str = NO_LEAF


IDEAL = "nothing heavy"
PLACEMENTS = {
    IDEAL: Placement(place_in_one_queue),
    "one queue": Placement(place_in_one_queue),
    "one queue, fq_codel": Placement(place_in_one_queue, FQ_CODEL),
    "hash": Placement(place_by_hash),
    "static rules": Placement(place_by_static_rules),
    "flowlane": Placement(place_by_flowlane),
    "flowlane, fq_codel": Placement(place_by_flowlane, FQ_CODEL),
}


def send_back() -> None:
    """Answer every request, at the far end."""
    use_realtime_priority()
    server = udp_socket("wire", ECHO_PORT)
    server.settimeout(None)
    while True:
        data, sender = server.recvfrom(2048)
        server.sendto(data, sender)


@contextlib.contextmanager
def far_end() -> Iterator[None]:
    """Answer requests and take what is heavy, in namespace ``wire``."""
    os.environ["BENCH_ECHO"] = str(ECHO_PORT)
    ports = [HEAVY_PORT + number for number in range(len(VMS) - 1)]
    echo = multiprocessing.get_context("fork").Process(target=send_back, daemon=True)
    echo.start()
    servers = [
        subprocess.Popen(
            ["ip", "netns", "exec", "wire", "iperf3", "-s", "-p", str(port)], stdout=subprocess.DEVNULL
        )
        for port in ports
    ]
    try:
        assert wait_until(
            lambda: all(f":{port} " in run("ip", "netns", "exec", "wire", "ss", "-ltn") for port in ports)
        )
        yield
    finally:
        echo.terminate()
        for server in servers:
            server.kill()
            server.wait()


def measure(placement: str, load: str, heavy: int, seconds: float, rate: int) -> dict[str, Any]:
    """Measure one placement once, from the first packets of all flows on."""
    set_leaves(PLACEMENTS[placement].leaf, rate)
    PLACEMENTS[placement].place()
    assert wait_until(all_vms_reach_the_far_end, 60)
    asker = RequestSender(LOADS[load].flows, LOADS[load].interval, VMS, LOADS[load].size)
    packets, (used, passed), begin = classes(), busy_seconds(), time.monotonic()
    clients = [
        start_heavy(sender.flows, seconds + HEAVY_OUTLASTS_S, vm=sender.vm, port=sender.port)
        for sender in (elephants(heavy) if placement != IDEAL else ())
    ]
    asker.send_for(begin + seconds - time.monotonic())
    end, (used_after, passed_after), packets_after = time.monotonic(), busy_seconds(), classes()
    asker.wait_for_replies()
    timeline = asker.timeline(begin, end)
    asker.close()
    return {
        "placement": placement,
        "load": load,
        "sent_s": [round(reply.sent_at - begin, 4) for reply in timeline],
        "latency_s": [round(reply.took, 6) for reply in timeline],
        "heavy_bit_s": [rate for client in clients for rate in heavy_rates(client)],
        "queue_packets": {
            queue: row.packets - packets[queue].packets for queue, row in packets_after.items()
        },
        "cpu_share": (used_after - used) / (passed_after - passed),
    }


def main() -> None:
    """Alternate the placements, so that what drifts falls on all of them alike."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--heavy", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=int, required=True, help="of the uplink, in bit/s")
    parser.add_argument("--placements", nargs="+", choices=PLACEMENTS, required=True)
    parser.add_argument("--loads", nargs="+", choices=LOADS, required=True)
    arguments = parser.parse_args()
    out = Path(os.environ["LAB_OUT"])
    controller = Controller(None, out / "controller.log")
    for thread in Path(f"/proc/{controller.process.pid}/task").iterdir():
        os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
    use_realtime_priority()
    cases = [(load, name) for load in arguments.loads for name in arguments.placements]
    results = []
    with far_end():
        for number in range(arguments.rounds):
            for load, placement in cases:
                result = measure(placement, load, arguments.heavy, arguments.seconds, arguments.rate)
                if placement.startswith("flowlane"):
                    columns = ("class", "dst_port", "queue_id", "rate", "reason")
                    rows = controller.items("/v1/assignments")
                    result["assignments"] = [[row[name] for name in columns] for row in rows]
                results.append({"round": number, **result})
                (out / "rounds.json").write_text(json.dumps(results))
                times = sorted(result["latency_s"])
                p50, p99 = (1000 * times[int(share * len(times))] for share in (0.5, 0.99))
                rate = sum(result["heavy_bit_s"]) / 1e6
                print(
                    f"round {number + 1}, {load}, {placement}: p50 {p50:.1f}, p99 {p99:.1f} ms, "
                    f"heavy {rate:.1f} Mbit/s, CPU {result['cpu_share']:.0%}",
                    file=sys.stderr,
                    flush=True,
                )
    controller.close()


if __name__ == "__main__":
    main()
