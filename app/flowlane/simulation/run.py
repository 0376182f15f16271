"""Simulation of a workload: flows run through the engine second by second, with a sample of each second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.model import NO_QUEUE, QueueKind
from flowlane.simulation.host import UPLINK, Host, World, make_world
from flowlane.simulation.measures import jain, over_bound

if TYPE_CHECKING:
    from flowlane.core.policy import Policy
    from flowlane.simulation.flowspec import FlowSpec


class Sample(NamedTuple):
    """Measurements at the end of one second.

    ``loads``: queue id -> bit/s. ``moves``: number so far. ``in_hardware``: part of the bytes on physical
    queues, 0 to 1. ``over_bound`` and ``fairness``: of the physical queues, see
    :mod:`flowlane.simulation.measures`.
    """

    second: int
    flows: int
    loads: dict[int, float]
    moves: int
    in_hardware: float
    over_bound: float
    fairness: float


def sample(world: World, second: int) -> Sample:
    """Measure a simulation, by the flows' true rates and the queues that the engine gave them."""
    flows, port = world.device.flows, world.device.ports[UPLINK]
    loads = dict.fromkeys(sorted(port.queues), 0.0)
    in_hardware = total = heaviest = 0.0
    for flow in world.live.values():
        queue_id, rate = flows.queue_id[flow.row], flow.spec.rate
        total += rate
        if queue_id != NO_QUEUE:
            loads[queue_id] += rate
        if flows.kind[flow.row] == QueueKind.PHYSICAL:
            in_hardware += rate
            heaviest = max(heaviest, rate)
    hardware = [loads[q] for q, queue in port.queues.items() if queue.kind is QueueKind.PHYSICAL]
    return Sample(
        second,
        len(world.live),
        loads,
        world.counts["move"],
        in_hardware / total if total else 0.0,
        over_bound(hardware, heaviest),
        jain(hardware),
    )


Progress = Callable[[int, World], None]


def simulate(
    policy: Policy, host: Host, flows: Iterable[FlowSpec], seconds: int, progress: Progress | None = None
) -> tuple[World, list[Sample]]:
    """Simulate a workload; return the simulated host at the end, and a sample of each second.

    Args:
        flows: in the order of their start.
        seconds: how long.
        progress: is called after each second.
    """
    world = make_world(policy, host)
    waiting = iter(enumerate(flows))
    upcoming = next(waiting, None)
    ends: list[tuple[float, int]] = []
    samples = []
    for second in range(1, seconds + 1):
        while upcoming is not None and upcoming[1].start < second:
            number, spec = upcoming
            world.begin(number, spec)
            heappush(ends, (spec.end, number))
            upcoming = next(waiting, None)
        while ends and ends[0][0] < second:
            world.end(heappop(ends)[1])
        world.second()
        samples.append(sample(world, second))
        if progress is not None:
            progress(second, world)
    return world, samples
