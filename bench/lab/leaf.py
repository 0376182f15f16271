"""What an fq_codel leaf under a queue gives and costs (docs/engineers/latency.md).

    .venv/bin/python -m bench.lab.leaf --out DIR        writes DIR/leaf.json, and two tables

One guest whose clock counts instructions (``lab/boot --accel icount``), with all traffic inside it, so that the
figures do not depend on what else the machine does.

- Latency: pings beside four TCP flows in the same queue.
- Cost: the kernel sends small frames of 64 flows into one queue. Once as fast as the CPU can, so that no packet
  waits; once limited by HTB, so that the queue is full.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from lab.outside import run_inside_guest

LEAVES = {"none": "FIFO", "fq_codel": "fq_codel leaf"}


def measure(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Boot a guest; return what was measured in it."""
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    boot = ["--accel", "icount", "--layout", "veth", "--vms", "2", "--queues", "4", "--rate", "20Mbit/s"]
    boot += ["--boot-timeout", "400", "--timeout", "3000"]
    options = ["--rounds", str(arguments.rounds), "--seconds", str(arguments.seconds)]
    run_inside_guest(out, boot, ["bench.lab.leaf_guest", *options])
    results: dict[str, list[dict[str, Any]]] = json.loads((out / "leaf.json").read_text())
    return results


def latency_table(rows: list[dict[str, Any]]) -> str:
    """Over all rounds: quantiles of the pings, and the mean of the heavy flows together."""
    lines = [
        "| queue's rate | queue | pings | p50 ms | p99 ms | heavy flows, Mbit/s together | CPU |",
        "|---|---|---|---|---|---|---|",
    ]
    for rate, leaf in dict.fromkeys((row["rate"], row["leaf"]) for row in rows):
        of_case = [row for row in rows if (row["rate"], row["leaf"]) == (rate, leaf)]
        times = sorted(value for row in of_case for value in row["pings_ms"])
        p50, p99 = (times[int(share * len(times))] for share in (0.5, 0.99))
        heavy = statistics.mean(row["heavy_bit_s"] for row in of_case) / 1e6
        cpu = statistics.mean(row["cpu_share"] for row in of_case)
        lines.append(
            f"| {rate / 1e6:.0f} Mbit/s | {LEAVES[leaf]} | {len(times)} | {p50:.1f} | {p99:.1f} | {heavy:.1f} "
            f"| {100 * cpu:.0f} % |"
        )
    return "\n".join(lines)


def cost_table(rows: list[dict[str, Any]]) -> str:
    """Medians over the rounds; the difference is that of the two halves of a round."""
    lines = [
        "| load | us per frame, FIFO | with the leaf | difference |",
        "|---|---|---|---|",
    ]
    for load in dict.fromkeys(row["load"] for row in rows):
        cost: dict[str, list[float]] = {leaf: [] for leaf in LEAVES}
        for row in rows:
            if row["load"] == load:
                cost[row["leaf"]].append(row["busy_s"] / row["frames"] * 1e6)
        pairs = [leaf - none for none, leaf in zip(cost["none"], cost["fq_codel"], strict=True)]
        without, with_leaf, more = (
            statistics.median(values) for values in (cost["none"], cost["fq_codel"], pairs)
        )
        lines.append(f"| {load} | {without:.1f} | {with_leaf:.1f} | {more:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("leaf-lab"))
    parser.add_argument("--rounds", type=int, default=3, help="each with and without the leaf")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement of latency")
    results = measure(parser.parse_args())
    tables = (latency_table(results["latency"]), cost_table(results["cost"]))
    sys.stdout.write("\n\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
