"""First-match lookup over many rules with one bitmap per field value.

Each field of a packet gives the set of rules that its value satisfies, as an integer with bit i for rule i;
the rules that match are the intersection, and the first of them is the lowest bit (Lakshman and Stiliadis,
"High-speed policy-based packet forwarding using efficient multi-dimensional range matching", SIGCOMM 1998).
The cost of a lookup does not depend on how the rules are ordered, and hardly on how many there are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Bound = int | bytes


class Intervals(NamedTuple):
    """Rules by the interval in which a value lies: ``bitmaps[i]`` holds below ``bounds[i]``."""

    bounds: list[Bound]
    bitmaps: list[int]

    def at(self, value: Bound) -> int:
        """The rules that a value satisfies."""
        return self.bitmaps[bisect_right(self.bounds, value)]


Span = tuple[int, int]
"""First and last value, both inside."""


def intervals(spans: Sequence[Sequence[Span]]) -> Intervals | None:
    """Index rules by their spans (one sequence for each rule, empty: any value); None when all are empty."""
    if not any(spans):
        return None
    any_value = sum(1 << rule for rule, own in enumerate(spans) if not own)
    edges: dict[int, Counter[int]] = {}
    for rule, own in enumerate(spans):
        for first, last in own:
            edges.setdefault(first, Counter())[rule] += 1
            edges.setdefault(last + 1, Counter())[rule] -= 1
    return _sweep(edges, any_value)


def _sweep(edges: dict[int, Counter[int]], any_value: int) -> Intervals:
    depth: Counter[int] = Counter()
    bounds: list[Bound] = []
    bitmaps = [any_value]
    current = any_value
    for edge in sorted(edges):
        for rule, change in edges[edge].items():
            depth[rule] += change
            current = current | 1 << rule if depth[rule] else current & ~(1 << rule)
        bounds.append(edge)
        bitmaps.append(current)
    return Intervals(bounds, bitmaps)


def prefix_intervals(prefixes: Sequence[Sequence[tuple[bytes, int]]], octets: int) -> Intervals | None:
    """Index rules by address prefixes (address bytes, length) of one family, which has ``octets`` bytes.

    A rule that has prefixes only of the other family takes no address of this one.
    """
    if not any(prefixes):
        return None
    nowhere = (1 << 8 * octets, 1 << 8 * octets)
    spans = [
        ([_prefix_span(*prefix) for prefix in own if len(prefix[0]) == octets] or [nowhere]) if own else []
        for own in prefixes
    ]
    found = intervals(spans)
    assert found is not None
    inside = [bound for bound in found.bounds if isinstance(bound, int) and bound < 1 << 8 * octets]
    return Intervals([bound.to_bytes(octets, "big") for bound in inside], found.bitmaps[: len(inside) + 1])


def _prefix_span(address: bytes, length: int) -> Span:
    host_bits = 8 * len(address) - length
    first = int.from_bytes(address, "big") >> host_bits << host_bits
    return first, first + (1 << host_bits) - 1


def by_value(values: Iterable[Iterable[int]]) -> tuple[dict[int, int], int]:
    """Index rules by single values (empty: any); return the bitmap of each value named, and of all others."""
    named: dict[int, int] = {}
    any_value = 0
    for rule, own in enumerate(values):
        listed = False
        for value in own:
            named[value] = named.get(value, 0) | 1 << rule
            listed = True
        if not listed:
            any_value |= 1 << rule
    return {value: bits | any_value for value, bits in named.items()}, any_value
