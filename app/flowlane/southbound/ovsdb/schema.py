"""The part of the Open_vSwitch schema (RFC 7047 section 3.2) that Flowlane reads and writes.

The schema is written here, not fetched from the server, because the watcher has to start before the database
does, and because exactly these columns are monitored: a column that is not listed costs nothing
(``statistics``, for example, which changes every 5 s). References to rows are declared as plain UUIDs, so
that a row is read without the rows that it refers to.

Source of the types: vswitch.ovsschema of Open vSwitch; all these columns are in it since 2.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE = "Open_vSwitch"

_TEXT = {"type": "string"}
_INTEGER = {"type": "integer"}
_BOOLEAN = {"type": "boolean"}
_MAYBE_TEXT = {"type": {"key": "string", "min": 0, "max": 1}}
_MAYBE_INTEGER = {"type": {"key": "integer", "min": 0, "max": 1}}
_MAYBE_ROW = {"type": {"key": "uuid", "min": 0, "max": 1}}
_INTEGERS = {"type": {"key": "integer", "min": 0, "max": "unlimited"}}
_TEXTS = {"type": {"key": "string", "min": 0, "max": "unlimited"}}
_ROWS = {"type": {"key": "uuid", "min": 0, "max": "unlimited"}}
_MAP = {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}}
_ROW_BY_NUMBER = {"type": {"key": "integer", "value": "uuid", "min": 0, "max": "unlimited"}}

TABLES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "Open_vSwitch": {
        "bridges": _ROWS,
        "ovs_version": _MAYBE_TEXT,
        "external_ids": _MAP,
        "other_config": _MAP,
        "next_cfg": _INTEGER,
        "cur_cfg": _INTEGER,
    },
    "Bridge": {
        "name": _TEXT,
        "ports": _ROWS,
        "datapath_id": _MAYBE_TEXT,
        "datapath_type": _TEXT,
        "external_ids": _MAP,
        "fail_mode": _MAYBE_TEXT,
        "protocols": _TEXTS,
        "controller": _ROWS,
        "other_config": _MAP,
        "stp_enable": _BOOLEAN,
        "rstp_enable": _BOOLEAN,
    },
    "Port": {
        "name": _TEXT,
        "interfaces": _ROWS,
        "qos": _MAYBE_ROW,
        "external_ids": _MAP,
        "tag": _MAYBE_INTEGER,
        "trunks": _INTEGERS,
        "vlan_mode": _MAYBE_TEXT,
        "bond_mode": _MAYBE_TEXT,
    },
    "Interface": {
        "name": _TEXT,
        "type": _TEXT,
        "ofport": _MAYBE_INTEGER,
        "external_ids": _MAP,
        "mac_in_use": _MAYBE_TEXT,
        "link_speed": _MAYBE_INTEGER,
        "status": _MAP,
        "error": _MAYBE_TEXT,
        "options": _MAP,
    },
    "QoS": {"type": _TEXT, "queues": _ROW_BY_NUMBER, "other_config": _MAP, "external_ids": _MAP},
    "Queue": {"other_config": _MAP, "external_ids": _MAP},
    "Controller": {"target": _TEXT, "is_connected": _BOOLEAN, "connection_mode": _MAYBE_TEXT},
}

WATCHED: Mapping[str, tuple[str, ...]] = {
    "Open_vSwitch": ("bridges", "ovs_version", "external_ids"),
    "Bridge": (
        "name",
        "ports",
        "datapath_id",
        "datapath_type",
        "external_ids",
        "stp_enable",
        "rstp_enable",
    ),
    "Port": ("name", "interfaces", "qos", "external_ids", "tag", "trunks", "vlan_mode", "bond_mode"),
    "Interface": ("name", "type", "ofport", "external_ids", "mac_in_use", "link_speed", "status", "options"),
    "QoS": ("type", "queues", "other_config"),
    "Queue": ("other_config", "external_ids"),
}
"""The columns that the watcher monitors. ``external_ids`` of Open_vSwitch has the host's ``system-id``."""

EVERYTHING: Mapping[str, tuple[str, ...]] = {table: tuple(columns) for table, columns in TABLES.items()}
"""The columns that a command reads once."""
