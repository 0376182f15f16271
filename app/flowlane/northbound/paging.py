"""Pages of long lists, cut so that flows may come and go meanwhile.

Rows of a flow table are walked in order of device and row, since a flow keeps its row as long as it lives:
every flow that was there when the first page was asked for and still is, comes exactly once. What came later
is left to the next listing; the cursor carries the moment. One page looks at a bounded number of rows, so
that a listing of a million flows holds nobody up; it may therefore hold fewer items than asked for.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from struct import Struct
from struct import error as StructError  # noqa: N812  (struct names its exception in lower case)
from typing import TYPE_CHECKING, NamedTuple

from flowlane.northbound.problems import bad_field

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowlane.core.state.device import Device
    from flowlane.core.state.flows import FlowTable

ROWS_PER_PAGE = 20_000
"""Rows that one page looks at: 50 ms of the one thread at most (measured: 2.5 us a row with two filters)."""

_CURSOR = Struct("!dQI")


class Cursor(NamedTuple):
    """Where a listing goes on: ``as_of`` is the moment it began, in seconds of the engine's clock."""

    as_of: float
    dpid: int = 0
    row: int = 0


class Found(NamedTuple):
    """One row of one device's flow table."""

    device: Device
    row: int


def write_cursor(cursor: Cursor) -> str:
    """Make a cursor opaque: URL-safe text."""
    return urlsafe_b64encode(_CURSOR.pack(*cursor)).decode().rstrip("=")


def read_cursor(text: str) -> Cursor:
    """Read a cursor back.

    Raises:
        ProblemError: it is not one of ours.
    """
    try:
        return Cursor(*_CURSOR.unpack(urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))))
    except (Base64Error, StructError, UnicodeEncodeError) as error:
        raise bad_field("cursor", "this cursor was not given out here; start again without one") from error


def scan(
    selections: Sequence[tuple[Device, Callable[[FlowTable, int], bool]]], start: Cursor, limit: int
) -> tuple[list[Found], Cursor | None]:
    """Walk flow tables from a cursor: up to ``limit`` rows that are wanted, and where to go on (None: the end).

    ``selections`` are devices in order of dpid, each with what is wanted of it.
    """
    found: list[Found] = []
    budget = ROWS_PER_PAGE
    for device, wanted in selections:
        if device.dpid < start.dpid:
            continue
        first = start.row if device.dpid == start.dpid else 0
        row = _scan_device(
            device, wanted, start.as_of, range(first, len(device.flows.keys))[:budget], limit, found
        )
        if len(found) == limit or row < len(device.flows.keys):
            return found, Cursor(start.as_of, device.dpid, row)
        budget -= row - first
    return found, None


def _scan_device(
    device: Device,
    wanted: Callable[[FlowTable, int], bool],
    as_of: float,
    rows: range,
    limit: int,
    found: list[Found],
) -> int:
    flows = device.flows
    keys, first_seen = flows.keys, flows.first_seen
    for row in rows:
        if keys[row] is not None and first_seen[row] <= as_of and wanted(flows, row):
            found.append(Found(device, row))
            if len(found) == limit:
                return row + 1
    return rows.stop


def page_of_names(names: Sequence[str], after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
    """A page of a short, sorted list: the names after one, and the last of them when there are more."""
    rest = [name for name in names if after is None or name > after]
    page = rest[:limit]
    return page, page[-1] if len(rest) > limit else None
