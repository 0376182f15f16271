"""The figure Flowlane is for: small flows' latency beside heavy flows on one uplink (docs/engineers/latency.md).

    .venv/bin/python -m bench.lab.latency --out DIR        writes DIR/latency.json, latency.svg, and tables

One guest whose clock counts instructions (``lab/boot --accel icount``), with everything inside it, so that the
figures do not depend on what else the machine does. Two loads of small flows, seven placements in turn, several
rounds: nothing heavy (the ideal), one queue for all, the same with an fq_codel leaf, hash placement (a select
group, as RSS does it), static rules that know the ports of what is heavy, Flowlane with its built-in policy, and
the same with the leaves that ``flowlane qos apply`` makes. All flows are new, and their first packets count.
``--plot FILE ...`` draws again from JSON files, as of runs with one load each.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from lab.outside import run_inside_guest

from flowlane.units import parse_rate

LOST_MS = 2000.0
"""As long a request counts that was not answered within it."""

FIRST_S = 3.0
"""The beginning of each round, of which the p99 is shown by itself: queues fill, heavy flows are found."""

LINES = {
    "nothing heavy": ("#777777", "-"),
    "one queue": ("#b2182b", "-"),
    "one queue, fq_codel": ("#b2182b", "--"),
    "hash": ("#ef8a62", "-"),
    "static rules": ("#5aae61", "-"),
    "flowlane": ("#2166ac", "-"),
    "flowlane, fq_codel": ("#2166ac", "--"),
}
"""The placements, in the order of the tables; colour and style of each."""

LOADS = ("light", "busy")
IDEAL, OURS = "nothing heavy", "flowlane, fq_codel"

Summary = dict[str, dict[str, float]]


class Bar(NamedTuple):
    """What Flowlane is held to: a measured value and its bound."""

    text: str
    value: float
    bound: float
    at_most: bool

    @property
    def reached(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def measure(arguments: argparse.Namespace) -> Path:
    """Run the guest's part in a fresh guest; return the JSON file it wrote."""
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    boot = [
        "--accel", arguments.accel, "--layout", arguments.layout, "--queues", str(arguments.queues),
        "--rate", arguments.rate, "--min-rate", f"{parse_rate(arguments.rate) // arguments.queues}bit/s",
        "--boot-timeout", "400", "--timeout", "5000",
    ]  # fmt: skip
    numbers = ("rounds", "seconds", "heavy")
    options = [word for name in numbers for word in (f"--{name}", str(getattr(arguments, name)))]
    options += ["--rate", str(parse_rate(arguments.rate))]
    cases = ["--placements", *arguments.placements, "--loads", *arguments.loads]
    run_inside_guest(out, boot, ["bench.lab.latency_guest", *options, *cases])
    facts = {name: str(value) for name, value in vars(arguments).items()}
    target: Path = out / "latency.json"
    target.write_text(
        json.dumps({"arguments": facts, "rounds": json.loads((out / "rounds.json").read_text())})
    )
    (out / "rounds.json").unlink()
    return target


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the sorted ``values`` lie (nearest rank); 0 without any."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def jain(rates: list[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has everything."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 1.0


def times_ms(rows: list[dict[str, Any]], since_s: float = 0.0, until_s: float = float("inf")) -> list[float]:
    """All requests' times in ms, sorted, of those that were sent so long after a round's beginning."""
    return sorted(
        value * 1000
        for row in rows
        for sent, value in zip(row["sent_s"], row["latency_s"], strict=True)
        if since_s <= sent < until_s
    )


def summarise(rounds: list[dict[str, Any]]) -> Summary:
    """Per placement over all rounds: quantiles in ms, heavy flows' total in Mbit/s, their fairness, CPU share."""
    found = {}
    for placement in dict.fromkeys(row["placement"] for row in rounds):
        rows = [row for row in rounds if row["placement"] == placement]
        times = times_ms(rows)
        heavy = [row["heavy_bit_s"] for row in rows if row["heavy_bit_s"]]
        found[placement] = {
            "requests": len(times),
            "lost": sum(value >= LOST_MS for value in times),
            "p50_ms": quantile(times, 0.5),
            "p99_ms": quantile(times, 0.99),
            "p99.9_ms": quantile(times, 0.999),
            "first_p99_ms": quantile(times_ms(rows, until_s=FIRST_S), 0.99),
            "later_p99_ms": quantile(times_ms(rows, since_s=FIRST_S), 0.99),
            "heavy_mbit_s": sum(map(sum, heavy)) / 1e6 / len(heavy) if heavy else 0.0,
            "fairness": sum(map(jain, heavy)) / len(heavy) if heavy else 1.0,
            "cpu": sum(row["cpu_share"] for row in rows) / len(rows),
        }
    return found


def table(summary: Summary) -> str:
    """The summary as a Markdown table."""
    lines = [
        "| placement | p50 ms | p99 ms | p99.9 ms | p99 ms of the first 3 s | of the rest "
        "| heavy flows, Mbit/s together | Jain's fairness among them | guest's CPU |",
        "|---" * 9 + "|",
    ]
    for name, row in summary.items():
        times = ("p50_ms", "p99_ms", "p99.9_ms", "first_p99_ms", "later_p99_ms")
        cells = [f"{row[column]:.3g}" for column in times]
        heavy = ["", ""] if name == IDEAL else [f"{row['heavy_mbit_s']:.1f}", f"{row['fairness']:.2f}"]
        cells += [*heavy, f"{100 * row['cpu']:.0f} %"]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def bars(summary: Summary) -> list[Bar]:
    """What Flowlane with the leaves of ``flowlane qos apply`` is held to, all of it within one run."""
    ours = summary[OURS]
    others = [row for name, row in summary.items() if name != IDEAL and not name.startswith("flowlane")]

    def p99_of(name: str) -> float:
        return ours["p99_ms"] / summary[name]["p99_ms"]

    best = max(row["heavy_mbit_s"] for row in others)
    return [
        Bar("p50: Flowlane's / that of nothing heavy", ours["p50_ms"] / summary[IDEAL]["p50_ms"], 1.5, True),
        Bar("p99: Flowlane's / that of static rules", p99_of("static rules"), 1.0, True),
        Bar("p99: Flowlane's / that of one queue with fq_codel", p99_of("one queue, fq_codel"), 1.0, True),
        Bar("heavy flows: Flowlane's / the best other's", ours["heavy_mbit_s"] / best, 0.95, False),
    ]


def bars_table(by_load: dict[str, list[Bar]]) -> str:
    """The bars as a Markdown table, with a column for each load."""
    heads = [f"{load} load" for load in by_load]
    lines = [
        f"| Flowlane with leaves is held to | bar | {' | '.join(heads)} |",
        "|---" * (2 + len(heads)) + "|",
    ]
    for row in zip(*by_load.values(), strict=True):
        side = "at most" if row[0].at_most else "at least"
        cells = [f"{bar.value:.2f}{'' if bar.reached else ', missed'}" for bar in row]
        lines.append(f"| {row[0].text} | {side} {row[0].bound:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def curve(times: list[float], points: int = 300) -> tuple[list[float], list[float]]:
    """Return some of the sorted times, evenly spaced on the logarithmic axis, and the shares that took longer."""
    count = len(times)
    steps = (count ** (step / (points - 1)) for step in range(points))
    longer = sorted({min(count, max(1, round(step))) for step in steps}, reverse=True)
    return [times[count - number] for number in longer], [number / count for number in longer]


def draw(by_load: dict[str, list[dict[str, Any]]], target: Path) -> None:
    """How many requests took longer than a time: the tail is what a user feels."""
    import matplotlib  # noqa: PLC0415  # only here, so that measuring needs no plotting

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "flowlane"  # the same figures make the same file
    from matplotlib import pyplot  # noqa: PLC0415

    figure, columns = pyplot.subplots(
        1, len(by_load), figsize=(5.2 * len(by_load), 4.2), sharey=True, squeeze=False
    )
    for axes, (load, rounds) in zip(columns[0], by_load.items(), strict=True):
        for placement, row in summarise(rounds).items():
            times = times_ms([part for part in rounds if part["placement"] == placement])
            colour, style = LINES[placement]
            label = f"{placement} (p99 {row['p99_ms']:.3g} ms)"
            axes.loglog(*curve(times), label=label, color=colour, linestyle=style, lw=1.6)
        axes.set_xlabel(f"request to answer, ms; {load} load of small flows")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    columns[0][0].set_ylabel("share of requests that took longer")
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    """Measure, unless only the drawing is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("latency-lab"))
    parser.add_argument("--plot", type=Path, nargs="+", metavar="JSON")
    parser.add_argument("--layout", choices=("veth", "sriov"), default="veth")
    parser.add_argument("--accel", default="icount", help="as of lab/boot")
    for name, default in (("queues", 8), ("heavy", 4), ("rounds", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rate", default="50Mbit/s")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each placement in each round")
    parser.add_argument("--placements", nargs="+", choices=LINES, default=list(LINES))
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=LOADS)
    arguments = parser.parse_args()
    sources = arguments.plot or [measure(arguments)]
    rounds = [row for source in sources for row in json.loads(source.read_text())["rounds"]]
    by_load: dict[str, list[dict[str, Any]]] = {}
    for row in rounds:
        by_load.setdefault(row["load"], []).append(row)
    draw(by_load, sources[0].with_suffix(".svg"))
    summaries = {load: summarise(rows) for load, rows in by_load.items()}
    for load, summary in summaries.items():
        sys.stdout.write(f"{load} load\n\n{table(summary)}\n\n")
    if all(set(summary) == set(LINES) for summary in summaries.values()):
        sys.stdout.write(bars_table({load: bars(summary) for load, summary in summaries.items()}) + "\n")


if __name__ == "__main__":
    main()
