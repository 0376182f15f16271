"""The figure Flowlane is for: small flows' latency beside heavy flows on one uplink (docs/engineers/latency.md).

    .venv/bin/python -m bench.lab.latency --out DIR        writes DIR/latency.json, latency.svg, and a table

One boot, four placements in turn, several rounds: nothing heavy (the ideal), one queue for all, hash placement
(a select group, as RSS does it), Flowlane. With ``--leaf`` the last three also with an fq_codel leaf under each
queue. ``--plot FILE`` draws again from a JSON file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lab.outside import ROOT, controller, far_end, free_ports, run_in_guest

LOST_MS = 2000.0
"""As long a request counts that was not answered within it."""

COLOURS = {"nothing heavy": "#777777", "one queue": "#b2182b", "hash": "#ef8a62", "flowlane": "#2166ac"}
WITH_LEAF = tuple(f"{placement}, fq_codel" for placement in list(COLOURS)[1:])


def measure(arguments: argparse.Namespace) -> Path:
    """Run the guest's part in a fresh guest; return the JSON file it wrote."""
    ports = free_ports()
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    boot = [
        "--layout", arguments.layout, "--queues", str(arguments.queues), "--rate", arguments.rate,
        "--min-rate", arguments.min_rate, "--cpus", str(arguments.cpus), "--timeout", "3000",
    ]  # fmt: skip
    numbers = ("rounds", "seconds", "heavy", "small", "warm_up", "interval")
    options = [
        word for name in numbers for word in (f"--{name.replace('_', '-')}", str(getattr(arguments, name)))
    ]
    program = ["bench.lab.latency_guest", *options, "--placements", *arguments.placements]
    policy = ROOT / "bench/lab/latency_policy.yaml"
    with far_end(ports, out / "iperf3.log"), controller(ports, policy, out / "controller.log"):
        run_in_guest(ports, out, boot, program)
    facts = {name: str(value) for name, value in vars(arguments).items()}
    target: Path = out / "latency.json"
    target.write_text(
        json.dumps({"arguments": facts, "rounds": json.loads((out / "rounds.json").read_text())})
    )
    (out / "rounds.json").unlink()
    return target


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the sorted ``values`` lie (nearest rank)."""
    return values[min(len(values) - 1, int(share * len(values)))]


def jain(rates: list[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has everything."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 1.0


def summarise(rounds: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Per placement over all rounds: quantiles in ms, heavy flows' total in Mbit/s, their fairness, CPU share."""
    found = {}
    for placement in dict.fromkeys(row["placement"] for row in rounds):
        rows = [row for row in rounds if row["placement"] == placement]
        times = sorted(value * 1000 for row in rows for value in row["latency_s"])
        heavy = [row["heavy_bit_s"] for row in rows if row["heavy_bit_s"]]
        found[placement] = {
            "requests": len(times),
            "lost": sum(value >= LOST_MS for value in times),
            "p50_ms": quantile(times, 0.5),
            "p99_ms": quantile(times, 0.99),
            "p99.9_ms": quantile(times, 0.999),
            "heavy_mbit_s": sum(map(sum, heavy)) / 1e6 / len(heavy) if heavy else 0.0,
            "fairness": sum(map(jain, heavy)) / len(heavy) if heavy else 1.0,
            "cpu": sum(row["cpu_share"] for row in rows) / len(rows),
        }
    return found


def table(summary: dict[str, dict[str, float]]) -> str:
    """The summary as a Markdown table."""
    columns = list(next(iter(summary.values())))
    lines = ["| placement | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(f"{row[column]:.4g}" for column in columns) + " |"
        for name, row in summary.items()
    ]
    return "\n".join(lines)


def bars(summary: dict[str, dict[str, float]]) -> str:
    """What Flowlane is held to, and whether it was reached."""
    ideal, one, hashed, ours = (summary[name] for name in COLOURS)  # Without leaves: those have no bars.
    best = max(one["heavy_mbit_s"], hashed["heavy_mbit_s"])
    found = [
        ("p50, of the ideal's, at most 1.5", ours["p50_ms"] / ideal["p50_ms"], 1.5, -1),
        ("p99 under one queue, of Flowlane's, at least 4", one["p99_ms"] / ours["p99_ms"], 4.0, 1),
        ("p99 under hash placement, of Flowlane's, at least 3", hashed["p99_ms"] / ours["p99_ms"], 3.0, 1),
        ("heavy flows' total, of the best other, at least 0.95", ours["heavy_mbit_s"] / best, 0.95, 1),
    ]
    lines = [
        f"{text}: {value:.3g}, {'reached' if (value - bar) * side >= 0 else 'MISSED'}"
        for text, value, bar, side in found
    ]
    return "\n".join(lines)


def draw(rounds: list[dict[str, Any]], summary: dict[str, dict[str, float]], target: Path) -> None:
    """How many requests took longer than a time: the tail is what a user feels."""
    import matplotlib  # noqa: PLC0415  # only here, so that measuring needs no plotting

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "flowlane"  # the same figures make the same file
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for placement, row in summary.items():
        times = sorted(
            v * 1000 for part in rounds if part["placement"] == placement for v in part["latency_s"]
        )
        shares = [1 - index / len(times) for index in range(len(times))]
        colour, style = COLOURS[placement.partition(",")[0]], "--" if placement in WITH_LEAF else "-"
        label = f"{placement} (p99 {row['p99_ms']:.0f} ms)"
        axes.loglog(times, shares, label=label, color=colour, linestyle=style, lw=1.8)
    axes.set_xlabel("request to answer, ms")
    axes.set_ylabel("share of requests that took longer")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    """Measure, unless only the drawing is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("latency-lab"))
    parser.add_argument("--plot", type=Path, metavar="JSON")
    parser.add_argument("--layout", choices=("veth", "sriov"), default="veth")
    for name, default in (("queues", 4), ("heavy", 4), ("small", 40), ("rounds", 3), ("cpus", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rate", default="20Mbit/s")
    parser.add_argument("--min-rate", default="2Mbit/s")
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="that count, of each placement in each round"
    )
    parser.add_argument(
        "--warm-up", type=float, default=10.0, help="before that: queues fill, heavy flows are found"
    )
    parser.add_argument("--placements", nargs="+", choices=(*COLOURS, *WITH_LEAF), default=list(COLOURS))
    parser.add_argument("--leaf", action="store_true", help="also each placement with an fq_codel leaf")
    parser.add_argument("--interval", type=float, default=1.0, help="between two requests of one small flow")
    arguments = parser.parse_args()
    if arguments.leaf:
        arguments.placements = [*COLOURS, *WITH_LEAF]
    source = arguments.plot or measure(arguments)
    rounds = json.loads(source.read_text())["rounds"]
    summary = summarise(rounds)
    draw(rounds, summary, source.with_suffix(".svg"))
    sys.stdout.write(table(summary) + "\n\n")
    if set(summary) >= set(COLOURS):
        sys.stdout.write(bars(summary) + "\n")


if __name__ == "__main__":
    main()
