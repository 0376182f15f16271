"""Messages to one device: the send queue, and the changes that the device may still refuse.

os-ken's ``Datapath.send`` blocks when 16 messages are queued, so one switch that does not read would block
the whole controller. Here a green thread for each device sends, and messages that have piled up are sent in
one write, which also saves system calls. What answers the messages that one read has brought is sent when they
are handled, by the green thread that reads, as far as the connection takes it. A device that lets more than
:data:`LIMIT` bytes pile up loses its connection.

OpenFlow confirms nothing but barriers. An error carries the transaction id of the message that it is about,
and comes before the reply to the barrier behind that message (OpenFlow 1.3.5 section 6.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flowlane import hub

if TYPE_CHECKING:
    from flowlane.core.effects import PinFlow, UnpinFlow
    from flowlane.southbound.openflow.tables.entries import Change

    Sent = Change | PinFlow | UnpinFlow

LIMIT = 64 << 20
"""Bytes that may wait: some 400,000 flow entries, more than a device can hold."""

MAX_WRITE = 256 << 10
"""Bytes that one write sends at most, but for a longer single message."""


class Outbox:
    """The send queue of one device.

    Args:
        write: sends bytes; may block the green thread, and returns False when the connection has ended.
        on_overrun: called once, when more than :data:`LIMIT` bytes wait.
        write_at_once: sends bytes without blocking; returns how many are left, which go before those of the next
            ``write``, or None where it has sent nothing.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        on_overrun: Callable[[], None],
        write_at_once: Callable[[bytes], int | None] = lambda _data: None,
    ) -> None:
        self._write, self._write_at_once = write, write_at_once
        self._is_writing = False
        self._on_overrun = on_overrun
        self._waiting: list[bytes] = []
        self._size = 0
        self.count = 0
        """Messages that were queued so far."""
        self._not_empty = hub.Flag()
        self._closed = False
        self._task = hub.spawn(self._send)

    def put(self, message: bytes) -> None:
        """Queue a message; never blocks. Messages are sent in the order in which they were queued."""
        if self._closed:
            return
        self._waiting.append(message)
        self._size += len(message)
        self.count += 1
        self._not_empty.set()
        if self._size > LIMIT:
            on_overrun = self._on_overrun
            self.close()
            on_overrun()

    def flush(self) -> None:
        """Send what waits, as far as the connection takes it at once; the green thread sends the rest."""
        if not self._waiting or self._is_writing:
            return
        data = self._take()
        left = self._write_at_once(data)
        if left is None:
            self._waiting.insert(0, data)
            self._size += len(data)
        elif left:
            self._waiting.insert(0, b"")  # The next write sends what is left.

    def close(self) -> None:
        """Discard what waits and send nothing more."""
        self._closed = True
        self._waiting.clear()
        self._task.kill()
        # So that neither refers to the other, and both are freed at once.
        self._on_overrun, self._write, self._write_at_once = _ignore, _discard, _discard

    def _send(self) -> None:
        while not self._closed:
            if not self._waiting:
                self._not_empty.wait()
                continue
            self.flush()
            if not self._waiting:
                continue
            self._is_writing = True
            is_over = self._write(self._take()) is False
            self._is_writing = False
            if is_over:
                self._closed = True
                self._waiting.clear()

    def _take(self) -> bytes:
        """Remove and join the oldest messages, as many as make up one write."""
        size = count = 0
        for message in self._waiting:
            size += len(message)
            count += 1
            if size >= MAX_WRITE:
                break
        joined = b"".join(self._waiting[:count])
        del self._waiting[:count]
        self._size -= size
        return joined


def _ignore() -> None:
    """Do nothing."""


def _discard(_data: bytes) -> None:
    """Send nothing: the connection has ended."""


BATCH = 256
"""Changes after which a barrier is sent at the latest."""

MAX_UNCONFIRMED = 200_000
"""Changes without a barrier's reply, above which the connection is closed."""


class UnconfirmedChanges:
    """Changes that were sent and may still be refused, by transaction id, the oldest first.

    A pin that was sent by a template is stored as its effect: the change is only made if the device refuses it.
    """

    def __init__(self) -> None:
        self._sent: dict[int, Sent | None] = {}
        """Transaction id -> change; None for a barrier."""
        self.since_barrier = 0
        """Changes that were sent after the last barrier."""

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, xid: int, change: Sent) -> None:
        """Add a change that was sent."""
        self._sent[xid] = change
        self.since_barrier += 1

    def add_barrier(self, xid: int) -> None:
        """Add a barrier that was sent."""
        self._sent[xid] = None
        self.since_barrier = 0

    def pop_refused(self, xid: int) -> Sent | None:
        """Remove and return the change that an error is about; None when it is about none."""
        return self._sent.pop(xid, None)

    def confirm(self, xid: int) -> None:
        """Remove the barrier that was replied to, and all that was sent before it."""
        if xid in self._sent:
            for sent in list(self._sent):
                del self._sent[sent]
                if sent == xid:
                    return
