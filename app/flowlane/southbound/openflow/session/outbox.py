"""What goes out to one device: put without waiting, sent by a green thread of its own.

os-ken's ``Datapath.send`` waits when 16 messages are queued, so one switch that does not read would hold up
whoever writes to it, and with it all others. Here messages that pile up are sent in one piece, which also
saves most system calls; a device that lets more than :data:`LIMIT` pile up loses its connection.

What was sent to a device and may still be refused: until a barrier's reply says that it was carried out.

OpenFlow acknowledges nothing but barriers: an error names the message it is about by transaction id, and
comes before the reply of the barrier behind that message (OpenFlow 1.3.5 section 6.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flowlane import hub

if TYPE_CHECKING:
    from flowlane.southbound.openflow.tables.entries import Change

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


BATCH = 256
"""Changes between two barriers at most."""

MAX_UNCONFIRMED = 200_000
"""Changes without a barrier's reply, after which the device is given up."""


class Ledger:
    """Changes by transaction id, oldest first; a barrier stands as None."""

    def __init__(self) -> None:
        self._sent: dict[int, Change | None] = {}
        self.unconfirmed = 0
        """Changes since the last barrier."""

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, xid: int, change: Change) -> None:
        """Note a change that is sent."""
        self._sent[xid] = change
        self.unconfirmed += 1

    def add_barrier(self, xid: int) -> None:
        """Note a barrier that is sent."""
        self._sent[xid] = None
        self.unconfirmed = 0

    def refused(self, xid: int) -> Change | None:
        """The change that an error is about; it is no longer waited for. None when it is about none."""
        return self._sent.pop(xid, None)

    def confirm(self, xid: int) -> None:
        """Take a barrier's reply: all that was sent before it can no longer be refused."""
        if xid in self._sent:
            for sent in list(self._sent):
                del self._sent[sent]
                if sent == xid:
                    return
