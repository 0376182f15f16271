"""What the history takes: the last hour of 1,000 queues, and the events that are kept, each in a process of its own.

``python -m bench.controller.history_memory [--queues 1000] [--events 100000]``

Memory is what Python's allocator has given out (``tracemalloc``), after an hour of samples in which every queue has
flows, and after more events of flows than are kept; in brackets what the process has grown by, as the kernel counts it.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import time
import tracemalloc

from bench.controller.databases import memory_kb

from flowlane.core.allocate import arrive, new_port
from flowlane.core.allocate.state import Columns, Demand
from flowlane.core.classify.classifier import compile_rules
from flowlane.core.effects import FlowEvent, FlowReport
from flowlane.core.flowkey import IPV4, TCP, FlowParts, pack
from flowlane.core.model import PortRole, Queue, Reason
from flowlane.core.policy import Balance, Policy, TrafficClass
from flowlane.core.state.device import Device, Port
from flowlane.northbound.feed import Feed
from flowlane.northbound.queue_history import SAMPLES, STEP, QueueHistory

QUEUES_OF_A_PORT = 8


def devices(queues: int) -> list[Device]:
    """Make devices with so many queues in all, eight on each, and a flow on each queue."""
    policy = Policy(classes=(TrafficClass("all", 0),))
    rules = compile_rules(policy)
    made = []
    for dpid in range(1, queues // QUEUES_OF_A_PORT + 1):
        device = Device(dpid, policy, rules)
        port = device.ports[1] = Port(1, "uplink", PortRole.UPLINK)
        port.queues = {number: Queue(number) for number in range(QUEUES_OF_A_PORT)}
        balance = Balance(strategy="round-robin")
        port.allocation = new_port(Columns(), tuple(port.queues.values()), balance, (), None)
        for row in range(QUEUES_OF_A_PORT):
            arrive(port.allocation, row, Demand(rate=1_000_000 + dpid), row.to_bytes(20))
        made.append(device)
    return made


def sampled(queues: int, history: QueueHistory) -> float:
    """Sample queues that have flows for an hour; return the seconds that a sample takes."""
    known = devices(queues)
    began = time.perf_counter()
    for number in range(SAMPLES):
        history.begin_sample(STEP * number)
        for device in known:
            history.sample(device)
    return (time.perf_counter() - began) / SAMPLES


def published(events: int, feed: Feed) -> float:
    """Publish events of flows; return the seconds that one takes."""
    changes: tuple[FlowEvent, ...] = ("seen", "assigned", "moved", "ended")
    reason = int(Reason.SHARED)
    began = time.perf_counter()
    for number in range(events):
        source, far = (10 << 24 | number).to_bytes(4), bytes((192, 0, 2, 1))
        key = pack(FlowParts(7, None, IPV4, TCP, number & 0xFFFF, 80, source, far))
        change = changes[number % 4]
        report = FlowReport(change, 1, key, 1, "all", 3, 2, 0, reason, False, "")
        feed.publish(report, time.time())
    return (time.perf_counter() - began) / events


def _measure_queues(queues: int) -> None:
    seconds = sampled(queues, QueueHistory())
    with _measured() as taken:
        history = QueueHistory()
        sampled(queues, history)
    text = f"{history.queues:,} queues, {SAMPLES} samples: {taken.text()}"
    print(f"{text}; a sample takes {seconds * 1000:.2f} ms", flush=True)


def _measure_events(events: int) -> None:
    seconds = published(events, Feed())
    with _measured() as taken:
        feed = Feed()
        published(events, feed)
    text = f"{events:,} events of flows, {len(feed.since(0)):,} kept: {taken.text()}"
    print(f"{text}; {seconds * 1e6:.1f} us each, with making it", flush=True)


class _measured:  # noqa: N801  (a context manager, used as one)
    """Measures the memory that a block takes."""

    def __enter__(self) -> _measured:
        gc.collect()
        self._resident = memory_kb()
        tracemalloc.start(1)
        return self

    def __exit__(self, *_: object) -> None:
        gc.collect()
        self._allocated = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        self._resident = memory_kb() - self._resident

    def text(self) -> str:
        """Return the figures."""
        return f"{self._allocated / 1e6:.1f} MB ({self._resident * 1024 / 1e6:.1f} MB resident)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queues", type=int, default=1000, help="queues that have flows all the time")
    parser.add_argument("--events", type=int, default=100_000, help="events of flows")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for work, count in ((_measure_queues, arguments.queues), (_measure_events, arguments.events)):
        process = context.Process(target=work, args=(count,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
