"""Results of the turns of ``bench.first_packet``: quantiles, ratio to the first way, its interval, the table."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bench.first_packet.traffic import Load


class Result(NamedTuple):
    """All turns of one way under one load, taken together. Latencies in microseconds.

    ``ratio``: p99 against the first way's, with the bounds between which 90 % of what other turns would have given lie
    (the turns drawn anew with replacement, round by round: bootstrap).
    """

    way: str
    rate: int
    arrivals: str
    packets: int
    flows: int
    p50: float
    p99: float
    ratio: float
    ratio_low: float
    ratio_high: float
    lost: int
    copies: float


class Taken(NamedTuple):
    """Measurements of one turn: the waits of first packets (us), and how many were timed."""

    waits: list[float]
    timed: int


def result(way: str, load: Load, turns: list[Taken], beside: list[Taken], copies: float) -> Result:
    """All turns of one way and load together; ``beside``: the same rounds of the way that it is held against."""
    flows = sum(turn.timed for turn in turns)
    waits = pooled(turns)
    low, high = interval(turns, beside)
    return Result(
        way,
        load.rate,
        load.arrivals,
        load.packets,
        flows,
        quantile(waits, 0.5),
        quantile(waits, 0.99),
        p99_ratio(turns, beside),
        low,
        high,
        flows - len(waits),
        copies,
    )


def pooled(turns: list[Taken]) -> list[float]:
    """The waits of all turns."""
    return [wait for turn in turns for wait in turn.waits]


def p99_ratio(turns: list[Taken], beside: list[Taken]) -> float:
    """The p99 of some turns against that of others."""
    return quantile(pooled(turns), 0.99) / quantile(pooled(beside), 0.99)


def interval(turns: list[Taken], beside: list[Taken], draws: int = 200) -> tuple[float, float]:
    """Where 90 % of the ratios lie when the rounds are drawn anew (Efron 1979), the same ones for both."""
    chance = random.Random(1)
    ratios = []
    for _ in range(draws):
        rounds = [chance.randrange(len(turns)) for _ in turns]
        ratios.append(p99_ratio([turns[each] for each in rounds], [beside[each] for each in rounds]))
    return quantile(ratios, 0.05), quantile(ratios, 0.95)


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the values lie (nearest rank); infinite without any."""
    return sorted(values)[int(len(values) * share)] if values else float("inf")


def table(results: list[Result]) -> str:
    """The results for the documentation."""
    head = (
        "| way | new flows/s | begin | packets each | flows | p50 (µs) | p99 (µs) "
        "| p99, times the first way's | lost | copies per flow |\n" + "|---" * 10 + "|\n"
    )
    return head + "".join(
        f"| {r.way} | {r.rate} | {r.arrivals} | {r.packets} | {r.flows} | {r.p50:.0f} | {r.p99:.0f}"
        f" | {r.ratio:.2f} ({r.ratio_low:.2f} to {r.ratio_high:.2f}) | {r.lost} | {r.copies:.2f} |\n"
        for r in results
    )
