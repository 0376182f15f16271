"""Plots of ``flowlane plan`` and ``simulate``: PNG or SVG, by the file's name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

from flowlane.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from flowlane.simulation.run import Sample

mpl.use("Agg")
from matplotlib import pyplot as plt

_MEGA = 1e6


def plot_loads(path: Path, loads: Mapping[int, float], kinds: Mapping[int, str]) -> None:
    """Plot the load of each queue as a bar in Mbit/s, coloured by kind.

    Raises:
        RequestError: the file cannot be written.
    """
    figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
    colours = {"physical": "tab:blue", "software": "tab:orange"}
    for kind, colour in colours.items():
        chosen = [queue for queue in loads if kinds[queue] == kind]
        if chosen:
            axes.bar([str(q) for q in chosen], [loads[q] / _MEGA for q in chosen], color=colour, label=kind)
    axes.set(xlabel="queue", ylabel="load, Mbit/s", title="Load of each queue")
    axes.legend()
    _save(figure, path)


def plot_run(path: Path, samples: Sequence[Sample]) -> None:
    """Plot a simulation over time: loads, busiest queue over the bound, moves, bytes in hardware and fairness.

    Raises:
        RequestError: the file cannot be written.
    """
    figure, panels = plt.subplots(4, 1, figsize=(9, 10), sharex=True, layout="constrained")
    seconds = [sample.second for sample in samples]
    for queue in samples[-1].loads if samples else ():
        panels[0].plot(
            seconds,
            [sample.loads.get(queue, 0.0) / _MEGA for sample in samples],
            label=f"queue {queue}",
            lw=1,
        )
    if samples and len(samples[-1].loads) <= 16:
        panels[0].legend(ncols=4, fontsize="small")
    _panel(panels[0], "load, Mbit/s")
    panels[1].plot(seconds, [sample.over_bound for sample in samples])
    _panel(panels[1], "busiest / lower bound")
    panels[2].plot(seconds, [sample.moves for sample in samples])
    _panel(panels[2], "moves so far")
    panels[3].plot(seconds, [sample.in_hardware for sample in samples], label="bytes in hardware")
    panels[3].plot(seconds, [sample.fairness for sample in samples], label="fairness (Jain)")
    panels[3].set_ylim(0, 1.05)
    panels[3].legend()
    _panel(panels[3], "share")
    panels[3].set_xlabel("time, s")
    _save(figure, path)


def _panel(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)


def _save(figure: object, path: Path) -> None:
    try:
        figure.savefig(path, dpi=120)  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: the plot cannot be written: {error}") from None
    finally:
        plt.close("all")
