"""What the allocator knows of each flow of a device: one array per fact, indexed by row.

Arrays cost 35 bytes a flow where objects would cost some 400, and the garbage collector has nothing to
walk. ``prev`` and ``next`` chain the flows of one cell and rate band, so that a flow of about a given rate
is found, added and taken out in a time that does not depend on how many flows there are.
"""

from __future__ import annotations

from array import array

MEASURED = 1
"""Flag: the rate was measured; without it the rate is an estimate."""

NOBODY = -1
"""No row, no cell."""


class Columns:
    """The allocator's columns, shared by all ports of a device; ``cell`` NOBODY: the row is not placed."""

    __slots__ = ("band", "cell", "flags", "moved_at", "next", "prev", "profile", "rate")

    def __init__(self) -> None:
        self.cell: array[int] = array("i")
        self.prev: array[int] = array("i")
        self.next: array[int] = array("i")
        self.band: array[int] = array("H")
        self.profile: array[int] = array("I")
        self.rate: array[int] = array("q")
        self.moved_at: array[float] = array("d")
        self.flags: array[int] = array("B")

    def grow(self, row: int) -> None:
        """Make room for a row. Grows by an eighth, so that a million arrivals copy the columns rarely."""
        missing = row + 1 - len(self.cell)
        if missing <= 0:
            return
        extra = missing + (len(self.cell) >> 3)
        for links in (self.cell, self.prev, self.next):
            links.extend(array("i", [NOBODY]) * extra)
        self.band.extend(array("H", [0]) * extra)
        self.profile.extend(array("I", [0]) * extra)
        self.rate.extend(array("q", [0]) * extra)
        self.moved_at.extend(array("d", [NEVER]) * extra)
        self.flags.extend(array("B", [0]) * extra)


NEVER = -1e18
"""A time before every other."""
