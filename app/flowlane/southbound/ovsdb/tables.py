"""The tables of a database as a monitor (RFC 7047 section 4.1.5) reports them, checked against the schema.

Rows become plain records (:mod:`flowlane.southbound.ovsdb.rows`) at once. A row of another form than the schema's, and
more rows than a host can have, are the server's fault and end its session.
"""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flowlane.errors import ProtocolError
from flowlane.southbound.ovsdb.rows import OPTIONAL, RECORDS, make_snapshot
from flowlane.southbound.ovsdb.schema import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowlane.southbound.ovsdb.rows import Snapshot

MAX_ROWS = 40_000
"""Rows of one database; 10,000 ports with interfaces and queues."""

MAX_BYTES = 64 << 20
"""Bytes of the texts of one database."""

_EMPTY: Mapping[Any, Any] = MappingProxyType({})

_SLICE = 200
"""Rows after which other green threads run."""


class Tables:
    """A local copy of some columns of a database.

    Args:
        columns: table -> its columns that are monitored.
    """

    def __init__(self, columns: Mapping[str, tuple[str, ...]]) -> None:
        self._columns = {
            table: [(name, _reader(table, name)) for name in names] for table, names in columns.items()
        }
        self._rows: dict[str, dict[UUID, Any]] = {table: {} for table in columns}
        self._count = self._octets = 0

    @property
    def requests(self) -> dict[str, Any]:
        """The tables and columns as a request for a monitor has them."""
        return {table: {"columns": [name for name, _ in columns]} for table, columns in self._columns.items()}

    def keep_columns_of(self, schema: Any) -> None:
        """Read only what a server's schema (RFC 7047 section 3.2) has."""
        known = _object(_object(schema, "the schema").get("tables"), "tables of the schema")
        for table, columns in list(self._columns.items()):
            if table not in known:
                raise ProtocolError(f"its schema has no table {table}")
            there = _object(_object(known[table], "a table").get("columns"), "columns of a table")
            self._columns[table] = [(name, read) for name, read in columns if name in there]

    def apply(self, updates: Any, give_way: Callable[[], None]) -> None:
        """Take in a ``<table-updates>``: the first copy, or changes.

        Args:
            give_way: called now and then while there are many rows.

        Raises:
            ProtocolError: it is not of the schema's form, or the database is too large.
        """
        done = 0
        for table, rows in _object(updates, "table updates").items():
            if table not in self._columns:
                raise ProtocolError(f"an update of table {table!r}, which is not monitored")
            for identity, row in _object(rows, f"updates of {table}").items():
                self._apply(table, identity, row)
                done += 1
                if done % _SLICE == 0:
                    give_way()

    def snapshot(self) -> Snapshot:
        """Return all rows; valid until the next change."""
        return make_snapshot(lambda table: self._rows.get(table, {}))

    def _apply(self, table: str, identity: str, update: Any) -> None:
        try:
            uuid = UUID(identity)
            new = _object(update, "a row update").get("new")
            record = None if new is None else self._read(table, _object(new, "a row"))
        except (ProtocolError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise ProtocolError(f"table {table}: a row of a wrong form: {error}") from None
        rows = self._rows[table]
        old = rows.pop(uuid, None)
        if old is not None:
            self._count, self._octets = self._count - 1, self._octets - _size(old)
        if record is not None:
            rows[uuid] = record
            self._count, self._octets = self._count + 1, self._octets + _size(record)
        if self._count > MAX_ROWS or self._octets > MAX_BYTES:
            raise ProtocolError(f"the database is larger than {MAX_ROWS} rows or {MAX_BYTES >> 20} MiB")

    def _read(self, table: str, row: Mapping[str, Any]) -> Any:
        values = {name: read(row[name]) for name, read in self._columns[table] if name in row}
        return RECORDS[table](**values)


def _size(record: tuple[Any, ...]) -> int:
    """Estimate what a record takes, in bytes: its texts, and 100 for each member of a set."""
    size = 0
    for value in record:
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, tuple):
            size += 100 * len(value)
        elif isinstance(value, MappingProxyType):
            size += sum(100 + len(item) if isinstance(item, str) else 100 for item in value.values())
    return size


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError(f"{what} is no JSON object")
    return value


def _reader(table: str, column: str) -> Callable[[Any], Any]:
    """Return what reads a column's JSON (RFC 7047 section 5.1) as the field of the record."""
    kind = TABLES[table][column]["type"]
    if isinstance(kind, str):
        return _ATOMS[kind]
    key = _ATOMS[kind["key"]]
    if "value" in kind:
        return _map_reader(key, _ATOMS[kind["value"]])
    if column in OPTIONAL:
        return _optional_reader(key, OPTIONAL[column])
    return lambda data: tuple([key(item) for item in data[1]]) if _is_set(data) else (key(data),)


def _map_reader(key: Callable[[Any], Any], value: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(data: Any) -> Mapping[Any, Any]:
        if not isinstance(data, list) or len(data) != 2 or data[0] != "map":
            raise ProtocolError("a map is expected")
        return MappingProxyType({key(k): value(v) for k, v in data[1]}) if data[1] else _EMPTY

    return read


def _optional_reader(key: Callable[[Any], Any], default: object) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        if not _is_set(data):
            return key(data)  # a set of one is its member
        if len(data[1]) > 1:
            raise ProtocolError("one value at most is expected")
        return key(data[1][0]) if data[1] else default

    return read


def _is_set(data: Any) -> bool:
    if not isinstance(data, list) or len(data) != 2 or data[0] != "set":
        return False
    if not isinstance(data[1], list):
        raise ProtocolError("the members of a set are expected")
    return True


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise ProtocolError("a string is expected")
    return sys.intern(data) if len(data) < 32 else data


def _integer(data: Any) -> int:
    if not isinstance(data, int) or isinstance(data, bool):
        raise ProtocolError("an integer is expected")
    return data


def _boolean(data: Any) -> bool:
    if not isinstance(data, bool):
        raise ProtocolError("a boolean is expected")
    return data


def _uuid(data: Any) -> UUID:
    if not isinstance(data, list) or len(data) != 2 or data[0] != "uuid":
        raise ProtocolError("a UUID is expected")
    return UUID(data[1])


_ATOMS: Mapping[str, Callable[[Any], Any]] = {
    "string": _text,
    "integer": _integer,
    "boolean": _boolean,
    "uuid": _uuid,
}
