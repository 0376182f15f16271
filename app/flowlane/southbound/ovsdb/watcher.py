"""The watcher of one database: sessions, one after the other, that turn changes of rows into descriptions of devices.

Each watcher has a green thread of its own, so that a database that is slow, hung, wrong or gone costs nobody else.
While it is away or inconsistent, its last consistent state stays in force.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flowlane import hub
from flowlane.errors import DatabaseError, FlowlaneError, ProtocolError
from flowlane.southbound.ovsdb.describe import Defect, describe, described_after
from flowlane.southbound.ovsdb.jsonrpc import NO_REPLY
from flowlane.southbound.ovsdb.session import Session, root_of
from flowlane.southbound.ovsdb.stream import connect, reason
from flowlane.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from flowlane.core.events import DeviceDescribed
    from flowlane.southbound.ovsdb.remote import Target
    from flowlane.southbound.ovsdb.rows import Snapshot

_LOG = logging.getLogger(__name__)

CONNECT_WITHIN = 5.0
"""Seconds that a connection may take."""

BACKOFF = 0.25, 16.0
"""Seconds until the first and between the last tries to connect; each is twice the one before, times 0.5 to 1.5."""

_STABLE = 30.0
"""Seconds after which a session counts as good: the next pause is the shortest again."""


class Consumer(Protocol):
    """What takes in the descriptions."""

    def described(self, name: str, devices: Mapping[int, DeviceDescribed]) -> None:
        """Take in all devices of a database with a session."""

    def left(self, name: str) -> None:
        """Note that a database has no session any more."""


@dataclass(frozen=True, slots=True)
class WatcherStatus:
    """The state of a watcher.

    ``state``: ``stopped``; ``connecting`` (no session); ``waiting`` (a session without a consistent copy yet);
    ``synchronized``; ``silent`` (it was, and the server does not reply to a probe).
    ``seconds``: for how long. ``problem``: what was wrong last, empty for nothing. ``host``: the
    host's ``system-id``, and its name where it has one. ``bridges``: number of bridges, those of a lost session
    included. ``age``: seconds since the last consistent copy, None before the first. ``sessions``: how many have begun.
    """

    state: str
    seconds: float
    problem: str
    system_id: str
    hostname: str
    ovs_version: str
    cluster: str
    bridges: int
    age: float | None
    sessions: int
    defects: tuple[Defect, ...]


class Watcher:
    """Follows one database, and passes its devices to the consumer.

    What the consumer raises is logged, and the watcher goes on.
    """

    def __init__(self, name: str, consumer: Consumer) -> None:
        self.name = name
        self.session: Session | None = None
        self._consumer = consumer
        self._state, self._since = "stopped", time.monotonic()
        self._devices: dict[UUID, DeviceDescribed] = {}
        self._defects: tuple[Defect, ...] = ()
        self._problem = self._version = self._cluster = self._system_id = self._hostname = ""
        self._last_sync: float | None = None
        self._sessions = 0

    def status(self) -> WatcherStatus:
        """Return the state of the watcher."""
        now = time.monotonic()
        if self._state == "synchronized":
            self._last_sync = now
        return WatcherStatus(
            state=self._state,
            seconds=now - self._since,
            problem=self._problem,
            system_id=self._system_id,
            hostname=self._hostname,
            ovs_version=self._version,
            cluster=self._cluster,
            bridges=len(self._devices),
            age=None if self._last_sync is None else now - self._last_sync,
            sessions=self._sessions,
            defects=self._defects,
        )

    @property
    def was_read(self) -> bool:
        """Whether there has been a consistent copy."""
        return self._state == "synchronized" or self._last_sync is not None

    def set_state(self, state: str) -> None:
        """Enter a state (see :class:`WatcherStatus`)."""
        now = time.monotonic()
        if self._state == "synchronized":
            self._last_sync = now
        if state != self._state:
            self._state, self._since = state, now

    def set_problem(self, problem: str) -> None:
        """Keep what is wrong, empty for nothing; log the first problem only, since there is one at each try."""
        if problem and problem != self._problem:
            is_new = not self._problem
            _LOG.log(logging.WARNING if is_new else logging.DEBUG, "database %s: %s", self.name, problem)
        self._problem = problem

    def serve(self, session: Session) -> None:
        """Follow a session whose first copy has been read, until it ends by an exception."""
        self.session = session
        self._sessions += 1
        session.peer.silence_changed = self._note_silence
        try:
            while True:
                self._publish(session)
                session.wait()
        finally:
            self.session = None
            self.set_state("connecting")
            self._consumer.left(self.name)

    def _note_silence(self, is_silent: bool) -> None:
        """Note that the server does not reply, or does so again: its copy stays in force, and may be out of date."""
        if is_silent and self._state == "synchronized" and self.session is not None:
            self.set_problem(NO_REPLY)
            self.set_state("silent")
            self._last_sync = self.session.peer.received
        elif not is_silent and self._state == "silent":
            self.set_problem("")
            self.set_state("synchronized")
            _LOG.info("database %s: it replies again", self.name)

    def _publish(self, session: Session) -> None:
        """Pass on what a consistent copy describes."""
        try:
            snapshot = session.snapshot()
        except DatabaseError:
            self.set_state("waiting")
            raise
        self._note_host(snapshot, session)
        self.set_problem("")
        if self._state != "synchronized":
            self._log_found(snapshot)
        self.set_state("synchronized")
        description = describe(snapshot)
        for defect in description.defects:
            if defect not in self._defects:
                _LOG.warning("database %s: %s: %s", self.name, defect.where, defect.what)
        self._defects = description.defects
        self._devices = described_after(self._devices, description.devices)
        try:
            self._consumer.described(self.name, {device.dpid: device for device in self._devices.values()})
        except Exception:
            _LOG.exception("what database %s describes was not handled", self.name)

    def _log_found(self, snapshot: Snapshot) -> None:
        """Log that there is a consistent copy: the first one, or one after there was none for a while."""
        host = self._hostname or self._system_id or "a host without a name"
        again = " again" if self._last_sync is not None else ""
        bridges = counted(len(snapshot.bridges), "bridge")
        text = "database %s: synchronized%s: %s, Open vSwitch %s, %s"
        values = again, host, self._version or "of unknown version", bridges
        _LOG.info(text, self.name, *values)

    def _note_host(self, snapshot: Snapshot, session: Session) -> None:
        root = root_of(snapshot)
        self._version, self._cluster = root.ovs_version, session.cluster
        self._system_id = root.external_ids.get("system-id", "")
        self._hostname = root.external_ids.get("hostname", "")


class ActiveWatcher(Watcher):
    """A watcher that connects to its database, or to the members of its cluster in turn."""

    def __init__(self, target: Target, consumer: Consumer) -> None:
        super().__init__(target.name, consumer)
        self.target = target
        self._thread: hub.Task | None = None
        self._peer: Session | None = None

    def start(self, delay: float = 0.0) -> None:
        """Start the green thread, which connects after so many seconds; idempotent."""
        if self._thread is None:
            self.set_state("connecting")
            self._thread = hub.spawn_after(delay, self._watch)

    def stop(self) -> None:
        """Stop the green thread and close the session; the devices stay known."""
        if self._thread is not None:
            self._thread.kill()
            self._thread = None
        self.set_state("stopped")

    def _watch(self) -> None:
        """Open one session after another, for ever; each starts with a new copy."""
        pause, member = BACKOFF[0], 0
        while True:
            begun = time.monotonic()
            try:
                self._session(self.target.remotes[member])
            except Exception as error:
                self.set_problem(problem_of(error))
            self.set_state("connecting")
            if time.monotonic() - begun > _STABLE:
                pause = BACKOFF[0]
            member = (member + 1) % len(self.target.remotes)
            hub.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  (no secret)
            pause = min(BACKOFF[1], 2 * pause)

    def _session(self, remote: str) -> None:
        stream = connect(remote, self.target.tls, CONNECT_WITHIN)
        try:
            self.set_state("waiting")
            session = Session(stream)
            session.load()
            self.serve(session)
        finally:
            stream.close()


def problem_of(error: Exception) -> str:
    """Return what ended a session, in words; what nobody expects is logged with its traceback."""
    if isinstance(error, ProtocolError):
        return f"the database sends what it must not: {error}"
    if isinstance(error, FlowlaneError):
        return str(error)
    if isinstance(error, OSError):
        return f"the connection is broken: {reason(error)}"
    _LOG.error("a session with a database ended by an unexpected exception", exc_info=error)
    return f"the session ended by an exception: {error}"
