"""Running a workload through the engine, second by second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from flowlane.simulation.measure import Sample, sample
from flowlane.simulation.world import Host, World, make_world

if TYPE_CHECKING:
    from flowlane.core.policy import Policy
    from flowlane.simulation.flowspec import FlowSpec

Progress = Callable[[int, World], None]


def simulate(
    policy: Policy, host: Host, flows: Iterable[FlowSpec], seconds: int, progress: Progress | None = None
) -> tuple[World, list[Sample]]:
    """Let flows come and go for so many seconds; ``flows`` in the order of their start. One sample a second."""
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
