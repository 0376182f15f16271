"""What a simulation measures: each second's loads, and what came of the flows.

Running a workload through the engine, second by second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.model import NO_QUEUE, QueueKind
from flowlane.simulation.host import UPLINK, Host, World, make_world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.policy import Policy
    from flowlane.simulation.flowspec import FlowSpec


class Sample(NamedTuple):
    """One second. Loads are bit/s by queue id; ``moves`` so far; shares are of bytes, 0 to 1.

    ``over_bound``: the busiest hardware queue over the lower bound, max(mean, heaviest flow).
    ``fairness``: Jain's index of the hardware queues' loads (Jain, Chiu, Hawe: DEC-TR-301, 1984).
    """

    second: int
    flows: int
    loads: dict[int, float]
    moves: int
    in_hardware: float
    over_bound: float
    fairness: float


def sample(world: World, second: int) -> Sample:
    """Measure the world as it is, by the flows' true rates and the queues that the engine gave them."""
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


def over_bound(loads: Sequence[float], heaviest: float) -> float:
    """The busiest queue's load over what no placement can go below; 1 when there is no load."""
    bound = max(sum(loads) / len(loads), heaviest) if loads else 0.0
    return max(loads) / bound if bound else 1.0


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has all."""
    squares = len(values) * sum(value * value for value in values)
    return sum(values) ** 2 / squares if squares else 1.0


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
