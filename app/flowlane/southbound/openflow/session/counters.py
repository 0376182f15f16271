"""Statistics requests to one device, and what their replies become.

Learned entries are requested in parts. Open vSwitch builds a whole reply at once, some 3 µs for each entry,
in the thread that forwards on its userspace datapath, so a reply of 10,000 entries delays packets by 30 ms or
more. The parts are VMs (some bits of the VM's number in the metadata), spread over the time between two
readings: 1 to 2 ms at a time. Ports would divide entries as well, but to find entries by their port takes the
switch longer than what is saved (measured: 6 ms to find 1/64 of 10,000).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core.events import LearnedCounters, PinCounters
from flowlane.southbound.openflow.session import decode, readback, requests
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies, flow_stats

if TYPE_CHECKING:
    from flowlane.core.events import Event, LearnedFlow
    from flowlane.core.model import Capabilities
    from flowlane.southbound.openflow.session.encode import Datapath, Message
    from flowlane.southbound.openflow.session.requests import Reply


class StatsRequest(NamedTuple):
    """A request for counters. ``by_part``: every part of a long reply becomes an event of its own, as it comes."""

    name: str
    message: Message
    read: Callable[[int, Iterable[Any]], Event]
    by_part: bool = False


_PIN = cookies.pack(cookies.Kind.PIN)
PINS = "counters of pins"
"""Name of the first request; while its reply is pending nothing is requested again."""


def stats_requests(datapath: Datapath, capabilities: Capabilities) -> Iterator[StatsRequest]:
    """Yield the requests for the counters that a device has, but for those of learned entries."""
    yield StatsRequest(PINS, requests.pins_request(datapath), pin_counters, by_part=True)
    yield StatsRequest("counters of queues", requests.queue_stats_request(datapath), decode.queue_counters)
    if capabilities.max_meters:
        yield StatsRequest(
            "counters of meters", requests.meter_stats_request(datapath), decode.meter_counters
        )


def pin_counters(dpid: int, parts: Iterable[Any]) -> PinCounters:
    """Read the counters of pins; a pin's flow is in its cookie, so matches are not parsed."""
    return PinCounters(dpid, tuple(chain.from_iterable(map(_pins_in, parts))))


def _pins_in(part: Any) -> tuple[tuple[int, int, int, int], ...]:
    entries = flow_stats.entries(part)
    if entries is None:
        return decode.pin_counters(0, (part,)).counters
    try:
        return tuple(
            (raw.cookie & 0xFFFFFFFF, raw.cookie >> 32 & 0xFFF, raw.packets, raw.octets)
            for raw in entries
            if raw.cookie & cookies.KIND_MASK == _PIN
        )
    except ValueError:
        return decode.pin_counters(0, (part,)).counters


def learned_counters(dpid: int, parts: Iterable[Any]) -> LearnedCounters:
    """Read the counters of learned entries."""
    return LearnedCounters(dpid, readback.learned_flows(parts))


def callbacks(
    request: StatsRequest, dpid: int, emit: Callable[[Event], None]
) -> tuple[Callable[[Reply], None], Callable[[Any], None] | None]:
    """Return what to call with the whole reply, and what with each part of it; an error emits no event."""
    if request.by_part:
        return (lambda _reply: None), (lambda part: emit(request.read(dpid, (part,))))
    return (lambda reply: None if reply.error else emit(request.read(dpid, reply.parts))), None


SMALL_PART = 256
"""Entries in a part that is not divided further: less than 1 ms of the switch's time."""

MAX_BITS = 5
"""Bits of a VM's number by which entries are divided at most."""

SPREAD_OVER = 1.6
"""Seconds over which the parts are requested; readings are two seconds apart at least."""

Send = Callable[[str, Any, Callable[["Reply"], None], Callable[[Any], None]], None]
"""Send a request: its name, the message, what to call at the end of the reply, what with each part of it."""

CallLater = Callable[[float, Callable[[], None]], object]
"""Call a function after so many seconds."""


class LearnedPolling:
    """The requests for the counters of one device's learned entries, a part at a time."""

    def __init__(
        self, datapath: Any, send: Send, call_later: CallLater, emit: Callable[[LearnedCounters], None]
    ) -> None:
        self._datapath, self._send, self._call_later, self._emit = datapath, send, call_later, emit
        self.table_id: int = TableId.SEEN
        """The number of table seen on the device."""
        self._bits = 0
        """Bits of the VM's number by which the next reading is divided."""
        self._pending = 0
        """Parts of this reading whose replies have not ended."""
        self._entries_of_vm: Counter[int] = Counter()

    def start(self) -> None:
        """Request all entries once, unless the last reading has not ended."""
        if self._pending:
            return
        parts = 1 << self._bits
        self._pending = parts
        self._entries_of_vm.clear()
        self._request(0)
        for part in range(1, parts):
            self._call_later(part * SPREAD_OVER / parts, lambda part=part: self._request(part))  # type: ignore[misc]

    def _request(self, part: int) -> None:
        message = requests.learned_request(self._datapath, part, self._bits, self.table_id)
        self._send("learned flows", message, self._on_end, self._on_part)

    def _on_part(self, message: Message) -> None:
        counters = learned_counters(self._datapath.id, (message,))
        self._entries_of_vm.update(map(_vm_number, counters.flows))
        self._emit(counters)

    def _on_end(self, _reply: Reply) -> None:
        self._pending -= 1
        if not self._pending:
            self._bits = bits_for(self._entries_of_vm)


def _vm_number(flow: LearnedFlow) -> int:
    return int.from_bytes(flow.key[:4])


def bits_for(entries_of_vm: Counter[int]) -> int:
    """Return by how many bits of their VMs' numbers entries are best divided: few, and no part large.

    Args:
        entries_of_vm: VM number -> learned entries.
    """
    if entries_of_vm.total() <= SMALL_PART:
        return 0
    return min(range(MAX_BITS + 1), key=lambda bits: (max(_largest(entries_of_vm, bits), SMALL_PART), bits))


def _largest(entries_of_vm: Counter[int], bits: int) -> int:
    parts: Counter[int] = Counter()
    for vm_number, count in entries_of_vm.items():
        parts[vm_number & (1 << bits) - 1] += count
    return max(parts.values())
