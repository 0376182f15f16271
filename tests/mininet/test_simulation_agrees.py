"""``flowlane simulate`` has the figures of a real Open vSwitch on the same flows, within 10 %.

On tap devices with four hardware queues and a software queue. The bytes of a queue are what the switch counts at the
entries that set it; those of limited flows are what their meter passed, since a switch credits an entry with packets
that a meter before it dropped. The simulation gets the rates that were really sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from lab.inside.manager import wait_for
from support.hosts.ovs_host import BRIDGE, FRAME, Flow, OvsHost, running

from flowlane import policy as policies
from flowlane.core.flowkey import IPV4, UDP
from flowlane.simulation.flowspec import FlowSpec
from flowlane.simulation.host import Host
from flowlane.simulation.run import simulate

POLICY = """version: 1
default: small
balance: {moves-per-second: 50%}
classes:
  small: {queues: shared}
  own: {queues: exclusive}
  slow: {queues: shared, limit: 600kbit/s, limit-scope: class, path: software}
rules:
  - {match: {protocol: udp, dst-port: 7000}, class: own}
  - {match: {protocol: udp, dst-port: 7001}, class: slow}
"""
VMS = ("a", "b")
QUEUES, SOFTWARE, RATE, LIMIT = 4, 4, 12_000_000, 600_000
"""Hardware queues, id of the software queue, bit/s of the uplink, bit/s of the limit."""

SETTLING, MEASURED = 12, 10
"""Seconds before the bytes are counted, and for which they are."""

STEP = 0.5
"""Seconds between two readings."""

WINDOWS, SEEN = 4, 0.03
"""Measurements at most, until the entries have counted all frames that were sent, within this part."""

FLOWS = [
    Flow("a", 5000, 7000, 1_500_000, udp=True),
    Flow("b", 5001, 7000, 1_410_000, udp=True),
    Flow("a", 5002, 7001, 1_800_000, udp=True),
    *(Flow(VMS[number % 2], 6000 + number, 80, 120_000 + 8_000 * number, udp=True) for number in range(16)),
]


class Figures(NamedTuple):
    """Bytes per second: of the hardware queues, the busiest first, and of the software queue."""

    hardware: list[float]
    software: float


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OvsHost]:
    path: Path = tmp_path_factory.mktemp("simulation") / "policy.yaml"
    path.write_text(POLICY)
    with running(VMS, path, QUEUES, "OpenFlow15") as ovs_host:
        ovs_host.set_queues(QUEUES + 1, software=(SOFTWARE,), max_rate=RATE)
        yield ovs_host


class Counter:
    """Frames of the hardware queues, added up over readings, since entries come and go and change their queue."""

    def __init__(self, host: OvsHost) -> None:
        self.frames = dict.fromkeys(range(QUEUES + 1), 0)
        self._host = host
        self._before = self._entries()

    def read(self) -> None:
        """Add what the entries have counted since the last reading."""
        entries = self._entries()
        for key, (packets, queue_id) in entries.items():
            before, _ = self._before.get(key, (0, 0))
            self.frames[queue_id] += packets - before if packets >= before else packets
        self._before = entries

    def _entries(self) -> dict[Hashable, tuple[int, int]]:
        self._host.ovs.appctl("revalidator/wait")
        return {
            (entry.table, entry.cookie, tuple(entry.match.items())): (entry.packets, entry.queue)
            for entry in self._host.entries()
            if entry.queue is not None
        }


def passed(host: OvsHost) -> int:
    """Return the bytes that the meters have passed so far."""
    text = host.ovs.ofctl("meter-stats", BRIDGE, version="OpenFlow15")
    counts = re.findall(r"meter:\d+ .*byte_in_count:(\d+) .*\n0: .*byte_count:(\d+)", text)
    return sum(int(received) - int(dropped) for received, dropped in counts)


class Window(NamedTuple):
    """A measurement: the queues' figures, rates that were sent (bit/s), and the part of the frames that was seen."""

    figures: Figures
    rates: list[float]
    seen: float


def measured(host: OvsHost, sent: list[int]) -> Window:
    """Measure for :data:`MEASURED` seconds; ``sent`` counts on meanwhile."""
    counter, passed_before, sent_before, begin = Counter(host), passed(host), list(sent), time.monotonic()
    while time.monotonic() < begin + MEASURED:
        time.sleep(STEP)
        counter.read()
    passed_after, counts, seconds = passed(host), list(sent), time.monotonic() - begin
    by_queue = {queue_id: frames * FRAME / seconds for queue_id, frames in counter.frames.items()}
    frames = [last - first for first, last in zip(sent_before, counts, strict=True)]
    return Window(
        figures({**by_queue, SOFTWARE: (passed_after - passed_before) / seconds}),
        [count * FRAME * 8 / seconds for count in frames],
        sum(counter.frames.values()) / sum(frames),
    )


def test_the_bytes_of_each_queue_are_those_of_a_real_switch(host: OvsHost) -> None:
    with host.sending(FLOWS) as sent:
        wait_for(lambda: len(host.assignments()) == len(FLOWS), 30, host.manager.log)
        time.sleep(SETTLING)
        # Where the machine stood still between two readings, an entry may have gone with what it had counted.
        windows = (measured(host, sent) for _ in range(WINDOWS))
        window = next(window for window in windows if abs(window.seen - 1) < SEEN)
    switch, model = window.figures, simulated(window.rates)
    assert model.hardware == pytest.approx(switch.hardware, rel=0.1), (model, switch)
    assert model.software == pytest.approx(switch.software, rel=0.1), (model, switch)
    assert switch.software * 8 == pytest.approx(LIMIT, rel=0.1), "the limit, not what is offered"


def figures(by_queue: dict[int, float]) -> Figures:
    return Figures(
        sorted((by_queue[queue_id] for queue_id in range(QUEUES)), reverse=True), by_queue[SOFTWARE]
    )


def simulated(rates: list[float]) -> Figures:
    specs = [
        FlowSpec(
            flow.vm,
            IPV4,
            UDP,
            bytes((10, 9, 0, VMS.index(flow.vm) + 1)),
            bytes((10, 9, 0, 254)),
            flow.src_port,
            flow.dst_port,
            rate,
        )
        for flow, rate in zip(FLOWS, rates, strict=True)
    ]
    uplink = Host(VMS, QUEUES, 1, RATE)
    _, samples = simulate(policies.load(POLICY), uplink, specs, SETTLING + MEASURED)
    sent = [samples[place].sent for place in (SETTLING - 1, -1)]
    return figures({queue_id: (sent[1][queue_id] - sent[0][queue_id]) / MEASURED for queue_id in sent[0]})
