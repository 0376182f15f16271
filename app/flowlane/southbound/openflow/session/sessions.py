"""All connected devices: OpenFlow messages in, facts out; the engine's wishes to the device they are for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flowlane.core.effects import (
    DeleteLearned,
    DeleteMeter,
    PinFlow,
    Program,
    ReadCounters,
    ReadQueues,
    SendPacket,
    SetMeter,
    UnpinFlow,
)
from flowlane.core.events import DeviceDown
from flowlane.southbound.openflow.session import decode, readback
from flowlane.southbound.openflow.session.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.effects import Effect
    from flowlane.core.events import Event

_LOG = logging.getLogger(__name__)

_DO: Mapping[type, tuple[Callable[[Any], int], Callable[[Session, Any], None]]] = {
    Program: (lambda effect: effect.plan.dpid, lambda session, effect: session.program(effect.plan)),
    PinFlow: (lambda effect: effect.dpid, Session.pin),
    UnpinFlow: (lambda effect: effect.dpid, Session.unpin),
    DeleteLearned: (lambda effect: effect.dpid, Session.forget_learned),
    SendPacket: (lambda effect: effect.dpid, Session.send_packet),
    SetMeter: (lambda effect: effect.dpid, Session.set_meter),
    DeleteMeter: (lambda effect: effect.dpid, Session.clear_meter),
    ReadCounters: (lambda effect: effect.dpid, lambda session, _effect: session.read_counters()),
    ReadQueues: (lambda effect: effect.dpid, lambda session, _effect: session.read_queues()),
}
"""Kind of effect -> where it finds its device's dpid, and what it does there."""


class Sessions:
    """The devices that are connected, by dpid. ``emit`` takes facts; ``clock`` gives seconds.

    ``may_learn`` false: devices are not asked to learn flows by themselves, even those that can.
    """

    def __init__(
        self, emit: Callable[[Event], None], clock: Callable[[], float], may_learn: bool = True
    ) -> None:
        self._may_learn = may_learn
        self._emit = emit
        self._clock = clock
        self._by_dpid: dict[int, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_dpid.values()))

    def __len__(self) -> int:
        return len(self._by_dpid)

    def connected(self, datapath: Any) -> None:
        """A device has connected. Of two connections with one dpid the newer counts: the older may be dead."""
        old = self._by_dpid.get(datapath.id)
        if old is not None:
            if old.datapath is datapath:
                return
            old.close("the same device has connected again")
        session = self._by_dpid[datapath.id] = Session(datapath, self._emit, self._clock, self._may_learn)
        _LOG.info("device %016x at %s: connected", session.dpid, session.peer)
        session.greet()

    def disconnected(self, datapath: Any) -> None:
        """A connection has ended."""
        session = self.of(datapath)
        if session is None:
            return
        _LOG.info("device %016x at %s: disconnected", session.dpid, session.peer)
        del self._by_dpid[session.dpid]
        session.stop()
        self._emit(DeviceDown(session.dpid))

    def of(self, datapath: Any) -> Session | None:
        """The session of a connection, which hears that it is alive; None for one that has been replaced."""
        session = self._by_dpid.get(datapath.id)
        if session is None or session.datapath is not datapath:
            return None
        session.hear()
        return session

    def execute(self, effect: Effect) -> bool:
        """Carry out what the engine wants of a device, without waiting.

        What is for a device that is away is dropped: when it is back it is compared with the whole plan.
        False when the effect is for no device at all.
        """
        found = _DO.get(type(effect))
        if found is None:
            return False
        dpid_of, do = found
        session = self._by_dpid.get(dpid_of(effect))
        if session is not None and session.up:
            do(session, effect)
        return True

    def tick(self) -> None:
        """Let every session do what is due."""
        now = self._clock()
        for session in self:
            session.tick(now)

    # ---- messages

    def packet_in(self, message: Any) -> None:
        """A packet was copied to the controller."""
        session = self.of(message.datapath)
        if session is not None and session.up:
            seen = decode.flow_seen(session.dpid, message)
            if seen is not None:
                self._emit(seen)

    def flow_removed(self, message: Any) -> None:
        """An entry has left a device's table."""
        session = self.of(message.datapath)
        if session is not None and session.up:
            ended = decode.flow_ended(session.dpid, message) or readback.key_ended(session.dpid, message)
            if ended is not None:
                self._emit(ended)

    def reply(self, message: Any) -> None:
        """An answer, or a part of one."""
        session = self.of(message.datapath)
        if session is not None:
            session.reply(message)

    def barrier_reply(self, message: Any) -> None:
        """A device has carried out all before a barrier."""
        session = self.of(message.datapath)
        if session is not None:
            session.barrier_reply(message)

    def error(self, message: Any) -> None:
        """A device has refused something."""
        session = self.of(message.datapath)
        if session is not None:
            session.error(message)

    def port_status(self, message: Any) -> None:
        """A port was added, changed or taken away."""
        session = self.of(message.datapath)
        if session is not None:
            session.port_status(message)

    def alive(self, message: Any) -> None:
        """A device has answered an echo request, or sent one."""
        self.of(message.datapath)
