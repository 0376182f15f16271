"""A one-off look at, or change of, the database: what a command needs, without eventlet or threads.

What a bridge itself says of its queues over OpenFlow, asked with ``ovs-ofctl`` (a second opinion on ours).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ovs.db.idl import Transaction
from ovs.poller import Poller
from ovs.stream import Stream

from flowlane.errors import DatabaseError
from flowlane.southbound.ovsdb.replica import Replica
from flowlane.southbound.ovsdb.rows import dangling
from flowlane.southbound.ovsdb.schema import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowlane.southbound.ovsdb.rows import Snapshot

_TRIES = 5


@contextmanager
def open_database(remote: str, timeout: float = 5.0) -> Iterator[Database]:
    """Connect, and close when done.

    Raises:
        DatabaseError: it cannot be reached (told at once, with the system's reason), or it gave no whole
            answer within ``timeout`` seconds.
    """
    _knock(remote)
    replica = Replica(remote, EVERYTHING, lambda: None)
    database = Database(replica, timeout)
    try:
        database.wait_for(lambda: replica.synchronized, f"no answer from the database at {remote}")
        yield database
    finally:
        replica.close()


def _knock(remote: str) -> None:
    """The IDL tries for ever and tells nobody why it fails; a command should say so at once."""
    error, stream = Stream.open(remote)
    if stream is not None:
        stream.close()
    if error:
        raise DatabaseError(f"cannot reach the database at {remote}: {os.strerror(error)}")


class Database:
    """A connected database; made by :func:`open_database`."""

    def __init__(self, replica: Replica, timeout: float) -> None:
        self._replica = replica
        self._timeout = timeout

    def snapshot(self) -> Snapshot:
        """Return the database as last heard of.

        Raises:
            DatabaseError: it contradicts itself, so nothing may be decided on it.
        """
        snapshot = self._replica.snapshot()
        if wrong := dangling(snapshot):
            raise DatabaseError(f"the database makes no sense: {wrong[0]} ({len(wrong)} such)")
        return snapshot

    def transact(self, compose: Callable[[Transaction, Any], None]) -> None:
        """Commit what ``compose(transaction, tables)`` writes, all of it or nothing.

        ``compose`` is called again when somebody else changed what it verified; it decides anew on a fresh
        :meth:`snapshot`, and may raise to give up.

        Raises:
            DatabaseError: the server refused, or the connection was lost.
        """
        for _ in range(_TRIES):
            seqno = self._replica.change_seqno
            transaction = Transaction(self._replica)
            try:
                compose(transaction, self._replica.tables)
                status = self._commit(transaction)
            except BaseException:
                transaction.abort()
                raise
            if status in (Transaction.SUCCESS, Transaction.UNCHANGED):
                return
            if status != Transaction.TRY_AGAIN:
                raise DatabaseError(f"the database refused the change: {transaction.get_error()}")
            self._wait_for_news(seqno)
        raise DatabaseError(f"others changed the same rows {_TRIES} times in a row; nothing was done")

    def wait_for(
        self, true: Callable[[], bool], failure: str, *, must: bool = True, timeout: float | None = None
    ) -> bool:
        """Follow the database until something is true of it; return whether it became so in time (s).

        Raises:
            DatabaseError: it did not, and ``must`` was set.
        """
        timeout = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        while True:
            self._replica.run()
            if true():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                break
            poller = Poller()
            self._replica.wait(poller)
            poller.timer_wait(left * 1000)
            poller.block()
        if must:
            raise DatabaseError(f"{failure} within {timeout:g} s")
        return False

    def _wait_for_news(self, seqno: int) -> None:
        self.wait_for(lambda: bool(self._replica.change_seqno != seqno), "", must=False)

    def _commit(self, transaction: Transaction) -> str:
        status: list[str] = [transaction.commit()]

        def finished() -> bool:
            if status[0] == Transaction.INCOMPLETE:
                status[0] = transaction.commit()
            return bool(status[0] != Transaction.INCOMPLETE)

        self.wait_for(finished, "the database did not answer to the change")
        return status[0]


_QUEUE = re.compile(r"^\s*queue (\d+):", re.MULTILINE)
_VERSIONS = "OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14,OpenFlow15"
_PATIENCE = 10


def parse_queues(text: str) -> tuple[int, ...]:
    """Read the answer to ``ovs-ofctl queue-get-config BRIDGE PORT``, of any OpenFlow version."""
    return tuple(sorted({int(number) for number in _QUEUE.findall(text)}))


def reported_queues(
    bridge: str, port: str, rundir: Path, protocols: tuple[str, ...] = ()
) -> tuple[int, ...] | None:
    """Ask one port of a bridge, by the management socket in Open vSwitch's run directory; None when it is mute.

    One port at a time: an answer for all ports names none of them before OpenFlow 1.4.
    """
    tool, socket = shutil.which("ovs-ofctl"), rundir / f"{bridge}.mgmt"
    if tool is None or not socket.exists():
        return None
    versions = ",".join(protocols) or _VERSIONS
    command = [tool, f"--timeout={_PATIENCE}", "-O", versions, "queue-get-config", f"unix:{socket}", port]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return parse_queues(done.stdout) if done.returncode == 0 else None
