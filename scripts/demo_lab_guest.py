"""The lab's demo, inside the guest: small flows, heavy flows beside them, and a policy that separates them.

Three parts, a line each second: small flows without others; beside heavy ones in one queue; and with a policy
that gives heavy flows exclusive queues. Arguments: seconds of each part, and the file of that policy.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from lab.inside.counters import BRIDGE, classes, run, wait_until
from lab.inside.experiment import (
    LOST_S,
    VMS,
    RequestSender,
    all_vms_reach_the_far_end,
    start_heavy,
    use_realtime_priority,
)

SMALL_FLOWS, INTERVAL_S, HEAVY_FLOWS = 8, 0.2, 2
BAR, BAR_MS = 30, 4.0
"""Characters of a bar at most, and ms for one of them."""

MEGABIT = 1e6

PATIENCE_S = 120
"""Seconds to wait for a step; a busy machine is slow."""


def ask_controller(path: str, policy: str | None = None) -> Any:
    """Get over REST, or put a policy."""
    request = urllib.request.Request(os.environ["BENCH_REST"] + path)
    if policy is not None:
        request.method, request.data = "PUT", policy.encode()
        request.add_header("Content-Type", "application/yaml")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read() or b"null")


def connect_switch() -> None:
    """Connect the switch, and wait until every VM reaches the far end."""
    run("ovs-vsctl", "set-controller", BRIDGE, os.environ["BENCH_CONTROLLER"])
    run("ovs-vsctl", "set", "controller", BRIDGE, "max_backoff=1000", "connection_mode=out-of-band")
    for ready, problem in (
        (_connected, "the switch does not reach the controller"),
        (all_vms_reach_the_far_end, "the VMs do not reach the far end"),
    ):
        if not wait_until(ready, PATIENCE_S):
            sys.exit(f"{problem} after {PATIENCE_S} s; see controller.log")


def _connected() -> bool:
    return run("ovs-vsctl", "get", "controller", BRIDGE, "is_connected") == "true\n"


def heavy_queues() -> str:
    """Describe the queues of the heavy flows."""
    rows = ask_controller(f"/v1/assignments?dst_port={os.environ['BENCH_HEAVY']}")["items"]
    queues = {(row["class"], row["queue_id"]) for row in rows if (row["rate"] or 0) > MEGABIT}
    return ", ".join(f"{name} in queue {queue}" for name, queue in sorted(queues, key=str))


def quantile(times: list[float], share: float) -> float:
    """Return the time in ms below which ``share`` of the times (s) are, by nearest rank."""
    ordered = sorted(times)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def watch(asker: RequestSender, seconds: int, *, heavy: bool) -> list[float]:
    """Send requests, a line each second; return the times (s) of the second half, when flows have been moved."""
    begin = time.monotonic()
    for second in range(1, seconds + 1):
        answered = len(asker.replies)
        asker.send_for(1.0)
        times = [answer.took for answer in asker.replies[answered:]]
        middle = quantile(times, 0.5) if times else LOST_S * 1000
        bar = "█" * min(BAR, max(1, round(middle / BAR_MS)))
        queues = heavy_queues() if heavy and second % 3 == 0 else ""
        print(f"  {second:3} s   small flows {middle:6.1f} ms  {bar:<{BAR}}  {queues}".rstrip(), flush=True)
    end = time.monotonic()
    asker.wait_for_replies()
    return asker.times((begin + end) / 2, end)


def progress(text: str) -> None:
    """Print a line of progress."""
    print(f"\n==> {text}", flush=True)


def queue_packets(before: dict[int, int]) -> str:
    """Describe the packets of each queue since ``before``, as the kernel's scheduler counted them."""
    return ", ".join(
        f"queue {queue}: {row.packets - before[queue]}" for queue, row in sorted(classes().items())
    )


def play(seconds: int, policy: str) -> None:
    """Run the three parts, and print their latencies."""
    connect_switch()
    asker = RequestSender(SMALL_FLOWS, INTERVAL_S, VMS[1:])
    parts: dict[str, list[float]] = {}
    progress(f"{SMALL_FLOWS} small flows (requests and answers) of {', '.join(VMS[1:])}, without others")
    parts["without others"] = watch(asker, seconds, heavy=False)
    progress(f"{HEAVY_FLOWS} heavy flows of {VMS[0]} join in; the policy has one class and one queue")
    client = start_heavy(HEAVY_FLOWS, 2 * seconds + 5)
    parts["one queue"] = watch(asker, seconds, heavy=True)
    progress("PUT /v1/policy: a flow that is heavy for 2 s gets an exclusive queue")
    ask_controller("/v1/policy", policy)
    before = {queue: row.packets for queue, row in classes().items()}
    parts["flowlane"] = watch(asker, seconds, heavy=True)
    client.kill()
    client.wait()
    progress("small flows, request to answer (second half of each part)")
    for name, times in parts.items():
        print(f"  {name:<15} p50 {quantile(times, 0.5):6.1f} ms   p99 {quantile(times, 0.99):6.1f} ms")
    print(f"  packets since the policy, counted by the kernel: {queue_packets(before)}", flush=True)


if __name__ == "__main__":
    use_realtime_priority()
    play(int(sys.argv[1]), Path(sys.argv[2]).read_text())
