"""Reads a switch's messages together that come one by one, as a NIC coalesces its interrupts.

A switch that places new flows by itself sends a copy of each flow's first packet, and nobody waits for what
is done with it. Read as they come, they wake the controller once each and are read in three system calls each
(os-ken asks for eight bytes, then for the rest, then waits), which is most of what a copy costs, on
processors that may be the switch's own. So while :attr:`CoalescedSocket.pause` is set, what comes within it
of the last read waits in the kernel, and is then read in one piece; a lone message is read at once, and a
full piece is followed by the next without a wait.
"""

from __future__ import annotations

import time
from typing import Any

from flowlane import hub

PAUSE = 0.02
"""Seconds: at 100 copies/s two are read at a time, at 2,000 forty (docs/decisions/0007-coalesced-reading.md)."""

PIECE = 64 << 10
"""Bytes read at a time at most."""


class CoalescedSocket:
    """A connected socket that reads ahead; all but ``recv`` is the socket's own."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.pause = 0.0
        """Seconds that lie between two reads at least; 0 reads what comes when it comes."""
        self._piece = bytearray()
        self._start = 0
        self._rest_until = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        """Return up to ``size`` bytes of what has come, or wait for some; nothing when the peer has ended.

        Raises:
            OSError: as the socket's own ``recv``, after what came before the error was returned.
        """
        if self._start == len(self._piece):
            self._read()
        end = self._start + size
        part = bytes(self._piece[self._start : end])
        self._start += len(part)
        return part

    def _read(self) -> None:
        rest = self._rest_until - time.monotonic()
        if self.pause and rest > 0:
            hub.sleep(rest)
        self._piece.clear()
        self._start = 0
        # Over TCP one call gives all there is; over TLS one record, and Open vSwitch makes one of each message.
        while len(self._piece) < PIECE:
            try:
                more = self._sock.recv(PIECE - len(self._piece))
            except OSError:
                if not self._piece:
                    raise
                more = b""
            self._piece += more
            if not more or not hub.readable(self._sock):
                self._rest_until = time.monotonic() + self.pause
                return
        self._rest_until = 0.0
