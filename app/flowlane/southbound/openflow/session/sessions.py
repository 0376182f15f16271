"""All connected devices: passes os-ken's messages and the engine's effects to the session of their device."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from flowlane import hub
from flowlane.core.effects import ProbeLinks
from flowlane.core.events import DeviceDown, DeviceUp, DpidShared, FlowMessages, FlowSeen, LearnedEnded
from flowlane.logs import Repeats
from flowlane.southbound.openflow.session import decode, encode, packing, readback
from flowlane.southbound.openflow.session.effects import CARRY_OUT
from flowlane.southbound.openflow.session.flow_messages import FlowMessageReader
from flowlane.southbound.openflow.session.owners import SILENT_AFTER, Claims, Takeovers
from flowlane.southbound.openflow.session.roles import Observer, Roles
from flowlane.southbound.openflow.session.session import Session
from flowlane.southbound.openflow.session.waiting import Waiting
from flowlane.southbound.openflow.wire import lldp
from flowlane.southbound.openflow.wire.constants import PACKET_IN
from flowlane.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowlane.core.effects import Effect
    from flowlane.core.events import Event
    from flowlane.southbound.openflow.tables.entries import GroupEntry

_LOG = logging.getLogger(__name__)
_REPEATS = Repeats(_LOG)
MOST_HANDSHAKES = 16
"""Handshakes at a time: the others wait for their turn, and answer echo requests meanwhile.

A handshake of Open vSwitch takes 1.2 MB of replies. Of hundreds of switches that connect at once each would have all of
its replies late, and all of them together would be in memory.
"""

TICK_SLICE = 0.005
"""Seconds for which the ticks of sessions keep others waiting; then others have one round of the event loop."""

TURN = 3.0
"""Seconds without a message after which others do not wait for a handshake any more."""

NO_START_TABLES: Mapping[int | None, int] = MappingProxyType({})


class Sessions:
    """The sessions of the connected devices, by dpid.

    Args:
        emit: takes events for the engine.
        clock: gives seconds.
        may_learn: False to use all devices as if they had no learn action.
        start_tables: dpid -> number of the start table; None: that of devices without one of their own.
        telemetry: counts packet-ins, what is sent, and the time that decisions take.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        clock: Callable[[], float],
        may_learn: bool = True,
        start_tables: Mapping[int | None, int] = NO_START_TABLES,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._telemetry = Telemetry() if telemetry is None else telemetry
        self._may_learn, self._start_tables = may_learn, start_tables
        self._emit = emit
        self._clock = clock
        self._key = os.urandom(lldp.KEY_BYTES)
        """By it the probes of this controller are known."""
        self._by_dpid: dict[int, Session] = {}
        self.is_accompanied = False
        """Whether other apps may send requests to the devices, too."""
        self._in_handshake: dict[int, float] = {}
        """dpid -> when its last message came, of those in a handshake that others wait for."""
        self._readers: WeakKeyDictionary[Session, FlowMessageReader] = WeakKeyDictionary()
        self._auxiliary: WeakSet[Any] = WeakSet()
        """Auxiliary connections, which are being closed."""
        self._takeovers = Takeovers()
        self._claims = Claims()
        self._waiting: deque[Session] = deque()
        """Sessions whose handshake has not begun."""
        self._unread: dict[int, Session] = {}
        """Sessions that read nothing for now, by dpid."""
        self._roles: Roles | None = None
        self._standing_by: set[int] = set()
        """Devices that are connected and led by another controller: their sessions send nothing."""
        self.held = Waiting(emit)
        """Devices that are connected and wait for what a database says of them: nothing is changed in them."""

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_dpid.values()))

    def __len__(self) -> int:
        return len(self._by_dpid)

    def groups(self, dpid: int) -> tuple[GroupEntry, ...]:
        """Return the groups of ours that a device has; none while it is not connected."""
        session = self._by_dpid.get(dpid)
        return session.programming.present.groups if session is not None and session.up else ()

    def features(self, message: Any) -> None:
        """Close an auxiliary connection: Flowlane uses the main one only (OpenFlow 1.3.5, 6.3.6)."""
        if message.auxiliary_id:
            datapath = message.datapath
            self._auxiliary.add(datapath)
            text = "device %016x: auxiliary connection %d from %s:%s is closed, the main one is enough"
            peer = datapath.address[:2]
            _REPEATS.warning(
                ("auxiliary", message.datapath_id), text, message.datapath_id, message.auxiliary_id, *peer
            )
            hub.spawn(datapath.close)

    def connected(self, datapath: Any) -> None:
        """Start the session of a device that has connected.

        Of two connections with one dpid the older stays, unless it is silent (:mod:`.owners`).
        """
        if datapath in self._auxiliary:
            return
        old = self._by_dpid.get(datapath.id)
        if old is None:
            self._begin_session(datapath)
        elif old.datapath is not datapath:
            before = self._claims.add(datapath, self._clock())
            if before is None:
                old.send(packing.request(old.datapath, encode.echo_request))
            elif before is not datapath:
                hub.spawn(before.close)

    def _decide_claims(self, now: float) -> None:
        """Give a dpid to the connection that waits for it where its owner is silent, else close that connection."""
        for dpid, claim in self._claims:
            old = self._by_dpid.get(dpid)
            if old is None:
                self._begin_session(self._claims.take(dpid))
            elif old.liveness.is_alive_since(claim.asked):
                self._claims.take(dpid)
                peer = "{}:{}".format(*claim.datapath.address[:2])
                self._takeovers.note(dpid, now, old.peer, peer)
                self._emit(DpidShared(dpid, self._takeovers.peers(dpid)))
                text = "device %016x: the connection from %s is closed: another one, from %s, has this dpid"
                _REPEATS.warning(("claim", dpid), text, dpid, peer, old.peer)
                hub.spawn(claim.datapath.close)
            elif now - claim.asked >= SILENT_AFTER:
                self._replace(old, self._claims.take(dpid))

    def _replace(self, old: Session, datapath: Any) -> None:
        """Let a connection take the place of one that is silent."""
        old.close("the same device has connected again")
        if self._takeovers.note(datapath.id, self._clock(), old.peer, "{}:{}".format(*datapath.address[:2])):
            self._emit(DpidShared(datapath.id, self._takeovers.peers(datapath.id)))
        text = "device %016x has connected again, from %s:%s; its connection from %s is silent, and closed"
        _REPEATS.warning(("again", datapath.id), text, datapath.id, *datapath.address[:2], old.peer)
        self._begin_session(datapath)

    def _begin_session(self, datapath: Any) -> None:
        session = self._add_session(datapath)
        _LOG.debug("device %016x at %s: connected, the handshake begins", session.dpid, session.peer)
        if self._roles is None:
            self._waiting.append(session)
            self._end_handshake(session.dpid)
            return
        if session.dpid in self._roles.granted:
            self._waiting.append(session)
        else:
            self._standing_by.add(session.dpid)
            self._roles.stand_by(datapath, self._roles.observer.generation_of(session.dpid))
        self._end_handshake(session.dpid)
        self._roles.observer.connected(session.dpid)

    def _add_session(self, datapath: Any) -> Session:
        start = self._start_tables.get(datapath.id, self._start_tables.get(None, 0))
        traffic = self._telemetry.traffic_of(datapath.id)
        session = Session(
            datapath, self._take, self._clock, self._may_learn, start, traffic, self.is_accompanied
        )
        self._by_dpid[datapath.id] = session
        return session

    # ---- devices that several controllers share

    def share(self, observer: Observer, *, asks_for_roles: bool = True) -> None:
        """Lead from now on only what :meth:`lead` names; to be called before a device connects.

        Args:
            asks_for_roles: whether standing by is a role of the device; False where nobody else has it.
        """
        self._roles = Roles(observer, self._clock, asks_for_roles=asks_for_roles)

    def lead(self, dpid: int, generation: int) -> None:
        """Lead a device from now on, or once it is connected: read it anew and change what is not right.

        Args:
            generation: the generation id of its role; 0: ask for no role.
        """
        assert self._roles is not None
        self._roles.granted[dpid] = generation
        session = self._by_dpid.get(dpid)
        if session is None:
            return
        if dpid in self._standing_by:
            self._standing_by.discard(dpid)
            self._waiting.append(session)
            self._end_handshake(dpid)
        elif generation:
            self._roles.lead(session.datapath, lambda: None)

    def stand_by(self, dpid: int, generation: int, why: str) -> None:
        """Change nothing of a device any more; its connection stays.

        Args:
            generation: the last generation id that is known.
            why: for the log and REST.
        """
        assert self._roles is not None
        self._roles.granted.pop(dpid, None)
        session = self._by_dpid.get(dpid)
        if session is None or dpid in self._standing_by:
            return
        self._standing_by.add(dpid)
        self.held.drop(dpid)
        self._add_session(session.datapath)
        session.stop()
        self._roles.stand_by(session.datapath, generation)
        self._emit(DeviceDown(dpid, why))
        self._end_handshake(dpid)

    def _begin(self, session: Session) -> None:
        """Start the handshake of a session, once the device has given this controller the role for it."""
        if self._roles is None:
            session.start_handshake()
            return

        def begin() -> None:
            if self._by_dpid.get(session.dpid) is session and session.dpid not in self._standing_by:
                session.start_handshake()

        self._roles.lead(session.datapath, begin)

    def _take(self, event: Event) -> None:
        """Pass on the event of a session; the end of its handshake is the turn of another one."""
        if not isinstance(event, DeviceUp):
            self._emit(event)
            return
        if not self.held.holds(self._by_dpid[event.dpid], event):
            self._emit(event)
        self._end_handshake(event.dpid)

    def release(self) -> None:
        """Begin the handshake of devices anew that have to wait no longer."""
        for waiter in list(self.held.released()):
            old = self._by_dpid.get(waiter.dpid)
            if old is waiter:  # Else another connection has taken its place.
                self._waiting.append(self._add_session(old.datapath))
                old.stop()
                self._end_handshake(old.dpid)

    def _end_handshake(self, dpid: int) -> None:
        self._in_handshake.pop(dpid, None)
        while self._waiting and len(self._in_handshake) < MOST_HANDSHAKES:
            session = self._waiting.popleft()
            is_led = self._roles is None or session.dpid in self._roles.granted
            if is_led and self._by_dpid.get(session.dpid) is session:
                self._in_handshake[session.dpid] = self._clock()
                self._begin(session)

    def disconnected(self, datapath: Any) -> None:
        """End the session of a connection that has ended."""
        session = self.session_of(datapath)
        if session is None:
            self._claims.drop(datapath)
            return
        self._end(session, datapath)
        if (waiting := self._claims.take(session.dpid)) is not None:
            self._begin_session(waiting)

    def _end(self, session: Session, datapath: Any) -> None:
        why = session.closed_because
        self.held.drop(session.dpid)
        if self._roles is not None:
            self._roles.forget(datapath)
            self._roles.observer.disconnected(session.dpid)
        if session.dpid in self._standing_by:
            self._standing_by.discard(session.dpid)
            del self._by_dpid[session.dpid]
            session.stop()
            return
        if not session.was_up:
            text = "device %016x at %s: the connection has ended before it was ready: %s"
            _REPEATS.warning(
                ("early", session.dpid), text, session.dpid, session.peer, why or "closed by the device"
            )
        del self._by_dpid[session.dpid]
        session.stop()
        self._emit(DeviceDown(session.dpid, why))
        self._end_handshake(session.dpid)

    def session_of(self, datapath: Any) -> Session | None:
        """Return the session of a connection, and note that it is alive; None when it has been replaced."""
        session = self._by_dpid.get(datapath.id)
        if session is None or session.datapath is not datapath:
            return None
        session.note_alive()
        if session.dpid in self._in_handshake:
            self._in_handshake[session.dpid] = self._clock()
        return session

    def execute(self, effect: Effect) -> bool:
        """Carry out an effect on its device, without blocking; return False when it is for no device at all.

        An effect for a device that is away is dropped: the device is reconciled with the whole plan when it
        is back.
        """
        if isinstance(effect, ProbeLinks):
            self._probe_links(effect)
            return True
        handler = CARRY_OUT.get(type(effect))
        if handler is None:
            return False
        dpid_of, carry_out = handler
        session = self._by_dpid.get(dpid_of(effect))
        if session is not None and session.up and not session.unusable:
            session.idle_until = 0.0
            carry_out(session, effect)
        return True

    def _probe_links(self, effect: ProbeLinks) -> None:
        session = self._by_dpid.get(effect.dpid)
        if session is not None and session.up and not session.unusable:
            session.probe_links(effect, self._key)

    def stop_reading(self, dpid: int) -> None:
        """Read no more of a device until :meth:`read_again`: what it is to get is being made, piece by piece."""
        session = self._by_dpid.get(dpid)
        if session is not None and dpid not in self._unread:
            self._unread[dpid] = session
            session.datapath.socket.is_held = True

    def read_again(self, dpid: int) -> None:
        """Read of a device again."""
        session = self._unread.pop(dpid, None)
        if session is not None:
            session.datapath.socket.is_held = False

    def close(self, dpid: int, reason: str) -> None:
        """End the connection of a device."""
        session = self._by_dpid.get(dpid)
        if session is not None:
            session.close(reason)

    def tick(self) -> None:
        """Let every session do what is due; others are served in between."""
        now = self._clock()
        for dpid in self._takeovers.forget(now):
            self._emit(DpidShared(dpid))
        self._decide_claims(now)
        self.release()
        began = time.perf_counter()
        if self._roles is not None:
            self._roles.expire(now)
        for session in self:
            if self._by_dpid.get(session.dpid) is session and session.dpid not in self._unread:
                session.tick(now)
            if time.perf_counter() - began > TICK_SLICE:
                hub.sleep(0)
                began = time.perf_counter()
        for dpid in [dpid for dpid, last in self._in_handshake.items() if now - last >= TURN]:
            if dpid not in self._by_dpid or not self._by_dpid[dpid].datapath.socket.has_unread:
                self._end_handshake(dpid)

    # ---- messages

    def packet_in(self, message: Any) -> None:
        """Emit :class:`FlowSeen` for a packet that was copied to the controller, :class:`LinkSeen` for a probe."""
        session = self.session_of(message.datapath)
        if session is not None and self.held.is_held(session):
            self.held.send_back(session, decode.packet_in(session.dpid, message, session.layout, self._key))
        elif session is not None and session.up:
            began = time.perf_counter()
            seen = decode.packet_in(session.dpid, message, session.layout, self._key)
            session.traffic.packet_ins += 1
            if isinstance(seen, FlowSeen):
                self._reader_of(session).packet_ins.note(message.buf, session.layout)
                self._emit(FlowMessages(session.dpid, (seen,)))
            elif seen is not None:
                self._emit(seen)
            if seen is not None:
                self._telemetry.decisions.observe(time.perf_counter() - began)

    def flow_messages(self, datapath: Any, messages: Sequence[bytes]) -> int:
        """Emit :class:`FlowMessages` for messages of a connection up to the first one that is to go os-ken's way.

        Args:
            messages: packet-ins and flow-removed messages with their headers, in the order in which they came.

        Returns:
            How many of them were read.
        """
        session = self.session_of(datapath)
        if session is None or not session.up or self.held.is_held(session):
            return 0
        began = time.perf_counter()
        found = self._reader_of(session).read(messages, session.layout)
        packets = sum(message[1] == PACKET_IN for message in messages[: len(found)])
        session.traffic.packet_ins += packets
        if found:
            self._emit(FlowMessages(session.dpid, found))
            self._telemetry.decisions.observe((time.perf_counter() - began) / len(found), packets)
        return len(found)

    def _reader_of(self, session: Session) -> FlowMessageReader:
        reader = self._readers.get(session)
        if reader is None:
            reader = self._readers[session] = FlowMessageReader(session.dpid)
        return reader

    def flow_removed(self, message: Any) -> None:
        """Emit the end of a pin or of a learned entry that has left its table."""
        session = self.session_of(message.datapath)
        if session is not None and session.up:
            ended = decode.pin_ended(session.dpid, message) or readback.learned_ended(session.dpid, message)
            if isinstance(ended, LearnedEnded):
                self._reader_of(session).ends.note(message.buf, ended)
            if ended is not None:
                self._emit(ended)

    def reply(self, message: Any) -> None:
        """Pass a reply, or a part of one, to the session that sent the request."""
        session = self.session_of(message.datapath)
        if session is not None and not (self._roles is not None and self._roles.take(message)):
            session.reply(message)

    def known_reply(self, datapath: Any, data: bytes) -> bool:
        """Take a reply whose bytes nobody has checked, if they are those of an earlier one; return whether they are."""
        session = self.session_of(datapath)
        return session is not None and session.pending.take_known(data)

    def role_status(self, message: Any) -> None:
        """Take the report that another controller has become the primary one of a device."""
        if self._roles is not None and self.session_of(message.datapath) is not None:
            self._roles.changed_by_device(message)

    def barrier_reply(self, message: Any) -> None:
        """Pass the reply to a barrier to the session that sent it."""
        session = self.session_of(message.datapath)
        if session is not None:
            session.barrier_reply(message)

    def error(self, message: Any) -> None:
        """Pass an error to the session whose message caused it."""
        if self.session_of(message.datapath) is None:
            return
        if self._roles is not None:
            error = decode.error_name(message, message.datapath.ofproto)
            if self._roles.fail(message, error):
                return
        session = self.session_of(message.datapath)  # Another one, where the device has another leader.
        if session is not None:
            session.error(message)

    def port_status(self, message: Any) -> None:
        """Pass a change of a port to the session of its device."""
        session = self.session_of(message.datapath)
        if session is not None:
            session.port_status(message)

    def echo(self, message: Any) -> None:
        """Note that the device that sent an echo request or reply is alive."""
        self.session_of(message.datapath)
