"""Asking for learned entries a part at a time: a switch that also forwards stands still while it answers.

Open vSwitch makes a whole answer in one go, some 3 µs for each entry, in the thread that forwards on its userspace
datapath: 10,000 entries hold packets up for 30 ms or more. VM by VM (by bits of the VM's number in the metadata) and
spread over the time between two readings that is a ms or two at a time. Ports would divide as well, but finding
entries by them takes the switch longer than what is saved (measured: 6 ms to find 1/64 of 10,000).

Which counters a device is asked for, and what is made of its answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core.events import LearnedCounters, PinCounters
from flowlane.southbound.openflow.session import decode, readback, requests
from flowlane.southbound.openflow.wire import cookies, flow_stats

if TYPE_CHECKING:
    from flowlane.core.events import Event, LearnedFlow
    from flowlane.core.model import Capabilities
    from flowlane.southbound.openflow.session.encode import Datapath, Message
    from flowlane.southbound.openflow.session.requests import Answer


class Reading(NamedTuple):
    """A question for counters. ``by_part``: every part of a long answer is told at once, as it comes."""

    name: str
    question: Message
    read: Callable[[int, Iterable[Any]], Event]
    by_part: bool = False


_PIN = cookies.pack(cookies.Kind.PIN)
PINS = "counters of pins"
"""The first reading; while its answer is on its way nothing is asked again."""


def readings(datapath: Datapath, capabilities: Capabilities) -> Iterator[Reading]:
    """The readings of a device, by what it has; of learned entries see :mod:`.slices`."""
    yield Reading(PINS, requests.pins_request(datapath), pin_counters, by_part=True)
    yield Reading("counters of queues", requests.queue_stats_request(datapath), decode.queue_counters)
    if capabilities.max_meters:
        yield Reading("counters of meters", requests.meter_stats_request(datapath), decode.meter_counters)


def pin_counters(dpid: int, parts: Iterable[Any]) -> PinCounters:
    """Counters of pins: their cookie is all that has to be known of them."""
    return PinCounters(dpid, tuple(chain.from_iterable(map(_pins_in, parts))))


def _pins_in(part: Any) -> tuple[tuple[int, int, int, int], ...]:
    found = flow_stats.entries(part)
    if found is None:
        return decode.flow_counters(0, (part,)).counters
    try:
        return tuple(
            (raw.cookie & 0xFFFFFFFF, raw.cookie >> 32 & 0xFFF, raw.packets, raw.octets)
            for raw in found
            if raw.cookie & cookies.KIND_MASK == _PIN
        )
    except ValueError:
        return decode.flow_counters(0, (part,)).counters


def learned_counters(dpid: int, parts: Iterable[Any]) -> LearnedCounters:
    """Counters of the entries that the device learned itself."""
    return LearnedCounters(dpid, readback.learned(parts))


def takers(
    reading: Reading, dpid: int, tell: Callable[[Event], None]
) -> tuple[Callable[[Answer], None], Callable[[Any], None] | None]:
    """(What is done with the whole answer, what with each part as it comes); a refusal tells nothing."""
    if reading.by_part:
        return (lambda _answer: None), (lambda part: tell(reading.read(dpid, (part,))))
    return (lambda answer: None if answer.refused else tell(reading.read(dpid, answer.parts))), None


SMALL = 256
"""Entries in a part that need no further dividing: less than 1 ms of the switch's time."""

MOST_BITS = 5
SPREAD_OVER = 1.6
"""Seconds over which the parts are asked for; readings are two seconds apart at least."""

Ask = Callable[[str, Any, Callable[["Answer"], None], Callable[[Any], None]], None]
"""Send a question by its name: what to do at the end of the answer, and with each message of it."""

Later = Callable[[float, Callable[[], None]], object]
"""Have something done so many seconds later."""


class Slices:
    """The readings of one device's learned entries. ``tell`` takes what was read."""

    def __init__(
        self, datapath: Any, ask: Ask, later: Later, tell: Callable[[LearnedCounters], None]
    ) -> None:
        self._datapath, self._ask, self._later, self._tell = datapath, ask, later, tell
        self._bits = 0
        self._left = 0
        self._found: Counter[int] = Counter()

    def begin(self) -> None:
        """Read all entries once, unless the last reading is not at its end."""
        if self._left:
            return
        parts = 1 << self._bits
        self._left = parts
        self._found.clear()
        self._part(0)
        for number in range(1, parts):
            self._later(number * SPREAD_OVER / parts, lambda number=number: self._part(number))  # type: ignore[misc]

    def _part(self, number: int) -> None:
        question = requests.learned_request(self._datapath, number, self._bits)
        self._ask("learned flows", question, self._end, lambda message: self._read((message,)))

    def _read(self, messages: Iterable[Any]) -> None:
        read = learned_counters(self._datapath.id, messages)
        self._found.update(map(_vm_number, read.flows))
        self._tell(read)

    def _end(self, _answer: Answer) -> None:
        self._left -= 1
        if not self._left:
            self._bits = bits_for(self._found)


def _vm_number(flow: LearnedFlow) -> int:
    return int.from_bytes(flow.key[:4])


def bits_for(found: Counter[int]) -> int:
    """By how many bits of their VMs' numbers entries are best divided: few, and the largest part small.

    Args:
        found: VM number -> entries.
    """
    if found.total() <= SMALL:
        return 0
    return min(range(MOST_BITS + 1), key=lambda bits: (max(_largest(found, bits), SMALL), bits))


def _largest(found: Counter[int], bits: int) -> int:
    parts: Counter[int] = Counter()
    for number, count in found.items():
        parts[number & (1 << bits) - 1] += count
    return max(parts.values())
