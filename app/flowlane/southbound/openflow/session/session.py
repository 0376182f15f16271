"""One connected device: how the engine's wishes become messages, and its messages facts.

All sending goes through the :class:`~flowlane.southbound.openflow.session.outbox.Outbox`, so nothing here waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from flowlane import hub
from flowlane.core.events import PlanLeftOut, PortChanged, PortRemoved, QueuesReported
from flowlane.core.model import NO_QUEUE
from flowlane.southbound.openflow.osken import coalescing
from flowlane.southbound.openflow.session import decode, encode, handshake, requests
from flowlane.southbound.openflow.session.counters import PINS, Slices, readings, takers
from flowlane.southbound.openflow.session.outbox import BATCH, MAX_UNCONFIRMED, Ledger, Outbox
from flowlane.southbound.openflow.session.programming import Programming
from flowlane.southbound.openflow.session.requests import Answer, Inquiries
from flowlane.southbound.openflow.tables import pins
from flowlane.southbound.openflow.tables.entries import BARRIER, Change, Op, Output, SetQueue, Step
from flowlane.southbound.openflow.tables.standing import learns_itself

if TYPE_CHECKING:
    from flowlane.core.effects import (
        DeleteLearned,
        DeleteMeter,
        DevicePlan,
        PinFlow,
        SendPacket,
        SetMeter,
        UnpinFlow,
    )
    from flowlane.core.events import Event
    from flowlane.core.model import LeftOut, PortReport

_LOG = logging.getLogger(__name__)

ANSWER_TIME = 5.0
"""Seconds that a device has for an answer."""

QUIET, DEAD = 5.0, 15.0
"""Seconds without a message after which a device is asked whether it is there, and after which it is not."""

QUEUE_POLL = 10.0
"""Seconds between two readings of the queues: no OpenFlow version tells when they change."""

SETTLE = (1.0, 3.0)
"""Seconds after which queues are read again when they may be changing: the database is ahead of the switch."""


class Session:
    """One device's connection, from the end of os-ken's handshake on.

    ``emit`` takes facts; it may call back into the session. Times are seconds of ``clock``.
    """

    def __init__(
        self,
        datapath: Any,
        emit: Callable[[Event], None],
        clock: Callable[[], float],
        may_learn: bool = True,
    ) -> None:
        self.datapath = datapath
        self.dpid: int = datapath.id
        self.peer = "{}:{}".format(*datapath.address[:2])
        self.ports: dict[int, PortReport] = {}
        self.queues: dict[int, tuple[int, ...]] = {}
        self.up = False
        self._may_learn = may_learn
        self._emit = emit
        self._clock = clock
        self._outbox = Outbox(datapath.send, lambda: self.close("reads too slowly"))
        self._inquiries = Inquiries()
        self._ledger = Ledger()
        self._answers: dict[str, Answer] = {}
        self._refused_probes: dict[Change, str] = {}
        self._programming: Programming
        self._slices = Slices(datapath, self._ask, hub.spawn_after, emit)
        self._announced: tuple[LeftOut, ...] = ()
        self._heard = self._asked = clock()
        self._queue_times: list[float] = []

    # ---- the handshake

    def greet(self) -> None:
        """Ask the device what it is and has, and try what it can do; :class:`DeviceUp` follows."""
        for name, question in handshake.QUESTIONS.items():
            self._ask(name, question(self.datapath), partial(self._answered, name))
        for probe in handshake.PROBES:
            self._ledger.add(self._send(encode.message(self.datapath, probe)), probe)
        self._ask("probes", encode.barrier(self.datapath), partial(self._answered, "probes"))
        probed = (handshake.MASK_PROBE, handshake.LEARN_PROBE, handshake.TRACK_PROBE)
        self._change([*(Change(Op.DELETE, probe.entry) for probe in probed), BARRIER])

    def _answered(self, name: str, answer: Answer) -> None:
        self._answers[name] = answer
        if len(self._answers) == len(handshake.QUESTIONS) + 1:
            self._greeted()

    def _greeted(self) -> None:
        version = self.datapath.ofproto.OFP_VERSION
        greeting = handshake.greet(self.dpid, version, self.peer, self._answers, self._refused_probes)
        self._answers.clear()
        for name, why in greeting.refused.items():
            _LOG.info("device %016x does not tell its %s: %s", self.dpid, name, why)
        up = greeting.up
        if not self._may_learn:
            up = replace(up, capabilities=replace(up.capabilities, learn=False))
        self._programming = Programming(up.capabilities, greeting.present, dict(greeting.pin_meters))
        self.ports = {port.port_no: port for port in up.ports}
        self.queues = dict(up.queues)
        self._queue_times = [self._clock() + QUEUE_POLL]
        self.up = True
        self._emit(up)

    # ---- what the engine wants

    def program(self, plan: DevicePlan) -> None:
        """Make the standing part of the device equal to the plan, by what differs only."""
        nobody_waits = learns_itself(plan, self._programming.capabilities)
        self.datapath.socket.pause = coalescing.PAUSE if nobody_waits else 0.0
        self._change(self._programming.program(plan, self._there()))
        self._tell_left_out()

    def _tell_left_out(self) -> None:
        told = self._programming.told
        if told != self._announced:
            self._announced = told
            self._emit(PlanLeftOut(self.dpid, told))

    def _there(self) -> dict[int, tuple[int, ...]]:
        return {port_no: self.queues.get(port_no, ()) for port_no in self.ports}

    def pin(self, effect: PinFlow) -> None:
        """Put a flow's exact entry in, without ``set_queue`` when the port does not have that queue."""
        if effect.queue_id != NO_QUEUE and effect.queue_id not in self.queues.get(effect.egress_port, ()):
            effect = effect._replace(queue_id=NO_QUEUE)
        self._change([pins.change(effect)])

    def unpin(self, effect: UnpinFlow) -> None:
        """Take a flow's exact entry out."""
        self._change([pins.change(effect)])

    def set_meter(self, effect: SetMeter) -> None:
        """Add or change a meter of pins."""
        self._change(self._programming.set_meter(effect.meter))

    def clear_meter(self, effect: DeleteMeter) -> None:
        """Delete a meter of pins."""
        self._change(self._programming.clear_meter(effect.meter_id))

    def read_counters(self) -> None:
        """Ask for the counters of pins, queues and meters, unless the last answer is still on its way."""
        if self._inquiries.asks(PINS):
            return
        for reading in readings(self.datapath, self._programming.capabilities):
            self._ask(reading.name, reading.question, *takers(reading, self.dpid, self._emit))
        if self._programming.capabilities.learn:
            self._slices.begin()

    def forget_learned(self, effect: DeleteLearned) -> None:
        """Have the device place the flows of a port anew, by the standing rules as they are now."""
        self._send(encode.forget_learned(self.datapath, effect.egress_port, effect.in_port))

    def send_packet(self, effect: SendPacket) -> None:
        """Send a packet on that the device handed over (reactive mode)."""
        steps: list[Step] = [Output(effect.egress_port)]
        if effect.queue_id != NO_QUEUE:
            steps.insert(0, SetQueue(effect.queue_id))
        self._send(encode.packet_out(self.datapath, effect.in_port, effect.frame, steps))

    def read_queues(self) -> None:
        """Ask which queues there are, now and again when the switch has had time to follow its database."""
        self._ask("queues", requests.queues_request(self.datapath), self._queues_told)
        now = self._clock()
        self._queue_times = [*(now + wait for wait in SETTLE), now + QUEUE_POLL]

    def _queues_told(self, answer: Answer) -> None:
        queues = decode.queues(answer.parts)
        if not answer.refused and queues != self.queues:
            self.queues = queues
            self._emit(QueuesReported(self.dpid, queues))

    # ---- what the device says

    def hear(self) -> None:
        """Note that the device is alive: every message of it shows that."""
        self._heard = self._clock()

    def reply(self, message: Any) -> None:
        """Take a reply, or one part of it; what nobody here asked for is another app's."""
        more = bool(getattr(message, "flags", 0) & self.datapath.ofproto.OFPMPF_REPLY_MORE)
        self._inquiries.part(message.xid, message, more=more)

    def barrier_reply(self, message: Any) -> None:
        """All before the barrier was carried out."""
        self._ledger.confirm(message.xid)
        self._inquiries.part(message.xid, message)

    def error(self, message: Any) -> None:
        """Find out what an error is about, by its transaction id."""
        why = decode.error_name(message, self.datapath.ofproto)
        change = self._ledger.refused(message.xid)
        if change is not None:
            self._change_refused(change, why)
        elif not self._inquiries.refuse(message.xid, why):
            _LOG.debug("device %016x: error %s to message %d of another app", self.dpid, why, message.xid)

    def port_status(self, message: Any) -> None:
        """A port was added, changed or taken away."""
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

    def _change_refused(self, change: Change, why: str) -> None:
        if change in handshake.PROBES and not self.up:
            self._refused_probes[change] = why
            return
        if change.op is Op.DELETE or change.entry is None:
            return
        instead = self._programming.instead(change, why)
        if instead:
            self._change(instead)
            return
        _LOG.warning("device %016x refused to %s: %s", self.dpid, change, why)
        self._programming.refused(change.entry, why)
        refused = decode.refused(self.dpid, change, why)
        if refused is not None:
            self._emit(refused)

    # ---- time, sending, the end

    def tick(self, now: float) -> None:
        """Do what is due; about once a second."""
        self._inquiries.expire(now)
        if self.up:
            self._change(self._programming.settle(self._there()))
            self._tell_left_out()
        if self._ledger.unconfirmed:
            self._change([BARRIER])
        if self.up and self._queue_times and self._queue_times[0] <= now:
            self._ask("queues", requests.queues_request(self.datapath), self._queues_told)
            self._queue_times = [time for time in self._queue_times if time > now] or [now + QUEUE_POLL]
        if now - self._heard > DEAD:
            self.close(f"silent for {DEAD:g} s")
        elif now - self._heard > QUIET and now - self._asked > QUIET / 2:
            self._asked = now
            self._send(self.datapath.ofproto_parser.OFPEchoRequest(self.datapath))

    def close(self, why: str) -> None:
        """End the connection. In a task of its own: it tells all apps, and may have to wait for one."""
        _LOG.warning("device %016x at %s: %s; connection closed", self.dpid, self.peer, why)
        self.stop()
        hub.spawn(self.datapath.close)

    def stop(self) -> None:
        """Send nothing more: the connection has ended."""
        self._outbox.close()

    def _ask(
        self,
        name: str,
        message: Any,
        done: Callable[[Answer], None],
        each: Callable[[Any], None] | None = None,
    ) -> None:
        self._inquiries.ask(self._send(message), name, self._clock() + ANSWER_TIME, done, each)

    def _change(self, changes: Iterable[Change]) -> None:
        for change in changes:
            xid = self._send(encode.message(self.datapath, change))
            if change.entry is None:
                self._ledger.add_barrier(xid)
            else:
                self._ledger.add(xid, change)
        if self._ledger.unconfirmed >= BATCH:
            self._change([BARRIER])
        if len(self._ledger) > MAX_UNCONFIRMED:
            self.close("does not answer barriers")

    def _send(self, message: Any) -> int:
        xid: int = self.datapath.set_xid(message)
        message.serialize()
        self._outbox.put(bytes(message.buf))
        return xid
