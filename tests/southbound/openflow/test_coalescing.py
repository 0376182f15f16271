"""Reading together, on real sockets: nothing is lost or late, and what comes one by one is read together."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import eventlet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane import hub
from flowlane.southbound.openflow.coalescing import PIECE, CoalescedSocket

PAUSE = 0.15
"""Seconds: long enough to tell it from a busy machine's delays."""


class Counting:
    """A green socket that counts its reads."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.reads = 0

    def recv(self, size: int) -> bytes:
        self.reads += 1
        data: bytes = self.sock.recv(size)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


class Pair:
    """Two ends of a connection: what a peer writes is read by a coalesced socket."""

    def __init__(self, pause: float) -> None:
        reader, self.peer = eventlet.green.socket.socketpair()
        self.below = Counting(reader)
        self.end = CoalescedSocket(self.below)
        self.end.pause = pause

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.end.recv(size - len(data))
            assert part, "the connection ended"
            data += part
        return data

    def close(self) -> None:
        self.below.sock.close()
        self.peer.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair(PAUSE)
    yield made
    made.close()


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1), st.lists(st.integers(1, 400), min_size=1))
def test_gives_what_was_sent_in_order_however_it_is_asked_for(pieces: list[bytes], sizes: list[int]) -> None:
    pair = Pair(0.0)
    for piece in pieces:
        pair.peer.sendall(piece)
    pair.peer.close()
    read = b""
    while part := pair.end.recv(sizes[len(read) % len(sizes)]):
        read += part
    pair.close()
    assert read == b"".join(pieces)


def test_a_lone_message_is_read_at_once(pair: Pair) -> None:
    for _ in range(2):
        hub.sleep(PAUSE)
        pair.peer.sendall(b"alone")
        before = time.monotonic()
        assert pair.read(5) == b"alone"
        assert time.monotonic() - before < PAUSE / 2


def test_what_comes_within_the_pause_is_read_in_one_piece(pair: Pair) -> None:
    pair.peer.sendall(b"x")
    pair.read(1)
    reads, before = pair.below.reads, time.monotonic()
    for _ in range(20):
        pair.peer.sendall(b"y" * 100)
    assert pair.read(8) + pair.read(1992) == b"y" * 2000
    assert pair.below.reads - reads == 1
    assert time.monotonic() - before > PAUSE * 0.9


def test_others_run_while_it_pauses(pair: Pair) -> None:
    pair.peer.sendall(b"x")
    pair.read(1)
    ran: list[float] = []
    hub.spawn_after(PAUSE / 10, lambda: ran.append(time.monotonic()))
    pair.peer.sendall(b"y")
    pair.read(1)
    assert ran[0] < time.monotonic() - PAUSE / 2


def test_without_a_pause_nothing_waits() -> None:
    pair = Pair(0.0)
    before = time.monotonic()
    for _ in range(50):
        pair.peer.sendall(b"one")
        assert pair.read(3) == b"one"
    assert time.monotonic() - before < PAUSE
    pair.close()


def test_a_long_answer_is_not_held_up(pair: Pair) -> None:
    """Forty full pieces, which with a pause after each would take 6 s."""
    long = b"z" * (40 * PIECE)
    hub.spawn(pair.peer.sendall, long)
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * PIECE)
    before = time.monotonic()
    assert pair.read(len(long)) == long
    assert time.monotonic() - before < 20 * PAUSE


def test_what_came_before_an_end_is_read_first(pair: Pair) -> None:
    pair.peer.sendall(b"last words")
    pair.peer.close()
    assert pair.read(10) == b"last words"
    assert pair.end.recv(8) == b""
    assert pair.end.recv(8) == b""


def test_what_came_before_an_error_is_read_first() -> None:
    """A message, and then a reset before the socket was found to have no more."""

    class Resetting(Counting):
        def recv(self, size: int) -> bytes:
            if self.reads:
                raise ConnectionResetError
            return super().recv(size)

    reader, peer = eventlet.green.socket.socketpair()
    end = CoalescedSocket(Resetting(reader))
    peer.sendall(b"last words")
    peer.close()
    assert end.recv(100) == b"last words"
    with pytest.raises(ConnectionResetError):
        end.recv(100)
    reader.close()


def test_a_time_out_is_the_sockets(pair: Pair) -> None:
    """os-ken sets one, and goes round when it is over."""
    pair.end.settimeout(0.05)
    with pytest.raises(TimeoutError):
        pair.end.recv(8)
    pair.peer.sendall(b"then")
    assert pair.read(4) == b"then"


def test_records_of_tls_are_read_together(keys: Path) -> None:
    """Fifty messages, each a record of its own, as Open vSwitch writes them: one wait for all."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(keys / "cert.pem", keys / "key.pem")
    client = eventlet.green.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(keys / "cert.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def write() -> None:
            with server.wrap_socket(listener.accept()[0], server_side=True) as peer:
                peer.sendall(b"x")
                peer.recv(1)
                for number in range(50):
                    peer.sendall(b"%03d" % number)
                peer.recv(1)

        thread = threading.Thread(target=write)
        thread.start()
        below = client.wrap_socket(eventlet.connect(listener.getsockname()))
        end = CoalescedSocket(below)
        end.pause = PAUSE
        assert end.recv(1) == b"x"
        before = time.monotonic()
        end.sendall(b"g")
        read = b"".join(end.recv(3) for _ in range(50))
        taken = time.monotonic() - before
        end.sendall(b"e")
        thread.join()
        below.close()
    assert read == b"".join(b"%03d" % number for number in range(50))
    assert taken < 3 * PAUSE
