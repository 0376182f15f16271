"""Queues that come back and classes of one queue, on a real switch with flows that go on.

Judged by time in rebalances, which the policies here make seldom, so that a slow machine does not matter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab.inside import tap_host
from lab.inside.manager import wait_for
from lab.inside.namespaces import network_of_its_own

pytestmark = pytest.mark.ovs

RATE = 10**9
POLICY = """
version: 1
default: rest
balance: {%s}
classes:
  rest: {}
  one: {max-queues: 1}
rules:
  - {match: {protocol: udp, dst-port: 5000}, class: one}
"""
REST, ONE = 80, 5000
"""Destination ports: of flows of either class."""
MANY, FEW = range(2000, 2012), range(3000, 3006)
"""Source ports of the flows of either class."""
QUEUES = frozenset(range(4))


INTERVAL_S = 6.0
"""Seconds between two rebalances where they are counted. What has to be due for some is done after three of them."""


@contextmanager
def tap_bridge(folder: Path, balance: str) -> Iterator[tap_host.TapHost]:
    policy = POLICY % balance
    with network_of_its_own(), tap_host.running(folder, policy, queues=len(QUEUES), rate=RATE) as running:
        yield running


@contextmanager
def sending(host: tap_host.TapHost, flows: dict[int, int]) -> Iterator[None]:
    """Let flows, by source and destination port, send all the time."""
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.05):
            for src_port, dst_port in flows.items():
                host.send(1, src_port, dst_port, bytes(400))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def used(host: tap_host.TapHost, name: str) -> set[int]:
    """The queues on which flows of a class are."""
    return {int(item["queue_id"]) for item in host.assignments() if item["class"] == name}


def has_queue_of_its_own(host: tap_host.TapHost) -> bool:
    """Whether the class of one queue is on one, all others on the other queues, and none is idle."""
    of_one, of_rest = used(host, "one"), used(host, "rest")
    return len(of_one) == 1 and of_rest == QUEUES - of_one


def eventually(host: tap_host.TapHost, condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition; fail with the queues of both classes."""
    try:
        wait_for(condition, seconds)
    except TimeoutError as error:
        queues = f"one: {used(host, 'one')}, rest: {used(host, 'rest')}"
        raise AssertionError(f"{queues}\n{host.manager.log[-2000:]}") from error


@contextmanager
def settled(host: tap_host.TapHost) -> Iterator[int]:
    """Let flows of either class send; those of the class of one queue begin together, after the others."""
    count = len(MANY) + len(FEW)
    with sending(host, dict.fromkeys(MANY, REST)):
        eventually(host, lambda: used(host, "rest") == QUEUES)
        with sending(host, dict.fromkeys(FEW, ONE)):
            eventually(host, lambda: len(host.assignments()) == count)
            eventually(host, lambda: has_queue_of_its_own(host))
            yield count


def test_flows_of_a_class_of_one_queue_that_begin_together_are_on_one(tmp_path: Path) -> None:
    """The switch places them, by rules that are older than the class's first flow; no other move is allowed."""
    with tap_bridge(tmp_path, "moves-per-second: 0%") as host, sending(host, dict.fromkeys(MANY, REST)):
        eventually(host, lambda: used(host, "rest") == QUEUES)
        with sending(host, dict.fromkeys(FEW, ONE)):
            count = len(MANY) + len(FEW)
            eventually(host, lambda: len(host.assignments()) == count)
            eventually(host, lambda: len(used(host, "one")) == 1)
            host.wait_until_consistent(count)


def test_a_queue_that_comes_back_is_used_with_the_next_rebalance(tmp_path: Path) -> None:
    """And the class of one queue has one alone again."""
    balance = f"interval: {INTERVAL_S:.0f}s, window: 1s"
    with tap_bridge(tmp_path, balance) as host, settled(host) as count:
        (gone,) = used(host, "one")
        left = QUEUES - {gone}
        host.ovs.set_queues(tap_host.UPLINK, {number: {} for number in left}, max_rate=RATE)
        eventually(host, lambda: used(host, "rest") | used(host, "one") == left)
        eventually(host, lambda: len(used(host, "one")) == 1)
        host.ovs.set_queues(tap_host.UPLINK, {number: {} for number in QUEUES}, max_rate=RATE)
        eventually(host, lambda: has_queue_of_its_own(host), 2.5 * INTERVAL_S)
        host.wait_until_consistent(count)
