"""Delay of small flows beside heavy ones, packet by packet, where each way to place flows puts them.

A port of 10 Gbit/s has 16 queues of an equal part. 1,000 flows (web search) use 40 % of it, and four heavy flows of
80 % of a queue each 20 %. A heavy flow sends bursts of 65,536 bytes, the most that Linux hands to a NIC as one segment
(``GSO_MAX_SIZE``), at Poisson times; another flow sends packets of 1,500 bytes. Heavy flows are *long*, or *short*:
each lasts 0.3 s and is followed by another, which is over before any counter is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import inf, isinf
from typing import NamedTuple

import numpy as np
from bench.placement.packets import Packet, by_priority, fair, fifo, in_turn
from bench.placement.ways import hashed, strategy
from bench.placement.workloads import GBIT, Flow, Sender, Workload, drawn, flows_of

from flowlane import policy as policies
from flowlane.simulation.datapath import Sending
from flowlane.simulation.host import Host
from flowlane.simulation.world import World

QUEUES, LINK = 16, 10 * GBIT
SPEED = LINK / QUEUES
SMALL_BITS, HEAVY_BITS = 1_500 * 8, 65_536 * 8
HEAVY_FROM = 0.25 * SPEED
"""bit/s from which on a flow counts as heavy: a quarter of a queue."""

SECONDS = 20
WINDOWS = ((0.0, 0.5), (2.0, 2.5), (6.0, 6.5), (18.0, 18.5))
"""(from, to) in seconds, for which packets are made."""

WARMING = 0.2
"""Seconds of a window, but of the first, in which queues fill and delays do not count."""

SETTLED = 10.0
LIFE = {"long": inf, "short": 0.3}
FILLING = "filling"
"""Heavy flows that are long, and offer a quarter of the link each: with the others more than the link carries."""

LEAVES: Mapping[str, Callable[[Sequence[Packet], float], list[float]]] = {"FIFO": fifo, "fq_codel": fair}
"""What is inside a queue, which has its part of the link and no more."""

LENT = "FIFO, lent in turn"
LINKS: Mapping[str, Callable[[Sequence[Sequence[Packet]], float], list[list[float]]]] = {
    LENT: in_turn,
    "FIFO, lent by priority": by_priority,
}
"""FIFOs, each of which has the whole link while the others have no packets; else in turn, or by their numbers."""

STRATEGIES: Mapping[str, tuple[str, ...]] = {
    "buckets": ("FIFO", LENT),
    "fair": ("FIFO", "fq_codel"),
    "priority-by-bytes": ("FIFO, lent by priority",),
}
"""Strategies that a policy can name, and what is inside their queues."""

History = Mapping[int, Sequence[tuple[float, int]]]
"""Number of a flow -> (time, queue from then on)."""


class Row(NamedTuple):
    """Delays of the small flows' packets in microseconds: heavy flows, way, what is inside a queue.

    ``late_p99``: from :data:`SETTLED` on. ``lost``: part of their packets that found a full queue.
    """

    heavy: str
    way: str
    leaf: str
    p50: float
    p99: float
    late_p99: float
    lost: float


def rows(named: Mapping[str, str], seeds: int, others: Collection[str] = ()) -> Iterator[Row]:
    """Measure the ways: the hash, and the product under these policies, each with a FIFO and with fair queueing.

    Args:
        named: policies by name.
        seeds: runs with other random numbers.
        others: strategies to measure too, of :data:`STRATEGIES`; then also beside heavy flows that fill the link, and
            with the link lent among the queues.
    """
    for heavy in (*LIFE, FILLING) if others else LIFE:
        runs: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
        for seed in range(1, seeds + 1):
            flows = _flows(LIFE.get(heavy, inf), seed, LINK / 4 if heavy == FILLING else 0.8 * SPEED)
            packets = _packets(flows, seed)
            for way, (leaves, history) in _ways(named, flows, others).items():
                for leaf in leaves:
                    runs[way, leaf].append(Row(heavy, way, leaf, *_delays(flows, packets, history, leaf)))
        for (way, leaf), of_seeds in runs.items():
            columns = list(zip(*of_seeds, strict=True))[3:]
            yield Row(heavy, way, leaf, *(float(np.mean(column)) for column in columns))


def _ways(
    named: Mapping[str, str], flows: Sequence[Flow], others: Collection[str]
) -> dict[str, tuple[Sequence[str], History]]:
    """Return (what is inside the queues, where the flows are) for each way."""
    leaves = (*LEAVES, LENT) if others else (*LEAVES,)
    return {
        "hash": (leaves, _hashed(flows)),
        **{name: (leaves, _placed(text, flows)) for name, text in named.items()},
        **{name: (STRATEGIES[name], _placed(strategy(name), flows)) for name in others},
    }


def _flows(life: float, seed: int, rate: float = 0.8 * SPEED) -> list[Flow]:
    """Return the flows; a heavy sender's, of ``rate`` bit/s, last for ``life`` seconds and follow each other."""
    small = drawn("web-search", 1_000, 0.4 * LINK)

    def make(rng: np.random.Generator, seconds: float) -> list[Sender]:
        senders = small(rng, seconds)
        for _ in range(QUEUES // 4):
            begin = float(rng.uniform(0, 1))
            times = np.arange(begin, seconds, life) if life < seconds else [begin, seconds]
            senders += [Sender(((float(start), rate), (float(end), 0.0))) for start, end in pairwise(times)]
        return senders

    return flows_of(Workload("", make, (round(SPEED),) * QUEUES), SECONDS, churn=False, seed=seed)


def _is_heavy(flow: Flow) -> bool:
    return flow.steps[0][1] >= HEAVY_FROM


def _packets(flows: Sequence[Flow], seed: int) -> list[list[Packet]]:
    """Return the packets of each window in the order of their arrival; the flow of a packet is its number."""
    rng = np.random.default_rng(seed)
    start, end = (np.array([flow[place] for flow in flows], dtype=float) for place in (1, 2))
    rates = np.array([flow.steps[0][1] for flow in flows])
    bits = np.where(rates >= HEAVY_FROM, HEAVY_BITS, SMALL_BITS)
    windows = []
    for begin, until in WINDOWS:
        first, last = np.maximum(begin, start), np.minimum(until, end)
        counts = rng.poisson(rates / bits * np.maximum(0.0, last - first))
        numbers = np.repeat(np.arange(len(flows)), counts)
        times = rng.uniform(first[numbers], last[numbers])
        order = np.argsort(times)
        chosen = numbers[order]
        windows.append(list(zip(times[order].tolist(), chosen.tolist(), bits[chosen].tolist(), strict=True)))
    return windows


def _hashed(flows: Sequence[Flow]) -> History:
    return {number: ((flow.start, hashed(flow, QUEUES)),) for number, flow in enumerate(flows)}


def _placed(text: str, flows: Sequence[Flow]) -> History:
    """Run the engine under a policy; return where its device had each flow, when."""
    world = World(
        policies.load(text, "policy of the bench"),
        Host(tuple(f"vm-{number}" for number in range(8)), QUEUES, 0, LINK),
    )
    history: dict[int, list[tuple[float, int]]] = {number: [] for number in range(len(flows))}
    numbers = {flow.spec.src_port << 32 | int.from_bytes(flow.spec.src): n for n, flow in enumerate(flows)}

    def note(sending: Sending) -> None:
        number = numbers[sending.spec.src_port << 32 | int.from_bytes(sending.spec.src)]
        history[number].append((world.now, sending.queue_id))

    world.on_change = note
    for number, flow in enumerate(flows):
        world.at(flow.start, partial(world.begin, number, flow.spec._replace(rate=flow.steps[0][1])))
        world.at(flow.end, partial(world.end, number))
    for _ in range(SECONDS):
        world.second()
    return history


def _served(queues: Sequence[Sequence[Packet]], leaf: str) -> list[list[float]]:
    """Return the delays of the packets of each queue."""
    if leaf in LINKS:
        return LINKS[leaf](queues, LINK)
    return [LEAVES[leaf](queue, SPEED) for queue in queues]


def _delays(
    flows: Sequence[Flow], windows: Sequence[Sequence[Packet]], history: History, leaf: str
) -> tuple[float, float, float, float]:
    """Return p50, p99, late p99 (us) and the part of packets lost, of the small flows."""
    heavy = [_is_heavy(flow) for flow in flows]
    times = {number: [time for time, _ in changes] for number, changes in history.items()}
    delays: list[float] = []
    late: list[float] = []
    for (begin, _), packets in zip(WINDOWS, windows, strict=True):
        queues: list[list[Packet]] = [[] for _ in range(QUEUES)]
        for packet in packets:
            time, flow, _ = packet
            place = max(0, bisect_right(times[flow], time) - 1)
            queues[history[flow][place][1]].append(packet)
        counted_from = begin + WARMING if begin else 0.0
        for queue, found in zip(queues, _served(queues, leaf), strict=True):
            of_small = [
                delay
                for (time, flow, _), delay in zip(queue, found, strict=True)
                if time >= counted_from and not heavy[flow]
            ]
            delays += of_small
            if begin >= SETTLED:
                late += of_small
    lost = sum(isinf(delay) for delay in delays) / len(delays)
    passed = [delay for delay in delays if not isinf(delay)]
    passed_late = [delay for delay in late if not isinf(delay)]
    p50, p99 = (float(np.percentile(passed, part)) * 1e6 for part in (50, 99))
    return p50, p99, float(np.percentile(passed_late, 99)) * 1e6, lost
