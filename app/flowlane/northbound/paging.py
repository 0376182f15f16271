"""Cursors and pages of long lists, which stay consistent while flows come and go.

Rows of a flow table are scanned in order of device and row, since a flow keeps its row as long as it lives.
Every flow that exists when the first page is read, and still exists later, comes exactly once. Flows that
come later are left out: the cursor carries the time of the first page. A page scans a bounded number of rows,
so that it ends in time; so it may have fewer items than its limit. Others are served while it is made.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from struct import Struct
from struct import error as StructError  # noqa: N812  (struct names its exception in lower case)
from typing import TYPE_CHECKING, NamedTuple

from flowlane import pauses
from flowlane.northbound.http.problems import bad_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flowlane.core.state.device import Device
    from flowlane.core.state.flows import FlowTable

    Condition = Callable[[FlowTable, int], bool]

ROWS_PER_PAGE = 20_000
"""Rows that a page scans: at most 50 ms (measured: 2.5 us a row with two filters)."""

_ROWS_PER_CHECK = 64
"""Rows that are scanned before others may be served."""

_CURSOR = Struct("!dQI")


class Cursor(NamedTuple):
    """Where a list goes on; ``as_of`` is when its first page was read, in seconds of the engine's clock."""

    as_of: float
    dpid: int = 0
    row: int = 0


class FlowRow(NamedTuple):
    """One row of one device's flow table."""

    device: Device
    row: int


def write_cursor(cursor: Cursor) -> str:
    """Write a cursor as opaque, URL-safe text."""
    return urlsafe_b64encode(_CURSOR.pack(*cursor)).decode().rstrip("=")


def read_cursor(text: str) -> Cursor:
    """Read a cursor.

    Raises:
        ProblemError: the text is no cursor.
    """
    try:
        return Cursor(*_CURSOR.unpack(urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))))
    except (Base64Error, StructError, UnicodeEncodeError) as error:
        raise bad_field("cursor", "this is no cursor of this list; start again without one") from error


class Scan:
    """Scans flow tables from a cursor for up to ``limit`` rows that match, one at a time.

    A row is given as it is then: whoever gets it reads it before others run.

    Args:
        selections: devices in order of dpid, each with the condition for its rows.
    """

    def __init__(self, selections: Sequence[tuple[Device, Condition]], start: Cursor, limit: int) -> None:
        self._selections, self._start, self._limit = selections, start, limit
        self._following: Cursor | None = None
        self.time_slice = pauses.ReadingSlice()
        """Checked while rows are scanned that do not match."""

    def __iter__(self) -> Iterator[FlowRow]:
        """Yield the rows."""
        start, left, budget = self._start, self._limit, ROWS_PER_PAGE
        for device, matches in self._selections:
            if device.dpid < start.dpid:
                continue
            flows, size = device.flows, len(device.flows.keys)
            keys, first_seen = flows.keys, flows.first_seen
            first = start.row if device.dpid == start.dpid else 0
            scanned = range(first, size)[:budget]
            for row in scanned:
                if not row % _ROWS_PER_CHECK:
                    self.time_slice.check()
                if keys[row] is not None and first_seen[row] <= start.as_of and matches(flows, row):
                    yield FlowRow(device, row)
                    left -= 1
                    if not left:
                        self._following = Cursor(start.as_of, device.dpid, row + 1)
                        return
            if scanned.stop < size:
                self._following = Cursor(start.as_of, device.dpid, scanned.stop)
                return
            budget -= len(scanned)

    def following(self) -> dict[str, object]:
        """Return the field ``next`` of the page, once its rows were given: the cursor of the next page."""
        return {"next": self._following and write_cursor(self._following)}


def page_of_names(names: Sequence[str], after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
    """Cut a page from a short, sorted list: the names after ``after``, and the last of them when there are more."""
    rest = [name for name in names if after is None or name > after]
    page = rest[:limit]
    return page, page[-1] if len(rest) > limit else None
