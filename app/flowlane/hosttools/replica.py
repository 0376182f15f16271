"""A local copy of the database, kept up to date by the OVS Python IDL (RFC 7047 monitors), as plain records."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ovs.db.idl import Idl, SchemaHelper

from flowlane.southbound.ovsdb.rows import OPTIONAL, RECORDS, Snapshot, make_snapshot
from flowlane.southbound.ovsdb.schema import DATABASE, TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

_PROBE_MS = 5000
_BACKOFF_MS = (250, 2000)


class Replica(Idl):  # type: ignore[misc]  # the OVS package has no types
    """An IDL that marks changed rows, so that a snapshot copies only those."""

    def __init__(self, remote: str, columns: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__(remote, schema_helper(columns), probe_interval=_PROBE_MS, leader_only=False)
        self._columns = columns
        self._records: dict[str, dict[UUID, Any]] = {table: {} for table in columns}
        self._stale: set[tuple[str, UUID]] = set()
        self._session.reconnect.set_backoff(*_BACKOFF_MS)

    def notify(self, event: str, row: Any, updates: Any = None) -> None:  # noqa: ARG002  (the IDL's signature)
        """Mark a row as changed (the IDL calls this for each)."""
        self._stale.add((row._table.name, row.uuid))

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


def schema_helper(columns: Mapping[str, tuple[str, ...]]) -> SchemaHelper:
    """Return the IDL's schema of these tables and columns.

    Every table is declared a root table, since the IDL sends a deletion only for those. QoS and Queue are
    root tables in the real schema, and Flowlane deletes no other rows.
    """
    tables = {
        table: {"columns": {name: TABLES[table][name] for name in names}, "isRoot": True}
        for table, names in columns.items()
    }
    helper = SchemaHelper(schema_json={"name": DATABASE, "version": "8.0.0", "tables": tables})
    helper.register_all()
    return helper


def read_row(table: str, row: Any, columns: tuple[str, ...]) -> Any:
    """Copy an IDL row into the record of its table; a column that is not read has its default."""
    return RECORDS[table](**{name: _value(name, getattr(row, name)) for name in columns})


def _value(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType(value)
    if isinstance(value, list):
        if name in OPTIONAL:
            return value[0] if value else OPTIONAL[name]
        return tuple(value)
    return value
