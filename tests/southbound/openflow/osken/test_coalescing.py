"""Reading together, on real sockets: nothing is lost or late, and what comes one by one is read together."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import eventlet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane import hub
from flowlane.southbound.openflow.osken import coalescing, rounds
from flowlane.southbound.openflow.osken.coalescing import (
    LONGEST,
    MAX_READ,
    CoalescedSocket,
    send_at_once,
    send_soon,
)

PAUSE = 0.15


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


class Clock:
    """In the place of the hub's time: it stands still but for the pauses, which it keeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(hub, "sleep", made.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


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


_MESSAGES = st.lists(st.tuples(st.sampled_from([2, 10]), st.binary(max_size=60)), max_size=30)


@given(_MESSAGES, st.lists(st.integers(1, 90), min_size=1))
def test_messages_that_are_taken_ahead_are_whole_and_all_others_come_in_order(
    messages: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    wire = [bytes((4, kind)) + (8 + len(body)).to_bytes(2) + bytes(4) + body for kind, body in messages]
    pair, seen = Pair(0.0), list[bytes]()

    def ahead(buffer: bytearray, start: int) -> int:
        end = start + int.from_bytes(buffer[start + 2 : start + 4])
        if len(buffer) < start + 8 or buffer[start + 1] != 10 or end > len(buffer):
            return start
        seen.append(bytes(buffer[start:end]))
        return end

    pair.end.ahead = ahead
    stream, at = b"".join(wire), 0
    for number in range(len(stream)):
        if at < len(stream):
            step = cuts[number % len(cuts)]
            pair.peer.sendall(stream[at : at + step])
            at += step
    pair.peer.close()
    # As os-ken reads: a header, then what is left of the message.
    buffer, wanted = b"", 8
    while part := pair.end.recv(wanted):
        buffer += part
        wanted = 8
        while len(buffer) >= 8:
            length = int.from_bytes(buffer[2:4])
            if len(buffer) < length:
                wanted = max(8, length - len(buffer))
                break
            seen.append(buffer[:length])
            buffer = buffer[length:]
    pair.close()
    assert seen == wire


def test_a_lone_message_is_read_at_once(pair: Pair, clock: Clock) -> None:
    for _ in range(2):
        clock.now += PAUSE
        pair.peer.sendall(b"alone")
        assert pair.read(5) == b"alone"
    assert clock.pauses == []


def test_what_was_not_read_is_known(pair: Pair) -> None:
    assert not pair.end.has_unread
    pair.peer.sendall(b"12345678")
    assert pair.end.has_unread
    assert pair.end.recv(4) == b"1234"
    assert pair.end.has_unread, "in the buffer"
    assert pair.end.recv(4) == b"5678"
    assert not pair.end.has_unread


def test_what_comes_within_the_pause_is_read_in_one_piece(pair: Pair, clock: Clock) -> None:
    pair.peer.sendall(b"x")
    pair.read(1)
    reads = pair.below.reads
    clock.now += PAUSE / 3
    for _ in range(20):
        pair.peer.sendall(b"y" * 100)
    assert pair.read(8) + pair.read(1992) == b"y" * 2000
    assert pair.below.reads - reads == 1
    assert clock.pauses == [pytest.approx(PAUSE * 2 / 3)]


def test_without_a_pause_nothing_waits(clock: Clock) -> None:
    pair = Pair(0.0)
    for _ in range(50):
        pair.peer.sendall(b"one")
        assert pair.read(3) == b"one"
    assert clock.pauses == []
    pair.close()


def test_a_pause_that_is_taken_away_is_not_waited_for(pair: Pair, clock: Clock) -> None:
    pair.peer.sendall(b"xy")
    pair.read(2)
    pair.end.pause = 0.0
    pair.peer.sendall(b"z")
    pair.read(1)
    assert clock.pauses == []


def test_a_full_piece_is_followed_by_the_next_without_a_pause(pair: Pair, clock: Clock) -> None:
    """As long answers are: three full pieces and a short one, of which all is there."""
    for end in (pair.peer, pair.below.sock):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * MAX_READ)
    long = bytes(range(256)) * (MAX_READ // 256 * 3) + b"end"
    writer = threading.Thread(target=pair.peer.fd.sendall, args=(long,))
    pair.peer.fd.setblocking(True)
    writer.start()
    writer.join(10)
    assert not writer.is_alive(), "the kernel did not take it all"
    assert pair.read(len(long)) == long
    assert clock.pauses == []


def test_others_run_while_it_pauses(pair: Pair) -> None:
    ran: list[str] = []
    pair.peer.sendall(b"x")
    pair.read(1)
    hub.spawn_after(0.01, ran.append, "another")
    pair.peer.sendall(b"y")
    pair.read(1)
    assert ran == ["another"]


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


def test_records_of_tls_are_read_together(keys: Path, clock: Clock) -> None:
    """Fifty messages, each a record of its own, as Open vSwitch writes them: one pause for all."""
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

        thread = threading.Thread(target=write)
        thread.start()
        below = Counting(client.wrap_socket(eventlet.connect(listener.getsockname())))
        end = CoalescedSocket(below)
        end.pause = PAUSE
        assert end.recv(1) == b"x"
        end.sendall(b"g")
        thread.join(10)
        assert not thread.is_alive(), "the peer has not written everything"
        read = b"".join(end.recv(3) for _ in range(50))
        below.sock.close()
    assert read == b"".join(b"%03d" % number for number in range(50))
    assert len(clock.pauses) == 1


def test_what_is_sent_at_once_is_not_overtaken() -> None:
    """What a connection that is full did not take goes first; nothing is put into the middle of a message."""
    one, peer = eventlet.green.socket.socketpair()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    end = CoalescedSocket(one)
    end.settimeout(30.0)
    sent = [bytes((number,)) * 50_000 for number in range(4)]
    left = end.send_at_once(sent[0])
    assert left is not None
    assert 0 < left < len(sent[0])
    assert end.send_at_once(sent[1]) is None
    task = hub.spawn(end.sendall, sent[1])
    hub.sleep()
    assert end.send_at_once(sent[2]) is None, "a write is under way"
    received = b""
    while len(received) < 100_000:
        received += peer.recv(1 << 16)
    hub.sleep()
    assert received == sent[0] + sent[1]
    assert end.send_at_once(b"last") == 0
    assert peer.recv(10) == b"last"
    peer.close()
    assert end.send_at_once(b"x") is None
    task.kill()
    one.close()


def test_the_end_of_each_read_is_told_before_the_next(pair: Pair) -> None:
    handled: list[tuple[bytes, int]] = []
    read: list[bytes] = []
    pair.end.after_read = lambda: handled.append((b"".join(read), pair.end.received))
    pair.peer.sendall(b"abcd")
    read += [pair.read(2), pair.read(2)]
    pair.peer.sendall(b"ef")
    read.append(pair.read(2))
    # On a busy machine once more, where others have a turn after the next read.
    assert next(told for told in handled if told[0]) == (b"abcd", 4)


def test_nothing_goes_before_what_is_queued_for_a_switch() -> None:
    one, peer = eventlet.green.socket.socketpair()
    queue = eventlet.queue.LightQueue(16)
    datapath: Any = SimpleNamespace(socket=CoalescedSocket(one), send_q=queue)
    queue.put(b"first")
    assert send_at_once(datapath, b"second") is None
    queue.get()
    assert send_at_once(datapath, b"second") == 0
    datapath.send_q = None
    assert send_at_once(datapath, b"third") is None
    assert peer.recv(20) == b"second"
    one.close()
    peer.close()


def test_what_is_held_is_read_later(pair: Pair) -> None:
    pair.end.is_held = True
    pair.peer.sendall(b"ab")
    found: list[bytes] = []
    task = hub.spawn(lambda: found.append(pair.end.recv(2)))
    hub.sleep(0.05)
    assert not found
    pair.end.is_held = False
    hub.sleep(0.05)
    task.kill()
    assert found == [b"ab"]


@pytest.mark.parametrize(("sent_at_once", "queued"), [(0, []), (3, [b""]), (None, [b"reply"])])
def test_what_a_connection_does_not_take_at_once_is_left_to_the_queue(
    monkeypatch: pytest.MonkeyPatch, sent_at_once: int | None, queued: list[bytes]
) -> None:
    """``sent_at_once``: how many bytes the connection has left; None: it takes none."""
    monkeypatch.setattr(coalescing, "send_at_once", lambda _datapath, _data: sent_at_once)
    found: list[bytes] = []
    send_soon(SimpleNamespace(send=found.append), b"reply")
    assert found == queued


def test_others_have_a_turn_after_processor_time_which_is_seldom_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time that other processes have had the processor for does not count."""
    now = {"time": 50.0, "used": 7.0, "asked": 0.0}

    def used() -> float:
        now["asked"] += 1
        return now["used"]

    turns: list[float] = []
    monkeypatch.setattr(coalescing, "_gave_way_at", now["used"])
    monkeypatch.setattr(coalescing, "_next_look", 0.0)
    monkeypatch.setattr(rounds, "is_new", lambda _seconds: False)
    monkeypatch.setattr(coalescing._TURNS, "wait", lambda *, light: turns.append(now["used"]))
    clock = SimpleNamespace(perf_counter=lambda: now["time"], thread_time=used)
    monkeypatch.setattr(coalescing, "time", clock)
    for _ in range(104):
        now["time"] += LONGEST / 50
        now["used"] += LONGEST / 100
        coalescing._give_way(bool, light=True)
    assert turns == [pytest.approx(7.0 + LONGEST, abs=0.03 * LONGEST)]
    assert now["asked"] < 12


def test_processor_time_is_not_read_where_others_have_just_had_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[float] = []
    is_new = [True]

    def used() -> float:
        reads.append(0.0)
        return 0.0

    monkeypatch.setattr(coalescing, "_next_look", float("-inf"))
    monkeypatch.setattr(coalescing, "_gave_way_at", 0.0)
    monkeypatch.setattr(rounds, "is_new", lambda _seconds: is_new[0])
    clock = SimpleNamespace(perf_counter=time.perf_counter, thread_time=used)
    monkeypatch.setattr(coalescing, "time", clock)
    coalescing._give_way(bool, light=True)
    assert reads == []
    is_new[0] = False
    coalescing._give_way(bool, light=True)
    assert reads == [0.0]
