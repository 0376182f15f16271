"""All databases that are followed: of the options, of directories, announced over REST, and of hosts that connect.

What they describe becomes the engine's events here: one description for each device, whichever databases have one
(:mod:`flowlane.southbound.ovsdb.descriptions`).
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flowlane import hub
from flowlane.errors import ConfigError, NotFoundError, RequestError
from flowlane.southbound.ovsdb.descriptions import FORGET_AFTER, Conflict, Descriptions
from flowlane.southbound.ovsdb.directory import Directory
from flowlane.southbound.ovsdb.listener import Listener
from flowlane.southbound.ovsdb.remote import DIRECTORY, Target, TlsFiles, read_target, read_targets
from flowlane.southbound.ovsdb.tls import context
from flowlane.southbound.ovsdb.watcher import ActiveWatcher, Watcher, WatcherStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from flowlane.core.events import DeviceDescribed, Event

_LOG = logging.getLogger(__name__)

LOOK_AFTER = 2.0
"""Seconds between two looks at the directories, and at the databases that are away."""

PATIENCE = 30.0
"""Seconds after the start in which any database that was not read yet may describe a device: Open vSwitch connects
after 8 s at most (ovs-vswitchd.conf.db(5), table Manager, max_backoff)."""

SPREAD = 0.004
"""Seconds between the first connections to two databases."""

OPTION, REST = "option", "rest"
"""Where a database comes from; else it is the path of its directory, or the target of its listener."""


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """A database, or a target that cannot be one.

    ``state``: that of :class:`WatcherStatus`, or ``listening`` of a port for hosts that connect, or ``refused`` of a
    file that names no target. ``dpids``: the devices whose description is its own. ``conflicts``: those that another
    database described first.
    """

    name: str
    target: str
    source: str
    watcher: WatcherStatus
    dpids: tuple[int, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


class _Entry(NamedTuple):
    """A target that is followed, and where it comes from."""

    target: Target
    source: str
    follower: ActiveWatcher | Listener


class _Problem(NamedTuple):
    """Why the target of a file is not followed, and since when."""

    directory: str
    text: str
    since: float


class Databases:
    """Follows databases, and emits :class:`DeviceDescribed` and :class:`DescriptionRemoved`.

    Args:
        values: the values of ``--ovsdb``.
        emit: called in the green thread of a database; what it raises is logged.
        is_connected: whether a device has a connection: what is known of it is kept then.
        forget_after: seconds for which a database is away until its devices are forgotten.

    Raises:
        ConfigError: a value is malformed, or files of TLS are missing or cannot be used.
    """

    def __init__(
        self,
        values: Sequence[str],
        tls: TlsFiles,
        emit: Callable[[Event], None],
        is_connected: Callable[[int], bool] = lambda dpid: False,  # noqa: ARG005
        forget_after: float = FORGET_AFTER,
    ) -> None:
        self._emit = emit
        self._tls = tls
        self._descriptions = Descriptions(is_connected, forget_after)
        self._entries: dict[str, _Entry] = {}
        self._problems: dict[str, _Problem] = {}
        """By the name of the file."""
        self._begun = time.monotonic()
        self._thread: hub.Task | None = None
        self._looked = False
        """Whether the directories have been read."""
        targets, directories = read_targets(values, tls)
        self._directories = [Directory(path, tls) for path in directories]
        for target in targets:
            self._add(target, OPTION)

    def __bool__(self) -> bool:
        """Return whether there is anything to follow."""
        return bool(self._entries or self._directories)

    def start(self) -> None:
        """Listen, connect, and look after the directories.

        Raises:
            ConfigError: an address where hosts are to connect is in use.
        """
        for entry in self._entries.values():
            if isinstance(entry.follower, Listener):
                entry.follower.start()
        self._thread = hub.spawn(self._look_after)
        for number, entry in enumerate(list(self._entries.values())):
            if isinstance(entry.follower, ActiveWatcher):
                entry.follower.start(number * SPREAD)
        if len(self._entries) > 1:
            _LOG.info(
                "%d databases of --ovsdb, each of its own host; members of one cluster are written cluster:A,B,C",
                len(self._entries),
            )

    def stop(self) -> None:
        """End all sessions; the devices stay known."""
        if self._thread is not None:
            self._thread.kill()
            self._thread = None
        for entry in self._entries.values():
            entry.follower.stop()

    def announce(self, name: str, text: str, tls: TlsFiles | None = None) -> bool:
        """Follow a database from now on, in place of one of that name; return whether it is new or another one.

        Raises:
            ConfigError: the target is malformed, or a file of TLS cannot be used.
            RequestError: the name is that of a database which was not announced.
        """
        if text.startswith(DIRECTORY):
            raise ConfigError(f"ovsdb target {text!r}: directories are a matter of --ovsdb")
        target = read_target(text, name, self._tls if tls is None else tls)
        if target.is_passive:
            raise ConfigError(f"ovsdb target {text}: hosts that connect are a matter of --ovsdb")
        known = self._entries.get(name)
        if known is not None and known.source != REST:
            raise RequestError(f"database {name} comes from {known.source}; it cannot be changed here")
        if known is not None and known.target == target:
            return False
        if target.uses_tls:
            context(target.tls)
        if known is not None:
            self._remove(name)
        self._start(self._add(target, REST))
        return True

    def withdraw(self, name: str) -> None:
        """Follow a database that was announced no more.

        Raises:
            NotFoundError: there is none of that name.
            RequestError: it was not announced.
        """
        known = self._entries.get(name)
        if known is None:
            raise NotFoundError(f"there is no database {name!r}")
        if known.source != REST:
            raise RequestError(f"database {name} comes from {known.source}; it cannot be removed here")
        self._remove(name)

    def statuses(self) -> list[DatabaseStatus]:
        """List the state of all databases, by name."""
        listed = [*self._statuses(), *self._refused()]
        return sorted(listed, key=lambda status: status.name)

    def port(self, name: str) -> int:
        """Return the port where a target listens."""
        follower = self._entries[name].follower
        return follower.port if isinstance(follower, Listener) else 0

    def may_describe(self, was_described: bool) -> bool:
        """Whether a device that no database describes may yet be described: one was not read since the start.

        Args:
            was_described: whether a database described the device earlier; others are not waited for long.
        """
        if not was_described and time.monotonic() - self._begun > PATIENCE:
            return False
        followers = [entry.follower for entry in self._entries.values()]
        return not self._looked or any(
            isinstance(follower, Listener) or not follower.was_read for follower in followers
        )

    # ---- for the watchers

    def described(self, name: str, devices: Mapping[int, DeviceDescribed]) -> None:
        """Emit what differs in a database's devices."""
        before = self._descriptions.conflicts(name)
        self._emit_all(self._descriptions.replace(name, devices, time.monotonic()))
        for conflict in self._descriptions.conflicts(name):
            if conflict not in before:
                _LOG.warning(
                    "database %s: device %016x is already described by database %s, which stays",
                    name,
                    *conflict,
                )

    def left(self, name: str) -> None:
        """Note that a database has no session any more."""
        self._descriptions.leave(name, time.monotonic())

    def _emit_all(self, events: Iterable[Event]) -> None:
        for event in events:
            try:
                self._emit(event)
            except Exception:
                _LOG.exception("an event of a database was not handled: %r", event)

    # ---- what is followed

    def _add(self, target: Target, source: str) -> _Entry:
        if target.uses_tls and not target.is_passive:
            context(target.tls)
        follower = Listener(target, self) if target.is_passive else ActiveWatcher(target, self)
        entry = self._entries[target.name] = _Entry(target, source, follower)
        return entry

    def _start(self, entry: _Entry, delay: float = 0.0) -> None:
        """Start to follow a target, after so many seconds where we connect; before :meth:`start`, do nothing."""
        if self._thread is None:
            return
        if isinstance(entry.follower, ActiveWatcher):
            entry.follower.start(delay)
        else:
            entry.follower.start()

    def _remove(self, name: str) -> None:
        follower = self._entries.pop(name).follower
        follower.stop()
        for database in list(follower.hosts) if isinstance(follower, Listener) else [name]:
            self._descriptions.withdraw(database)
        self._emit_all(self._descriptions.expire(time.monotonic()))

    def _look_after(self) -> None:
        while True:
            try:
                for directory in self._directories:
                    if directory.read(lambda: hub.sleep(0)):
                        self._follow(directory)
                self._looked = True
                self._emit_all(self._descriptions.expire(time.monotonic()))
                self._forget_hosts()
            except Exception:
                _LOG.exception("looking after the databases failed")
            hub.sleep(LOOK_AFTER)

    def _follow(self, directory: Directory) -> None:
        """Bring what is followed in line with a directory, giving way after each file that changes something."""
        source = directory.path
        if directory.problem:
            _LOG.warning("%s", directory.problem)
        problems = {name: file.problem for name, file in directory.files.items() if file.problem}
        gone = [
            name for name, item in self._problems.items() if item.directory == source and name not in problems
        ]
        for name in gone:
            del self._problems[name]
        for name in [name for name, entry in self._entries.items() if entry.source == source]:
            file = directory.files.get(name)
            if file is None or (file.target is not None and file.target != self._entries[name].target):
                self._remove(name)
                hub.sleep(0)
        delay = 0.0
        for name, file in directory.files.items():
            known = self._entries.get(name)
            if file.target is None or (known is not None and known.source == source):
                continue
            if known is not None:
                problems[name] = f"{source}/{name}: the name is that of a database of {known.source}"
                continue
            try:
                self._start(self._add(file.target, source), delay)
            except ConfigError as error:
                self._entries.pop(name, None)
                problems[name] = str(error)
            delay += SPREAD
            hub.sleep(0)
        self._keep_problems(source, problems)

    def _keep_problems(self, source: str, problems: Mapping[str, str]) -> None:
        """Replace the problems of a directory's files, and log those that are new."""
        now = time.monotonic()
        kept = {name: item for name, item in self._problems.items() if item.directory != source}
        for name, text in problems.items():
            before = self._problems.get(name)
            if before is None or before[:2] != (source, text):
                _LOG.warning("%s", text)
                before = _Problem(source, text, now)
            kept[name] = before
        self._problems = kept

    def _forget_hosts(self) -> None:
        """Forget hosts that connected once, and of which nothing is in force any more."""
        for entry in self._entries.values():
            if isinstance(entry.follower, Listener):
                for name in list(entry.follower.hosts):
                    if name not in self._descriptions:
                        entry.follower.forget(name)

    # ---- states

    def _statuses(self) -> Iterator[DatabaseStatus]:
        for name, (target, source, follower) in self._entries.items():
            if isinstance(follower, Listener):
                yield DatabaseStatus(
                    name, target.text, source, _plain("listening", follower.problem, self._begun)
                )
                for watcher in follower.hosts.values():
                    yield self._status(watcher, target.text, target.text)
            else:
                yield self._status(follower, target.text, source)

    def _status(self, watcher: Watcher, target: str, source: str) -> DatabaseStatus:
        name = watcher.name
        described = self._descriptions
        return DatabaseStatus(
            name, target, source, watcher.status(), described.owned(name), described.conflicts(name)
        )

    def _refused(self) -> Iterator[DatabaseStatus]:
        for file, (source, text, since) in self._problems.items():
            name = f"{source}/{file}" if file in self._entries else file
            yield DatabaseStatus(name, "", source, _plain("refused", text, since))
        for directory in self._directories:
            if directory.problem:
                status = _plain("refused", directory.problem, self._begun)
                yield DatabaseStatus(directory.path, "", directory.path, status)


def _plain(state: str, problem: str, since: float) -> WatcherStatus:
    return WatcherStatus(state, time.monotonic() - since, problem, "", "", "", "", 0, None, 0, ())
