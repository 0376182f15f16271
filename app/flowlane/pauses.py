"""Long work on the engine's state in slices: others are served in its pauses, and readers wait for its end.

One green thread at a time changes the state for long: that of :mod:`flowlane.stepping`. What it calls, down to the
entries of a plan, calls :meth:`Work.pause` now and then; of any other green thread that does nothing.
"""

from __future__ import annotations

import time

from flowlane import hub

SLICE = 0.005
"""Seconds of processor time after which long work makes a pause."""


class Work:
    """The work that is under way, by green threads."""

    def __init__(self) -> None:
        self._slices: dict[object, tuple[float, float]] = {}
        """Green thread -> the processor time at which its slice began, and what it took in those before."""

    def begin(self) -> None:
        """Begin work in this green thread: the state may be half made until :meth:`end`."""
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

    def wait(self) -> None:
        """Wait until no state is half made."""
        while self._slices:
            hub.sleep(SLICE)


WORK = Work()
"""All work in this process."""


class ReadingSlice(hub.TimeSlice):
    """The time that reading the engine's state may take before others are served; it goes on with a whole state."""

    def check(self) -> None:
        """Let others run where the slice is used up, and wait for what they have begun to change."""
        super().check()
        WORK.wait()


def give_way() -> None:
    """Let others run that can, and go on with a whole state."""
    hub.give_way()
    WORK.wait()
