"""Whether a device is alive: it sends something, at the latest when it is asked, and it reads what is sent to it."""

from __future__ import annotations

from math import inf
from typing import Any

ECHO_AFTER, DEAD_AFTER = 10.0, 20.0
"""Seconds without a message after which an echo request is sent, and after which the connection is closed: a device
without flows is asked for its queues and counters every 10 s, which shows as well that it is alive."""


class Liveness:
    """When a device has sent its last message, and what follows from that.

    Args:
        socket: the connection's (:class:`~flowlane.southbound.openflow.osken.coalescing.CoalescedSocket`).
        now: time in seconds.
    """

    def __init__(self, socket: Any, now: float) -> None:
        self._socket = socket
        self.last_message = self._last_echo = now
        self._asked_at = -inf
        """When the first echo request since the last message was sent."""

    def fault(self, now: float) -> str:
        """Return why the connection is to be closed; empty where it is not.

        A device that was not asked is not silent: the controller may have been late.
        """
        if self._socket.is_stalled:
            return "it does not read what is sent to it"
        is_asked = self._asked_at >= self.last_message and now - self._asked_at >= ECHO_AFTER / 2
        if now - self.last_message > DEAD_AFTER and is_asked and not self._socket.has_unread:
            return f"no message for {DEAD_AFTER:g} s"
        return ""

    def looks_at(self, now: float) -> float:
        """Return when it is to be looked at again, unless a message comes before."""
        return self.last_message + ECHO_AFTER if self._asked_at < self.last_message else now

    def is_alive_since(self, time: float) -> bool:
        """Whether a message has come after a time, or bytes wait to be read."""
        return bool(self.last_message > time or self._socket.has_unread)

    def is_echo_due(self, now: float) -> bool:
        """Whether an echo request is to be sent; the next one then is later."""
        if now - self.last_message <= ECHO_AFTER or now - self._last_echo <= ECHO_AFTER / 2:
            return False
        self._last_echo = now
        if self._asked_at < self.last_message:
            self._asked_at = now
        return True
