"""One session with a database server: the first copy of the database, then its changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowlane.errors import DatabaseError, ProtocolError
from flowlane.southbound.ovsdb.jsonrpc import Peer, RefusedError
from flowlane.southbound.ovsdb.rows import dangling
from flowlane.southbound.ovsdb.schema import DATABASE, WATCHED
from flowlane.southbound.ovsdb.tables import Tables

if TYPE_CHECKING:
    from flowlane.southbound.ovsdb.rows import RootRow, Snapshot
    from flowlane.southbound.ovsdb.stream import Stream

_DATA, _SERVER = "data", "server"
"""Ids of our two monitors."""

_SERVER_COLUMNS = ("name", "model", "connected", "cid")


class Session:
    """A copy of the database that a server has at the other end of a stream.

    All methods raise DatabaseError, ProtocolError or OSError when the session cannot go on.

    Attributes:
        cluster: id of the cluster that the database is a member of; empty for none.
    """

    def __init__(self, stream: Stream) -> None:
        self.peer = Peer(stream)
        self.cluster = ""
        self._tables = Tables(WATCHED)

    def load(self) -> None:
        """Read the whole database, and have the server report its changes."""
        self._ask_server()
        try:
            updates = self.peer.call("monitor", [DATABASE, _DATA, self._tables.requests])
        except RefusedError:
            # An older schema may lack a column; the schema itself is large, and is asked for only then.
            self._tables.keep_columns_of(self.peer.call("get_schema", [DATABASE]))
            updates = self.peer.call("monitor", [DATABASE, _DATA, self._tables.requests])
        self._tables.apply(updates, self.peer.give_way)

    def wait(self) -> None:
        """Wait for changes, and take in all that have arrived."""
        for method, parameters in self.peer.notifications():
            if method != "update" or not isinstance(parameters, list) or len(parameters) != 2:
                raise ProtocolError(f"an unexpected notification: {method[:40]!r}")
            monitor, updates = parameters
            if monitor == _SERVER:
                self._take_server(updates)
            elif monitor == _DATA:
                self._tables.apply(updates, self.peer.give_way)
            else:
                raise ProtocolError(f"an update of no monitor of ours: {str(monitor)[:40]!r}")

    def snapshot(self) -> Snapshot:
        """Return the database, which is consistent: every reference has its row (RFC 7047 section 3.2)."""
        snapshot = self._tables.snapshot()
        if missing := dangling(snapshot):
            raise DatabaseError(
                f"the database is inconsistent: {missing[0]} missing or too many ({len(missing)} such)"
            )
        return snapshot

    def _ask_server(self) -> None:
        """Ask whether the database is a member of a cluster (ovsdb-server(5), database _Server; since 2.9)."""
        try:
            updates = self.peer.call(
                "monitor", ["_Server", _SERVER, {"Database": {"columns": _SERVER_COLUMNS}}]
            )
        except RefusedError:
            return
        self._take_server(updates)

    def _take_server(self, updates: Any) -> None:
        """Note the cluster; a member that has lost its cluster has old data, and another one is better."""
        try:
            rows = [update["new"] for update in updates.get("Database", {}).values() if "new" in update]
            for row in rows:
                if row.get("name") == DATABASE and row.get("model") == "clustered":
                    cid = row.get("cid")
                    self.cluster = str(cid[1]) if isinstance(cid, list) and cid[:1] == ["uuid"] else ""
                    if not row.get("connected"):
                        raise DatabaseError(
                            "the server has lost the cluster that its database is a member of"
                        )
        except (AttributeError, TypeError, IndexError, KeyError) as error:
            raise ProtocolError(f"database _Server: a row of a wrong form: {error}") from None


def root_of(snapshot: Snapshot) -> RootRow:
    """Return the only row of table Open_vSwitch."""
    return next(iter(snapshot.roots.values()))
