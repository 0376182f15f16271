"""The picture of the placement: busiest queues on every workload, and the delay of small flows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from bench.placement.figures import SETTLING

mpl.use("Agg")
from matplotlib import pyplot as plt

STYLES = {
    "hash": ("#b0413e", "s"),
    "LPT, measured": ("#999999", "_"),
    "built-in": ("#1f6f54", "o"),
}
"""Way -> its colour and mark."""

NAMES = {"LPT, measured": "LPT on measured rates, unlimited moves", "built-in": "Flowlane, built-in policy"}

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""Part -> its rows, as in the bench's JSON."""


def draw_picture(results: Results, path: Path) -> None:
    """Draw three panels: busiest queue settled and under churn, and the delay of small flows."""
    mpl.rcParams.update(
        {"svg.hashsalt": "flowlane", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = plt.figure(figsize=(10.5, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2.4, 1))
    settled, churn = (figure.add_subplot(grid[place, 0]) for place in (0, 1))
    _loads(settled, results["load"], "settled", "late_median")
    _loads(churn, results["load"], "churn", "p95")
    settled.set_xticklabels([])
    settled.set_title(
        f"busiest queue over the lower bound, settled: median second after the first {SETTLING}", fontsize=9
    )
    churn.set_title(
        "while 10 % of the flows are replaced every second: 95th percentile of all seconds", fontsize=9
    )
    settled.legend(frameon=False, fontsize=8, ncols=4, loc="upper center")
    _delays(figure.add_subplot(grid[:, 1]), results["delay"])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _loads(axes: Any, rows: Sequence[Mapping[str, Any]], state: str, figure: str) -> None:
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    for way, (colour, mark) in STYLES.items():
        values = {
            row["workload"]: row["figures"][figure]
            for row in rows
            if (row["way"], row["state"]) == (way, state)
        }
        if not values:
            continue
        places = [place for place, name in enumerate(workloads) if name in values]
        chosen = [values[workloads[place]] for place in places]
        axes.plot(places, chosen, mark, color=colour, label=NAMES.get(way, way), markersize=6)
    axes.set(yscale="log", ylabel="busiest / bound", yticks=(1, 1.5, 2, 3, 5), yticklabels=(1, 1.5, 2, 3, 5))
    axes.minorticks_off()
    axes.set_ylim(bottom=0.95)
    axes.set_xticks(range(len(workloads)), workloads, rotation=45, ha="right", fontsize=8)
    axes.grid(axis="x", color="#eeeeee")


def _delays(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    kinds = list(dict.fromkeys(row["heavy"] for row in rows))
    shown = [("hash", "FIFO", 1.0), ("hash", "fq_codel", 0.45), ("built-in", "fq_codel", 1.0)]
    for shift, (way, leaf, alpha) in zip((-0.27, 0.0, 0.27), shown, strict=True):
        found = {row["heavy"]: row["p99"] for row in rows if (row["way"], row["leaf"]) == (way, leaf)}
        axes.bar(
            [place + shift for place in range(len(kinds))],
            [found[kind] for kind in kinds],
            0.25,
            color=STYLES[way][0],
            alpha=alpha,
            label=f"{NAMES.get(way, way)}, {leaf}",
        )
    axes.set(yscale="log", ylabel="p99 delay of small flows, us", ylim=(100, 2e5))
    axes.set_xticks(range(len(kinds)), [f"{kind} heavy flows" for kind in kinds])
    axes.set_title("small flows beside heavy ones (model)", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="upper left")
