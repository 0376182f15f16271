"""Hosts that connect to us (``ptcp:``, ``pssl:``), as ``ovs-vsctl set-manager`` has them do.

The host is the server of JSON-RPC also on a connection that it has opened (ovsdb-server(1), ``--remote``). A host is
known by its ``system-id`` (ovs-vswitchd.conf.db(5), table Open_vSwitch, external_ids), without one by its IP address,
so that it is the same one when it connects again. Two hosts with one ``system-id`` are told from each other: as long as
the first one replies, the second is refused.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from flowlane import hub
from flowlane.errors import ConfigError, DatabaseError
from flowlane.logs import Repeats
from flowlane.southbound.ovsdb.remote import host_and_port
from flowlane.southbound.ovsdb.session import Session, root_of
from flowlane.southbound.ovsdb.stream import Stream, reason
from flowlane.southbound.ovsdb.tls import context
from flowlane.southbound.ovsdb.watcher import CONNECT_WITHIN, Watcher, problem_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from flowlane.southbound.ovsdb.remote import Target
    from flowlane.southbound.ovsdb.watcher import Consumer

_LOG = logging.getLogger(__name__)
_REPEATS = Repeats(_LOG)

MAX_STRANGERS = 200
"""Connections at most whose host is not known yet."""

MAX_HOSTS = 10_000
_BACKLOG = 512
_SHOWN = 60.0
"""Seconds for which a refusal is shown: a host that is refused tries again within 8 s (ovsdb-server(1))."""

_REPLY_WITHIN = 3.0
"""Seconds in which a host has to reply when another one claims to be it."""


class Listener:
    """Accepts connections of hosts, and follows the database of each."""

    def __init__(self, target: Target, consumer: Consumer) -> None:
        self.target = target
        self.hosts: dict[str, Watcher] = {}
        """By name: ``ID@TARGET``, which no name in a configuration can be."""
        self._problem, self._problem_at = "", 0.0
        self._consumer = consumer
        self._socket: socket.socket | None = None
        self._thread: hub.Task | None = None
        self._connections: dict[int, hub.Task] = {}
        self._strangers = 0
        self._count = 0

    def start(self) -> None:
        """Listen; idempotent.

        Raises:
            ConfigError: the address is in use, or a file of TLS cannot be used.
        """
        if self._socket is not None:
            return
        if self.target.uses_tls:
            context(self.target.tls, server_side=True)
        host, port = host_and_port(self.target.text)
        try:
            self._socket = hub.bare_listener(host, port, _BACKLOG)
        except OSError as error:
            raise ConfigError(
                f"cannot listen for databases on {self.target.text}: {reason(error)}"
            ) from error
        _LOG.info("listening for databases on %s port %d", *self._socket.getsockname()[:2])
        self._thread = hub.spawn(self._accept, self._socket)

    @property
    def port(self) -> int:
        """The port where it listens; the one that it got when the target has port 0."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else 0

    def stop(self) -> None:
        """Close the socket and all connections; the devices stay known."""
        for task in [self._thread, *self._connections.values()]:
            if task is not None:
                task.kill()
        self._connections.clear()
        self._thread = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def forget(self, name: str) -> None:
        """Remove a host that has no session and describes nothing any more."""
        watcher = self.hosts.get(name)
        if watcher is not None and watcher.session is None:
            del self.hosts[name]

    def _accept(self, listening: socket.socket) -> None:
        while True:
            hub.wait_readable(listening.fileno())
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                _REPEATS.warning(
                    self.target.text, "%s: a connection was not accepted: %s", self.target.text, reason(error)
                )
                hub.sleep(1.0)
                continue
            if self._strangers >= MAX_STRANGERS or len(self.hosts) >= MAX_HOSTS:
                sock.close()
                hub.sleep(0.1)
                continue
            sock.setblocking(False)
            self._count += 1
            self._connections[self._count] = hub.spawn(self._serve, self._count, Stream(sock, address[0]))

    def _serve(self, number: int, stream: Stream) -> None:
        watcher: Watcher | None = None
        try:
            watcher, session = self._admit(stream)
            watcher.serve(session)
        except Exception as error:
            problem = problem_of(error)
            if watcher is not None:
                watcher.set_problem(problem)
            else:
                self._refuse(f"{stream.peer}: {problem}")
        finally:
            stream.close()
            self._connections.pop(number, None)

    @property
    def problem(self) -> str:
        """Why a host was refused in the last minute; empty when none was."""
        return self._problem if time.monotonic() - self._problem_at < _SHOWN else ""

    def _refuse(self, problem: str) -> None:
        _REPEATS.warning((self.target.text, problem), "%s: %s", self.target.text, problem)
        self._problem, self._problem_at = problem, time.monotonic()

    def _admit(self, stream: Stream) -> tuple[Watcher, Session]:
        """Read the first copy, and find the watcher of its host."""
        self._strangers += 1
        try:
            if self.target.uses_tls:
                stream.start_tls(context(self.target.tls, server_side=True), CONNECT_WITHIN, server_side=True)
            session = Session(stream)
            session.load()
            identity = root_of(session.snapshot()).external_ids.get("system-id", "")[:128] or stream.peer
            name = f"{identity}@{self.target.name}"
            watcher = self.hosts.get(name)
            if watcher is None:
                watcher = self.hosts[name] = Watcher(name, self._consumer)
            elif watcher.session is not None:
                self._replace(watcher, watcher.session, identity)
        finally:
            self._strangers -= 1
        return watcher, session

    def _replace(self, watcher: Watcher, old: Session, identity: str) -> None:
        """End the former session of a host that has connected again; refuse the new one while the former replies."""
        asked = time.monotonic()
        old.peer.probe()
        if (
            self._waits(lambda: watcher.session is not old or old.peer.received > asked)
            and watcher.session is old
        ):
            raise DatabaseError(
                f"is {identity} like {old.peer.address}, which still replies; each host needs a system-id of its own "
                "(ovs-vsctl set Open_vSwitch . external_ids:system-id=...)"
            )
        old.peer.shut_down()
        if not self._waits(lambda: watcher.session is None):
            raise DatabaseError(f"the former session of {identity} does not end")

    @staticmethod
    def _waits(condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _REPLY_WITHIN
        while not condition() and time.monotonic() < deadline:
            hub.sleep(0.05)
        return condition()
