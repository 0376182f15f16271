"""Figures of a run: quantiles over its seconds, and what was moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from bench.placement.ways import Second

SETTLING = 10
"""Seconds that some figures leave out; the others begin with the first second."""


class Figures(NamedTuple):
    """Figures of one run, or means of several.

    Attributes:
        median: busiest queue over the bound, the median second; ``p95``: the 95th percentile of the seconds.
        late_median: the same without the first :data:`SETTLING` seconds, as ``late_p95``.
        moves: flows that changed their queue while they were sending, per second.
        share: the same as part of the flows.
        most: the largest such part in any second after the first :data:`SETTLING`.
        unreported: changes of queue that the product did not report, per second; below 0: reports without a change.
        software: part of the bytes on software queues while the load is low; -1 where it never is, or there are none.
    """

    median: float
    p95: float
    late_median: float
    late_p95: float
    moves: float
    share: float
    most: float
    unreported: float
    software: float


def figures(seconds: Sequence[Second], low: tuple[int, int] | None) -> Figures:
    """Return the figures of a run; ``low``: the seconds (from, to) in which the load is low."""
    ratios = [second.over_bound for second in seconds if second.flows]
    late = [second for second in seconds[SETTLING:] if second.flows]
    late_ratios = [second.over_bound for second in late]
    quiet = seconds[slice(*low)] if low is not None else ()
    return Figures(
        _quantile(ratios, 50),
        _quantile(ratios, 95),
        _quantile(late_ratios, 50),
        _quantile(late_ratios, 95),
        _mean([second.moved for second in seconds]),
        _mean([second.moved / second.flows for second in seconds if second.flows]),
        max((second.moved / second.flows for second in late), default=0.0),
        _mean([second.unreported for second in seconds]),
        _mean([second.software for second in quiet]) if quiet else -1.0,
    )


def mean(runs: Sequence[Figures]) -> Figures:
    """Return the mean of several runs."""
    return Figures(*(_mean(column) for column in zip(*runs, strict=True)))


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values)) if values else 0.0


def _quantile(values: Sequence[float], percent: int) -> float:
    return float(np.percentile(values, percent)) if values else 1.0
