"""What ``bench.lab.leaf`` runs inside the guest: traffic through one queue of the uplink, with its leaf and without."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.forwarding.generator import Generator, generator
from lab.inside.counters import BRIDGE, UPLINK, UPLINK_PORT, classes, ofctl, run, wait_until
from lab.inside.experiment import busy_seconds, heavy_rates, start_heavy
from lab.inside.leaves import FQ_CODEL, NO_LEAF, set_leaves
from lab.inside.namespaces import FAR_END

from flowlane.core.flowkey import IPV4, UDP
from flowlane.simulation.flowspec import FlowSpec, frame_of

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUES, QUEUE = 4, 1
PRIORITY = 0x10001 + QUEUE
"""What Open vSwitch's ``set_queue:1`` makes of a packet's priority: HTB class 1:2 (lib/netdev-linux.c)."""

RATES = (20 * 10**6, 100 * 10**6)
"""Of the queue, where pings are measured; bit/s."""

LOADS = {"nothing waits": 10**9, "full queue": 10**7}
"""By name: the rate of the queue, where the cost is measured. Frames are small: 10 Mbit/s are 20,000 a second."""

HEAVY, WARM_UP_S, PING_S = 4, 4, 0.02
FLOWS, COST_S, SETTLE_S = 64, 2.0, 0.5


def set_rate(rate: int) -> None:
    """Give the uplink queues of this rate (bit/s), without leaves."""
    run("sh", "/run/lab/control/queues", UPLINK, str(QUEUES), str(rate), str(rate // QUEUES))


@contextlib.contextmanager
def far_end() -> Iterator[None]:
    """Take what is heavy, in namespace ``wire``; everything that VMs send leaves by one queue."""
    os.environ["BENCH_HEAVY"] = "5201"
    ofctl("add-flow", BRIDGE, "priority=1,actions=NORMAL")
    ofctl("add-flow", BRIDGE, f"priority=9,in_port=1,ip,actions=set_queue:{QUEUE},output:{UPLINK_PORT}")
    ofctl("add-flow", BRIDGE, f"priority=9,in_port=2,ip,actions=set_queue:{QUEUE},output:{UPLINK_PORT}")
    server = subprocess.Popen(["ip", "netns", "exec", "wire", "iperf3", "-s"], stdout=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: ":5201 " in run("ip", "netns", "exec", "wire", "ss", "-ltn"))
        yield
    finally:
        server.kill()
        server.wait()


def measure_latency(rate: int, leaf: str, seconds: float) -> dict[str, Any]:
    """Ping from vm2 beside the heavy flows of vm1, in one queue."""
    set_rate(rate)
    set_leaves(leaf, rate)
    client = start_heavy(HEAVY, seconds + 2, "-O", str(WARM_UP_S))
    time.sleep(WARM_UP_S)
    (used, passed), count = busy_seconds(), int(seconds / PING_S)
    ping = ("ip", "netns", "exec", "vm2", "ping", "-i", str(PING_S), "-c", str(count), FAR_END)
    times = [float(word) for word in re.findall(r"time=([\d.]+) ms", run(*ping))]
    used_after, passed_after = busy_seconds()
    return {
        "rate": rate,
        "leaf": leaf,
        "pings_ms": times,
        "lost": count - len(times),
        "cpu_share": (used_after - used) / (passed_after - passed),
        "heavy_bit_s": sum(heavy_rates(client)),
    }


def frames() -> list[bytes]:
    """Return a frame of each flow."""
    near, far = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 254))
    specs = [FlowSpec("vm1", IPV4, UDP, near, far, 2000 + number, 9, 0.0) for number in range(FLOWS)]
    return [frame_of(spec, 1) for spec in specs]


def measure_cost(source: Generator, load: str, leaf: str) -> dict[str, Any]:
    """Measure once: frames that have left the queue, and CPU seconds meanwhile."""
    set_rate(LOADS[load])
    set_leaves(leaf, LOADS[load])
    source.send_for(SETTLE_S)
    before, busy = classes()[QUEUE].packets, busy_seconds()[0]
    source.send_for(COST_S)
    return {
        "load": load,
        "leaf": leaf,
        "busy_s": busy_seconds()[0] - busy,
        "frames": classes()[QUEUE].packets - before,
    }


def main() -> None:
    """Alternate, and begin each round with the other one, so that a drift falls on both alike."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    orders = [
        (NO_LEAF, FQ_CODEL) if number % 2 else (FQ_CODEL, NO_LEAF) for number in range(arguments.rounds)
    ]
    latency, cost = [], []
    with far_end():
        for rate in RATES:
            for leaf in (leaf for order in orders for leaf in order):
                latency.append(measure_latency(rate, leaf, arguments.seconds))
                times = sorted(latency[-1]["pings_ms"])
                print(
                    f"{rate} {leaf}: p50 {times[len(times) // 2]} ms, {latency[-1]['heavy_bit_s']:.0f}",
                    flush=True,
                )
    with generator(UPLINK, priority=PRIORITY) as source:
        source.load(frames())
        for load in LOADS:
            for leaf in (leaf for order in orders for leaf in order):
                cost.append(measure_cost(source, load, leaf))
                print(cost[-1], flush=True)
    results = {"latency": latency, "cost": cost}
    Path(os.environ["LAB_OUT"], "leaf.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
