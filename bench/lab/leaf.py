"""What an fq_codel leaf under a queue costs a packet, in CPU time (docs/engineers/latency.md).

    .venv/bin/python -m bench.lab.leaf --out DIR        writes DIR/leaf.json, and a table

The kernel sends small frames of 64 flows into one HTB class of the uplink, as fast as one CPU can: with the leaf and
without it in turn, in one guest. Once the CPU is what limits them, so that no packet waits; once HTB, so that the
queue is full.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from lab.outside import free_ports, run_in_guest

LIMITS = {"nothing waits": "1Gbit/s", "full queue": "10Mbit/s"}
"""By name of the load: the rate of the queue. Frames are small, so that the emulated CPU sends 10 Mbit/s with ease."""


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Boot a guest for each load; return what was measured in them."""
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    options = ("--rounds", str(arguments.rounds), "--seconds", str(arguments.seconds))
    results: list[dict[str, Any]] = []
    for load, rate in LIMITS.items():
        boot = ["--layout", "veth", "--vms", "1", "--cpus", "1", "--queues", "4", "--rate", rate]
        boot += ["--min-rate", rate] if load == "full queue" else []
        run_in_guest(free_ports(), out, boot, ["bench.lab.leaf_guest", *options])
        results += [{"load": load, **row} for row in json.loads((out / "leaf.json").read_text())]
    (out / "leaf.json").write_text(json.dumps(results))
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Medians over the rounds as a Markdown table; the difference is that of the two parts of a round."""
    lines = [
        "| load | frames/s | us per frame without | with the leaf | difference, median (quartiles) |",
        "|---|---|---|---|---|",
    ]
    for load in dict.fromkeys(row["load"] for row in results):
        cost: dict[str, list[float]] = {"none": [], "fq_codel": []}
        rows = [row for row in results if row["load"] == load]
        for row in rows:
            cost[row["leaf"]].append(row["busy_s"] / row["frames"] * 1e6)
        pairs = [leaf - none for none, leaf in zip(cost["none"], cost["fq_codel"], strict=True)]
        low, middle, high = statistics.quantiles(pairs, n=4)
        rate = statistics.median(row["frames"] / row["seconds"] for row in rows)
        without, with_leaf = (statistics.median(cost[leaf]) for leaf in ("none", "fq_codel"))
        lines.append(
            f"| {load} | {rate:.0f} | {without:.1f} | {with_leaf:.1f} | {middle:.1f} ({low:.1f} to {high:.1f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("leaf-lab"))
    parser.add_argument("--rounds", type=int, default=12, help="each with and without the leaf")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each half of a round")
    sys.stdout.write(table(measure(parser.parse_args())) + "\n")


if __name__ == "__main__":
    main()
