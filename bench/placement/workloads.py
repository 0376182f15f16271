"""Workloads: what flows send over time, for traffic that no policy was tuned for.

A workload is made of *senders*: each has a rate for every moment, and goes on until the end. A flow is a piece of a
sender. Settled, there is one flow a sender; with churn the senders are cut at random times, on average every 10 s,
into one flow after the other. So the rates are distributed alike in both, and 10 % of the flows are replaced a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from bench.allocate.flows import draw

from flowlane.core.flowkey import IPV4, TCP
from flowlane.simulation.flowspec import FlowSpec

LIFE = 10.0
"""Mean seconds that a flow lasts where flows are replaced."""

GBIT = 1_000_000_000
MBIT = 1_000_000
WEB = 443
MARKED = 7000
"""Destination port of the flows that a workload's own rules select."""

Steps = tuple[tuple[float, float], ...]
"""(time in s, bit/s from then on), in the order of time."""


class Sender(NamedTuple):
    """What one sender sends. It is not there before its first step, nor after its last one if that is 0 bit/s."""

    steps: Steps
    dst_port: int = WEB


class Flow(NamedTuple):
    """A flow: its 5-tuple and VM, when it begins and ends (s), what it sends; ``limit``: bit/s that pass at most."""

    spec: FlowSpec
    start: float
    end: float
    steps: Steps
    limit: float


Make = Callable[[np.random.Generator, float], list[Sender]]
"""(random numbers, seconds) -> senders."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload and the port that it uses.

    Attributes:
        about: one line for the table.
        make: makes the senders.
        queues: speeds of the hardware queues in bit/s.
        software: number of software queues beside them.
        set_rates: whether the queues' ``max-rate`` is set in OVSDB; else they share the port's rate evenly.
        rules: classes and rules that are put before those of every policy.
        limit: bit/s that those rules let a marked flow pass.
        low: (from, to) in seconds: when the load is low, and software queues have no reason to be used.
    """

    about: str
    make: Make
    queues: tuple[int, ...] = (10 * GBIT // 8,) * 8
    software: int = 0
    set_rates: bool = False
    rules: Mapping[str, object] = field(default_factory=dict)
    limit: float | None = None
    low: tuple[int, int] | None = None

    @property
    def rate(self) -> int:
        """Capacity of the port in bit/s."""
        return sum(self.queues)


def flows_of(workload: Workload, seconds: float, churn: bool, seed: int) -> list[Flow]:
    """Return the flows of a workload, in the order of their start."""
    rng = np.random.default_rng(seed)
    flows: list[Flow] = []
    for sender in workload.make(rng, seconds):
        limit = workload.limit if workload.limit and sender.dst_port == MARKED else float("inf")
        for start, end in _lives(sender, seconds, churn, rng):
            number = len(flows)
            flows.append(
                Flow(_spec(number, sender.dst_port), start, end, _cut(sender.steps, start, end), limit)
            )
    return sorted(flows, key=lambda flow: flow.start)


def _lives(
    sender: Sender, seconds: float, churn: bool, rng: np.random.Generator
) -> list[tuple[float, float]]:
    first, last = sender.steps[0][0], sender.steps[-1]
    until = last[0] if last[1] == 0 else seconds + 1
    if not churn:
        return [(first, until)]
    lives = []
    start = first
    while start < min(until, seconds):
        end = min(until, start + max(0.05, float(rng.exponential(LIFE))))
        lives.append((start, end))
        start = end
    return lives


def _cut(steps: Steps, start: float, end: float) -> Steps:
    """Return the steps of a flow that begins and ends at these times."""
    rate = next((rate for time, rate in reversed(steps) if time <= start), 0.0)
    return ((start, rate), *((time, rate) for time, rate in steps if start < time < end))


def _spec(number: int, dst_port: int) -> FlowSpec:
    source = bytes((10, 0, number >> 8 & 0xFF, number & 0xFF))
    return FlowSpec(
        f"vm-{number % 8}", IPV4, TCP, source, b"\xc0\x00\x02\x01", 20_000 + number % 40_000, dst_port, 0.0
    )


def _steady(rates: list[float], rng: np.random.Generator, dst_port: int = WEB) -> list[Sender]:
    """Senders at steady rates, which begin within the first second."""
    return [Sender(((float(rng.uniform(0, 1)), rate),), dst_port) for rate in rates]


def drawn(kind: str, count: int, load: float) -> Make:
    """Steady rates drawn from a distribution (see :mod:`bench.allocate.flows`), ``load`` bit/s together."""

    def make(rng: np.random.Generator, _seconds: float) -> list[Sender]:
        rates = np.array(draw(kind, count, rng), dtype=float)
        return _steady([float(rate) for rate in rates * (load / rates.sum())], rng)

    return make


def on_off(count: int, load: float, on: float = 2.0, off: float = 4.0) -> Make:
    """Senders that send and pause in turn, for exponential times of these means; rates are lognormal."""

    def make(rng: np.random.Generator, seconds: float) -> list[Sender]:
        rates = rng.lognormal(0.0, 1.0, count)
        rates *= load * (on + off) / on / rates.sum()
        return [Sender(tuple(_alternate(rng, seconds, float(rate), on, off))) for rate in rates]

    return make


def _alternate(
    rng: np.random.Generator, seconds: float, rate: float, on: float, off: float
) -> list[tuple[float, float]]:
    time = float(rng.uniform(0, on + off))
    steps = []
    while time < seconds:
        pause = time + max(0.05, float(rng.exponential(on)))
        steps += [(time, rate), (pause, 0.0)]
        time = pause + max(0.05, float(rng.exponential(off)))
    last_pause = steps.pop() if steps else (0.0, 0.0)
    return [*steps, last_pause, (seconds + 1, 1.0)] if steps else [(seconds + 1, 1.0)]


def incast(rng: np.random.Generator, seconds: float) -> list[Sender]:
    """500 answers at once every 10 s, of 3 s each, beside 50 steady flows."""
    senders = _steady([float(rate) for rate in rng.lognormal(17.0, 1.0, 50)], rng)
    for begin in np.arange(2.0, seconds, 10.0):
        for _ in range(500):
            start = float(begin + rng.uniform(0, 0.05))
            rate = float(rng.uniform(8, 12)) * MBIT
            senders.append(Sender(((start, rate), (start + 3.0, 0.0))))
    return senders


def all_equal(rng: np.random.Generator, _seconds: float) -> list[Sender]:
    """40 flows of 11 to 13 Mbit/s."""
    return _steady([float(rate) * MBIT for rate in rng.uniform(11, 13, 40)], rng)


def all_heavy(rng: np.random.Generator, _seconds: float) -> list[Sender]:
    """24 flows, each more than a quarter of a queue."""
    return _steady([float(rate) * MBIT for rate in rng.uniform(320, 400, 24)], rng)


def changing_elephants(rng: np.random.Generator, seconds: float) -> list[Sender]:
    """64 flows of 2 to 20 Mbit/s, of which 8 others every 3 s send 400 to 600 Mbit/s."""
    light = rng.uniform(2, 20, 64) * MBIT
    heavy = rng.uniform(400, 600, 64) * MBIT
    chosen = {round_: set(rng.choice(64, 8, replace=False)) for round_ in range(int(seconds / 3) + 2)}
    return [
        Sender(
            tuple(
                (
                    max(3.0 * round_, number / 64),
                    float(heavy[number] if number in chosen[round_] else light[number]),
                )
                for round_ in chosen
            )
        )
        for number in range(64)
    ]


def diurnal(rng: np.random.Generator, seconds: float) -> list[Sender]:
    """A load of 20 % that grows to 120 % of the capacity and falls back, by the number of flows."""
    rates = np.array(draw("web-search", 300, rng), dtype=float)
    rates *= 1.2 * 10 * GBIT / rates.sum()
    order = rng.permutation(300)
    senders = []
    for place, rate in zip(order, rates, strict=True):
        rank = (place + 1) / 300
        if rank <= 1 / 6:
            senders.append(Sender(((float(rng.uniform(0, 1)), float(rate)),)))
            continue
        part = (rank - 1 / 6) * 6 / 5
        start, end = (0.1 + 0.25 * part) * seconds, (0.75 - 0.25 * part) * seconds
        senders.append(Sender(((start, float(rate)), (end, 0.0))))
    return senders


def persistent(rng: np.random.Generator, seconds: float) -> list[Sender]:
    """400 connections that stay, mostly at 100 kbit/s, with answers of 0.1 to 3 s at 50 to 200 Mbit/s in between."""
    senders = []
    for _ in range(400):
        time = float(rng.uniform(0, 1))
        steps = [(time, 1e5)]
        time += float(rng.exponential(20))
        while time < seconds:
            length = float(rng.uniform(0.1, 3.0))
            steps += [(time, float(rng.uniform(50, 200)) * MBIT), (time + length, 1e5)]
            time += length + float(rng.exponential(20))
        senders.append(Sender(tuple(steps)))
    return senders


def seven_exclusive(rng: np.random.Generator, _seconds: float) -> list[Sender]:
    """Seven flows of 300 kbit/s of an exclusive class, and 190 others of 5.6 Gbit/s together."""
    others = np.array(draw("web-search", 190, rng), dtype=float)
    others *= 5.6 * GBIT / others.sum()
    return _steady([3e5] * 7, rng, MARKED) + _steady([float(rate) for rate in others], rng)


def limited_flow(rng: np.random.Generator, _seconds: float) -> list[Sender]:
    """A flow of 9 Gbit/s that a limit holds at 10 Mbit/s, and 50 others of 5 Gbit/s together."""
    others = rng.uniform(0.5, 1.5, 50)
    others *= 5 * GBIT / others.sum()
    return _steady([9.0 * GBIT], rng, MARKED) + _steady([float(rate) for rate in others], rng)


def half_limited(rng: np.random.Generator, _seconds: float) -> list[Sender]:
    """60 flows of 5 to 200 Mbit/s with a limit of 10 Mbit/s each, and 60 of 5 to 120 Mbit/s without one."""
    limited = [float(rate) * MBIT for rate in rng.uniform(5, 200, 60)]
    return _steady(limited, rng, MARKED) + _steady(
        [float(rate) * MBIT for rate in rng.uniform(5, 120, 60)], rng
    )


def two_priorities(rng: np.random.Generator, _seconds: float) -> list[Sender]:
    """60 flows of a class of higher priority, and 150 others; rates are lognormal."""
    above = [float(rate) for rate in rng.lognormal(17.0, 1.2, 60)]
    return _steady(above, rng, MARKED) + _steady([float(rate) for rate in rng.lognormal(16.5, 1.2, 150)], rng)


_EXCLUSIVE = {
    "classes": {"marked": {"queues": "exclusive"}},
    "rules": [{"name": "marked", "match": {"protocol": "tcp", "dst-port": MARKED}, "class": "marked"}],
}
_LIMITED = {
    "classes": {"marked": {"queues": "shared", "limit": "10Mbit/s"}},
    "rules": _EXCLUSIVE["rules"],
}
_ABOVE = {"classes": {"marked": {"queues": "shared", "priority": 5}}, "rules": _EXCLUSIVE["rules"]}

WORKLOADS: dict[str, Workload] = {
    "web-search": Workload("300 flows, 60 % of 8 queues", drawn("web-search", 300, 6e9)),
    "hadoop": Workload("300 flows, 60 % of 8 queues", drawn("hadoop", 300, 6e9)),
    "zipf-1.0": Workload("300 flows, 60 % of 8 queues", drawn("zipf-1.0", 300, 6e9)),
    "zipf-1.3": Workload("300 flows, 60 % of 8 queues", drawn("zipf-1.3", 300, 6e9)),
    "on-off": Workload("200 flows that send 2 s and pause 4 s, on average", on_off(200, 5e9)),
    "incast": Workload("500 flows at once every 10 s beside 50 others", incast),
    "all-equal": Workload("40 flows of 11 to 13 Mbit/s, 8 queues of 1 Gbit/s", all_equal, (GBIT // 8,) * 8),
    "all-heavy": Workload("24 flows of 320 to 400 Mbit/s", all_heavy),
    "elephants": Workload("64 flows, 8 others of them heavy every 3 s", changing_elephants),
    "diurnal": Workload(
        "20 % to 120 % of the capacity and back; 4 software queues", diurnal, software=4, low=(80, 100)
    ),
    "persistent": Workload("400 connections with short answers of 50 to 200 Mbit/s", persistent),
    "unequal": Workload(
        "300 flows (web search), queues of 2 to 8 Gbit/s, 60 %",
        drawn("web-search", 300, 0.6 * 38e9),
        tuple(gbit * GBIT for gbit in (2, 2, 3, 4, 5, 6, 8, 8)),
        set_rates=True,
    ),
    "one-queue": Workload("300 flows (web search), 1 queue", drawn("web-search", 300, 6e9), (10 * GBIT,)),
    "256-queues": Workload(
        "2,000 flows (web search), 256 queues", drawn("web-search", 2000, 60e9), (100 * GBIT // 256,) * 256
    ),
    "seven-exclusive": Workload(
        "7 exclusive flows of 300 kbit/s, 190 others", seven_exclusive, rules=_EXCLUSIVE
    ),
    "limited": Workload(
        "9 Gbit/s under a limit of 10 Mbit/s, 50 others; 2 software queues",
        limited_flow,
        software=2,
        rules=_LIMITED,
        limit=10e6,
        low=(20, 60),
    ),
    "half-limited": Workload(
        "60 flows with a limit of 10 Mbit/s each, 60 without", half_limited, rules=_LIMITED, limit=10e6
    ),
    "priorities": Workload("60 flows of a higher priority, 150 others", two_priorities, rules=_ABOVE),
}
