"""Which counters a device is asked for, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core.events import FlowCounters, KeyCounters
from flowlane.southbound.openflow import cookies, decode, flow_stats, questions, readback

if TYPE_CHECKING:
    from flowlane.core.events import Event
    from flowlane.core.model import Capabilities
    from flowlane.southbound.openflow.encode import Datapath, Message
    from flowlane.southbound.openflow.inquiries import Answer


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
    yield Reading(PINS, questions.pins_request(datapath), pin_counters, by_part=True)
    yield Reading("counters of queues", questions.queue_stats_request(datapath), decode.queue_counters)
    if capabilities.max_meters:
        yield Reading("counters of meters", questions.meter_stats_request(datapath), decode.meter_counters)


def pin_counters(dpid: int, parts: Iterable[Any]) -> FlowCounters:
    """Counters of pins: their cookie is all that has to be known of them."""
    return FlowCounters(dpid, tuple(chain.from_iterable(map(_pins_in, parts))))


def _pins_in(part: Any) -> tuple[tuple[int, int, int, int, float], ...]:
    found = flow_stats.entries(part)
    if found is None:
        return decode.flow_counters(0, (part,)).counters
    try:
        return tuple(
            (raw.cookie & 0xFFFFFFFF, raw.cookie >> 32 & 0xFFF, raw.packets, raw.octets, raw.seconds)
            for raw in found
            if raw.cookie & cookies.KIND_MASK == _PIN
        )
    except ValueError:
        return decode.flow_counters(0, (part,)).counters


def learned_counters(dpid: int, parts: Iterable[Any]) -> KeyCounters:
    """Counters of the entries that the device learned itself."""
    return KeyCounters(dpid, readback.learned(parts))


def takers(
    reading: Reading, dpid: int, tell: Callable[[Event], None]
) -> tuple[Callable[[Answer], None], Callable[[Any], None] | None]:
    """(What is done with the whole answer, what with each part as it comes); a refusal tells nothing."""
    if reading.by_part:
        return (lambda _answer: None), (lambda part: tell(reading.read(dpid, (part,))))
    return (lambda answer: None if answer.refused else tell(reading.read(dpid, answer.parts))), None
