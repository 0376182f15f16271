from __future__ import annotations

import socket
import time

import eventlet
import pytest
from ovs.poller import POLLIN, POLLOUT

from flowlane.southbound.ovsdb.greenpoll import GreenPoller


def blocked(poller: GreenPoller) -> float:
    start = time.monotonic()
    poller.block()
    return time.monotonic() - start


def test_it_waits_for_the_first_wish_only_once() -> None:
    poller = GreenPoller()
    poller.timer_wait(10_000)
    poller.timer_wait(50)
    assert 0.04 < blocked(poller) < 2
    poller.timer_wait(80)
    assert blocked(poller) > 0.07


def test_a_descriptor_wakes_it_and_others_run_meanwhile() -> None:
    here, there = socket.socketpair()
    with here, there:
        poller = GreenPoller()
        poller.fd_wait(here, POLLIN)
        poller.timer_wait(5_000)
        eventlet.spawn_after(0.05, there.send, b"x")
        assert blocked(poller) < 2
        poller.fd_wait(here.fileno(), POLLOUT)
        assert blocked(poller) < 1


@pytest.mark.parametrize(
    "wish", [GreenPoller.immediate_wake, lambda p: p.timer_wait(-1), lambda p: p.timer_wait_until(0)]
)
def test_at_once_is_at_once_but_never_a_busy_loop(wish: object) -> None:
    poller = GreenPoller()
    assert callable(wish)
    wish(poller)
    assert blocked(poller) < 0.5
    start, cpu, rounds = time.monotonic(), time.process_time(), 0
    while time.monotonic() - start < 0.5:
        wish(poller)
        poller.block()
        rounds += 1
    assert rounds < 100
    assert time.process_time() - cpu < 0.25
