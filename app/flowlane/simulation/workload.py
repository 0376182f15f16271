"""Synthetic workloads: flows with published sizes or Zipf rates, that come and go.

Sizes follow the two distributions that the field compares on: web search (DCTCP, Alizadeh et al., SIGCOMM 2010)
and Facebook's Hadoop cluster (Roy et al., SIGCOMM 2015), both as tabled for HPCC (Li et al., SIGCOMM 2019).
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
"""Where simulated flows go (TEST-NET-1, RFC 5737)."""

_FIRST_PORT, _PORTS = 1024, 64_000


class Shape(NamedTuple):
    """How much and how long: ``flows`` at any time, of which ``churn`` (0 to 1) are replaced every second.

    ``load`` is what all flows together carry, in bit/s.
    """

    flows: int
    seconds: int
    churn: float
    load: float
    seed: int = 1


def zipf_weights(count: int, exponent: float, _random: Random) -> list[float]:
    """Weights 1/k^s for ranks 1 to ``count``."""
    return [1.0 / rank**exponent for rank in range(1, count + 1)]


def sized_weights(name: str, count: int, random: Random) -> list[float]:
    """Weights drawn from a published distribution of flow sizes, by name."""
    return [_draw(_points(name), random) for _ in range(count)]


def _points(name: str) -> tuple[list[float], list[float]]:
    text = files("flowlane.simulation").joinpath("flow-sizes.json").read_text("utf-8")
    points = json.loads(text)[name]["points"]
    return [float(size) for size, _ in points], [float(share) for _, share in points]


def _draw(points: tuple[list[float], list[float]], random: Random) -> float:
    """One size in bytes: linear between the points of the cumulative distribution."""
    sizes, shares = points
    wanted = random.uniform(0, 100)
    place = min(max(bisect_left(shares, wanted), 1), len(shares) - 1)
    low, high = shares[place - 1], shares[place]
    part = (wanted - low) / (high - low) if high > low else 0.0
    return max(1.0, sizes[place - 1] + part * (sizes[place] - sizes[place - 1]))


KINDS: dict[str, Callable[[int, Random], list[float]]] = {
    "web-search": lambda count, random: sized_weights("web-search", count, random),
    "hadoop": lambda count, random: sized_weights("hadoop", count, random),
    "zipf-1.0": lambda count, random: zipf_weights(count, 1.0, random),
    "zipf-1.3": lambda count, random: zipf_weights(count, 1.3, random),
}
"""Workloads by name: how the load is divided among so many flows."""


def generate(kind: str, shape: Shape, vms: tuple[str, ...]) -> Iterator[FlowSpec]:
    """Make the flows of a workload in the order in which they start.

    A flow's rate stays as it is; with churn, a flow that ends is followed by one of the same weight, so the
    mix stays the same while the flows change.
    """
    random = Random(shape.seed)  # noqa: S311  a repeatable draw, not a secret
    weights = KINDS[kind](shape.flows, random)
    unit = shape.load / sum(weights)
    starts = sorted(_starts(weights, shape, random))
    for number, (start, end, weight) in enumerate(starts):
        yield _spec(number, vms[number % len(vms)], weight * unit, start, end)


def _starts(weights: list[float], shape: Shape, random: Random) -> Iterator[tuple[float, float, float]]:
    """(start, end, weight) of every flow: each place in the mix is held by one flow after the other."""
    for weight in weights:
        start = 0.0
        while start < shape.seconds:
            life = random.expovariate(shape.churn) if shape.churn else float("inf")
            yield start, start + life, weight
            start += max(life, 0.001)


def _spec(number: int, vm: str, rate: float, start: float, end: float) -> FlowSpec:
    source = bytes((10, number // _PORTS % 256, number // (_PORTS * 256) % 256, 1))
    return FlowSpec(vm, IPV4, TCP, source, REMOTE, _FIRST_PORT + number % _PORTS, 443, rate, start, end)
