"""The waiting half of the OVS Python library, on eventlet's hub.

``ovs.poller.Poller`` blocks the whole process unless ``select`` was monkey-patched before it was imported,
and polls every 0.1 ms where it means "at once". This one needs no patching, so a watcher behaves the same
in the controller and in a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import eventlet
from eventlet.green import select
from ovs.poller import POLLIN, POLLOUT
from ovs.timeval import msec as now_msec

if TYPE_CHECKING:
    from typing import Protocol

    class HasFileno(Protocol):
        """A socket, as far as waiting is concerned."""

        def fileno(self) -> int:
            """Return the file descriptor."""
            ...


_HASTE = 50
_PAUSE = 0.05
"""After 50 times "at once" in a row, pause for 50 ms: a peer that breaks off in an odd state costs no CPU."""


class GreenPoller:
    """What ``Idl.wait`` needs of a poller: collect wishes, then wait for the first to come true.

    Method names and milliseconds are those of ``ovs.poller.Poller``.
    """

    def __init__(self) -> None:
        self._hasty = 0
        self._reset()

    def _reset(self) -> None:
        self._read: list[int] = []
        self._write: list[int] = []
        self._timeout: float | None = None

    def fd_wait(self, fd: int | HasFileno, events: int) -> None:
        """Wake when the file descriptor can be read or written."""
        number = fd if isinstance(fd, int) else fd.fileno()
        if events & POLLIN:
            self._read.append(number)
        if events & POLLOUT:
            self._write.append(number)

    def timer_wait(self, msec: float) -> None:
        """Wake after so many ms at the latest."""
        seconds = max(0.0, msec / 1000)
        self._timeout = seconds if self._timeout is None else min(self._timeout, seconds)

    def timer_wait_until(self, msec: float) -> None:
        """Wake when ``ovs.timeval.msec()`` (the monotonic clock) reaches this."""
        self.timer_wait(msec - now_msec())

    def immediate_wake(self) -> None:
        """Do not wait, but let others run."""
        self._timeout = 0.0

    def block(self) -> None:
        """Wait, and forget the wishes; other green threads run meanwhile."""
        read, write, timeout = self._read, self._write, self._timeout
        self._reset()
        if timeout != 0.0:
            self._hasty = 0
            select.select(read, write, [], timeout)
            return
        self._hasty += 1
        eventlet.sleep(0 if self._hasty < _HASTE else _PAUSE)
