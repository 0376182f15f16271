"""What a device is asked, as os-ken messages for OpenFlow 1.3, 1.4 and 1.5.

Questions to a device that wait for their answer: matched by transaction id, each with a time limit.

An answer may come in many parts (multipart replies), may be an error, or may never come. No clock and no
connection here: the time is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowlane.southbound.openflow.session.encode import Datapath, Message
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.constants import OPENFLOW_14, OPENFLOW_15

MAX_PARTS = 4096
"""Parts of one answer: 64 KiB each at most, so that an endless answer is given up and not kept."""

NO_ANSWER = "no answer"
TOO_LONG = "an answer without end"


class Answer(NamedTuple):
    """What came of a question: the messages of the reply in order, or why there is none (``refused``)."""

    parts: tuple[Any, ...] = ()
    refused: str = ""


Done = Callable[[Answer], None]


@dataclass(slots=True)
class _Inquiry:
    name: str
    deadline: float
    done: Done
    each: Callable[[Any], None] | None
    parts: list[Any] = field(default_factory=list)


class Inquiries:
    """The open questions of one device."""

    def __init__(self) -> None:
        self._open: dict[int, _Inquiry] = {}

    def asks(self, name: str) -> bool:
        """Whether a question of this name is open."""
        return any(inquiry.name == name for inquiry in self._open.values())

    def ask(
        self, xid: int, name: str, deadline: float, done: Done, each: Callable[[Any], None] | None = None
    ) -> None:
        """Note a question that was sent; ``done`` is called once, with its answer.

        With ``each``, every part is handed over when it comes and is not kept for ``done``.
        """
        self._open[xid] = _Inquiry(name, deadline, done, each)

    def part(self, xid: int, message: Any, *, more: bool = False) -> bool:
        """Take a part of an answer; ``more`` says that others follow. False when nobody asked."""
        inquiry = self._open.get(xid)
        if inquiry is None:
            return False
        if inquiry.each is None:
            inquiry.parts.append(message)
        else:
            inquiry.each(message)
        if len(inquiry.parts) > MAX_PARTS:
            self._close(xid, Answer(refused=TOO_LONG))
        elif not more:
            self._close(xid, Answer(tuple(inquiry.parts)))
        return True

    def refuse(self, xid: int, why: str) -> bool:
        """Take an error for an answer. False when nobody asked."""
        if xid not in self._open:
            return False
        self._close(xid, Answer(refused=why))
        return True

    def expire(self, now: float) -> None:
        """Give up what should have been answered by now."""
        for xid in [xid for xid, inquiry in self._open.items() if inquiry.deadline <= now]:
            self._close(xid, Answer(refused=NO_ANSWER))

    def _close(self, xid: int, answer: Answer) -> None:
        self._open.pop(xid).done(answer)


_VM_BITS = 32
"""Where the number of the sending VM begins in the metadata (see :mod:`.pipeline`)."""


def ports_request(datapath: Datapath) -> Message:
    """Which ports the device has."""
    return datapath.ofproto_parser.OFPPortDescStatsRequest(datapath, 0)


def queues_request(datapath: Datapath) -> Message:
    """Which queues all ports have: queue-get-config in 1.3, the queue-desc multipart since 1.4."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    if ofproto.OFP_VERSION < OPENFLOW_14:
        return parser.OFPQueueGetConfigRequest(datapath, ofproto.OFPP_ANY)
    return parser.OFPQueueDescStatsRequest(datapath, 0, ofproto.OFPP_ANY, ofproto.OFPQ_ALL)


def flows_request(
    datapath: Datapath,
    cookie: int = cookies.OWNER << 48,
    mask: int = cookies.OWNER_MASK,
    table_id: int | None = None,
    wanted: Message = None,
) -> Message:
    """Entries and their counters, by cookie and mask; by default all of ours, in all tables, with any match.

    In 1.5 this is flow-desc: its flow-stats leaves out the cookies.
    """
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    request = (
        parser.OFPFlowStatsRequest if ofproto.OFP_VERSION < OPENFLOW_15 else parser.OFPFlowDescStatsRequest
    )
    return request(
        datapath,
        0,
        ofproto.OFPTT_ALL if table_id is None else table_id,
        ofproto.OFPP_ANY,
        ofproto.OFPG_ANY,
        cookie,
        mask,
        wanted,
    )


def pins_request(datapath: Datapath) -> Message:
    """The pins and their counters."""
    return flows_request(datapath, *cookies.of_kind(cookies.Kind.PIN))


def learned_request(datapath: Datapath, part: int = 0, bits: int = 0) -> Message:
    """The entries that the device learned, and their counters.

    With ``bits`` those of VMs whose numbers end in that many bits of ``part``.
    """
    place = (part << _VM_BITS, (1 << bits) - 1 << _VM_BITS)
    wanted = datapath.ofproto_parser.OFPMatch(metadata=place) if bits else None
    return flows_request(datapath, *cookies.of_kind(cookies.Kind.LEARNED), TableId.SEEN, wanted)


def queue_stats_request(datapath: Datapath) -> Message:
    """Transmit counters of all queues."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    return parser.OFPQueueStatsRequest(datapath, 0, ofproto.OFPP_ANY, ofproto.OFPQ_ALL)


def meter_stats_request(datapath: Datapath) -> Message:
    """Counters of all meters."""
    return datapath.ofproto_parser.OFPMeterStatsRequest(datapath, 0, datapath.ofproto.OFPM_ALL)


def meters_request(datapath: Datapath) -> Message:
    """How all meters are set: meter-config, which 1.5 calls meter-desc."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    old = ofproto.OFP_VERSION < OPENFLOW_15
    request = parser.OFPMeterConfigStatsRequest if old else parser.OFPMeterDescStatsRequest
    return request(datapath, 0, ofproto.OFPM_ALL)


def groups_request(datapath: Datapath) -> Message:
    """How all groups are set."""
    return datapath.ofproto_parser.OFPGroupDescStatsRequest(datapath, 0)


def meter_features_request(datapath: Datapath) -> Message:
    """What meters the device can do."""
    return datapath.ofproto_parser.OFPMeterFeaturesStatsRequest(datapath, 0)


def group_features_request(datapath: Datapath) -> Message:
    """What groups the device can do."""
    return datapath.ofproto_parser.OFPGroupFeaturesStatsRequest(datapath, 0)


def table_features_request(datapath: Datapath) -> Message:
    """What tables the device has."""
    return datapath.ofproto_parser.OFPTableFeaturesStatsRequest(datapath, 0, [])


def description_request(datapath: Datapath) -> Message:
    """Who made the device."""
    return datapath.ofproto_parser.OFPDescStatsRequest(datapath, 0)
