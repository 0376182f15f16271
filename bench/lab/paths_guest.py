"""What ``bench.lab.paths`` runs inside the guest: the same traffic by each path that the layout has.

Layout ``direct``: a VF straight to the wire. Layout ``sriov``: a VF, the switch, and there a queue that is a transmit
queue of the NIC (hardware) or one that is the scheduler's only (software).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from lab.inside.counters import BRIDGE, UPLINK, UPLINK_PORT, hardware_queues, ofctl, run, wait_until
from lab.inside.experiment import (
    VMS,
    RequestSender,
    all_vms_reach_the_far_end,
    busy_seconds,
    heavy_rates,
    start_heavy,
    use_realtime_priority,
)

QUEUES = 4
RATE = 10**9
PATHS: dict[str, dict[str, int | None]] = {
    "direct": {"VF on the wire": None},
    "sriov": {"hardware queue": 1, "software queue": QUEUES},
}
"""By layout: the paths, and the OpenFlow queue of each."""

SETTLE_S = 2.0
SMALL_FLOWS, INTERVAL_S = 20, 0.4


class Sent(NamedTuple):
    """What a VM's NIC has sent."""

    packets: int
    bytes: int


def prepare() -> None:
    """One software queue after the hardware ones, and the VMs' way to the far end."""
    if os.environ["LAB_LAYOUT"] == "direct":
        return
    words = [str(value) for value in (QUEUES, RATE, RATE // 10, 1)]
    run("sh", "/run/lab/control/queues", UPLINK, *words)
    ofctl("add-flow", BRIDGE, "priority=1,actions=NORMAL")


def use_path(queue: int | None) -> None:
    """Send what VMs send by this queue of the switch; None: they do not pass a switch."""
    if queue is not None:
        for port in range(1, len(VMS) + 1):
            ofctl(
                "add-flow",
                BRIDGE,
                f"priority=9,in_port={port},ip,actions=set_queue:{queue},output:{UPLINK_PORT}",
            )


def sent_by(vm: str) -> Sent:
    """Read the counters of a VM's NIC."""
    row = json.loads(run("ip", "-n", vm, "-s", "-j", "link", "show", "eth0"))[0]["stats64"]["tx"]
    return Sent(row["packets"], row["bytes"])


def busy_over(seconds: float) -> float:
    """CPU seconds used in each second, over ``seconds``."""
    used, begin = busy_seconds()[0], time.monotonic()
    time.sleep(seconds)
    return (busy_seconds()[0] - used) / (time.monotonic() - begin)


def transmit_queues() -> dict[int, int]:
    """Packets of each transmit queue of the uplink, as its driver counts."""
    return {queue: count.packets for queue, count in hardware_queues().items()}


def measure_path(queue: int | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one path once: latency of small requests, then CPU of a steady transfer."""
    use_path(queue)
    assert wait_until(all_vms_reach_the_far_end, 60)
    asker = RequestSender(SMALL_FLOWS, INTERVAL_S, VMS[:1])
    begin = time.monotonic()
    asker.send_for(arguments.seconds)
    asker.wait_for_replies()
    times = asker.times(begin + SETTLE_S, time.monotonic())
    asker.close()
    idle = busy_over(arguments.seconds)
    client = start_heavy(1, arguments.seconds + 2 * SETTLE_S, "-b", str(int(arguments.rate)))
    time.sleep(SETTLE_S)
    before, hardware = sent_by(VMS[0]), transmit_queues()
    busy = busy_over(arguments.seconds)
    after, hardware_after = sent_by(VMS[0]), transmit_queues()
    return {
        "latency_s": times,
        "idle": idle,
        "busy": busy,
        "seconds": arguments.seconds,
        "packets": after.packets - before.packets,
        "bytes": after.bytes - before.bytes,
        "transmit_queues": {key: value - hardware[key] for key, value in hardware_after.items()},
        "heavy_bit_s": sum(heavy_rates(client)),
    }


def main() -> None:
    """Alternate the paths of this layout."""
    parser = argparse.ArgumentParser()
    for name, kind in (("rounds", int), ("seconds", float), ("rate", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--backwards", action="store_true", help="the paths in the other order")
    arguments = parser.parse_args()
    use_realtime_priority()
    prepare()
    results = []
    paths = list(PATHS[os.environ["LAB_LAYOUT"]].items())
    for _ in range(arguments.rounds):
        for path, queue in reversed(paths) if arguments.backwards else paths:
            results.append({"path": path, **measure_path(queue, arguments)})
            print(
                f"{path}: {results[-1]['busy']:.2f} CPUs busy, {results[-1]['idle']:.2f} without traffic",
                flush=True,
            )
    Path(os.environ["LAB_OUT"], "paths.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
