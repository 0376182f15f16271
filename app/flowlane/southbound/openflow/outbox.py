"""What goes out to one device: put without waiting, sent by a green thread of its own.

os-ken's ``Datapath.send`` waits when 16 messages are queued, so one switch that does not read would hold up
whoever writes to it, and with it all others. Here messages that pile up are sent in one piece, which also
saves most system calls; a device that lets more than :data:`LIMIT` pile up loses its connection.
"""

from __future__ import annotations

from collections.abc import Callable

from flowlane import hub

LIMIT = 64 << 20
"""Bytes: some 400,000 flow entries, more than what a device can hold."""

PIECE = 256 << 10
"""Bytes in one write at most."""


class Outbox:
    """Bytes on their way to a device.

    ``write`` may wait and returns False when the connection is gone; ``overrun`` is called once, when the
    device has fallen too far behind.
    """

    def __init__(self, write: Callable[[bytes], object], overrun: Callable[[], None]) -> None:
        self._write = write
        self._overrun = overrun
        self._waiting: list[bytes] = []
        self._size = 0
        self._flag = hub.Flag()
        self._closed = False
        self._task = hub.spawn(self._send)

    def put(self, message: bytes) -> None:
        """Have a message sent after those before it. Never waits."""
        if self._closed:
            return
        self._waiting.append(message)
        self._size += len(message)
        self._flag.set()
        if self._size > LIMIT:
            self.close()
            self._overrun()

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        self._waiting.clear()
        self._task.kill()

    def _send(self) -> None:
        while not self._closed:
            if not self._waiting:
                self._flag.wait()
                continue
            if self._write(self._take()) is False:
                self._closed = True
                self._waiting.clear()

    def _take(self) -> bytes:
        """The oldest messages, whole, of about one piece's size."""
        size = count = 0
        for message in self._waiting:
            size += len(message)
            count += 1
            if size >= PIECE:
                break
        piece = b"".join(self._waiting[:count])
        del self._waiting[:count]
        self._size -= size
        return piece
