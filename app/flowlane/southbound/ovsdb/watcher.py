"""The watcher of the Open vSwitch database: a green thread that turns changes of rows into events.

It runs the OVS Python IDL on Flowlane's hub, so events reach the engine in the same native thread as
OpenFlow's, and no lock is needed. While the database is away or inconsistent, the last consistent state stays
in force.

``ovs.poller.Poller`` blocks the whole process unless ``select`` was monkey-patched before it was imported,
and polls every 0.1 ms where it means "at once". :class:`GreenPoller` needs no patch, so a watcher works the
same in the controller and in a test.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovs.poller import POLLIN, POLLOUT
from ovs.timeval import msec
from ovs.timeval import msec as now_msec

from flowlane import hub
from flowlane.southbound.ovsdb.describe import Defect, changes, describe
from flowlane.southbound.ovsdb.remote import check_remote
from flowlane.southbound.ovsdb.replica import Replica
from flowlane.southbound.ovsdb.rows import dangling
from flowlane.southbound.ovsdb.schema import WATCHED

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol
    from uuid import UUID

    from flowlane.core.events import DeviceDescribed, Event
    from flowlane.southbound.ovsdb.rows import Snapshot

    class HasFileno(Protocol):
        """Anything with a file descriptor, such as a socket."""

        def fileno(self) -> int:
            """Return the file descriptor."""
            ...


_MAX_IMMEDIATE = 50
_PAUSE = 0.05
"""Seconds to wait after so many immediate wakes in a row: an odd state of the connection then costs no CPU."""


class GreenPoller:
    """The part of ``ovs.poller.Poller`` that ``Idl.wait`` uses: collects conditions, then waits for the first.

    Methods and units (ms) are those of ``ovs.poller.Poller``.
    """

    def __init__(self) -> None:
        self._immediate = 0
        self._reset()

    def _reset(self) -> None:
        self._read: list[int] = []
        self._write: list[int] = []
        self._timeout: float | None = None

    def fd_wait(self, fd: int | HasFileno, events: int) -> None:
        """Wake when the file descriptor can be read or written."""
        number = fd if isinstance(fd, int) else fd.fileno()
        if events & POLLIN:
            self._read.append(number)
        if events & POLLOUT:
            self._write.append(number)

    def timer_wait(self, msec: float) -> None:
        """Wake after at most so many ms."""
        seconds = max(0.0, msec / 1000)
        self._timeout = seconds if self._timeout is None else min(self._timeout, seconds)

    def timer_wait_until(self, msec: float) -> None:
        """Wake when ``ovs.timeval.msec()`` (the monotonic clock) reaches this."""
        self.timer_wait(msec - now_msec())

    def immediate_wake(self) -> None:
        """Do not wait, but let other green threads run."""
        self._timeout = 0.0

    def block(self) -> None:
        """Wait for the first condition, and discard all; other green threads run meanwhile."""
        read, write, timeout = self._read, self._write, self._timeout
        self._reset()
        if timeout != 0.0:
            self._immediate = 0
            hub.wait_for_descriptors(read, write, timeout)
            return
        self._immediate += 1
        hub.sleep(0 if self._immediate < _MAX_IMMEDIATE else _PAUSE)


_LOG = logging.getLogger(__name__)
_SYNC_TIMEOUT_MS = 5_000
_RECONNECT_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class WatcherStatus:
    """The state of the watcher.

    ``state``: ``stopped``; ``connecting`` (no session); ``waiting`` (a session without a complete copy yet);
    ``synchronized``. ``problem``: what was wrong last, empty for nothing. ``bridges``: number of bridges,
    those of a lost session included. ``age``: seconds since the last consistent copy, None before the first.
    """

    remote: str
    state: str
    problem: str
    ovs_version: str
    bridges: int
    age: float | None
    defects: tuple[Defect, ...]


class Watcher:
    """Follows one database and emits :class:`DeviceDescribed` and :class:`DescriptionRemoved`.

    Args:
        emit: called in the watcher's green thread; what it raises is logged, and the watcher goes on.
    """

    def __init__(self, remote: str, emit: Callable[[Event], None]) -> None:
        self._remote = check_remote(remote)
        self._emit = emit
        self._replica: Replica | None = None
        self._thread: hub.Task | None = None
        self._devices: dict[UUID, DeviceDescribed] = {}
        self._defects: tuple[Defect, ...] = ()
        self._problem = ""
        self._version = ""
        self._last_sync: float | None = None

    def start(self) -> None:
        """Start the green thread; idempotent."""
        if self._thread is None:
            self._thread = hub.spawn(self._watch)

    def stop(self) -> None:
        """Stop the green thread and close the session; the devices stay known."""
        if self._thread is not None:
            self._thread.kill()
            self._thread = None
        self._close()

    def status(self) -> WatcherStatus:
        """Return the state of the watcher."""
        replica = self._replica
        if self._thread is None:
            state = "stopped"
        elif replica is None or not replica.connected:
            state = "connecting"
        else:
            state = "synchronized" if replica.synchronized and not self._problem else "waiting"
        age = None if self._last_sync is None else (msec() - self._last_sync) / 1000
        return WatcherStatus(
            self._remote, state, self._problem, self._version, len(self._devices), age, self._defects
        )

    def _watch(self) -> None:
        """Open one session after another, for ever; each starts with a new copy."""
        while True:
            try:
                self._session()
            except Exception as error:
                _LOG.exception("the session with the database at %s ended by an exception", self._remote)
                self._problem = f"the session ended by an exception: {error}"
            self._close()
            hub.sleep(_RECONNECT_AFTER)

    def _session(self) -> None:
        """Follow the database until it is inconsistent or does not reply."""
        replica = self._replica = Replica(self._remote, WATCHED, lambda: hub.sleep(0))
        poller = GreenPoller()
        published = None
        deadline = msec() + _SYNC_TIMEOUT_MS
        while True:
            replica.run()
            if replica.synchronized:
                deadline = msec() + _SYNC_TIMEOUT_MS
                if replica.change_seqno != published:
                    published = replica.change_seqno
                    if not self._publish(replica.snapshot()):
                        return
                self._last_sync = msec()
            elif msec() < deadline:
                poller.timer_wait_until(deadline)
            elif replica.connected:
                self._set_problem("connected, but the database does not reply")
                return
            else:
                self._set_problem("no connection to the database")
            replica.wait(poller)
            poller.block()

    def _publish(self, snapshot: Snapshot) -> bool:
        """Emit the changes of a snapshot; return False, and emit nothing, when it is inconsistent."""
        missing = dangling(snapshot)
        if missing:
            self._set_problem(
                f"the database is inconsistent: {missing[0]} missing or too many ({len(missing)} such)"
            )
            return False
        self._set_problem("")
        description = describe(snapshot)
        for defect in description.defects:
            if defect not in self._defects:
                _LOG.warning("%s: %s", *defect)
        self._defects = description.defects
        self._version = next(iter(snapshot.roots.values())).ovs_version
        events, self._devices = changes(self._devices, description.devices)
        for event in events:
            self._emit_event(event)
        return True

    def _emit_event(self, event: Event) -> None:
        try:
            self._emit(event)
        except Exception:
            _LOG.exception("an event of the database was not handled: %r", event)

    def _set_problem(self, problem: str) -> None:
        if problem != self._problem:
            _LOG.log(
                logging.WARNING if problem else logging.INFO, "ovsdb %s: %s", self._remote, problem or "ok"
            )
        self._problem = problem

    def _close(self) -> None:
        if self._replica is not None:
            self._replica.close()
            self._replica = None
