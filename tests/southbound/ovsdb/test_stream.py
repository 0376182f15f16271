"""Streams to databases: what is received, and when nothing came."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import eventlet
import pytest
from eventlet.green import socket

from flowlane.southbound.ovsdb.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[Stream, socket.socket]]:
    """A stream, and the socket at its other end."""
    here, there = socket.socketpair()
    bare = here.fd
    bare.setblocking(False)
    yield Stream(bare, "there"), there
    bare.close()
    there.close()


def test_nothing_came_in_time(ends: tuple[Stream, socket.socket]) -> None:
    with pytest.raises(TimeoutError, match="nothing was received"):
        ends[0].receive(0.01)


def test_what_came_while_the_process_stood_still_is_received(ends: tuple[Stream, socket.socket]) -> None:
    """A database that has replied in time is not given up because nobody looked."""
    stream, there = ends
    busy, waking = socket.socketpair()

    def stand_still() -> None:
        busy.recv(1)
        there.send(b"reply")
        time.sleep(0.2)

    reader = eventlet.spawn(stream.receive, 0.1)
    eventlet.spawn(stand_still)
    eventlet.sleep(0.01)
    waking.send(b".")
    assert reader.wait() == b"reply"
