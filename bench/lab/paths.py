"""What a packet costs by each path: a VF on the wire, a hardware queue, a software queue (docs/engineers/latency.md).

    .venv/bin/python -m bench.lab.paths --out DIR        writes DIR/paths.json, and a table

The same small requests and the same steady transfer, in guests of two layouts in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from lab.outside import far_end, free_ports, run_in_guest

LAYOUTS = ("direct", "sriov")


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Boot a guest of each layout, and again; return what was measured in all of them."""
    ports = free_ports()
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    options = ("--rounds", "1", "--seconds", str(arguments.seconds), "--rate", str(arguments.rate))
    results: list[dict[str, Any]] = []
    with far_end(ports, out / "iperf3.log"):
        for number in range(arguments.rounds):
            turn = ["--backwards"] if number % 2 else []
            for layout in LAYOUTS:
                boot = ["--layout", layout, "--vms", "1", "--cpus", "1"]
                run_in_guest(ports, out, boot, ["bench.lab.paths_guest", *options, *turn])
                results += json.loads((out / "paths.json").read_text())
    (out / "paths.json").write_text(json.dumps(results))
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Medians over the rounds as a Markdown table; CPU seconds are those beyond the idle guest's."""
    lines = [
        "| path | p50 ms | p99 ms | CPU s per GB | CPU us per packet | Mbit/s | by transmit queue |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in dict.fromkeys(row["path"] for row in results):
        rows = [row for row in results if row["path"] == path]
        times = sorted(value for row in rows for value in row["latency_s"])
        p50, p99 = (1000 * times[int(share * len(times))] for share in (0.5, 0.99))
        spent = [(row["busy"] - row["idle"]) * row["seconds"] for row in rows]
        per_gb = statistics.median(cpu / row["bytes"] * 1e9 for cpu, row in zip(spent, rows, strict=True))
        per_packet = statistics.median(
            cpu / row["packets"] * 1e6 for cpu, row in zip(spent, rows, strict=True)
        )
        rate = statistics.median(row["heavy_bit_s"] for row in rows) / 1e6
        busiest = (
            max(rows[-1]["transmit_queues"].items(), key=lambda item: item[1])[0]
            if path != "VF on the wire"
            else "the VF's own"
        )
        lines.append(
            f"| {path} | {p50:.1f} | {p99:.1f} | {per_gb:.0f} | {per_packet:.0f} | {rate:.1f} | {busiest} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("paths-lab"))
    parser.add_argument(
        "--rounds",
        type=int,
        default=4,
        help="guests of each layout; every other one measures the paths in reverse order",
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="of each of the three parts")
    parser.add_argument("--rate", type=float, default=15e6, help="of the steady transfer, bit/s")
    sys.stdout.write(table(measure(parser.parse_args())) + "\n")


if __name__ == "__main__":
    main()
