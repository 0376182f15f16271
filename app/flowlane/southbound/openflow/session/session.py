"""One connection to a device: the engine's effects become messages, the device's messages become events.

Messages are queued in the :class:`~flowlane.southbound.openflow.session.outbox.Outbox`, so nothing here
blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from flowlane import hub
from flowlane.core.events import PlanLeftOut, PortChanged, PortRemoved, QueuesReported
from flowlane.core.model import Capabilities
from flowlane.core.topology.discovery import HOLD
from flowlane.southbound.openflow.osken import coalescing
from flowlane.southbound.openflow.session import arrangement, decode, encode, handshake, packing, requests
from flowlane.southbound.openflow.session.changes import ChangeSender, log_refusal
from flowlane.southbound.openflow.session.counters import CounterReader
from flowlane.southbound.openflow.session.liveness import Liveness
from flowlane.southbound.openflow.session.programming import Programming
from flowlane.southbound.openflow.session.queues import POLL_ALONE, QUEUE_POLL, QUEUE_REREADS, QueueReader
from flowlane.southbound.openflow.session.requests import PendingRequests, Reply
from flowlane.southbound.openflow.session.templates import Templates
from flowlane.southbound.openflow.session.verification import Verifier
from flowlane.southbound.openflow.session.watch import StartTableWatch, has_entries, rebased
from flowlane.southbound.openflow.tables import layout, pins
from flowlane.southbound.openflow.tables.desired import is_meter_mark
from flowlane.southbound.openflow.tables.entries import (
    BARRIER,
    Change,
    Entry,
    FlowEntry,
    Op,
    Output,
)
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.tables.room import TABLE_FULL
from flowlane.southbound.openflow.tables.standing import learns_itself
from flowlane.southbound.openflow.wire import flow_monitor, lldp
from flowlane.southbound.openflow.wire.constants import CONTROLLER_PORT
from flowlane.telemetry import DeviceTraffic

if TYPE_CHECKING:
    from flowlane.core.effects import (
        BeginGroup,
        DeleteLearned,
        DeleteMeter,
        DevicePlan,
        PinFlow,
        ProbeLinks,
        ReadCounters,
        SendPacket,
        SetMeter,
        UnpinFlow,
    )
    from flowlane.core.events import Event
    from flowlane.core.model import LeftOut, PortReport
    from flowlane.southbound.openflow.session.arrangement import Arrangement

_LOG = logging.getLogger(__name__)

REPLY_TIMEOUT = 5.0
"""Seconds that a device has for a reply."""

NO_SUCH_TABLE = "OFPFMFC_BAD_TABLE_ID"


class Session:
    """One device's connection, from the end of os-ken's own handshake on.

    Args:
        datapath: os-ken's connection.
        emit: takes events; may call the session from within.
        clock: gives seconds.
        may_learn: False to use the device as one without the learn action.
        start_table: the number of the table in which packets enter the pipeline.
        traffic: counts what is exchanged with the device.
        is_accompanied: whether other apps may send requests, too.
    """

    def __init__(
        self,
        datapath: Any,
        emit: Callable[[Event], None],
        clock: Callable[[], float],
        may_learn: bool = True,
        start_table: int = 0,
        traffic: DeviceTraffic | None = None,
        is_accompanied: bool = False,
    ) -> None:
        self.datapath = datapath
        self._is_accompanied = is_accompanied
        self.traffic = DeviceTraffic() if traffic is None else traffic
        self.dpid: int = datapath.id
        self.peer = "{}:{}".format(*datapath.address[:2])
        self.ports: dict[int, PortReport] = {}
        self.queues: dict[int, tuple[int, ...]] = {}
        self.up = self.was_up = False
        """Whether the handshake has ended, and the connection has not; whether the handshake has ended at all."""
        self.layout = layout.probing(start_table)
        """The numbers of tables on the device; until the handshake has ended, those of the probes."""
        self.unusable = self.closed_because = ""
        """Why the device is left alone, and why its connection was closed here; '': it is not, it was not."""
        self._may_learn, self._start_table = may_learn, start_table
        self._emit, self._clock = emit, clock
        self._changes = ChangeSender(datapath, lambda: self.layout, self.close, self.traffic)
        self.pending = PendingRequests(self.close)
        self._replies: dict[str, Reply] = {}
        """Replies of the handshake so far, by name of the request."""
        self._refused_probes: dict[Change, str] = {}
        self._refused_tables: set[int] = set()
        self._tried_tables: set[int] = set()
        self._stale_tables: frozenset[int] = frozenset()
        """Tables with learned entries of an earlier layout, to delete when the device has its plan."""
        self._programming: Programming
        self._queue_reader = QueueReader(datapath, self._request)
        self._counters = CounterReader(datapath, self._request, emit, clock)
        self._watch = StartTableWatch(
            datapath,
            self._request,
            emit,
            lambda: self.layout,
            lambda: self.ports,
            self._rebase,
            lambda: self.is_idle() and has_entries(self._programming.present.flows),
            lambda: self.close("somebody has deleted all entries; it is programmed anew"),
        )
        self._verifier = Verifier(self, self._request, clock, emit, self._changes.change, self._watch.read)
        self._reported_left_out: tuple[LeftOut, ...] = ()
        self.liveness = Liveness(datapath.socket, clock())
        self.idle_until, self._sent = 0.0, 0
        """Until when ticks have nothing to do, and the messages that had been sent when that was found."""
        self._queues_asked = 0.0
        self._queue_times: list[float] = []
        """When queues are to be requested, the earliest first."""

    # ---- the handshake

    def start_handshake(self) -> None:
        """Send the requests and probes of the handshake; :class:`DeviceUp` is emitted after the last reply."""
        self._request("config", packing.request(self.datapath, requests.config_request), self._take_config)
        for name, make_request in handshake.REQUESTS.items():
            self._request(name, packing.request(self.datapath, make_request), partial(self._take_reply, name))
        for probe in handshake.PROBES:
            self._changes.send_one(probe)
        self._request("probes", self._changes.barrier(), partial(self._take_reply, "probes"))
        self._changes.change([*handshake.PROBE_REMOVALS, BARRIER])

    def _take_config(self, reply: Reply) -> None:
        for config in reply.parts:
            self.send(encode.accept_copies(self.datapath, config.flags))

    def _take_reply(self, name: str, reply: Reply) -> None:
        self._replies[name] = reply
        if len(self._replies) == len(handshake.REQUESTS) + 1:
            self._read_queues_of_each_port()

    def _read_queues_of_each_port(self) -> None:
        """Go on with the handshake; first request the queues port by port, where that of all ports was refused."""
        if not self._queue_reader.is_refusal(self._replies["queues"]):
            self._arrange()
            return

        def take(reply: Reply) -> None:
            self._replies["queues"] = reply
            self._arrange()

        ports = decode.ports(self._replies["ports"].parts)
        self._queue_reader.read_each([port.port_no for port in ports], take)

    def _arrange(self) -> None:
        """Choose the layout; a device that does not describe its tables is tried for those that it would use."""
        replies = self._replies
        arranged = handshake.arrange(
            self.datapath.ofproto.OFP_VERSION,
            replies,
            self._refused_probes,
            self._start_table,
            self._refused_tables,
            self._may_learn,
            hub.TimeSlice().check,
        )
        if self._replies is not replies:  # The connection has ended meanwhile.
            return
        untried = set(arranged.layout.numbers.values()) - self._tried_tables
        is_known = self._replies["table features"].parts or self._replies["probes"].error
        if arranged.unusable or is_known or not untried:
            self._finish_handshake(arranged)
            return
        self._tried_tables |= untried
        probes = arrangement.table_probes(arranged.layout)
        self._changes.send_at_once(probes)
        self._request("tables", self._changes.barrier(), lambda _reply: self._arrange())
        self._changes.change([*(Change(Op.DELETE, probe.entry) for probe in probes), BARRIER])

    def _finish_handshake(self, arranged: Arrangement) -> None:
        version, replies = self.datapath.ofproto.OFP_VERSION, self._replies
        self.layout, self.unusable = arranged.layout, arranged.unusable
        pace = hub.TimeSlice().check
        result = handshake.evaluate(
            self.dpid, version, self.peer, replies, self._refused_probes, arranged, pace
        )
        requests.free(replies, pace)
        if self._replies is not replies:  # The connection has ended meanwhile.
            return
        for name, error in result.errors.items():
            _LOG.debug("device %016x: no reply to the request for %s: %s", self.dpid, name, error)
        up = result.up
        self.programming = self._programming = Programming(
            up.capabilities,
            result.present,
            dict(result.pin_meters),
            lacks=arranged.left_out,
            folds=TableId.OUTPUT not in arranged.layout.numbers,
            foreign_groups=set(result.foreign_groups),
            found_meters=dict(result.meters),
            learned_group=up.group,
            groups=result.groups,
            marked_meters=set(result.marked_meters),
        )
        self._changes.templates = Templates(
            self.datapath, self.layout, learns=up.capabilities.learn, normal=up.capabilities.normal
        )
        self._stale_tables = result.stale
        self._watch.begin(arranged)
        self.ports = {port.port_no: port for port in up.ports}
        self.queues = dict(up.queues)
        self._queues_asked = self._clock()
        self._queue_times = [self._clock() + QUEUE_POLL]
        self.up = self.was_up = True
        self._emit(up)
        if not self.unusable:
            self._verifier.begin()

    # ---- effects of the engine

    def program(self, plan: DevicePlan) -> None:
        """Bring the device's standing entries to the plan, by the differences only."""
        learns = learns_itself(plan, self._programming.capabilities)
        self.datapath.socket.pause = coalescing.PAUSE if learns else 0.0
        self._changes.change(self._programming.program(plan, self._queues_by_port()))
        self._report_left_out()

    def _report_left_out(self) -> None:
        if (left_out := self._programming.all_left_out) != self._reported_left_out:
            self._reported_left_out = left_out
            self._emit(PlanLeftOut(self.dpid, left_out))

    def _queues_by_port(self) -> dict[int, tuple[int, ...]]:
        return {port_no: self.queues.get(port_no, ()) for port_no in self.ports}

    def pin(self, effect: PinFlow) -> None:
        """Send a flow's pin, without ``set_queue`` when the port does not have that queue."""
        if effect.queue_id not in self.queues.get(effect.egress_port, ()):
            effect = pins.with_queue_of(effect, self.queues.get(effect.egress_port, ()))
        if self._programming.folds or not self._changes.send_pin(effect):
            change = pins.change(effect, self._programming.capabilities.learn)
            self._changes.change(self._programming.pin(change))

    def unpin(self, effect: UnpinFlow) -> None:
        """Delete a flow's pin."""
        if not self._changes.send_pin(effect):
            self._changes.change([pins.change(effect, self._programming.capabilities.learn)])

    def set_meter(self, effect: SetMeter) -> None:
        """Add or modify a meter of pins."""
        self._changes.change(self._programming.set_meter(effect.meter))

    def delete_meter(self, effect: DeleteMeter) -> None:
        """Delete a meter of pins."""
        self._changes.change(self._programming.delete_meter(effect.meter_id))

    def read_counters(self, effect: ReadCounters) -> None:
        """Request counters; with those of queues and meters also the queues, since that is sent and read together."""
        now = self._clock()
        if effect.others and self._queue_times and now - self._queues_asked >= QUEUE_POLL - 2.5:
            self._poll_queues(now)
        if self.up:  # To send may have ended it.
            self._counters.read(effect, self.layout, self._programming.capabilities)
        if effect.whole_pins:
            self._changes.postpone(partial(self._read_pins, effect.whole_pins))

    def _read_pins(self, number: int) -> None:
        """Request all pins for the audit, behind those that wait to be sent."""
        if self.up:
            self._counters.read_pins(number, self.layout)

    def begin_group(self, effect: BeginGroup) -> None:
        """Have the device put what it learns from now on in another group."""
        self._changes.change(self._programming.begin_group(effect.group, effect.others))

    def delete_learned(self, effect: DeleteLearned) -> None:
        """Delete the learned entries of a port: the standing rules then place its flows anew."""

        def delete() -> None:
            table_id = self.layout.number_of(TableId.SEEN)
            self.send(encode.delete_learned(self.datapath, effect.egress_port, effect.in_port, table_id))

        self._changes.postpone(delete)

    def send_packet(self, effect: SendPacket) -> None:
        """Send a packet-out for a packet that came to the controller (reactive mode)."""
        self._changes.send_packet(effect)

    def probe_links(self, effect: ProbeLinks, key: bytes) -> None:
        """Send a probe by each of some ports."""
        for port_no in effect.ports:
            frame = lldp.frame(self.dpid, port_no, key, int(HOLD))
            self.send(encode.packet_out(self.datapath, CONTROLLER_PORT, frame, [Output(port_no)]))

    def read_queues(self) -> None:
        """Request the queues now, and again when the switch has had time to follow its database."""
        self._request_queues()
        now = self._clock()
        self._queue_times = [*(now + seconds for seconds in QUEUE_REREADS), now + QUEUE_POLL]

    def _poll_queues(self, now: float) -> None:
        self._request_queues()
        rereads = [time for time in self._queue_times[:-1] if time > now]
        self._queue_times = [*rereads, now + POLL_ALONE]

    def _request_queues(self) -> None:
        self._queues_asked = self._clock()
        self._queue_reader.read(self.ports, self._take_queues)
        self._watch.read()

    def _rebase(self, base: int) -> None:
        """Give our entries in the start table other priorities; the new ones are there before the old ones go."""
        if self._changes.has_backlog:
            return
        old, self.layout = self.layout, replace(self.layout, base=base)
        self._changes.change(rebased(self._programming.present.flows, old))

    def is_idle(self) -> bool:
        """Whether the device has all that it was to get, as far as is known."""
        return self.up and not self._changes.has_backlog and self._programming.is_idle

    def _take_queues(self, reply: Reply) -> None:
        queues = decode.queues(reply.parts)
        if not reply.error and queues != self.queues:
            self.queues = queues
            self._emit(QueuesReported(self.dpid, queues))

    # ---- messages of the device

    def note_alive(self) -> None:
        """Note the time of the device's last message, of whatever kind."""
        self.liveness.last_message = self._clock()
        self.idle_until = 0.0

    def reply(self, message: Any) -> None:
        """Take a reply or a part of one, also one that another os-ken app has requested, or nobody."""
        ofproto = self.datapath.ofproto
        multipart = message.msg_type == ofproto.OFPT_MULTIPART_REPLY  # To look for a body is to parse it.
        more = multipart and bool(message.flags & ofproto.OFPMPF_REPLY_MORE)
        decode.read_early(message)
        if multipart and not self.up:
            arrangement.read_early(message, may_pause=not self._is_accompanied)
        if self.pending.take_part(message.xid, message, more=more):
            return
        if flow_monitor.is_reply(message):
            self._verifier.take(message)
        elif not self._is_accompanied:
            self.pending.note_unasked(message.msg_len, self._clock())

    def barrier_reply(self, message: Any) -> None:
        """Confirm all changes that were sent before the barrier."""
        self._changes.confirm(message.xid)
        self.pending.take_part(message.xid, message)

    def error(self, message: Any) -> None:
        """Find the change or request that an error is about, by its transaction id, and handle the refusal."""
        error = decode.error_name(message, self.datapath.ofproto)
        if (change := self._changes.pop_refused(message.xid)) is not None:
            self._handle_refusal(change, error)
        elif not self.pending.fail(message.xid, error):
            _LOG.debug("device %016x: error %s to message %d of another app", self.dpid, error, message.xid)

    def port_status(self, message: Any) -> None:
        """Take the report that a port was added, modified or deleted."""
        report = decode.port_report(message.desc)
        if report is None or not self.up:
            return
        if message.reason == self.datapath.ofproto.OFPPR_DELETE:
            self.ports.pop(report.port_no, None)
            self.queues.pop(report.port_no, None)
            self._emit(PortRemoved(self.dpid, report.port_no))
        else:
            self.ports[report.port_no] = report
            self._emit(PortChanged(self.dpid, report))

    def _note_refused_probe(self, change: Change, error: str) -> None:
        if change in handshake.PROBES:
            self._refused_probes[change] = error
        elif isinstance(change.entry, FlowEntry) and error != TABLE_FULL:
            number = self.layout.number_of(change.entry.table_id)
            missing = range(number, 0x100) if error == NO_SUCH_TABLE else (number,)
            self._refused_tables.update(missing)

    def _handle_refusal(self, change: Change, error: str) -> None:
        if not self.up:
            if change.op is Op.ADD:
                self._note_refused_probe(change, error)
        elif change.entry is None:
            pass
        elif change.op is Op.ADD and is_meter_mark(change.entry):
            self._programming.note_unmarked(change.entry)
        elif change.op is Op.DELETE:
            self._programming.note_undeleted(change.entry, error)
        else:
            self._refused(change, change.entry, error)

    def _refused(self, change: Change, entry: Entry, error: str) -> None:
        fallback = self._programming.fallback(change, error)
        if fallback:
            self._changes.change(fallback)
            return
        log_refusal(self.dpid, change, entry, error)
        self._programming.note_refusal(entry, error, stands=change.op is Op.MODIFY)
        if (event := decode.rule_refused(self.dpid, change, error)) is not None:
            self._emit(event)

    # ---- time, sending, the end

    def tick(self, now: float) -> None:
        """Do what is due; called about once a second."""
        if (
            now < self.idle_until
            and self._sent == self._changes.count
            and not self.datapath.socket.is_stalled
        ):
            return
        self.pending.expire(now, lambda: self.datapath.socket.has_unread)
        if self.up and not self._programming.is_settled:
            self._changes.change(self._programming.settle(self._queues_by_port()))
            self._changes.change(self._programming.mark_meters())
            self._report_left_out()
        if self._stale_tables:
            self._delete_stale()
        if self._changes.lacks_barrier:
            self._changes.change([BARRIER])
        if self.up and not self.unusable:
            self._verifier.tick(now)
            if self._queue_times and self._queue_times[0] <= now:
                self._poll_queues(now)
        if fault := self.liveness.fault(now):
            self.close(fault)
        elif self.liveness.is_echo_due(now):
            self.send(packing.request(self.datapath, encode.echo_request))
        self._sent, self.idle_until = self._changes.count, self._next_tick(now)

    def _next_tick(self, now: float) -> float:
        """Return when a tick has something to do, unless something is sent or comes before."""
        waits = self.pending or self._stale_tables or self._changes.has_backlog or self._changes.lacks_barrier
        if waits or not self.up or self.unusable or not self._programming.is_settled:
            return now
        return min(self._verifier.next_reading(), self.liveness.looks_at(now), *self._queue_times[:1])

    def _delete_stale(self) -> None:
        if self._programming.is_programmed and not self._changes.has_backlog:
            for table_id in self._stale_tables:
                self.send(encode.delete_all_learned(self.datapath, table_id))
            self._stale_tables = frozenset()

    def close(self, reason: str) -> None:
        """End the connection, in a task of its own: os-ken notifies all apps of it, which may block."""
        self.closed_because = reason
        self.stop()
        hub.spawn(self.datapath.close)

    def stop(self) -> None:
        """Send nothing more: the connection has ended. Drop what was known of the device, and what refers back here."""
        self.up = False
        self._changes.stop()
        self.pending = PendingRequests()
        self._stale_tables, self._replies = frozenset(), {}
        self._programming = Programming(Capabilities())
        vars(self).update(_watch=None, _queue_reader=None, _counters=None, _verifier=None)

    def _request(
        self,
        name: str,
        message: Any,
        done: Callable[[Reply], None],
        on_part: Callable[[Any], None] | None = None,
        known: Callable[[bytes], bool] | None = None,
    ) -> None:
        patient, deadline = not self.up, self._clock() + REPLY_TIMEOUT
        self.pending.add(self.send(message), name, deadline, done, on_part, patient, known)

    def send(self, message: Any) -> int:
        """Send an os-ken message, or one as bytes, with the next transaction id; return that."""
        return self._changes.send(message)
