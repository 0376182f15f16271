"""Requests to a device as os-ken messages, and the requests whose replies are pending.

A reply may come in many parts (a multipart reply), may be an error, or may never come. This module has no
clock and no connection: time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowlane.southbound.openflow.session.encode import Datapath, Message
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.constants import OPENFLOW_14, OPENFLOW_15

MAX_SIZE = 32 << 20
"""Bytes that the parts of one device's replies may take in memory until they are whole; see :func:`size_of`."""

PARSED = 12
"""How many times as much memory as its bytes a part takes that os-ken has parsed: 64 bytes of a port become 0.8 kB."""

PATIENCE, QUIET = 20.0, 3.0
"""Seconds by which a reply of the handshake may be late while others come, the last of them so long ago at most.

Where hundreds of switches connect at once, replies wait in the controller's sockets. A switch whose reply is not waited
for is used without what it would have shown, for as long as it is connected.
"""

MOST_PATIENCE = 300.0
"""Seconds by which any reply may be late while bytes of the device wait to be read, among which it may be.

Where very many flows begin, all switches together send more than the controller reads for minutes. Counters that are
given up each time would leave their flows unread.
"""

NO_REPLY = "no reply"
TOO_LONG = f"sends a reply that takes more than {MAX_SIZE >> 20} MB"


class Reply(NamedTuple):
    """The parts of a reply in order, or why there are none: ``error`` is then not empty, or ``is_known`` is set."""

    parts: tuple[Any, ...] = ()
    error: str = ""
    is_known: bool = False


def free(replies: dict[str, Reply], pace: Callable[[], None]) -> None:
    """Empty replies that were read, part by part, since to free 50,000 entries takes some 30 ms.

    Args:
        pace: called after each part (see :mod:`flowlane.core.pacing`).
    """
    parts = [part for reply in replies.values() for part in reply.parts]
    replies.clear()
    while parts:
        parts.pop()
        pace()


MAX_UNASKED, UNASKED_WITHIN = 64 << 20, 60.0
"""Bytes of replies that nobody requested within so many seconds, above which the connection is closed."""

UNASKED = f"sends replies that nobody requested, more than {MAX_UNASKED >> 20} MB within {UNASKED_WITHIN:g} s"

Done = Callable[[Reply], None]


@dataclass(slots=True)
class _Request:
    name: str
    deadline: float
    done: Done
    on_part: Callable[[Any], None] | None
    patient: bool
    known: Callable[[bytes], bool] | None
    parts: list[Any] = field(default_factory=list)
    size: int = 0


def size_of(part: Any) -> int:
    """Return about how many bytes a part of a reply takes in memory."""
    data = getattr(part, "buf", b"")
    is_parsed = not {"body", "queues"}.isdisjoint(getattr(part, "__dict__", ()))
    return len(data) * (PARSED if is_parsed else 1) if isinstance(data, bytes | bytearray) else 0


class PendingRequests:
    """The requests to one device whose replies have not ended, by transaction id.

    Args:
        on_overrun: called with the reason when replies take more memory than they may (:data:`MAX_SIZE`), whose request
            has ended then, and when too many bytes come that nobody requested.
    """

    def __init__(self, on_overrun: Callable[[str], object] = str) -> None:
        self._on_overrun = on_overrun
        self._size = 0
        """Bytes that the parts take which have come."""
        self._unasked, self._unasked_since = 0, float("-inf")
        """Bytes of parts that nobody requested, and since when they are counted."""
        self._pending: dict[int, _Request] = {}
        self._has_replied = False
        self._replied_at = float("-inf")
        """When a reply had come, or bytes were unread, at the last call of :meth:`expire` that found that."""

    def __bool__(self) -> bool:
        """Return whether any request waits for its reply."""
        return bool(self._pending)

    def is_pending(self, name: str) -> bool:
        """Return whether a request of this name waits for its reply."""
        return any(request.name == name for request in self._pending.values())

    def add(
        self,
        xid: int,
        name: str,
        deadline: float,
        done: Done,
        on_part: Callable[[Any], None] | None = None,
        patient: bool = False,
        known: Callable[[bytes], bool] | None = None,
    ) -> None:
        """Add a request that was sent.

        Args:
            done: called once, with the reply.
            on_part: called with every part as it comes; the parts are then not stored for ``done``.
            patient: whether it is waited for beyond the deadline while other replies come.
            known: whether the bytes of a reply are known, so that it needs no parts.
        """
        self._pending[xid] = _Request(name, deadline, done, on_part, patient, known)

    def take_known(self, data: bytes) -> bool:
        """Take a whole reply by its bytes, which are not checked yet; return whether it is a known one."""
        request = self._pending.get(int.from_bytes(data[4:8]))
        if request is None or request.known is None or request.parts or not request.known(data):
            return False
        self._has_replied = True
        self._end(int.from_bytes(data[4:8]), Reply(is_known=True))
        return True

    def take_part(self, xid: int, message: Any, *, more: bool = False) -> bool:
        """Take a part of a reply; return False when no request has this transaction id.

        Args:
            more: whether other parts follow.
        """
        request = self._pending.get(xid)
        if request is None:
            return False
        self._has_replied = True
        if request.on_part is None:
            request.parts.append(message)
            size = size_of(message)
            request.size += size
            self._size += size
        else:
            request.on_part(message)
        if self._size > MAX_SIZE:
            self._end(xid, Reply(error=TOO_LONG))
            self._on_overrun(TOO_LONG)
        elif not more:
            self._end(xid, Reply(tuple(request.parts)))
        return True

    def note_unasked(self, size: int, now: float) -> None:
        """Note a part of so many bytes that belongs to no request.

        Some may come without a fault: the rest of a reply that was given up.
        """
        if now - self._unasked_since > UNASKED_WITHIN:
            self._unasked, self._unasked_since = 0, now
        self._unasked += size
        if self._unasked > MAX_UNASKED:
            self._on_overrun(UNASKED)

    def fail(self, xid: int, error: str) -> bool:
        """End a request by an error; return False when no request has this transaction id."""
        if xid not in self._pending:
            return False
        self._end(xid, Reply(error=error))
        return True

    def expire(self, now: float, has_unread: Callable[[], bool] = bool) -> None:
        """End every request whose deadline has passed; to be called about once a second.

        Args:
            has_unread: returns whether bytes of the device wait to be read, among which a reply may be.
        """
        if self._has_replied:
            self._has_replied, self._replied_at = False, now
        if not self._pending:
            return
        late = [(xid, request) for xid, request in self._pending.items() if request.deadline <= now]
        if not late:
            return
        is_unread = has_unread()
        if is_unread:
            self._replied_at = now
        is_quiet = now - self._replied_at >= QUIET
        for xid, request in late:
            patience = PATIENCE if request.patient and not is_quiet else 0.0
            if request.deadline + (MOST_PATIENCE if is_unread else patience) <= now:
                self._end(xid, Reply(error=NO_REPLY))

    def _end(self, xid: int, reply: Reply) -> None:
        request = self._pending.pop(xid)
        self._size -= request.size
        request.done(reply)


def ports_request(datapath: Datapath) -> Message:
    """Request the device's ports."""
    return datapath.ofproto_parser.OFPPortDescStatsRequest(datapath, 0)


def queues_request(datapath: Datapath, port_no: int | None = None) -> Message:
    """Request the queues of a port, or of all ports: queue-get-config in 1.3, the queue-desc multipart since 1.4."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    port = ofproto.OFPP_ANY if port_no is None else port_no
    if ofproto.OFP_VERSION < OPENFLOW_14:
        return parser.OFPQueueGetConfigRequest(datapath, port)
    return parser.OFPQueueDescStatsRequest(datapath, 0, port, ofproto.OFPQ_ALL)


def flows_request(
    datapath: Datapath,
    cookie: int = 0,
    mask: int = 0,
    table_id: int | None = None,
    match: Message = None,
) -> Message:
    """Request entries and their counters, by cookie and mask; by default all, of whatever controller.

    In 1.5 this is flow-desc: its flow-stats has no cookies.
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
        match,
    )


def flow_monitor(datapath: Datapath, table_id: int) -> Message:
    """Request a message whenever somebody else adds, modifies or removes an entry of a table, from now on.

    Own changes come abbreviated. The monitor's id is that of its table. OpenFlow 1.3 has none (7.3.5.17 of 1.4.1).
    """
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    flags = ofproto.OFPFMF_ADD | ofproto.OFPFMF_REMOVED | ofproto.OFPFMF_MODIFY
    return parser.OFPFlowMonitorRequest(datapath, 0, table_id, monitor_flags=flags, table_id=table_id)


def pins_request(datapath: Datapath, table_id: int = TableId.ASSIGN) -> Message:
    """Request the pins and their counters.

    Args:
        table_id: the number of table assign on the device; in all tables, a switch would look at all entries.
    """
    return flows_request(datapath, *cookies.of_kind(cookies.Kind.PIN), table_id)


def pin_request(datapath: Datapath, table_id: int = TableId.ASSIGN) -> Message:
    """Request one pin and its counters, by its whole cookie; here that of row 0.

    Args:
        table_id: the number of table assign on the device.
    """
    return flows_request(datapath, cookies.pack(cookies.Kind.PIN), cookies.FULL_MASK, table_id)


def learned_request(datapath: Datapath, group: int = 0, table_id: int = TableId.SEEN) -> Message:
    """Request the learned entries of a group and their counters.

    Args:
        table_id: the number of table seen on the device.
    """
    return flows_request(datapath, cookies.learned(group), cookies.FULL_MASK, table_id)


def groups_counted_request(datapath: Datapath, table_id: int = TableId.LEARN) -> Message:
    """Request the entries that count groups of learned entries.

    Args:
        table_id: the number of table learn on the device.
    """
    return flows_request(datapath, *cookies.of_kind(cookies.Kind.GROUP), table_id)


def queue_stats_request(datapath: Datapath) -> Message:
    """Request the transmit counters of all queues."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    return parser.OFPQueueStatsRequest(datapath, 0, ofproto.OFPP_ANY, ofproto.OFPQ_ALL)


def meter_stats_request(datapath: Datapath) -> Message:
    """Request the counters of all meters."""
    return datapath.ofproto_parser.OFPMeterStatsRequest(datapath, 0, datapath.ofproto.OFPM_ALL)


def meters_request(datapath: Datapath) -> Message:
    """Request the configuration of all meters: meter-config, which 1.5 calls meter-desc."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    old = ofproto.OFP_VERSION < OPENFLOW_15
    request = parser.OFPMeterConfigStatsRequest if old else parser.OFPMeterDescStatsRequest
    return request(datapath, 0, ofproto.OFPM_ALL)


def groups_request(datapath: Datapath) -> Message:
    """Request the buckets of all groups."""
    return datapath.ofproto_parser.OFPGroupDescStatsRequest(datapath, 0)


def meter_features_request(datapath: Datapath) -> Message:
    """Request what meters the device can have."""
    return datapath.ofproto_parser.OFPMeterFeaturesStatsRequest(datapath, 0)


def group_features_request(datapath: Datapath) -> Message:
    """Request what groups the device can have."""
    return datapath.ofproto_parser.OFPGroupFeaturesStatsRequest(datapath, 0)


def table_features_request(datapath: Datapath) -> Message:
    """Request which tables the device has, and their sizes."""
    return datapath.ofproto_parser.OFPTableFeaturesStatsRequest(datapath, 0, [])


def config_request(datapath: Datapath) -> Message:
    """Request the device's configuration: how it treats fragments, which all controllers share."""
    return datapath.ofproto_parser.OFPGetConfigRequest(datapath)


def description_request(datapath: Datapath) -> Message:
    """Request the device's manufacturer, hardware and software."""
    return datapath.ofproto_parser.OFPDescStatsRequest(datapath, 0)
