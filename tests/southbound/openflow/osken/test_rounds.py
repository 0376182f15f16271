"""A round of the event loop is new until the work in it has taken long."""

from __future__ import annotations

import time

import eventlet

from flowlane import hub
from flowlane.southbound.openflow.osken import rounds


def wait_in_a_round() -> None:
    """Wait while there is a descriptor that may become ready: the event loop looks for such a one then."""
    reader, _writer = eventlet.green.socket.socketpair()
    waiting = hub.spawn(reader.recv, 1)
    hub.sleep(0.002)
    waiting.kill()


def test_a_round_is_new_until_work_has_taken_long() -> None:
    rounds.is_new(1.0)
    wait_in_a_round()
    assert rounds.is_new(1.0)
    time.sleep(0.01)
    assert not rounds.is_new(0.005)
    assert rounds.is_new(1.0)
    wait_in_a_round()
    assert rounds.is_new(0.005)


def test_another_event_loop_is_followed_from_its_next_round_on() -> None:
    wait_in_a_round()
    assert rounds.is_new(1.0)
    rounds._Round.loop = None
    assert not rounds.is_new(1.0)
    wait_in_a_round()
    assert rounds.is_new(1.0)
