"""First-match lookup over many rules, with a bitmap of rules for each value of a field.

Each field of a packet gives the set of rules that its value satisfies, as an integer with bit i for rule i. The
rules that match are the intersection, and the first of them is the lowest bit (Lakshman and Stiliadis, "High-speed
policy-based packet forwarding using efficient multi-dimensional range matching", SIGCOMM 1998). The cost of a lookup
does not depend on the order of the rules, and hardly on their number.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from flowlane.core.pacing import no_pause, paced

Bound = int | bytes


class Intervals(NamedTuple):
    """Rules by the interval in which a value is: ``bitmaps[i]`` applies below ``bounds[i]``."""

    bounds: list[Bound]
    bitmaps: list[int]

    def at(self, value: Bound) -> int:
        """Look up the rules that a value satisfies."""
        return self.bitmaps[bisect_right(self.bounds, value)]


Span = tuple[int, int]
"""First and last value, both included."""


def intervals(spans: Sequence[Sequence[Span]], pace: Callable[[], None] = no_pause) -> Intervals | None:
    """Index rules by their spans.

    Args:
        spans: the spans of each rule; none: any value.
        pace: called now and then (see :mod:`flowlane.core.pacing`).

    Returns:
        The index, None when no rule has spans.
    """
    if not any(spans):
        return None
    any_value = sum(1 << rule for rule, rule_spans in enumerate(spans) if not rule_spans)
    edges: dict[int, Counter[int]] = {}
    for rule, rule_spans in paced(enumerate(spans), pace):
        for first, last in rule_spans:
            edges.setdefault(first, Counter())[rule] += 1
            edges.setdefault(last + 1, Counter())[rule] -= 1
    return _sweep(edges, any_value, pace)


def _sweep(edges: dict[int, Counter[int]], any_value: int, pace: Callable[[], None]) -> Intervals:
    depth: Counter[int] = Counter()
    bounds: list[Bound] = []
    bitmaps = [any_value]
    current = any_value
    for edge in paced(sorted(edges), pace):
        for rule, change in edges[edge].items():
            depth[rule] += change
            current = current | 1 << rule if depth[rule] else current & ~(1 << rule)
        bounds.append(edge)
        bitmaps.append(current)
    return Intervals(bounds, bitmaps)


def prefix_intervals(
    prefixes: Sequence[Sequence[tuple[bytes, int]]], octets: int, pace: Callable[[], None] = no_pause
) -> Intervals | None:
    """Index rules by address prefixes of one family. A rule with prefixes of the other family only never matches.

    Args:
        prefixes: (address bytes, prefix length) of each rule; none: any address.
        octets: bytes of an address of the family.
        pace: called now and then (see :mod:`flowlane.core.pacing`).

    Returns:
        The index, None when no rule has prefixes.
    """
    if not any(prefixes):
        return None
    no_address = (1 << 8 * octets, 1 << 8 * octets)
    spans = [
        [_prefix_span(*prefix) for prefix in rule_prefixes if len(prefix[0]) == octets] or [no_address]
        if rule_prefixes
        else []
        for rule_prefixes in prefixes
    ]
    index = intervals(spans, pace)
    assert index is not None
    bounds = [bound for bound in index.bounds if isinstance(bound, int) and bound < 1 << 8 * octets]
    return Intervals([bound.to_bytes(octets, "big") for bound in bounds], index.bitmaps[: len(bounds) + 1])


def _prefix_span(address: bytes, length: int) -> Span:
    host_bits = 8 * len(address) - length
    first = int.from_bytes(address, "big") >> host_bits << host_bits
    return first, first + (1 << host_bits) - 1


def by_value(values: Iterable[Iterable[int]]) -> tuple[dict[int, int], int]:
    """Index rules by single values.

    Args:
        values: the values of each rule; none: any value.

    Returns:
        The bitmap of each value that some rule names, and the bitmap of all other values.
    """
    bitmaps: dict[int, int] = {}
    any_value = 0
    for rule, rule_values in enumerate(values):
        has_values = False
        for value in rule_values:
            bitmaps[value] = bitmaps.get(value, 0) | 1 << rule
            has_values = True
        if not has_values:
            any_value |= 1 << rule
    return {value: bits | any_value for value, bits in bitmaps.items()}, any_value
