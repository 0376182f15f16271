"""The schema of Flowlane's own database (RFC 7047 section 3.2), and its rows as plain values.

``python -m flowlane.cluster.schema`` prints it for ``ovsdb-tool create`` and ``create-cluster``.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from flowlane.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DATABASE = "Flowlane"
VERSION = "1.1.0"

Row = dict[str, Any]

_MANY = {"min": 0, "max": "unlimited"}


def _optional(kind: str) -> Row:
    return {"type": {"key": kind, "min": 0, "max": 1}}


def _one(kind: str) -> Row:
    return {"type": kind}


_TABLES: dict[str, dict[str, Row]] = {
    "Policy": {
        "text": _one("string"),
        "hash": _one("string"),
        "time": _one("real"),
        "source": _one("string"),
        "by": _one("string"),
        "address": _one("string"),
        "file": _one("string"),
    },
    "Order": {
        "kind": _one("string"),
        "name": _one("string"),
        "content": _one("string"),
        "expires": _optional("real"),
    },
    "Token": {
        "name": _one("string"),
        "hash": _one("string"),
        "scopes": {"type": {"key": "string", **_MANY}},
        "created": _one("real"),
        "expires": _optional("real"),
    },
    "Member": {
        "name": _one("string"),
        "url": _one("string"),
        "version": _one("string"),
        "started": _one("real"),
        "beat": _one("integer"),
        "leaving": _one("boolean"),
        "devices": {"type": {"key": "string", **_MANY}},
    },
    "Device": {
        "dpid": _one("string"),
        "generation": _one("integer"),
        "leader": {
            "type": {
                "key": {"type": "uuid", "refTable": "Member", "refType": "weak"},
                "min": 0,
                "max": 1,
            }
        },
    },
}
"""Table -> column -> its schema.

``Order``: hints, pins, cordons and roles that operators gave over REST; ``kind`` and ``name`` are its key, ``content``
is JSON. ``Token``: tokens of REST; ``hash`` is the SHA-256 of one. ``leader`` is a weak reference: it is empty once the
member's row is gone."""

_INDEXES = {"Order": [["kind", "name"]], "Token": [["name"]], "Device": [["dpid"]]}

SCHEMA: Mapping[str, Any] = {
    "name": DATABASE,
    "version": VERSION,
    "tables": {
        table: {
            "columns": columns,
            "isRoot": True,
            **({"maxRows": 1} if table == "Policy" else {}),
            **({"indexes": _INDEXES[table]} if table in _INDEXES else {}),
        }
        for table, columns in _TABLES.items()
    },
}


def text() -> str:
    """Return the schema as the JSON that ovsdb-tool(1) reads."""
    return json.dumps(SCHEMA, indent=2) + "\n"


def to_json(table: str, row: Mapping[str, Any]) -> Row:
    """Write columns of a row as OVSDB has them (RFC 7047 section 5.1)."""
    return {column: _WRITERS[table][column](value) for column, value in row.items()}


def from_json(table: str, row: Mapping[str, Any]) -> Row:
    """Read columns of a row.

    Raises:
        ProtocolError: a value is not of the schema's form.
    """
    try:
        return {column: _READERS[table][column](value) for column, value in row.items()}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ProtocolError(f"table {table}: a row of a wrong form: {error!r}") from None


def columns_of(table: str) -> tuple[str, ...]:
    """Return the columns of a table."""
    return tuple(_TABLES[table])


def tables() -> tuple[str, ...]:
    """Return the tables."""
    return tuple(_TABLES)


def _atom(kind: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return what writes and what reads a value without a set around it."""
    if kind == "uuid":
        return (lambda value: ["uuid", value]), (lambda data: _text(data[1]))
    return _same, _ATOMS[kind]


def _same(value: Any) -> Any:
    return value


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise ValueError("a string is expected")
    return data


_ATOMS: Mapping[str, Callable[[Any], Any]] = {
    "string": _text,
    "real": float,
    "integer": int,
    "boolean": bool,
}


def _members(data: Any) -> list[Any]:
    """Return the members of a set; one of a single member is written without brackets."""
    return list(data[1]) if isinstance(data, list) and data[0] == "set" else [data]


def _column(kind: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    if isinstance(kind, str):
        return _atom(kind)
    key = kind["key"]
    write, read = _atom(key if isinstance(key, str) else key["type"])
    if kind["max"] == 1:
        return (
            lambda value: ["set", [] if value is None else [write(value)]],
            lambda data: next((read(item) for item in _members(data)), None),
        )
    return (
        lambda value: ["set", [write(item) for item in sorted(value)]],
        lambda data: frozenset(read(item) for item in _members(data)),
    )


_BOTH = {
    table: {name: _column(column["type"]) for name, column in columns.items()}
    for table, columns in _TABLES.items()
}
_WRITERS = {table: {name: pair[0] for name, pair in columns.items()} for table, columns in _BOTH.items()}
_READERS = {table: {name: pair[1] for name, pair in columns.items()} for table, columns in _BOTH.items()}

if __name__ == "__main__":
    sys.stdout.write(text())
