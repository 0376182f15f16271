"""The pieces of work of this process: from one point where other green threads may run to the next.

What a piece takes is processor time, so that other work of the machine does not count; garbage collection within it
does. The longest ones are kept with the place where they ended.
"""

from __future__ import annotations

import gc
import heapq
import time
from types import FrameType
from typing import Any, NamedTuple

import greenlet  # type: ignore[import-untyped]

MOST_KEPT = 8
_DEPTH = 4


class Piece(NamedTuple):
    """``collecting``: how much of it was garbage collection; both in ms. ``place``: functions, the innermost first."""

    took: float
    collecting: float
    place: str


class Pieces:
    """Measures all pieces from now on."""

    def __init__(self) -> None:
        self._began, self._collecting, self._since = time.thread_time(), 0.0, 0.0
        self._longest: list[Piece] = []
        gc.callbacks.append(self._note_collection)
        greenlet.settrace(self._note)

    def stop(self) -> None:
        """Measure no more."""
        greenlet.settrace(None)
        gc.callbacks.remove(self._note_collection)

    def _note_collection(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._since = time.thread_time()
        else:
            self._collecting += time.thread_time() - self._since

    def _note(self, _event: str, green_threads: tuple[Any, Any]) -> None:
        now = time.thread_time()
        took = 1000 * (now - self._began)
        if len(self._longest) < MOST_KEPT or took > self._longest[0].took:
            piece = Piece(took, 1000 * self._collecting, _place(green_threads[0].gr_frame))
            keep = heapq.heappush if len(self._longest) < MOST_KEPT else heapq.heapreplace
            keep(self._longest, piece)
        self._collecting = 0.0
        self._began = time.thread_time()

    def longest(self) -> list[Piece]:
        """Return the longest pieces since the last call, the longest first."""
        found, self._longest = self._longest, []
        return sorted(found, reverse=True)


def _place(frame: FrameType | None) -> str:
    names: list[str] = []
    while frame is not None and len(names) < _DEPTH:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(("flowlane", "bench")) and not module.endswith((".hub", ".pauses")):
            names.append(f"{module.removeprefix('flowlane.')}:{frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(names) or "ended"
