"""How soon heavy flows are noticed among very many others, on a simulated switch.

Usage: ``python -m bench.detection.many [--flows 100000] [--heavy 20]``; needs neither root nor Open vSwitch.
The real engine with the built-in policy, and the switch of ``flowlane simulate``: its counters are up to half a second
old, it takes 60 µs for a reply and 1.8 µs for each entry in it, as Open vSwitch does, and the engine asks it as it asks
a real one. Small flows are there before; then new heavy flows begin, and old flows become heavy, at random times.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

from flowlane import policy
from flowlane.core import effects as fx
from flowlane.core.flowkey import IPV4, UDP
from flowlane.core.model import Reason
from flowlane.simulation.flowspec import FlowSpec
from flowlane.simulation.host import Host
from flowlane.simulation.world import ENTRY, REPLY, World

QUEUES, RATE = 8, 10_000_000_000
SMALL, HEAVY = 20_000, 600_000_000
"""bit/s of a small flow, and of a heavy one: half of what a queue carries, twice the built-in policy's condition."""

PER_SECOND = 5000
"""Small flows that begin in a second, at first."""


class Switch(World):
    """The simulated switch; it adds up what its replies cost its main thread."""

    busy = 0.0

    def _answer(self, request: fx.ReadCounters) -> None:
        groups = self.device.readings.groups
        self.busy += REPLY * (len(request.groups) + request.sums + request.pins)
        self.busy += ENTRY * sum(groups[number].entries for number in request.groups if number in groups)
        self.busy += ENTRY * len(groups) * request.sums
        self.busy += ENTRY * self.device.pinned * request.pins
        self.busy += (REPLY + ENTRY) * len(request.single)
        super()._answer(request)


def spec(number: int, rate: float) -> FlowSpec:
    """A flow of one of 16 VMs."""
    address = (0x0A000000 + number).to_bytes(4, "big")
    return FlowSpec(
        f"vm{number % 16}", IPV4, UDP, address, bytes((10, 9, 0, 1)), 1024 + number % 60000, 80, rate
    )


def pass_time(world: Switch, seconds: float) -> None:
    """Let time pass, with the ticks at the ends of seconds."""
    until = world.now + seconds
    while int(world.now) + 1 <= until:
        world.second()
    world.advance(until)


def wait(world: Switch, numbers: dict[int, float], seconds: float) -> dict[int, tuple[float, float]]:
    """Let time pass; return after how long each flow was of class heavy, and had a queue of its own."""
    device = world.device
    noticed: dict[int, float] = {}
    alone: dict[int, float] = {}
    end = world.now + seconds
    while world.now < end and len(alone) < len(numbers):
        pass_time(world, 0.05)
        for number, begun in numbers.items():
            row = world.row(number)
            if row is None:
                continue
            if device.policy.classes[device.flows.class_index[row]].name == "heavy":
                noticed.setdefault(number, world.now - begun)
            if device.flows.reason[row] == Reason.EXCLUSIVE:
                alone.setdefault(number, world.now - begun)
    return {number: (noticed.get(number, seconds), alone.get(number, seconds)) for number in numbers}


def figures(times: list[tuple[float, float]]) -> str:
    """Median, p95 and most of both."""
    texts = []
    for values in zip(*times, strict=True):
        in_order = sorted(values)
        p95 = in_order[min(len(in_order) - 1, int(0.95 * len(in_order)))]
        texts.append(f"{statistics.median(in_order):.2f} | {p95:.2f} | {in_order[-1]:.2f}")
    return " | ".join(texts)


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=100_000)
    parser.add_argument("--heavy", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    world = Switch(policy.default(), Host(tuple(f"vm{n}" for n in range(16)), QUEUES, 0, RATE))
    began = time.monotonic()
    for number in range(given.flows):
        pass_time(world, max(0.0, number / PER_SECOND - world.now))
        world.begin(number, spec(number, SMALL))
    pass_time(world, 30.0)
    busy, since = world.busy, world.now
    kinds: dict[str, Callable[[int, int], int]] = {
        "new": lambda turn, _number: given.flows + turn,
        "old": lambda _turn, number: number,
    }
    print("| heavy flows that are | noticed: median | p95 | most | on its own queue: median | p95 | most |")
    print("|---|---|---|---|---|---|---|")
    for kind, choose in kinds.items():
        times: list[tuple[float, float]] = []
        for turn in range(given.heavy):
            pass_time(world, 4.0 + rng.random())
            number = choose(turn, rng.randrange(given.flows))
            if kind == "new":
                world.begin(number, spec(number, HEAVY))
            else:
                world.set_rate(number, HEAVY)
            times += wait(world, {number: world.now}, 30.0).values()
            world.set_rate(number, 0.0 if kind == "new" else SMALL)
        print(f"| {kind} | {figures(times)} |")
    share = (world.busy - busy) / (world.now - since)
    print(f"\n{given.flows} small flows; the switch's main thread: {share:.2%} of the time for counters")
    print(f"({time.monotonic() - began:.0f} s, {world.now:.0f} s simulated)")


if __name__ == "__main__":
    main()
