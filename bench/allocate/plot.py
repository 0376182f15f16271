"""The picture of the measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {
    "hash": "#b0413e",
    "round-robin": "#d99b3f",
    "least-loaded": "#7a8fb0",
    "combined": "#1f6f54",
    "LPT": "#444444",
}


def draw_picture(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw four panels: settled load, load under churn, delay of small flows, cost of an arrival."""
    mpl.rcParams.update(
        {"svg.hashsalt": "flowlane", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure, ((a, b), (c, d)) = plt.subplots(2, 2, figsize=(10, 6.4), layout="constrained")
    _settled(a, results["settled"])
    _churn(b, results["churn"])
    _delay(c, results["delay"])
    _cost(d, results["cost"])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _settled(axes: Any, rows: list[dict[str, Any]]) -> None:
    size = sorted({row["flows"] for row in rows})[min(2, len({row["flows"] for row in rows}) - 1)]
    chosen = [row for row in rows if row["flows"] == size]
    queues = sorted({row["queues"] for row in chosen})
    for name, colour in COLOURS.items():
        worst = [max(row[name] for row in chosen if row["queues"] == count) for count in queues]
        axes.plot(
            range(len(queues)),
            worst,
            "o-",
            color=colour,
            label=name,
            linewidth=2 if name == "combined" else 1,
        )
    axes.set(
        xticks=range(len(queues)),
        xticklabels=queues,
        xlabel="queues",
        ylabel="busiest queue / lower bound",
    )
    axes.set_title(f"{size:,} flows, settled: the worst of four rate distributions", fontsize=9)
    axes.axhline(1.05, color="#999999", linestyle=":", linewidth=1)
    axes.legend(frameon=False, fontsize=8)


def _churn(axes: Any, rows: list[dict[str, Any]]) -> None:
    size = max(row["flows"] for row in rows if row["flows"] <= 10_000)
    for row in rows:
        if row["flows"] == size and row["queues"] == 16:
            axes.plot(row["series"], label=row["rates"], linewidth=1.2)
    axes.axhline(1.10, color="#999999", linestyle=":", linewidth=1)
    axes.set(xlabel="seconds", ylabel="busiest queue / lower bound", ylim=(0.99, 1.2))
    axes.set_title(f"10 % of {size:,} flows replaced each second, 16 queues", fontsize=9)
    axes.legend(frameon=False, fontsize=8, ncols=2)


def _delay(axes: Any, rows: list[dict[str, Any]]) -> None:
    chosen = [
        row for row in rows if row["queues"] == 16 and row["flows"] == min(row["flows"] for row in rows)
    ]
    places = range(len(chosen))
    for shift, name in ((-0.2, "hash"), (0.2, "combined")):
        axes.bar(
            [place + shift for place in places],
            [row[f"{name} p99 us"] for row in chosen],
            0.4,
            color=COLOURS[name],
            label=name,
        )
    axes.set(
        xticks=list(places),
        xticklabels=[row["rates"] for row in chosen],
        yscale="log",
        ylabel="p99 delay of small flows, us",
    )
    axes.set_title("Small flows beside heavy ones, 16 queues (model)", fontsize=9)
    axes.set_ylim(top=2e5)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")


def _cost(axes: Any, rows: list[dict[str, Any]]) -> None:
    for count, style in zip(sorted({row["queues"] for row in rows}), ("-", "--", ":"), strict=False):
        chosen = [row for row in rows if row["queues"] == count]
        axes.plot(
            [row["flows"] for row in chosen],
            [row["arrival us"] for row in chosen],
            "o" + style,
            color=COLOURS["combined"],
            label=f"arrival, {count} queues",
            markersize=4,
        )
    axes.set(xscale="log", xlabel="flows on the port", ylabel="us of core time", ylim=(0, 22))
    axes.axhline(20, color="#999999", linestyle=":", linewidth=1)
    axes.set_title("One arrival does not cost more among more flows", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
