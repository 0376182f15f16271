"""What ``bench.lab.latency`` runs inside the guest: ways to place the same traffic, and what came of it as JSON.

All flows leave by the uplink ``pf0``, whose HTB is the bottleneck.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

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

HASH_GROUP = 1
HEAVY_OUTLASTS_S = 3


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
    run("ovs-vsctl", "set-controller", BRIDGE, os.environ["BENCH_CONTROLLER"])
    run("ovs-vsctl", "set", "controller", BRIDGE, "max_backoff=1000")
    assert wait_until(lambda: run("ovs-vsctl", "get", "controller", BRIDGE, "is_connected") == "true\n", 60)


def assignments() -> list[dict[str, Any]]:
    """All pages of the controller's assignments."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        with urllib.request.urlopen(
            f"{os.environ['BENCH_REST']}/v1/assignments{cursor}", timeout=20
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
PLACEMENTS |= {f"{name}, {FQ_CODEL}": place for name, place in PLACEMENTS.items() if name != "nothing heavy"}


def one_round(placement: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one placement once."""
    set_leaves(FQ_CODEL if placement.endswith(FQ_CODEL) else NO_LEAF)
    PLACEMENTS[placement]()
    assert wait_until(all_vms_reach_the_far_end, 60)
    asker = RequestSender(arguments.small, arguments.interval, VMS[1:])
    # iperf3 sends for so long before its own measurement: while queues fill and flows find their places.
    omit = ("-O", str(int(arguments.warm_up)))
    lasting = arguments.seconds + HEAVY_OUTLASTS_S
    heavy = None if placement == "nothing heavy" else start_heavy(arguments.heavy, lasting, *omit)
    asker.send_for(arguments.warm_up)
    packets, (used, passed), begin = classes(), busy_seconds(), time.monotonic()
    asker.send_for(arguments.seconds)
    end, (used_after, passed_after), packets_after = time.monotonic(), busy_seconds(), classes()
    asker.wait_for_replies()
    times = asker.times(begin, end)
    asker.close()
    result = {
        "placement": placement,
        "latency_s": [round(value, 6) for value in times],
        "queue_packets": {
            queue: row.packets - packets[queue].packets for queue, row in packets_after.items()
        },
        "cpu_share": (used_after - used) / (passed_after - passed),
    }
    if placement.startswith("flowlane"):
        columns = ("class", "dst_port", "queue_id", "rate", "reason")
        result["assignments"] = [[row[name] for name in columns] for row in assignments()]
    result["heavy_bit_s"] = heavy_rates(heavy) if heavy else []
    return result


def main() -> None:
    """Alternate the placements, so that what drifts on the machine falls on all of them alike."""
    parser = argparse.ArgumentParser()
    for name, kind in (("rounds", int), ("heavy", int), ("small", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("seconds", "warm-up", "interval"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--placements", nargs="+", choices=PLACEMENTS, required=True)
    arguments = parser.parse_args()
    use_realtime_priority()
    results = []
    for number in range(arguments.rounds):
        for placement in arguments.placements:
            result = one_round(placement, arguments)
            results.append({"round": number, **result})
            middle = sorted(result["latency_s"])[len(result["latency_s"]) // 2]
            rate = sum(result["heavy_bit_s"]) / 1e6
            print(
                f"round {number + 1}: {placement}: p50 {middle * 1000:.1f} ms, heavy {rate:.1f} Mbit/s",
                flush=True,
            )
            Path(os.environ["LAB_OUT"], "rounds.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
