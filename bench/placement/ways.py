"""Ways to place flows, side by side: the product under a policy, and yardsticks that are computed directly.

Each takes the flows of a workload and returns a :class:`Second` for every second: what truly reached the queues, and
how many flows changed their queue. Loads are bytes over the speed of their queue; the bound is that no assignment
has a busiest queue below the mean, or below the heaviest flow on the fastest queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from heapq import heapify, heapreplace
from typing import NamedTuple

import numpy as np
import yaml
from bench.placement.workloads import Flow, Workload
from numpy.typing import NDArray

from flowlane import policy as policies
from flowlane.core.allocate import STRATEGIES
from flowlane.core.flow.rates import SHORTEST_WINDOW, SMOOTHING
from flowlane.core.frame import read_frame
from flowlane.simulation.datapath import flow_hash
from flowlane.simulation.flowspec import frame_of
from flowlane.simulation.host import Host
from flowlane.simulation.measures import over_bound
from flowlane.simulation.world import ANSWER, DUMP_AT, DUMP_INTERVAL, World

READING = 1.0
"""Seconds between two readings of the counters for LPT; the product reads them when it wants to."""

IDLE = 10.0
"""Seconds after its last packet for which a flow that has ended is still known."""

ONE_CLASS = "version: 1\ndefault: shared\nclasses: {shared: {queues: shared}}\n"
NOT_A_WAY = {"combined", "hash", "round-robin", "one-vm-one-queue", "priority-by-bytes"}
"""Strategies that are not run as a way of their own: the product's default, what is computed directly, and what is not
meant to make queues equally busy.
"""

Loads = NDArray[np.float64]
Places = NDArray[np.int64]


class Second(NamedTuple):
    """One second: busiest queue over the bound, and what happened in it.

    Attributes:
        flows: that were there, though some of them may have paused.
        moved: of them, those that changed their queue while they were sending.
        unreported: changes of queue, also of quiet flows, less the moves that the product reported.
        software: part of the bytes on software queues.
    """

    over_bound: float
    flows: int
    moved: int
    unreported: int
    software: float


Way = Callable[[Workload, Sequence[Flow], int], list[Second]]
"""(workload, flows, seconds) -> the seconds."""


def octets_until(flow: Flow, times: Loads) -> Loads:
    """Return how many bytes a flow has offered until each of these times (s, rising)."""
    starts = [time for time, _ in flow.steps] + [flow.end]
    sums = [0.0]
    for (time, rate), until in zip(flow.steps, starts[1:], strict=True):
        sums.append(sums[-1] + rate / 8 * (until - time))
    return np.array(np.interp(times, starts, sums), dtype=float)


def octets_by_second(flows: Sequence[Flow], seconds: int) -> Loads:
    """Return the bytes (flows x seconds) that leave the port, within the flows' limits."""
    times = np.arange(seconds + 1, dtype=float)
    sent = np.diff(np.array([octets_until(flow, times) for flow in flows]), axis=1)
    limits: Loads = np.array([flow.limit / 8 for flow in flows])
    passed: Loads = np.minimum(sent, limits[:, None])
    return passed


def hashed(flow: Flow, queues: int) -> int:
    """Return the queue that the hash of its 5-tuple gives a flow: the one of the simulated device."""
    frame = read_frame(frame_of(flow.spec, 1))
    assert frame is not None
    return flow_hash(frame.key(1)) % queues


def by_places(workload: Workload, flows: Sequence[Flow], sent: Loads, places: Places) -> list[Second]:
    """Return the seconds of an assignment: ``places`` is the queue of each flow in each second."""
    start, end = (np.array([flow[place] for flow in flows], dtype=float) for place in (1, 2))
    speeds = [float(speed) for speed in workload.queues]
    seconds = []
    for second in range(sent.shape[1]):
        octets, queues = sent[:, second], places[:, second]
        loads = np.bincount(queues, octets, len(speeds)).tolist()
        sending = octets > 0
        before = places[:, second - 1] if second else queues
        was_sending = sent[:, second - 1] > 0 if second else sending
        moved = int(((queues != before) & sending & was_sending).sum())
        present = int(((start < second + 1) & (end > second)).sum())
        seconds.append(Second(over_bound(loads, float(octets.max()), speeds), present, moved, 0, 0.0))
    return seconds


def once(choose: Callable[[int, Flow, int], int]) -> Way:
    """Make the way of a rule that places a flow when it begins, and never moves it."""

    def way(workload: Workload, flows: Sequence[Flow], seconds: int) -> list[Second]:
        count = len(workload.queues)
        fixed = np.array([choose(number, flow, count) for number, flow in enumerate(flows)])
        return by_places(
            workload, flows, octets_by_second(flows, seconds), np.repeat(fixed[:, None], seconds, axis=1)
        )

    return way


def lpt(weights: Loads, speeds: Loads) -> Places:
    """Return the queue of each flow by LPT: the heaviest first, each where it is done soonest."""
    places = np.zeros(len(weights), dtype=np.int64)
    order = np.argsort(-weights, kind="stable")
    if (speeds == speeds[0]).all():
        heap = [(0.0, queue) for queue in range(len(speeds))]
        heapify(heap)
        for flow in order:
            load, queue = heap[0]
            places[flow] = queue
            heapreplace(heap, (load + float(weights[flow]), queue))
        return places
    loads = np.zeros(len(speeds))
    for flow in order:
        queue = int(np.argmin((loads + weights[flow]) / speeds))
        places[flow] = queue
        loads[queue] += weights[flow]
    return places


def knows_the_second(workload: Workload, flows: Sequence[Flow], seconds: int) -> list[Second]:
    """LPT on the bytes of each second, known before it begins."""
    sent = octets_by_second(flows, seconds)
    speeds = np.array(workload.queues, dtype=float)
    places = np.array([lpt(sent[:, second], speeds) for second in range(seconds)]).T
    return by_places(workload, flows, sent, places)


def measured_lpt(workload: Workload, flows: Sequence[Flow], seconds: int) -> list[Second]:
    """LPT on the rates that readings of counters give, after each reading, with unlimited moves.

    Counters that lag behind, smoothing and what is known of a new flow are as for the product. A flow is where the hash
    puts it until the first reading after it began, and counts with the mean of the others until its rate is measured.
    """
    speeds = np.array(workload.queues, dtype=float)
    readings = np.arange(1, seconds + 1) * READING + ANSWER
    dumped = np.floor((readings - DUMP_AT) / DUMP_INTERVAL) * DUMP_INTERVAL + DUMP_AT
    shown = np.array([octets_until(flow, dumped) for flow in flows])
    start, end = (np.array([flow[place] for flow in flows], dtype=float) for place in (1, 2))
    limits = np.array([flow.limit for flow in flows])
    queues = np.array([hashed(flow, len(speeds)) for flow in flows])
    rate, counted, counted_at = np.zeros(len(flows)), np.zeros(len(flows)), start.copy()
    columns = [queues.copy()]
    for number, now in enumerate(readings):
        known = (start <= now) & (now < end + IDLE)
        _measure(rate, counted, counted_at, shown[:, number], now, known, start)
        rows = np.flatnonzero(known)
        if len(rows):
            is_measured = counted_at[rows] > start[rows]
            mean = rate[rows][is_measured].mean() if is_measured.any() else 1.0
            weights = np.minimum(np.where(is_measured, rate[rows], mean), limits[rows])
            queues[rows] = lpt(weights, speeds)
        columns.append(queues.copy())
    return by_places(workload, flows, octets_by_second(flows, seconds), np.array(columns[:seconds]).T)


def _measure(
    rate: Loads,
    counted: Loads,
    counted_at: Loads,
    shown: Loads,
    now: float,
    known: NDArray[np.bool_],
    start: Loads,
) -> None:
    """Take in a reading, as :mod:`flowlane.core.flow.rates` and ``track.count`` do."""
    waited = now - counted_at
    due = known & (waited >= SHORTEST_WINDOW)
    fresh = np.where(due, (shown - counted) * 8 / np.maximum(waited, 1e-9), 0.0)
    weight = np.where(counted_at == start, 1.0, 1 - np.exp(-waited / SMOOTHING))
    rate[due] += ((fresh - rate) * weight)[due]
    counted[due], counted_at[due] = shown[due], now


def product(text: str, workload: Workload, flows: Sequence[Flow], seconds: int) -> list[Second]:
    """Run the engine under a policy, on a simulated device."""
    policy = policies.load(with_rules(text, workload.rules), "policy of the bench")
    rates = workload.queues if workload.set_rates else ()
    count = len(workload.queues)
    host = Host(tuple(f"vm-{number}" for number in range(8)), count, workload.software, workload.rate, rates)
    world = World(policy, host)
    for number, flow in enumerate(flows):
        world.at(flow.start, partial(world.begin, number, flow.spec._replace(rate=flow.steps[0][1])))
        for time, rate in flow.steps[1:]:
            world.at(time, partial(world.set_rate, number, rate))
        world.at(flow.end, partial(world.end, number))
    return [_second(world, workload) for _ in range(seconds)]


def _second(world: World, workload: Workload) -> Second:
    before = world.counts.copy()
    world.second()
    more = {name: count - before[name] for name, count in world.counts.items()}
    moved = more.get("changed", 0)
    changed = moved + more.get("changed while quiet", 0)
    speeds = [float(speed) for speed in workload.queues]
    loads = [world.last.by_queue.get(queue, 0.0) for queue in range(len(speeds))]
    total = sum(world.last.by_queue.values())
    flows = world.datapath.flows
    heaviest = max(
        (
            octets
            for key, octets in world.last.by_flow.items()
            if key in flows and flows[key].queue_id < len(speeds)
        ),
        default=0.0,
    )
    return Second(
        over_bound(loads, heaviest, speeds),
        len(world.live),
        moved,
        changed - more.get("move", 0),
        max(0.0, 1 - sum(loads) / total) if total else 0.0,
    )


def with_rules(text: str, more: Mapping[str, object]) -> str:
    """Return a policy with a workload's classes added, and its rules put first."""
    if not more:
        return text
    document = yaml.safe_load(text)
    document["classes"].update(more["classes"])
    document["rules"] = [*more["rules"], *document.get("rules", [])]  # type: ignore[misc]
    return yaml.safe_dump(document, sort_keys=False)


def strategy(name: str) -> str:
    """Return the policy with one class and a strategy."""
    return f"{ONE_CLASS}balance: {{strategy: {name}}}\n"


def ways(named: Mapping[str, str]) -> dict[str, Way]:
    """Return all ways by name: the product under these policies, its other strategies, and the yardsticks."""
    others = {name: strategy(name) for name in STRATEGIES if name not in NOT_A_WAY}
    return {
        **{name: partial(product, text) for name, text in {**named, **others}.items()},
        "hash": once(lambda _number, flow, count: hashed(flow, count)),
        "round-robin": once(lambda number, _flow, count: number % count),
        "LPT, measured": measured_lpt,
        "LPT, knows the second": knows_the_second,
    }


POLICIES = {"built-in": policies.default_text(), "one-class": ONE_CLASS}
"""Name of a way of the product -> its policy's text."""
