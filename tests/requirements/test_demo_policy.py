"""The demo's policy and traffic on a simulated host: what its final table promises holds all the time."""

import pytest
from support.engine.example_policies import Tried, spec

from flowlane.core import events as ev
from flowlane.simulation.host import DPID, UPLINK

KBIT, MBIT = 1_000, 1_000_000
SECONDS = 70


def begin_small(host: Tried) -> list[int]:
    small = [spec(f"vm{n % 6 + 1}", n, 7000, 20 * KBIT, "udp" if n % 6 < 4 else "tcp") for n in range(36)]
    return host.begin(*small)


def report(host: Tried, queue_ids: set[int]) -> None:
    host.world.step(ev.QueuesReported(DPID, {UPLINK: tuple(sorted(queue_ids))}))


@pytest.mark.parametrize("lost", [None, 0, 1, 2, 3])
def test_a_class_of_one_queue_is_on_one_queue(lost: int | None) -> None:
    """Bulk flows become heavy and get exclusive queues, one ends, a queue goes and comes back."""
    host = Tried("demo", [f"vm{n}" for n in range(1, 9)], rate=100 * MBIT)
    begin_small(host)
    host.wait(5)
    bulk = host.begin(spec("vm7", 100, 5201, 30 * MBIT), spec("vm8", 101, 5202, 15 * MBIT))
    host.wait(2)
    backup = host.begin(
        spec("vm5", 102, 873, 12 * MBIT), spec("vm5", 103, 873, 2 * KBIT),
        spec("vm6", 104, 874, 12 * MBIT), spec("vm6", 105, 874, 2 * KBIT),
    )  # fmt: skip
    spread = []
    for second in range(SECONDS):
        if second == 20 and lost is not None:
            report(host, {0, 1, 2, 3} - {lost})
        if second == 35 and lost is not None:
            report(host, {0, 1, 2, 3})
        if second == 45:
            host.end(bulk[:1])
        host.wait(1)
        if len(host.queues(backup)) > 1:
            spread.append(second)
    assert spread == [], "one queue, all the time"
