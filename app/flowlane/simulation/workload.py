"""Generator of synthetic workloads: flows with published sizes or Zipf rates, that begin and end.

The sizes are from two distributions that papers commonly use: web search (DCTCP, Alizadeh et al., SIGCOMM 2010)
and Facebook's Hadoop cluster (Roy et al., SIGCOMM 2015), both as in the tables of HPCC (Li et al., SIGCOMM 2019).
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator
from importlib.resources import files
from random import Random
from typing import NamedTuple

from flowlane.core.flowkey import IPV4, TCP
from flowlane.simulation.flowspec import FlowSpec

REMOTE = bytes((192, 0, 2, 1))
"""Destination of the flows (TEST-NET-1, RFC 5737)."""

_FIRST_PORT, _PORTS = 1024, 64_000


class Shape(NamedTuple):
    """Size of a workload.

    ``flows``: number at any time. ``seconds``: how long. ``churn``: part of the flows that is replaced each
    second. ``load``: rate of all flows together, in bit/s. ``seed``: of the random numbers.
    """

    flows: int
    seconds: int
    churn: float
    load: float
    seed: int = 1


def zipf_weights(count: int, exponent: float, _random: Random) -> list[float]:
    """Make weights 1/k^s for ranks 1 to ``count``."""
    return [1.0 / rank**exponent for rank in range(1, count + 1)]


def sized_weights(name: str, count: int, random: Random) -> list[float]:
    """Draw weights from a published distribution of flow sizes, by its name."""
    return [_draw(_points(name), random) for _ in range(count)]


def _points(name: str) -> tuple[list[float], list[float]]:
    text = files("flowlane.simulation").joinpath("flow-sizes.json").read_text("utf-8")
    points = json.loads(text)[name]["points"]
    return [float(size) for size, _ in points], [float(share) for _, share in points]


def _draw(points: tuple[list[float], list[float]], random: Random) -> float:
    """Draw a size in bytes, linearly between the points of the cumulative distribution."""
    sizes, shares = points
    share = random.uniform(0, 100)
    place = min(max(bisect_left(shares, share), 1), len(shares) - 1)
    low, high = shares[place - 1], shares[place]
    part = (share - low) / (high - low) if high > low else 0.0
    return max(1.0, sizes[place - 1] + part * (sizes[place] - sizes[place - 1]))


KINDS: dict[str, Callable[[int, Random], list[float]]] = {
    "web-search": lambda count, random: sized_weights("web-search", count, random),
    "hadoop": lambda count, random: sized_weights("hadoop", count, random),
    "zipf-1.0": lambda count, random: zipf_weights(count, 1.0, random),
    "zipf-1.3": lambda count, random: zipf_weights(count, 1.3, random),
}
"""Workload -> function that makes the weights of so many flows."""


def generate(kind: str, shape: Shape, vms: tuple[str, ...]) -> Iterator[FlowSpec]:
    """Make the flows of a workload in the order in which they start.

    A flow's rate does not change. With churn, a flow that ends is followed by one of the same weight, so the
    distribution of rates stays the same while the flows change.
    """
    random = Random(shape.seed)  # noqa: S311  a repeatable draw, not a secret
    weights = KINDS[kind](shape.flows, random)
    unit = shape.load / sum(weights)
    starts = sorted(_starts(weights, shape, random))
    for number, (start, end, weight) in enumerate(starts):
        yield _spec(number, vms[number % len(vms)], weight * unit, start, end)


def _starts(weights: list[float], shape: Shape, random: Random) -> Iterator[tuple[float, float, float]]:
    """Yield (start, end, weight) of every flow: for each weight one flow after the other."""
    for weight in weights:
        start = 0.0
        while start < shape.seconds:
            duration = random.expovariate(shape.churn) if shape.churn else float("inf")
            yield start, start + duration, weight
            start += max(duration, 0.001)


def _spec(number: int, vm: str, rate: float, start: float, end: float) -> FlowSpec:
    source = bytes((10, number // _PORTS % 256, number // (_PORTS * 256) % 256, 1))
    return FlowSpec(vm, IPV4, TCP, source, REMOTE, _FIRST_PORT + number % _PORTS, 443, rate, start, end)
