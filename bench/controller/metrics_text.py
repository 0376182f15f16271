"""What ``GET /metrics`` costs with many devices, and how long it keeps the controller from its other work.

``python -m bench.controller.metrics_text [--devices 1000] [--flows 100] [--times 5]``

Devices and flows are *simulated* as in :mod:`bench.controller.policy_change`, pauses are those of
:mod:`bench.controller.databases`. The last line is what ``prometheus_client`` takes to write as many samples, and what
counting costs a packet-in.
"""

from __future__ import annotations

import argparse
import sys
import time
import timeit
from typing import Any

from bench.controller.databases import Pauses
from bench.controller.policy_change import fill

from flowlane import garbage, hub
from flowlane.composition import Composition
from flowlane.northbound.monitoring.metrics import exposition
from flowlane.options import Settings
from flowlane.telemetry import DECISION_BOUNDS, DeviceTraffic, Histogram

LABELS = ["device", "name", "port", "port_no", "queue", "kind"]


def written_by_library(samples: int) -> float:
    """Return the seconds that prometheus_client takes to write so many samples of queues."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415  (of the extra test)
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    class Collector:
        def collect(self) -> Any:
            family = GaugeMetricFamily("load_bytes", "Load.", labels=LABELS)
            for number in range(samples):
                family.add_metric([f"{number:016x}", "br0", "eth0", "9", "3", "physical"], number)
            yield family

    registry = CollectorRegistry()
    registry.register(Collector())
    began = time.perf_counter()
    generate_latest(registry)
    return time.perf_counter() - began


def cost_of_counting() -> float:
    """Return the seconds that counting a packet-in, and the time of its decision, takes."""
    decisions, traffic = Histogram(DECISION_BOUNDS), DeviceTraffic()

    def count() -> None:
        began = time.perf_counter()
        traffic.packet_ins += 1
        decisions.observe(time.perf_counter() - began)

    return min(timeit.repeat(count, number=10_000, repeat=10)) / 10_000


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--flows", type=int, default=100, help="flows of each device")
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    composition = Composition(Settings("127.0.0.1", 0, (), None))
    fill(composition, args.devices, args.flows, 20)
    garbage.start()
    print("| series | MB | s | longest pause ms |\n|---|---|---|---|")
    series = 0
    pauses = Pauses()
    for _ in range(args.times):
        hub.sleep(0.05)
        pauses.longest_ms()
        began = time.perf_counter()
        text = exposition(composition)
        seconds = time.perf_counter() - began
        hub.sleep(0.05)
        series = sum(not line.startswith("#") for line in text.splitlines())
        print(f"| {series} | {len(text) / 1e6:.1f} | {seconds:.2f} | {pauses.longest_ms():.1f} |")
    library = written_by_library(series)
    print(f"prometheus_client: {library:.2f} s without a pause for others", end="; ")
    print(f"counting: {cost_of_counting() * 1e6:.2f} µs a packet-in")
    return 0


if __name__ == "__main__":
    hub.prepare(patch=False)
    sys.exit(main())
