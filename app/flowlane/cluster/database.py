"""Flowlane's own database as one controller uses it: a copy that follows it, and transactions.

The copy and the transactions have connections of their own, so that neither waits for the other, and each goes to the
next server of a cluster when its own is gone, hung, or has lost the cluster.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from flowlane import hub
from flowlane.cluster import schema
from flowlane.errors import DatabaseError, FlowlaneError, ProtocolError
from flowlane.southbound.ovsdb.jsonrpc import NO_REPLY, Peer, RefusedError, Share
from flowlane.southbound.ovsdb.stream import connect, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from flowlane.southbound.ovsdb.remote import Target
    from flowlane.southbound.ovsdb.stream import Stream

_LOG = logging.getLogger(__name__)

CONNECT_WITHIN = 0.5
"""Seconds that a connection to a server may take: another server may be there."""

LOAD_WITHIN = 5.0
"""Seconds in which the first copy has to come."""

PROBE_AFTER = 2.0
"""Seconds without any byte after which the server of the copy is asked for an echo.

It counts as silent :data:`~flowlane.southbound.ovsdb.jsonrpc.ECHO_WITHIN` later, 5 s in all."""

PAUSE = 0.1, 1.0
"""Seconds between the first and the last tries to connect."""

_DATA, _SERVER = "data", "server"
Operation = dict[str, Any]


class ConflictError(DatabaseError):
    """What a transaction waits for does not hold, or it breaks a constraint; nothing was changed."""


class Transactions:
    """A connection for transactions; green threads take turns.

    Args:
        target: the database.
        within: seconds for one try.
    """

    def __init__(self, target: Target, within: float) -> None:
        self._target, self._within = target, within
        self._next = 0
        self._connection: tuple[Stream, Peer] | None = None
        self._is_busy = False
        self._is_free = hub.Condition()

    def transact(self, operations: Sequence[Operation]) -> list[Any]:
        """Commit the operations (RFC 7047 section 5.2), all or none, and return their results.

        A transaction whose reply does not come may have been committed all the same.

        Raises:
            ConflictError: it cannot be committed.
            DatabaseError: the server is gone, or has no majority of its cluster.
        """
        deadline = time.monotonic() + self._within
        while self._is_busy:
            if not self._is_free.wait(max(0.0, deadline - time.monotonic())):
                raise DatabaseError("the database does not reply")
        self._is_busy = True
        try:
            return self._transact(operations, deadline)
        except ConflictError:
            raise
        except (FlowlaneError, OSError) as error:
            self.close()
            raise DatabaseError(problem_of(error)) from error
        except BaseException:
            self.close()
            raise
        finally:
            self._is_busy = False
            self._is_free.notify_all()

    def _transact(self, operations: Sequence[Operation], deadline: float) -> list[Any]:
        if self._connection is None:
            remote = self._target.remotes[self._next % len(self._target.remotes)]
            self._next += 1
            stream = connect(remote, self._target.tls, min(CONNECT_WITHIN, self._within))
            self._connection = stream, _peer(stream)
        within = max(0.01, deadline - time.monotonic())
        results = self._connection[1].call("transact", [schema.DATABASE, *operations], within)
        if not isinstance(results, list):
            raise ProtocolError("the result of a transaction is no list")
        for result in results:
            if isinstance(result, dict) and "error" in result:
                raise ConflictError(f"{result['error']}: {result.get('details', '')}".rstrip(": "))
        return results

    def close(self) -> None:
        """Close the connection; the next transaction opens another one, to the next server."""
        if self._connection is not None:
            self._connection[0].close()
            self._connection = None


class Copy:
    """A copy of the database that follows it, in a green thread of its own.

    Attributes:
        rows: table -> id of a row -> its columns; the last copy while there is no session.
        is_synchronized: whether there is a session whose first copy has come.
        problem: what was wrong last; empty for nothing. With a session: its server does not reply.
        cluster: id of the cluster of servers; empty for a single server.
        absent: tables that the database does not have, since its schema is of an earlier version of Flowlane.

    Args:
        target: the database.
        changed: called with the names of the tables that have changed, all of them after the first copy of a session.
    """

    def __init__(self, target: Target, changed: Callable[[frozenset[str]], None]) -> None:
        self.rows: dict[str, dict[str, schema.Row]] = {table: {} for table in schema.tables()}
        self.is_synchronized = False
        self.problem = "not connected yet"
        self.cluster = ""
        self.absent: frozenset[str] = frozenset()
        self._target, self._changed = target, changed
        self._task: hub.Task | None = None
        self._peer: Peer | None = None

    def start(self) -> None:
        """Begin to follow the database."""
        self._task = hub.spawn(self._follow)

    def stop(self) -> None:
        """End the session."""
        if self._task is not None:
            self._task.kill()
            self._task = None

    def reconnect(self) -> None:
        """Go on with the next server: what this one shows does not change any more."""
        if self._peer is not None:
            self._peer.shut_down()

    def _follow(self) -> None:
        pause, number = PAUSE[0], 0
        while True:
            try:
                self._session(self._target.remotes[number % len(self._target.remotes)])
            except Exception as error:
                pause = PAUSE[0] if self.is_synchronized else min(2 * pause, PAUSE[1])
                self._note_problem(error)
            self.is_synchronized = False
            number += 1
            hub.sleep(pause)

    def _note_problem(self, error: Exception) -> None:
        problem = problem_of(error)
        level = logging.DEBUG if self.problem else logging.WARNING
        _LOG.log(level, "database %s: %s", self._target.name, problem)
        self.problem = problem

    def _note_silence(self, is_silent: bool) -> None:
        if is_silent:
            self._note_problem(DatabaseError(NO_REPLY))
        else:
            self.problem = ""
            _LOG.info("database %s: it replies again", self._target.name)

    def _session(self, remote: str) -> None:
        stream = connect(remote, self._target.tls, CONNECT_WITHIN)
        try:
            peer = self._peer = _peer(stream)
            self._follow_server(peer)
            self.absent = self._absent_tables(peer)
            tables = [table for table in schema.tables() if table not in self.absent]
            requests = {table: {"columns": schema.columns_of(table)} for table in tables}
            updates = peer.call("monitor", [schema.DATABASE, _DATA, requests], LOAD_WITHIN)
            self.rows = {table: {} for table in schema.tables()}
            self._apply(updates)
            self.is_synchronized, self.problem = True, ""
            _LOG.info("database %s: synchronized, by %s", self._target.name, remote)
            self._changed(frozenset(schema.tables()))
            peer.silence_changed = self._note_silence
            while True:
                self._take(peer.notifications())
        finally:
            self._peer = None
            stream.close()

    def _absent_tables(self, peer: Peer) -> frozenset[str]:
        """Return which tables the server's schema lacks; nothing else needs them than what they are for."""
        found = peer.call("get_schema", [schema.DATABASE], LOAD_WITHIN)
        tables = found.get("tables") if isinstance(found, dict) else None
        if not isinstance(tables, dict):
            raise ProtocolError("the schema has no tables")
        absent = frozenset(schema.tables()) - tables.keys()
        if absent and absent != self.absent:
            text = "database %s has no table %s: its schema is of an earlier version; ovsdb-client convert mends it"
            _LOG.warning(text, self._target.name, ", ".join(sorted(absent)))
        return absent

    def _take(self, notifications: Sequence[tuple[str, Any]]) -> None:
        changed: set[str] = set()
        for method, parameters in notifications:
            if method != "update" or not isinstance(parameters, list) or len(parameters) != 2:
                raise ProtocolError(f"an unexpected notification: {method[:40]!r}")
            monitor, updates = parameters
            if monitor == _SERVER:
                self._take_server(updates)
            else:
                changed |= self._apply(updates)
        if changed:
            self._changed(frozenset(changed))

    def _apply(self, updates: Any) -> set[str]:
        if not isinstance(updates, dict):
            raise ProtocolError("table updates are no object")
        for table, rows in updates.items():
            copy = self.rows.setdefault(table, {})
            for identity, update in rows.items():
                if "new" in update:
                    copy[identity] = schema.from_json(table, update["new"])
                else:
                    copy.pop(identity, None)
        return set(updates)

    def _follow_server(self, peer: Peer) -> None:
        """Have the server report whether it has lost its cluster (ovsdb-server(5), database _Server)."""
        columns = ["name", "model", "connected", "cid"]
        try:
            updates = peer.call(
                "monitor", ["_Server", _SERVER, {"Database": {"columns": columns}}], LOAD_WITHIN
            )
        except RefusedError:
            return
        self._take_server(updates)

    def _take_server(self, updates: Any) -> None:
        databases = [update["new"] for update in updates.get("Database", {}).values() if "new" in update]
        for row in databases:
            if row.get("name") == schema.DATABASE and row.get("model") == "clustered":
                cid = row.get("cid")
                self.cluster = str(cid[1]) if isinstance(cid, list) and cid[:1] == ["uuid"] else ""
                if not row.get("connected"):
                    raise DatabaseError("the server has lost the cluster that its database is a member of")


def _peer(stream: Stream) -> Peer:
    """Return a peer whose processor time is not limited: the database is our own."""
    return Peer(stream, Share(spent=lambda: 0.0), probe_after=PROBE_AFTER)


def problem_of(error: BaseException) -> str:
    """Return what ended a session, in words."""
    if isinstance(error, FlowlaneError):
        return str(error)
    if isinstance(error, OSError):
        return f"the connection is broken: {reason(error)}"
    _LOG.error("a session with Flowlane's database ended by an unexpected exception", exc_info=error)
    return f"the session ended by an exception: {error}"


# ---- operations


def row_is(identity: str) -> list[Any]:
    """Return the condition that selects one row."""
    return [["_uuid", "==", ["uuid", identity]]]


def insert(table: str, row: Mapping[str, Any]) -> Operation:
    """Insert a row."""
    return {"op": "insert", "table": table, "row": schema.to_json(table, row)}


def update(table: str, where: list[Any], row: Mapping[str, Any]) -> Operation:
    """Change columns of rows; the result has their ``count``."""
    return {"op": "update", "table": table, "where": where, "row": schema.to_json(table, row)}


def select(table: str) -> Operation:
    """Read all rows of a table; the result has them as ``rows``."""
    return {"op": "select", "table": table, "where": [], "columns": list(schema.columns_of(table))}


def only_if_names(table: str, names: Iterable[str]) -> Operation:
    """Abort the transaction unless the rows of a table have these names, and there are no others."""
    return {
        "op": "wait",
        "timeout": 0,
        "table": table,
        "where": [],
        "columns": ["name"],
        "until": "==",
        "rows": [{"name": name} for name in names],
    }


def delete(table: str, where: list[Any]) -> Operation:
    """Delete rows."""
    return {"op": "delete", "table": table, "where": where}


def only_if(table: str, identity: str, row: Mapping[str, Any]) -> Operation:
    """Abort the transaction unless a row has these values (RFC 7047 section 5.2.6, without waiting)."""
    return {
        "op": "wait",
        "timeout": 0,
        "table": table,
        "where": row_is(identity),
        "columns": list(row),
        "until": "==",
        "rows": [schema.to_json(table, row)],
    }
