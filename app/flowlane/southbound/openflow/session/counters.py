"""Statistics requests to one device, and what their replies become.

Learned entries are requested by their cookie, a group at a time (:mod:`flowlane.core.flow.readings` says which, and
when). Open vSwitch builds a whole reply at once in the thread that forwards on its userspace datapath: 0.06 ms for the
request and 1.8 µs for each entry that it reports. With a whole cookie it finds the entries in an index of cookies
(ofproto/ofproto.c, collect_rules_loose). With any other condition it looks at all entries of the table, 13 to 16 ms for
100,000 (``bench.detection.reading_cost``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core.events import GroupsCounted, LearnedCounters, PinCounters, PinsRead, ReadingEnded
from flowlane.core.flow.readings import PINS
from flowlane.southbound.openflow.session import decode, packing, readback, requests
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies, flow_stats

if TYPE_CHECKING:
    from flowlane.core.effects import ReadCounters
    from flowlane.core.events import Event, FoundPin
    from flowlane.core.model import Capabilities
    from flowlane.southbound.openflow.session.encode import Datapath, Message
    from flowlane.southbound.openflow.session.requests import Reply
    from flowlane.southbound.openflow.tables.layout import Layout


class StatsRequest(NamedTuple):
    """A request for counters, and how its whole reply is read."""

    name: str
    message: bytes
    read: Callable[[int, Iterable[Any]], Event]


_PIN = cookies.pack(cookies.Kind.PIN)


def stats_requests(datapath: Datapath, capabilities: Capabilities) -> Iterator[StatsRequest]:
    """Yield the requests for the counters of queues and meters."""
    of_queues = packing.request(datapath, requests.queue_stats_request)
    yield StatsRequest("counters of queues", of_queues, decode.queue_counters)
    if capabilities.max_meters:
        of_meters = packing.request(datapath, requests.meter_stats_request)
        yield StatsRequest("counters of meters", of_meters, decode.meter_counters)


def pin_counters(dpid: int, parts: Iterable[Any]) -> PinCounters:
    """Read the counters of pins; a pin's flow is in its cookie, so matches are not parsed."""
    return PinCounters(dpid, tuple(chain.from_iterable(map(_pins_in, parts))))


def _pins_in(part: Any) -> tuple[tuple[int, int, int, int], ...]:
    counted = flow_stats.counters(part)
    try:
        if counted is None:
            counted = [(raw.cookie, raw.packets, raw.octets) for raw in _entries(part)]
        return tuple(
            [
                (cookie & 0xFFFFFFFF, cookie >> 32 & 0xFFF, packets, octets)
                for cookie, packets, octets in counted
                if cookie & cookies.KIND_MASK == _PIN
            ]
        )
    except ValueError:
        return decode.pin_counters(0, (part,)).counters


def _entries(part: Any) -> Iterator[flow_stats.RawEntry]:
    """Return the entries of a part.

    Raises:
        ValueError: its bytes cannot be read, or it has none.
    """
    entries = flow_stats.entries(part)
    if entries is None:
        raise ValueError("not a flow statistics reply as bytes")
    return entries


_GROUP = cookies.pack(cookies.Kind.GROUP)


def groups_counted(dpid: int, parts: Iterable[Any]) -> GroupsCounted:
    """Read the counters of groups of learned entries; the group is in the cookie."""
    octets: dict[int, int] = {}
    for part in parts:
        try:
            entries = flow_stats.entries(part)
            counted = {
                cookies.group_of(raw.cookie): raw.octets
                for raw in entries or ()
                if raw.cookie & cookies.KIND_MASK == _GROUP
            }
        except ValueError:
            entries = None
        octets |= decode.groups_counted(dpid, (part,)).octets if entries is None else counted
    return GroupsCounted(dpid, octets)


def learned_counters(dpid: int, part: Message) -> LearnedCounters:
    """Read the counters of learned entries from a part of a reply."""
    return LearnedCounters(dpid, readback.learned_in(part))


class EntryReading:
    """A request for the counters of entries: each part of the reply becomes an event as it comes, then its end.

    Args:
        number: the group of learned entries, or :data:`flowlane.core.flow.readings.PINS`.
    """

    def __init__(
        self, dpid: int, number: int, clock: Callable[[], float], emit: Callable[[Event], None]
    ) -> None:
        self._dpid, self._number, self._clock, self._emit = dpid, number, clock, emit
        self._requested = clock()
        self._seconds: float | None = None
        self._entries = 0

    def on_part(self, message: Message) -> None:
        """Take a part of the reply."""
        if self._seconds is None:
            self._seconds = self._clock() - self._requested
        counters: PinCounters | LearnedCounters
        if self._number == PINS:
            counters = pin_counters(self._dpid, (message,))
            self._entries += len(counters.counters)
        else:
            counters = learned_counters(self._dpid, message)
            self._entries += len(counters.flows)
        self._emit(counters)

    def on_end(self, reply: Reply) -> None:
        """Take the end of the reply, or that there is none."""
        seconds = self._clock() - self._requested if self._seconds is None else self._seconds
        self._emit(ReadingEnded(self._dpid, self._number, None if reply.error else self._entries, seconds))


class CounterReader:
    """Requests the counters of one device, and emits what the replies report.

    Args:
        request: sends a request: its name, the message, what to call with the reply, and with each part of it.
        emit: takes events.
        clock: gives seconds.
    """

    def __init__(
        self,
        datapath: Datapath,
        request: Callable[..., None],
        emit: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        self._datapath, self._request, self._emit, self._clock = datapath, request, emit, clock
        self._dpid: int = datapath.id

    def read(self, effect: ReadCounters, layout: Layout, capabilities: Capabilities) -> None:
        """Request counters of pins, of groups of learned entries, of queues and meters."""
        number_of, datapath = layout.number_of, self._datapath
        if effect.pins:
            self._read_entries(PINS, requests.pins_request, number_of(TableId.ASSIGN))
        for group in effect.groups:
            self._read_entries(group, requests.learned_request, group, number_of(TableId.SEEN))
        if effect.sums:
            message = packing.request(datapath, requests.groups_counted_request, number_of(TableId.LEARN))
            self._request("counters of groups", message, self._take_sums)
        for ref in effect.single:
            message = packing.request(datapath, requests.pin_request, number_of(TableId.ASSIGN))
            message = packing.with_cookie(message, cookies.pack(cookies.Kind.PIN, ref.generation, ref.row))
            self._request("counters of a pin", message, partial(self._take, pin_counters))
        if effect.others:
            for request in stats_requests(datapath, capabilities):
                self._request(request.name, request.message, partial(self._take, request.read))

    def read_pins(self, number: int, layout: Layout) -> None:
        """Request the pins with what they match and do, for the audit's reading of this number."""
        message = packing.request(self._datapath, requests.pins_request, layout.number_of(TableId.ASSIGN))
        found: list[FoundPin] = []
        self._request(
            "pins",
            message,
            partial(self._take_pins, number, found),
            lambda part: found.extend(readback.found_pins((part,), layout)),
        )

    def _read_entries(self, number: int, make: Callable[..., Message], *arguments: int) -> None:
        reading = EntryReading(self._dpid, number, self._clock, self._emit)
        message = packing.request(self._datapath, make, *arguments)
        self._request("counters of entries", message, reading.on_end, reading.on_part)

    def _take(self, read: Callable[[int, Iterable[Any]], Event], reply: Reply) -> None:
        if not reply.error:
            self._emit(read(self._dpid, reply.parts))

    def _take_pins(self, number: int, found: list[FoundPin], reply: Reply) -> None:
        if not reply.error:
            self._emit(PinsRead(self._dpid, number, tuple(found)))

    def _take_sums(self, reply: Reply) -> None:
        self._emit(groups_counted(self._dpid, () if reply.error else reply.parts))
