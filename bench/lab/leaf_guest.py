"""What ``bench.lab.leaf`` runs inside the guest: frames into one queue of the uplink, with its leaf and without."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from bench.forwarding.generator import Generator, generator
from lab.inside.counters import UPLINK, classes
from lab.inside.experiment import busy_seconds
from lab.inside.leaves import FQ_CODEL, NO_LEAF, set_leaves

from flowlane.core.flowkey import IPV4, UDP
from flowlane.simulation.flowspec import FlowSpec, frame_of

QUEUE = 1
PRIORITY = 0x10001 + QUEUE
"""What Open vSwitch's ``set_queue:1`` makes of a packet's priority: HTB class 1:2 (lib/netdev-linux.c)."""

FLOWS = 64
SETTLE_S = 0.5


def frames() -> list[bytes]:
    """Return a frame of each flow."""
    near, far = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 254))
    specs = [FlowSpec("vm1", IPV4, UDP, near, far, 2000 + number, 9, 0.0) for number in range(FLOWS)]
    return [frame_of(spec, 1) for spec in specs]


def sent() -> int:
    """Return the frames that have left queue 1."""
    return classes()[QUEUE].packets


def measure(source: Generator, seconds: float) -> dict[str, Any]:
    """Measure once: frames that have left, and CPU seconds of all CPUs meanwhile."""
    source.send_for(SETTLE_S)
    before, busy, begin = sent(), busy_seconds()[0], time.monotonic()
    source.send_for(seconds)
    return {
        "seconds": time.monotonic() - begin,
        "busy_s": busy_seconds()[0] - busy,
        "frames": sent() - before,
    }


def main() -> None:
    """Alternate, and begin each round with the other one, so that a drift falls on both alike."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    results = []
    with generator(UPLINK, priority=PRIORITY) as source:
        source.load(frames())
        for number in range(arguments.rounds):
            for leaf in (NO_LEAF, FQ_CODEL) if number % 2 else (FQ_CODEL, NO_LEAF):
                set_leaves(leaf)
                results.append({"leaf": leaf, **measure(source, arguments.seconds)})
                print(f"{leaf}: {results[-1]}", flush=True)
    Path(os.environ["LAB_OUT"], "leaf.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
