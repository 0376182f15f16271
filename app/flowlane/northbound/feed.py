"""Ring buffer of the controller's last reports, numbered, for the readers of events.

Publishing never waits for a reader. A reader that falls behind the oldest report in the ring has lost some;
:meth:`Feed.missed` says so, and the caller closes its connection.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from flowlane import hub

if TYPE_CHECKING:
    from flowlane.core.effects import Report

CAPACITY = 4096
"""Reports kept: about 40 s of 100 changes a second, at a few hundred bytes each."""


class Entry(NamedTuple):
    """A report with its number (counted from 1) and the Unix time at which it was published, seconds."""

    number: int
    time: float
    report: Report


class Feed:
    """A bounded ring of reports, which readers can wait on."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._entries: deque[Entry] = deque(maxlen=capacity)
        self._changed = hub.Condition()
        self.last = 0
        self.closed = False
        self.readers = 0

    @property
    def first(self) -> int:
        """Number of the oldest report that is still here; one past ``last`` when there is none."""
        return self.last - len(self._entries) + 1

    def publish(self, report: Report, time: float) -> None:
        """Add a report and wake the readers. ``time`` is Unix time in seconds."""
        self.last += 1
        self._entries.append(Entry(self.last, time, report))
        self._changed.notify_all()

    def since(self, number: int) -> list[Entry]:
        """Return the reports after a number, oldest first; :meth:`missed` says whether some are lost."""
        count = min(max(self.last - number, 0), len(self._entries))
        return list(islice(self._entries, len(self._entries) - count, None))

    def missed(self, number: int) -> bool:
        """Whether a reader that has read up to a number can no longer have all that came after it."""
        return number < self.first - 1

    def wait(self, number: int, timeout: float) -> bool:
        """Wait until there is a report after a number, for ``timeout`` s at most; False: none came."""
        if self.last <= number and not self.closed:
            self._changed.wait(timeout)
        return self.last > number

    def close(self) -> None:
        """Wake every reader for the last time: the controller is stopping."""
        self.closed = True
        self._changed.notify_all()
