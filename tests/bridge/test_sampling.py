"""Sampling on a real switch: a flow is treated as heavy before a counter could show it; taken away, nothing stays.

Heavy flows have a limit of their own, so that each needs a pin, also where its queue is its own by chance. Times are
those of the switch: how long its entries have existed.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab.inside import samples, tap_host
from lab.inside.manager import wait_for
from lab.inside.namespaces import network_of_its_own
from lab.inside.tap_host import BRIDGE, LEARNED, PIN, TapHost

from flowlane.core.flow.rates import SHORTEST_WINDOW

pytestmark = pytest.mark.ovs

POLICY = """\
version: 1
default: small
copy-rate: 100000
sampling: "{}"
classes: {{small: {{}}, heavy: {{queues: exclusive, limit: 100Mbit/s, limit-scope: flow}}}}
rules:
  - {{name: heavy, match: {{rate: ">= 25% of a queue for 0s until below 10% of a queue"}}, class: heavy}}
"""
QUEUES, RATE = 4, 40_000_000
SIZE, APART = 1400, 0.0006
"""Heavy flows of 18 Mbit/s, where 2.5 Mbit/s are a quarter of a queue; bytes of a frame, seconds between two."""

SMALL, HEAVY = range(2000, 2040), range(50_000, 50_005)


@contextmanager
def running(folder: Path) -> Iterator[TapHost]:
    policy = POLICY.format("1/32")
    with (
        network_of_its_own(),
        tap_host.running(folder, policy, samples.LISTEN, queues=QUEUES, rate=RATE) as host,
    ):
        samples.export(host.ovs, BRIDGE, samples.port_of(host.manager))
        yield host


@contextmanager
def sending(host: TapHost, port: int) -> Iterator[None]:
    """Send a heavy flow, beside small ones that are on all queues."""
    data, ended = tap_host.frame(1, port, 80, bytes(SIZE - 42)), threading.Event()

    def send() -> None:
        due = time.monotonic()
        while not ended.is_set():
            host.send_frame(1, data)
            due = max(due + APART, time.monotonic() - 0.05)
            time.sleep(max(0.0, due - time.monotonic()))

    for small in SMALL:
        host.send(1, small)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()


def age(host: TapHost, kind: int, port: int) -> float | None:
    """For how long a flow's entry of a kind has existed."""
    lines = host.dump(f"cookie=0x{kind << 44:x}/0x{0xF << 44:x}")
    found = [re.search(r"duration=([\d.]+)s", line) for line in lines if f"tp_src={port}," in line]
    return float(found[0][1]) if found and found[0] else None


def waited(host: TapHost, port: int) -> float:
    """Seconds from a flow's learned entry, made of its first packet, to its pin."""
    with sending(host, port):
        wait_for(lambda: age(host, PIN, port) is not None, 20, host.manager.log)
        pinned, learned = age(host, PIN, port), age(host, LEARNED, port)
    assert pinned is not None and learned is not None
    return learned - pinned


def sample_entries(host: TapHost) -> list[str]:
    return [line for line in host.dump() if "sample(" in line]


def test_a_heavy_flow_is_moved_before_a_counter_could_show_it(tmp_path: Path) -> None:
    with running(tmp_path) as host:
        assert host.device()["sampling"]["one_in"] == 32
        times: list[float] = []
        for port in HEAVY:
            times.append(waited(host, port))
            if times[-1] < SHORTEST_WINDOW:
                break
        assert times[-1] < SHORTEST_WINDOW, times
        assert host.device()["sampling"]["noticed"] >= 1

        (entry,) = sample_entries(host)
        assert "probability=2048" in entry
        host.ovs.appctl("bridge/reconnect", BRIDGE)
        before = float(re.findall(r"duration=([\d.]+)s", entry)[0])
        wait_for(lambda: host.manager.log.count(" is connected from ") > 1, 20, host.manager.log)
        wait_for(lambda: tap_host.is_up(host) and tap_host.is_quiet(host), 20, host.manager.log)
        (again,) = sample_entries(host)
        assert float(re.findall(r"duration=([\d.]+)s", again)[0]) > before, (
            "a reconnection leaves it as it is"
        )

        host.put_policy(POLICY.format("off"))
        wait_for(lambda: not sample_entries(host), 10, host.manager.log)
        assert host.device()["sampling"] is None
