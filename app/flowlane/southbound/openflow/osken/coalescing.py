"""A socket that reads small messages together, as a NIC coalesces its interrupts.

A switch that places new flows by itself sends a copy of each flow's first packet, and no packet waits for
what the controller does with it. Read one by one, each copy wakes the controller and takes three system calls
(os-ken reads eight bytes, then the rest, then waits). That is most of what a copy costs, on processors that
the switch may need itself. So while :attr:`CoalescedSocket.pause` is set, what comes within it after the last
read waits in the kernel, and is then read at once. A single message after a pause is read at once, and a full
buffer is followed by the next read without a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flowlane import hub
from flowlane.southbound.openflow.osken import rounds

PAUSE = 0.02
"""Seconds; at 100 copies/s two are read at a time, at 2,000 forty (docs/decisions/0007-coalesced-reading.md)."""

MAX_READ = 32 << 10
"""Bytes that one read returns at most."""

LONGEST = 0.005
"""Seconds of processor time for which messages are handled before timers and all other connections have a turn."""

LIGHT = 2048
"""Bytes of a read up to which a connection has little to do: an echo request or a reply does not wait for the turns of
connections by which very many flows begin or whose handshake is going on.
"""

READ_WAITS = 12
"""How many times as long as a write a read may wait: a minute, by os-ken's default."""

PARTS = 16
"""Parts of messages after which that is looked at again; os-ken asks for a header and a body at a time."""

_HEADER = 8
"""Bytes of a message's header (OpenFlow 1.3.5, 7.1)."""

_TURNS = hub.Turns()

_gave_way_at = _next_look = 0.0
"""Processor time of the thread when others had a turn last; time before which :data:`LONGEST` cannot be over since."""


def _give_way(before: Callable[[], object], light: bool) -> None:
    """Let timers and the other connections have a turn where the last one was long ago.

    Args:
        before: is called before that.
    """
    global _gave_way_at, _next_look  # noqa: PLW0603  # of the one thread in which everything runs
    # Processor time is a system call that takes 1 to 20 µs, and never ahead of time.
    if time.perf_counter() < _next_look or rounds.is_new(LONGEST):
        return
    used = time.thread_time() - _gave_way_at
    if used >= LONGEST:
        before()
        _TURNS.wait(light=light)
        _gave_way_at, used = time.thread_time(), 0.0
    _next_look = time.perf_counter() + LONGEST - used


class CoalescedSocket:
    """A connected socket that reads ahead; every attribute that is not defined here is the socket's own."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.pause = 0.0
        """Least time between two reads in seconds; 0: read at once what comes."""
        self.is_stalled = False
        """Whether the peer has not read what was sent to it."""
        self.is_held = False
        """Whether nothing is read for now: what the peer sends waits in the connection."""
        self.ahead: Callable[[bytearray, int], int] | None = None
        """Takes messages at once that have come completely, out of a buffer from a place on; returns the next place.

        It is asked where a message begins; what it leaves is returned by :meth:`recv`.
        """
        self._head = bytearray()
        self._left = 0
        """The header of the present message as far as it was returned, and bytes of the message that were not."""
        self.received = 0
        """Bytes that have come."""
        self.after_read: Callable[[], object] = bool
        """Called when all that a read has brought was handled, and before others have a turn."""
        self._is_sending = False
        self._rest = b""
        """What :meth:`send_at_once` was given and the connection did not take."""
        self._timeout: float | None = None
        self._buffer = bytearray()
        self._start = 0
        self._next_read = 0.0
        self._parts = 0
        self._has_records = hasattr(sock, "pending")
        """Whether it is a socket of TLS."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    @property
    def has_unread(self) -> bool:
        """Whether bytes have come that were not read: whoever sent them is not silent."""
        return self._start < len(self._buffer) or hub.readable(self._sock)

    def settimeout(self, seconds: float | None) -> None:
        """Set how long a write may wait; a read waits for :data:`READ_WAITS` times as long.

        os-ken looks at every timeout of a read whether the connection was closed here, and reads again: every 5 s for
        each switch that is silent.
        """
        self._timeout = seconds
        self._sock.settimeout(None if seconds is None else READ_WAITS * seconds)

    def sendall(self, data: bytes) -> None:
        """Send all bytes.

        Raises:
            TimeoutError: the peer does not read.
        """
        data, self._rest, self._is_sending = self._rest + data, b"", True
        try:
            if self._timeout is None:
                self._sock.sendall(data)
            elif not hub.within(self._timeout, self._sock.sendall, data):
                self.is_stalled = True
                raise TimeoutError("timed out")
        finally:
            self._is_sending = False

    def send_at_once(self, data: bytes) -> int | None:
        """Send bytes without waiting.

        Returns:
            How many of them are left: the next :meth:`sendall` sends them first. None where nothing was sent: others
            are to be sent before, or the connection takes none.
        """
        if self._is_sending or self._rest or self._has_records:
            return None
        try:
            sent = hub.send_some(self._sock, data)
        except OSError:
            return None  # It is noticed where all else is sent.
        self._rest = data[sent:] if sent else b""
        return len(self._rest) if sent else None

    def recv(self, size: int) -> bytes:
        """Return up to ``size`` bytes that have come, or wait for some; nothing when the peer has closed.

        Raises:
            OSError: as the socket's own ``recv``, once all bytes that came before the error have been
                returned.
        """
        while True:
            if self._start == len(self._buffer):
                self.after_read()
                self._read()
                self._parts = PARTS
            while self.is_held:
                hub.sleep(LONGEST)
            if self._parts == PARTS:
                self._parts = 0
                _give_way(self.after_read, light=self._start == 0 and len(self._buffer) <= LIGHT)
            if self._left or not self._takes_ahead():
                break
        self._parts += 1
        part = bytes(self._buffer[self._start : self._start + size])
        self._start += len(part)
        self._follow(part)
        return part

    def _takes_ahead(self) -> bool:
        """Offer the messages that come next to :attr:`ahead`; return whether it took any."""
        if self.ahead is None or self._head or self._start == len(self._buffer):
            return False
        start, self._start = self._start, self.ahead(self._buffer, self._start)
        if self._start == start:
            return False
        self._parts = PARTS
        return True

    def _follow(self, part: bytes) -> None:
        """Find out how much of the present message is still to be returned."""
        at = 0
        while at < len(part):
            if self._left:
                some = min(self._left, len(part) - at)
                self._left -= some
            else:
                some = min(_HEADER - len(self._head), len(part) - at)
                self._head += part[at : at + some]
                if len(self._head) == _HEADER:
                    self._left = max(int.from_bytes(self._head[2:4]), _HEADER) - _HEADER
                    self._head.clear()
            at += some

    def _read(self) -> None:
        remaining = self._next_read - time.monotonic()
        if self.pause and remaining > 0:
            hub.sleep(remaining)
        self._buffer.clear()
        self._start = 0
        # Over TCP one call gives all there is; over TLS one record, and Open vSwitch makes one of each message.
        while len(self._buffer) < MAX_READ:
            try:
                more = self._sock.recv(MAX_READ - len(self._buffer))
            except OSError:
                if not self._buffer:
                    raise
                more = b""
            self._buffer += more
            self.received += len(more)
            is_all = len(self._buffer) < MAX_READ and not (self._has_records and hub.readable(self._sock))
            if not more or is_all:
                self._next_read = time.monotonic() + self.pause
                return
        self._next_read = 0.0


def send_soon(datapath: Any, data: bytes) -> None:
    """Send bytes to a switch, as far as the connection takes them at once; os-ken's green thread sends the rest."""
    left = send_at_once(datapath, data)
    if left is None:
        datapath.send(data)
    elif left:
        datapath.send(b"")  # It sends what is left.


def send_at_once(datapath: Any, data: bytes) -> int | None:
    """Send bytes to a switch without waiting: see :meth:`CoalescedSocket.send_at_once`.

    Nothing is sent before what os-ken has queued for the switch.

    Args:
        datapath: os-ken's connection.
    """
    queue = getattr(datapath, "send_q", None)  # None when it has ended.
    left: int | None = None if queue is None or not queue.empty() else datapath.socket.send_at_once(data)
    return left
