"""Long work on the engine's state in slices: others are served in its pauses, and who reads what is half made waits.

One green thread at a time changes the state for long: that of :mod:`flowlane.stepping`. What it calls, down to the
entries of a plan, calls :meth:`Work.pause` now and then; of any other green thread that does nothing. Who reads the
state waits for the end of the work, unless it reads nothing of the device that the work is about.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowlane import garbage, hub

if TYPE_CHECKING:
    from collections.abc import Iterator

SLICE = 0.005
"""Seconds of processor time after which long work makes a pause."""


class Work:
    """The work that is under way, by green threads."""

    def __init__(self) -> None:
        self._slices: dict[object, tuple[float, float]] = {}
        """Green thread -> the processor time at which its slice began, and what it took in those before."""
        self._about: int | None = None
        """dpid of the device that the work is about; None: of none alone."""
        self._readers: dict[object, int | None] = {}
        """Green threads that read of one device only -> its dpid, or of none -> None."""

    def begin(self, about: int | None = None) -> None:
        """Begin work in this green thread: the state may be half made until :meth:`end`.

        Args:
            about: dpid of the only device whose state it leaves half made in its pauses; None: that of any may be.
        """
        self._about = about
        self._slices[hub.current()] = time.thread_time(), 0.0

    def end(self) -> float:
        """End it; return how many seconds of processor time it took."""
        since, spent = self._slices.pop(hub.current())
        return spent + time.thread_time() - since

    def pause(self) -> None:
        """Let others be served where this green thread's slice is over; do nothing outside of work."""
        if not self._slices:
            return
        current = hub.current()
        known = self._slices.get(current)
        if known is None:
            return
        taken = time.thread_time() - known[0]
        if taken >= SLICE:
            hub.give_way()
            self._slices[current] = time.thread_time(), known[1] + taken
            garbage.collect_new()

    @contextmanager
    def reading(self, dpid: int | None) -> Iterator[None]:
        """In the block, have this green thread wait for work on this device only; None: on none."""
        current = hub.current()
        self._readers[current] = dpid
        try:
            yield
        finally:
            self._readers.pop(current, None)

    def wait(self) -> None:
        """Wait until nothing that this green thread reads is half made."""
        while self._slices and self._concerns(hub.current()):
            hub.sleep(SLICE)

    def _concerns(self, reader: object) -> bool:
        if reader not in self._readers:
            return True
        dpid = self._readers[reader]
        return dpid is not None and self._about in (None, dpid)


WORK = Work()
"""All work in this process."""


class ReadingSlice(hub.TimeSlice):
    """The time that reading the engine's state may take before others are served; it goes on with a whole state."""

    def check(self) -> None:
        """Let others run where the slice is used up, and wait for what they have begun to change."""
        super().check()
        WORK.wait()
        garbage.collect_new()


def give_way() -> None:
    """Let others run that can, and go on with a whole state."""
    hub.give_way()
    WORK.wait()
