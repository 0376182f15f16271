"""The controller's last events, numbered, for those who read them now or later.

Every event is kept, whether or not anybody reads: each kind has a ring of its own, so that many flows do not push out
what happened to devices. The budget is :data:`CAPACITIES`; 100,000 events of flows fill it with some 15 MB
(``python -m bench.controller.history_memory``).

Publishing never waits for a reader. A reader that falls behind the oldest event of a kind that it reads has lost some;
:meth:`Feed.missed` says so, and the caller closes its connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, overload

from flowlane import hub
from flowlane.core.effects import FlowReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.effects import Report

CAPACITIES: Mapping[str, int] = {"flow": 20_000, "assignment": 20_000, "move": 10_000}
"""Events that are kept of a kind: some 100 s of 100 new and 100 ended flows a second."""

CAPACITY = 2_000
"""Events that are kept of every other kind."""


class Entry(NamedTuple):
    """An event with its number (counted from 1) and the Unix time at which it was published, seconds."""

    number: int
    time: float
    report: Report | FlowReport


class Entries(Sequence[Entry]):
    """Events of the feed, each of which is made when it is read: all that are kept are 50,000."""

    def __init__(self, kept: list[tuple[object, ...]]) -> None:
        self._kept = kept

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> Entries: ...

    def __getitem__(self, index: int | slice) -> Entry | Entries:
        return Entries(self._kept[index]) if isinstance(index, slice) else _entry(self._kept[index])

    def not_before(self, time: float) -> Entries:
        """Return those that were published at a Unix time (seconds) or later."""
        return Entries([kept for kept in self._kept if kept[1] >= time])  # type: ignore[operator]


class Feed:
    """Bounded rings of events, which readers can wait on.

    Args:
        capacity: how many events of each kind are kept; None: the budget of the module.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self._capacity = capacity
        self._rings: dict[str, deque[tuple[object, ...]]] = {}
        self._dropped: dict[str, int] = {}
        """Kind -> number of the last event that is no longer kept."""
        self._changed = hub.Condition()
        self._waiting = 0
        self.last = 0
        self.closed = False
        self.readers = 0

    def publish(self, report: Report | FlowReport, time: float) -> None:
        """Add an event and wake the readers. ``time`` is Unix time in seconds."""
        self.last += 1
        kind = report.kind
        ring = self._rings.get(kind)
        if ring is None:
            ring = self._rings[kind] = deque(maxlen=self._capacity or CAPACITIES.get(kind, CAPACITY))
        if len(ring) == ring.maxlen:
            number = ring[0][0]
            assert isinstance(number, int)
            self._dropped[kind] = number
        # A plain tuple of plain values is nothing that the garbage collector has to walk.
        is_of_flow = isinstance(report, FlowReport)
        ring.append((self.last, time, *report) if is_of_flow else (self.last, time, report))  # type: ignore[misc]
        if self._waiting:
            self._changed.notify_all()

    def since(self, number: int, kinds: frozenset[str] | None = None) -> Entries:
        """Return the events after a number, oldest first; :meth:`missed` says whether some are lost.

        Args:
            kinds: of these kinds only; None: of all.
        """
        found: list[tuple[object, ...]] = []
        for kind, ring in self._rings.items():
            if kinds is not None and kind not in kinds:
                continue
            if number <= self._dropped.get(kind, 0):
                found += ring
                continue
            newest_first = list(takewhile(lambda kept: kept[0] > number, reversed(ring)))  # type: ignore[operator]
            newest_first.reverse()
            found += newest_first
        found.sort(key=itemgetter(0))
        return Entries(found)

    def missed(self, number: int, kinds: frozenset[str] | None = None) -> bool:
        """Whether a reader that has read up to a number can no longer have all that came after it."""
        return any(last > number for kind, last in self._dropped.items() if kinds is None or kind in kinds)

    def wait(self, number: int, timeout: float) -> bool:
        """Wait until there is an event after a number, for ``timeout`` s at most; False: none came."""
        if self.last <= number and not self.closed:
            self._waiting += 1
            try:
                self._changed.wait(timeout)
            finally:
                self._waiting -= 1
        return self.last > number

    def close(self) -> None:
        """Wake every reader for the last time: the controller is stopping."""
        self.closed = True
        self._changed.notify_all()


def _entry(kept: tuple[object, ...]) -> Entry:
    number, time, *rest = kept
    report = rest[0] if len(rest) == 1 else FlowReport(*rest)  # type: ignore[arg-type]
    return Entry(number, time, report)  # type: ignore[arg-type]
