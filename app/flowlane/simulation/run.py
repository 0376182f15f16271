"""Simulation of a workload: flows run through the engine second by second, with a sample of each second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate.speeds import carried_rates
from flowlane.core.model import Queue
from flowlane.simulation.measures import jain, over_bound
from flowlane.simulation.world import World

if TYPE_CHECKING:
    from flowlane.core.policy import Policy
    from flowlane.simulation.flowspec import FlowSpec
    from flowlane.simulation.host import Host


class Sample(NamedTuple):
    """Measurements of one second.

    Attributes:
        loads: queue id -> bit/s that reached the queue: what the flows on it sent, within their limits.
        sent: queue id -> bytes that it has transmitted so far.
        moves: number so far.
        in_hardware: part of the bytes on physical queues, 0 to 1.
        over_bound: of the physical queues, see :mod:`flowlane.simulation.measures`, as ``fairness``. Loads count by
            what the allocator expects each queue to carry (:mod:`flowlane.core.allocate.speeds`).
    """

    second: int
    flows: int
    loads: dict[int, float]
    moves: int
    in_hardware: float
    over_bound: float
    fairness: float
    sent: dict[int, int]


def sample(world: World, second: int) -> Sample:
    """Measure the last second of a simulation."""
    host, last, flows = world.host, world.last, world.datapath.flows
    loads = {queue_id: 8 * last.by_queue.get(queue_id, 0.0) for queue_id in range(len(host.rates))}
    hardware = [loads[queue_id] for queue_id in range(host.queues)]
    queues = [
        Queue(number, min_rate=rates.lowest, max_rate=rates.highest)
        for number, rates in enumerate(host.rates)
    ]
    weights = (carried_rates(queues, host.rate) or [1] * len(queues))[: host.queues]
    heaviest = max(
        (
            8 * octets
            for key, octets in last.by_flow.items()
            if key in flows and 0 <= flows[key].queue_id < host.queues
        ),
        default=0.0,
    )
    total = 8 * sum(last.by_queue.values())
    return Sample(
        second,
        len(world.live),
        loads,
        world.counts["move"],
        min(1.0, sum(hardware) / total) if total else 0.0,
        over_bound(hardware, heaviest, weights),
        jain([load / weight for load, weight in zip(hardware, weights, strict=True)]),
        {queue_id: world.sent[queue_id] for queue_id in loads},
    )


Progress = Callable[[int, World], None]


def simulate(
    policy: Policy,
    host: Host,
    flows: Iterable[FlowSpec],
    seconds: int,
    progress: Progress | None = None,
    *,
    each_second: bool = True,
) -> tuple[World, list[Sample]]:
    """Simulate a workload; return the simulated host at the end, and a sample of each second.

    Args:
        flows: in the order of their start.
        seconds: how long.
        progress: is called after each second.
        each_second: whether each second is sampled, or the last one only, which is much less to count.
    """
    world = World(policy, host)
    waiting = iter(enumerate(flows))
    upcoming = next(waiting, None)
    samples = []
    for second in range(1, seconds + 1):
        while upcoming is not None and upcoming[1].start < second:
            number, spec = upcoming
            world.at(spec.start, partial(world.begin, number, spec))
            if spec.end <= seconds:
                world.at(spec.end, partial(world.end, number))
            upcoming = next(waiting, None)
        wanted = each_second or second == seconds
        world.second(by_flow=wanted)
        if wanted:
            samples.append(sample(world, second))
        if progress is not None:
            progress(second, world)
    return world, samples
