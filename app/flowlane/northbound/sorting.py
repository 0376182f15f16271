"""Pages of flows in the order of a column: the largest or the smallest first, over all flows that a query selects.

Every row is looked at for every page, and others are served meanwhile; only the rows of the page are made views of. A
page goes on behind the value of the last row of the page before, so a flow whose value
changes in between may come twice, or not at all.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from heapq import nsmallest
from struct import Struct
from struct import error as StructError  # noqa: N812  (struct names its exception in lower case)
from typing import TYPE_CHECKING, NamedTuple

from flowlane import pauses
from flowlane.northbound.http.problems import bad_field
from flowlane.northbound.paging import FlowRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from flowlane.core.state.device import Device
    from flowlane.core.state.flows import FlowTable

SLICE = 64
"""Rows that are looked at before others may be served."""

COLUMNS: Mapping[str, str] = {
    "rate": "rate",
    "bytes": "octets",
    "packets": "packets",
    "first_seen": "first_seen",
    "last_active": "last_active",
    "since": "assigned_since",
}
"""Value of ``sort`` -> column of the flow table."""

_CURSOR = Struct("!ddQI")


class Order(NamedTuple):
    """A column of the flow table, and whether its largest values come first."""

    column: str
    falling: bool


class Place(NamedTuple):
    """A row's place in an order: ``value`` is the negative one where the largest come first."""

    value: float
    dpid: int
    row: int


class SortedCursor(NamedTuple):
    """Where a sorted list goes on; ``as_of`` is when its first page was read, in seconds of the engine's clock."""

    as_of: float
    after: Place


def order_of(text: str) -> Order:
    """Read a value of ``sort``: a column's name, with ``-`` in front for the largest first.

    Raises:
        ValueError: there is no such column.
    """
    name = text.removeprefix("-")
    if name not in COLUMNS:
        raise ValueError(f"one of {', '.join(COLUMNS)}, with - in front for the largest first")
    return Order(COLUMNS[name], text.startswith("-"))


def write_sorted_cursor(cursor: SortedCursor) -> str:
    """Write a cursor as opaque, URL-safe text."""
    return urlsafe_b64encode(_CURSOR.pack(cursor.as_of, *cursor.after)).decode().rstrip("=")


def read_sorted_cursor(text: str) -> SortedCursor:
    """Read a cursor.

    Raises:
        ProblemError: the text is no cursor.
    """
    try:
        data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        as_of, value, dpid, row = _CURSOR.unpack(data)
    except (Base64Error, StructError, UnicodeEncodeError) as error:
        raise bad_field("cursor", "this is no cursor of this list; start again without one") from error
    return SortedCursor(as_of, Place(value, dpid, row))


class SortedScan:
    """Looks at all rows that are selected, and gives those of a page in an order.

    A row is given as it is then: whoever gets it reads it before others run.

    Args:
        selections: devices, each with the condition for its rows.
        as_of: flows that came later are left out.
        after: the last place of the page before; None: this is the first page.
        limit: rows at most.
    """

    def __init__(
        self,
        selections: Sequence[tuple[Device, Callable[[FlowTable, int], bool]]],
        order: Order,
        as_of: float,
        after: Place | None,
        limit: int,
    ) -> None:
        self._selections, self._order, self._as_of = selections, order, as_of
        self._after, self._limit = after, limit
        self._following: SortedCursor | None = None
        self.time_slice = pauses.ReadingSlice()
        """Checked while rows are looked at."""

    def __iter__(self) -> Iterator[FlowRow]:
        """Yield the rows; a flow that has ended since it was looked at is left out."""
        devices = {device.dpid: device for device, _ in self._selections}
        after = self._after
        places = (place for place in self._places() if after is None or place[0] > after)
        first = nsmallest(self._limit + 1, places)
        if len(first) > self._limit:
            self._following = SortedCursor(self._as_of, first[self._limit - 1][0])
        for place, key in first[: self._limit]:
            device = devices[place.dpid]
            if device.flows.rows.get(key) == place.row:
                yield FlowRow(device, place.row)

    def following(self) -> dict[str, object]:
        """Return the field ``next`` of the page, once its rows were given: the cursor of the next page."""
        return {"next": self._following and write_sorted_cursor(self._following)}

    def _places(self) -> Iterator[tuple[Place, bytes]]:
        """Yield the place and the key of every row that is selected."""
        sign = -1.0 if self._order.falling else 1.0
        for device, matches in self._selections:
            flows = device.flows
            keys, column = flows.keys, getattr(flows, self._order.column)
            # A row that is added meanwhile came later than the page; so did a flow that takes over a row.
            for row in range(len(keys)):
                if not row % SLICE:
                    self.time_slice.check()
                key = keys[row]
                if key is not None and flows.first_seen[row] <= self._as_of and matches(flows, row):
                    yield Place(sign * column[row], device.dpid, row), key
