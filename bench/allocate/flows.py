"""Rates and keys of flows: rates are drawn from two published distributions of flow sizes and from Zipf's law.

A rate is a size sent within one second: what matters here is how unequal the rates are, not their scale.
"""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np

from flowlane.core.flowkey import IPV4, TCP, FlowParts, pack

DATA = files("flowlane.simulation").joinpath("flow-sizes.json")
KINDS = ("web-search", "hadoop", "zipf-1.0", "zipf-1.3")


def draw(kind: str, count: int, rng: np.random.Generator) -> list[int]:
    """Return ``count`` rates in bit/s, in random order; the Zipf rates are the law's values themselves, shuffled."""
    if kind.startswith("zipf-"):
        rates = 1e10 / np.arange(1, count + 1) ** float(kind.removeprefix("zipf-"))
        rng.shuffle(rates)
    else:
        points = np.array(json.loads(DATA.read_text())[kind]["points"], dtype=float)
        rates = 8 * np.interp(rng.random(count) * 100, points[:, 1], points[:, 0])
    return [max(1, int(rate)) for rate in rates]


def keys(count: int, rng: np.random.Generator) -> list[bytes]:
    """Return packed 5-tuples of ``count`` TCP flows of many VMs to a few servers."""
    sources = rng.integers(0, 1 << 16, count)
    targets = rng.integers(0, 256, count)
    ports = rng.integers(32768, 61000, count)
    return [
        pack(
            FlowParts(
                1,
                None,
                IPV4,
                TCP,
                int(port),
                443,
                b"\x0a\x00" + int(source).to_bytes(2),
                b"\x0a\x01\x00" + bytes([int(target)]),
            )
        )
        for source, target, port in zip(sources, targets, ports, strict=True)
    ]
