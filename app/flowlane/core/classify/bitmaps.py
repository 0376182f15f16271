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
    return _sweep(spans, bitmap((not rule_spans for rule_spans in spans), pace), pace)


def _sweep(spans: Sequence[Sequence[Span]], any_value: int, pace: Callable[[], None]) -> Intervals:
    """Index rules by their spans.

    Args:
        any_value: the rules that have none and are satisfied by any value, as a bitmap.
    """
    edges: dict[int, Counter[int]] = {}
    for rule, rule_spans in paced(enumerate(spans), pace):
        for first, last in rule_spans:
            edges.setdefault(first, Counter())[rule] += 1
            edges.setdefault(last + 1, Counter())[rule] -= 1
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
    spans = [
        [_prefix_span(*prefix) for prefix in rule_prefixes if len(prefix[0]) == octets]
        for rule_prefixes in paced(prefixes, pace)
    ]
    any_address = bitmap((not rule_prefixes for rule_prefixes in prefixes), pace)
    index = _sweep(spans, any_address, pace)
    end = 1 << 8 * octets
    bounds: list[Bound] = [
        bound.to_bytes(octets, "big")
        for bound in paced(index.bounds, pace)
        if isinstance(bound, int) and bound < end
    ]
    return Intervals(bounds, index.bitmaps[: len(bounds) + 1])


def _prefix_span(address: bytes, length: int) -> Span:
    host_bits = 8 * len(address) - length
    first = int.from_bytes(address, "big") >> host_bits << host_bits
    return first, first + (1 << host_bits) - 1


def bitmap(verdicts: Iterable[object], pace: Callable[[], None] = no_pause) -> int:
    """Return the rules of which something is true as a bitmap, in a time that grows with their number.

    Args:
        verdicts: what is true or not of each rule, in their order.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    text = "".join("1" if verdict else "0" for verdict in paced(verdicts, pace))
    return int(text[::-1] or "0", 2)


def by_value(
    values: Iterable[Iterable[int]], pace: Callable[[], None] = no_pause
) -> tuple[dict[int, int], int]:
    """Index rules by single values.

    Args:
        values: the values of each rule; none: any value.
        pace: called now and then (see :mod:`flowlane.core.pacing`).

    Returns:
        The bitmap of each value that some rule names, and the bitmap of all other values.
    """
    bitmaps: dict[int, int] = {}
    any_value = 0
    for rule, rule_values in paced(enumerate(values), pace):
        has_values = False
        for value in rule_values:
            bitmaps[value] = bitmaps.get(value, 0) | 1 << rule
            has_values = True
        if not has_values:
            any_value |= 1 << rule
    return {value: of_value | any_value for value, of_value in paced(bitmaps.items(), pace)}, any_value
