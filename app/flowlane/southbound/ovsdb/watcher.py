"""The live view of the Open vSwitch database: a green thread that turns its rows into events.

It runs the OVS Python IDL on eventlet's hub, so events reach the engine from the same thread as OpenFlow's,
and no lock is needed. What was learnt stays in force while the database is away or talks nonsense.

The waiting half of the OVS Python library, on eventlet's hub.

``ovs.poller.Poller`` blocks the whole process unless ``select`` was monkey-patched before it was imported,
and polls every 0.1 ms where it means "at once". This one needs no patching, so a watcher behaves the same
in the controller and in a test.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovs.poller import POLLIN, POLLOUT
from ovs.timeval import msec
from ovs.timeval import msec as now_msec

from flowlane import hub
from flowlane.southbound.ovsdb.describe import Defect, describe, news
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

if TYPE_CHECKING:

    class HasFileno(Protocol):
        """A socket, as far as waiting is concerned."""

        def fileno(self) -> int:
            """Return the file descriptor."""
            ...


_HASTE = 50
_PAUSE = 0.05
"""After 50 times "at once" in a row, pause for 50 ms: a peer that breaks off in an odd state costs no CPU."""


class GreenPoller:
    """What ``Idl.wait`` needs of a poller: collect wishes, then wait for the first to come true.

    Method names and milliseconds are those of ``ovs.poller.Poller``.
    """

    def __init__(self) -> None:
        self._hasty = 0
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
        """Wake after so many ms at the latest."""
        seconds = max(0.0, msec / 1000)
        self._timeout = seconds if self._timeout is None else min(self._timeout, seconds)

    def timer_wait_until(self, msec: float) -> None:
        """Wake when ``ovs.timeval.msec()`` (the monotonic clock) reaches this."""
        self.timer_wait(msec - now_msec())

    def immediate_wake(self) -> None:
        """Do not wait, but let others run."""
        self._timeout = 0.0

    def block(self) -> None:
        """Wait, and forget the wishes; other green threads run meanwhile."""
        read, write, timeout = self._read, self._write, self._timeout
        self._reset()
        if timeout != 0.0:
            self._hasty = 0
            hub.wait_for_descriptors(read, write, timeout)
            return
        self._hasty += 1
        hub.sleep(0 if self._hasty < _HASTE else _PAUSE)


_LOG = logging.getLogger(__name__)
_PATIENCE_MS = 5_000
_RETRY = 1.0


@dataclass(frozen=True, slots=True)
class WatcherStatus:
    """How the live view stands.

    ``state``: ``stopped``; ``connecting`` (no session); ``waiting`` (a session, but its first whole answer is
    not here yet); ``synchronized``. ``problem`` says what was wrong last, empty when nothing is. ``bridges``
    counts the bridges known now, which outlive a lost session. ``age``: s since the last whole and sane view,
    None before the first.
    """

    remote: str
    state: str
    problem: str
    ovs_version: str
    bridges: int
    age: float | None
    defects: tuple[Defect, ...]


class Watcher:
    """Follows one database and calls ``emit`` with every :class:`DeviceDescribed` and :class:`DescriptionRemoved`.

    ``emit`` runs in the watcher's green thread; what it raises is logged and does not end the watch.
    """

    def __init__(self, remote: str, emit: Callable[[Event], None]) -> None:
        self._remote = check_remote(remote)
        self._emit = emit
        self._replica: Replica | None = None
        self._thread: hub.Task | None = None
        self._known: dict[UUID, DeviceDescribed] = {}
        self._defects: tuple[Defect, ...] = ()
        self._problem = ""
        self._version = ""
        self._seen: float | None = None

    def start(self) -> None:
        """Start watching; a second call changes nothing."""
        if self._thread is None:
            self._thread = hub.spawn(self._watch)

    def stop(self) -> None:
        """Stop watching and close the session; what was learnt stays known."""
        if self._thread is not None:
            self._thread.kill()
            self._thread = None
        self._close()

    def status(self) -> WatcherStatus:
        """Say how the live view stands."""
        replica = self._replica
        if self._thread is None:
            state = "stopped"
        elif replica is None or not replica.connected:
            state = "connecting"
        else:
            state = "synchronized" if replica.synchronized and not self._problem else "waiting"
        age = None if self._seen is None else (msec() - self._seen) / 1000
        return WatcherStatus(
            self._remote, state, self._problem, self._version, len(self._known), age, self._defects
        )

    def _watch(self) -> None:
        """Keep a session going for ever: whatever a database sends, the next session starts afresh."""
        while True:
            try:
                self._session()
            except Exception as error:
                _LOG.exception("the session with the database at %s broke", self._remote)
                self._problem = f"the session broke: {error}"
            self._close()
            hub.sleep(_RETRY)

    def _session(self) -> None:
        """Follow the database until it says something that cannot be true."""
        replica = self._replica = Replica(self._remote, WATCHED, lambda: hub.sleep(0))
        poller = GreenPoller()
        read = None
        deadline = msec() + _PATIENCE_MS
        while True:
            replica.run()
            if replica.synchronized:
                deadline = msec() + _PATIENCE_MS
                if replica.change_seqno != read:
                    read = replica.change_seqno
                    if not self._publish(replica.snapshot()):
                        return
                self._seen = msec()
            elif msec() < deadline:
                poller.timer_wait_until(deadline)
            elif replica.connected:
                self._note("connected, but the database does not answer")
                return
            else:
                self._note("no connection to the database")
            replica.wait(poller)
            poller.block()

    def _publish(self, snapshot: Snapshot) -> bool:
        """Tell the news of a snapshot; return False when it makes no sense, and tell nothing then."""
        wrong = dangling(snapshot)
        if wrong:
            self._note(f"the database makes no sense: {wrong[0]} missing or too many ({len(wrong)} such)")
            return False
        self._note("")
        description = describe(snapshot)
        for defect in description.defects:
            if defect not in self._defects:
                _LOG.warning("%s: %s", *defect)
        self._defects = description.defects
        self._version = next(iter(snapshot.roots.values())).ovs_version
        events, self._known = news(self._known, description.devices)
        for event in events:
            self._tell(event)
        return True

    def _tell(self, event: Event) -> None:
        try:
            self._emit(event)
        except Exception:
            _LOG.exception("an event of the database could not be taken: %r", event)

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            _LOG.log(
                logging.WARNING if problem else logging.INFO, "ovsdb %s: %s", self._remote, problem or "ok"
            )
        self._problem = problem

    def _close(self) -> None:
        if self._replica is not None:
            self._replica.close()
            self._replica = None
