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
from typing import Any

from flowlane import hub

PAUSE = 0.02
"""Seconds; at 100 copies/s two are read at a time, at 2,000 forty (docs/decisions/0007-coalesced-reading.md)."""

MAX_READ = 64 << 10
"""Bytes that one read returns at most."""


class CoalescedSocket:
    """A connected socket that reads ahead; every attribute that is not defined here is the socket's own."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.pause = 0.0
        """Least time between two reads in seconds; 0: read at once what comes."""
        self._buffer = bytearray()
        self._start = 0
        self._next_read = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    @property
    def has_unread(self) -> bool:
        """Whether bytes have come that were not read: whoever sent them is not silent."""
        return self._start < len(self._buffer) or hub.readable(self._sock)

    def recv(self, size: int) -> bytes:
        """Return up to ``size`` bytes that have come, or wait for some; nothing when the peer has closed.

        Raises:
            OSError: as the socket's own ``recv``, once all bytes that came before the error have been
                returned.
        """
        if self._start == len(self._buffer):
            self._read()
        end = self._start + size
        part = bytes(self._buffer[self._start : end])
        self._start += len(part)
        return part

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
            if not more or not hub.readable(self._sock):
                self._next_read = time.monotonic() + self.pause
                return
        self._next_read = 0.0
