"""Which counters a device is asked for, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core.events import KeyCounters
from flowlane.southbound.openflow import decode, questions, readback

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


PINS = "counters of pins"
"""The first reading; while its answer is on its way nothing is asked again."""


def readings(datapath: Datapath, capabilities: Capabilities) -> Iterator[Reading]:
    """The readings of a device, by what it has."""
    yield Reading(PINS, questions.pins_request(datapath), decode.flow_counters, by_part=True)
    if capabilities.learn:
        yield Reading("learned flows", questions.learned_request(datapath), learned_counters, by_part=True)
    yield Reading("counters of queues", questions.queue_stats_request(datapath), decode.queue_counters)
    if capabilities.max_meters:
        yield Reading("counters of meters", questions.meter_stats_request(datapath), decode.meter_counters)


def learned_counters(dpid: int, parts: Iterable[Any]) -> KeyCounters:
    """Counters of the entries that the device learned itself."""
    return KeyCounters(dpid, readback.learned(parts))


Take = Callable[[Iterable[Any]], None]
"""What is done with an answer's parts."""


def takers(reading: Reading, take: Take) -> tuple[Callable[[Answer], None], Callable[[Any], None] | None]:
    """(What is done with the whole answer, what with each part as it comes); a refusal tells nothing."""
    if reading.by_part:
        return (lambda _answer: None), (lambda part: take([part]))
    return (lambda answer: None if answer.refused else take(answer.parts)), None
