"""A connection to the database for one command, without green threads; and ``ovs-ofctl`` for reported queues."""

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

from flowlane.errors import ConfigError, DatabaseError
from flowlane.hosttools.replica import Replica
from flowlane.southbound.ovsdb.remote import check_remote
from flowlane.southbound.ovsdb.rows import dangling
from flowlane.southbound.ovsdb.schema import EVERYTHING
from flowlane.southbound.ovsdb.tls import context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowlane.southbound.ovsdb.remote import TlsFiles
    from flowlane.southbound.ovsdb.rows import Snapshot

_TRIES = 5


def prepare(remote: str, files: TlsFiles) -> str:
    """Check a remote and, if it uses TLS, pass the files to the OVS library, which keeps them for the whole process.

    Raises:
        ConfigError: the remote is malformed, or one of the three files is missing or cannot be used.
    """
    if not check_remote(remote).startswith("ssl:"):
        return remote
    if None in files:
        raise ConfigError(f"ovsdb remote {remote} needs a private key, a certificate and a CA certificate")
    context(files)
    Stream.ssl_set_private_key_file(files.private_key)
    Stream.ssl_set_certificate_file(files.certificate)
    Stream.ssl_set_ca_cert_file(files.ca_certificate)
    return remote


@contextmanager
def open_database(remote: str, timeout: float = 5.0) -> Iterator[Database]:
    """Connect, and close when done.

    Raises:
        DatabaseError: the database cannot be reached (reported at once), or has not sent its whole content
            within ``timeout`` seconds.
    """
    _check_reachable(remote)
    replica = Replica(remote, EVERYTHING)
    database = Database(replica, timeout)
    try:
        database.wait_for(lambda: replica.synchronized, f"no answer from the database at {remote}")
        yield database
    finally:
        replica.close()


def _check_reachable(remote: str) -> None:
    """Connect once and report why it fails: the IDL tries for ever, without a reason."""
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
        """Return the last copy of the database.

        Raises:
            DatabaseError: the copy is inconsistent.
        """
        snapshot = self._replica.snapshot()
        if missing := dangling(snapshot):
            raise DatabaseError(
                f"the database is inconsistent: {missing[0]} missing or too many ({len(missing)} such)"
            )
        return snapshot

    def transact(self, compose: Callable[[Transaction, Any], None]) -> None:
        """Commit what ``compose(transaction, tables)`` writes, all of it or nothing.

        Args:
            compose: writes the changes. It is called again, to decide on a new :meth:`snapshot`, when another
                client has changed what it verified. It may raise to give up.

        Raises:
            DatabaseError: the server refused the transaction, or the connection was lost.
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
            self._wait_for_change(seqno)
        raise DatabaseError(
            f"other clients changed the same rows {_TRIES} times in a row; nothing was changed"
        )

    def wait_for(
        self,
        condition: Callable[[], bool],
        failure: str,
        *,
        required: bool = True,
        timeout: float | None = None,
    ) -> bool:
        """Follow the database until a condition holds; return whether it did in time.

        Args:
            failure: text of the error.
            required: whether to raise when the condition does not hold in time.
            timeout: seconds; None: that of the connection.

        Raises:
            DatabaseError: the condition did not hold in time, and is required.
        """
        timeout = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        while True:
            self._replica.run()
            if condition():
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            poller = Poller()
            self._replica.wait(poller)
            poller.timer_wait(remaining * 1000)
            poller.block()
        if required:
            raise DatabaseError(f"{failure} within {timeout:g} s")
        return False

    def _wait_for_change(self, seqno: int) -> None:
        self.wait_for(lambda: bool(self._replica.change_seqno != seqno), "", required=False)

    def _commit(self, transaction: Transaction) -> str:
        status: list[str] = [transaction.commit()]

        def is_finished() -> bool:
            if status[0] == Transaction.INCOMPLETE:
                status[0] = transaction.commit()
            return bool(status[0] != Transaction.INCOMPLETE)

        self.wait_for(is_finished, "no reply to the transaction")
        return status[0]


_QUEUE = re.compile(r"^\s*queue (\d+):", re.MULTILINE)
_VERSIONS = "OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14,OpenFlow15"
_TIMEOUT = 10
"""Seconds that ovs-ofctl may take."""


def parse_queues(text: str) -> tuple[int, ...]:
    """Read the output of ``ovs-ofctl queue-get-config BRIDGE PORT``, of any OpenFlow version."""
    return tuple(sorted({int(number) for number in _QUEUE.findall(text)}))


def reported_queues(
    bridge: str, port: str, rundir: Path, protocols: tuple[str, ...] = ()
) -> tuple[int, ...] | None:
    """Return the ids of the queues that a bridge reports on a port over OpenFlow; None when that is not possible.

    The bridge is asked by its management socket in Open vSwitch's run directory, and one port at a time:
    before OpenFlow 1.4 a reply for all ports does not name them.
    """
    tool, socket = shutil.which("ovs-ofctl"), rundir / f"{bridge}.mgmt"
    if tool is None or not socket.exists():
        return None
    versions = ",".join(protocols) or _VERSIONS
    command = [tool, f"--timeout={_TIMEOUT}", "-O", versions, "queue-get-config", f"unix:{socket}", port]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return parse_queues(done.stdout) if done.returncode == 0 else None
