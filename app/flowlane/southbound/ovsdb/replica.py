"""A local copy of the database, kept up to date by the OVS Python IDL (RFC 7047 monitors), as plain records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ovs.db.idl import Idl

from flowlane.southbound.ovsdb.rows import Snapshot, make_snapshot, read_row
from flowlane.southbound.ovsdb.schema import schema_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

_PROBE_MS = 5000
_BACKOFF_MS = (250, 2000)


class Replica(Idl):  # type: ignore[misc]  # the OVS package has no types
    """An IDL that marks changed rows, so that a snapshot copies only those.

    A bridge with a thousand ports changes one row at a time. Copying all of them for each change would block
    the event loop for tens of milliseconds.

    Args:
        give_way: called for each row while a large database is read, to let other green threads run.
    """

    def __init__(
        self, remote: str, columns: Mapping[str, tuple[str, ...]], give_way: Callable[[], None]
    ) -> None:
        super().__init__(remote, schema_helper(columns), probe_interval=_PROBE_MS, leader_only=False)
        self._columns = columns
        self._give_way = give_way
        self._records: dict[str, dict[UUID, Any]] = {table: {} for table in columns}
        self._stale: set[tuple[str, UUID]] = set()
        self._session.reconnect.set_backoff(*_BACKOFF_MS)

    def notify(self, event: str, row: Any, updates: Any = None) -> None:  # noqa: ARG002  (the IDL's signature)
        """Mark a row as changed (the IDL calls this for each)."""
        self._stale.add((row._table.name, row.uuid))

    def cooperative_yield(self) -> None:
        """Let other green threads run (the IDL calls this for each row)."""
        self._give_way()

    @property
    def connected(self) -> bool:
        """Whether a session is up; the copy may still be incomplete."""
        return bool(self._session.is_connected())

    @property
    def synchronized(self) -> bool:
        """Whether the server has sent the whole of the database in this session."""
        return self.connected and self.state == self.IDL_S_MONITORING

    def snapshot(self) -> Snapshot:
        """Copy the rows that changed since the last call, and return all rows."""
        for table, columns in self._columns.items():
            old = self._records[table]
            self._records[table] = {
                uuid: old[uuid]
                if uuid in old and (table, uuid) not in self._stale
                else read_row(table, row, columns)
                for uuid, row in self.tables[table].rows.items()
            }
        self._stale.clear()
        return make_snapshot(lambda table: self._records.get(table, {}))
