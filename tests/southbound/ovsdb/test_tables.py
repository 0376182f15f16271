from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from flowlane.errors import ProtocolError
from flowlane.southbound.ovsdb import tables
from flowlane.southbound.ovsdb.rows import InterfaceRow, PortRow
from flowlane.southbound.ovsdb.schema import WATCHED
from flowlane.southbound.ovsdb.tables import Tables

A, B = UUID(int=1), UUID(int=2)
EMPTY = ["set", []]


def nothing() -> None:
    """Give way to nobody."""


def copy_of(**updates: dict[UUID, Any]) -> Tables:
    made = Tables(WATCHED)
    made.apply(
        {table: {str(uuid): row for uuid, row in rows.items()} for table, rows in updates.items()}, nothing
    )
    return made


def test_every_form_of_a_value_is_read() -> None:
    """RFC 7047 section 5.1: a set of one is its member, also where the column is optional."""
    port: dict[str, Any] = {
        "name": "p",
        "interfaces": ["uuid", str(B)],
        "qos": EMPTY,
        "external_ids": ["map", [["a", "b"]]],
    }
    port |= {"tag": 7, "trunks": ["set", [1, 2]], "vlan_mode": "access", "bond_mode": EMPTY}
    interface = {"name": "p", "type": "", "ofport": EMPTY, "status": ["map", []], "link_speed": ["set", [10]]}
    snapshot = copy_of(Port={A: {"new": port}}, Interface={B: {"new": interface}}).snapshot()
    assert snapshot.ports[A] == PortRow("p", (B,), None, {"a": "b"}, 7, (1, 2), "access", "")
    assert snapshot.interfaces[B] == InterfaceRow("p", "", None, link_speed=10)


def test_rows_are_replaced_and_deleted() -> None:
    made = copy_of(Queue={A: {"new": {"other_config": ["map", [["max-rate", "1"]]]}}, B: {"new": {}}})
    made.apply(
        {"Queue": {str(A): {"old": {}, "new": {"other_config": ["map", []]}}, str(B): {"old": {}}}}, nothing
    )
    assert {uuid: dict(row.other_config) for uuid, row in made.snapshot().queues.items()} == {A: {}}


WRONG: list[Any] = [
    7,
    {"Queue": 7},
    {"Queue": {"x": {"new": {}}}},
    {"Queue": {str(A): 7}},
    {"Queue": {str(A): {"new": 7}}},
    {"Queue": {str(A): {"new": {"other_config": {}}}}},
    {"Queue": {str(A): {"new": {"other_config": ["map", [["a"]]]}}}},
    {"Queue": {str(A): {"new": {"other_config": ["map", [["a", 5]]]}}}},
    {"Port": {str(A): {"new": {"name": None}}}},
    {"Port": {str(A): {"new": {}}}},
    {"Port": {str(A): {"new": {"name": "p", "tag": True}}}},
    {"Port": {str(A): {"new": {"name": "p", "tag": ["set", [1, 2]]}}}},
    {"Port": {str(A): {"new": {"name": "p", "interfaces": ["uuid", 5]}}}},
    {"Port": {str(A): {"new": {"name": "p", "interfaces": ["set", ["x"]]}}}},
    {"Port": {str(A): {"new": {"name": "p", "trunks": ["set", {}]}}}},
    {"Bogus": {}},
]


@pytest.mark.parametrize("updates", WRONG, ids=str)
def test_rows_of_a_wrong_form_are_refused(updates: Any) -> None:
    with pytest.raises(ProtocolError):
        Tables(WATCHED).apply(updates, nothing)


def test_columns_that_an_older_schema_lacks_are_not_asked_for() -> None:
    made = Tables(WATCHED)
    older = {table: {"columns": dict.fromkeys(names)} for table, names in WATCHED.items()}
    del older["Bridge"]["columns"]["rstp_enable"]
    made.keep_columns_of({"tables": older})
    assert "rstp_enable" not in made.requests["Bridge"]["columns"]
    assert made.requests["Port"] == Tables(WATCHED).requests["Port"]
    with pytest.raises(ProtocolError, match="no table Queue"):
        made.keep_columns_of({"tables": {name: older[name] for name in older if name != "Queue"}})


def test_a_database_is_as_large_as_a_host_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 10)
    made, turns = Tables(WATCHED), list[int]()
    monkeypatch.setattr(tables, "_SLICE", 5)
    rows: dict[str, Any] = {str(UUID(int=n)): {"new": {}} for n in range(10)}
    made.apply({"Queue": rows}, lambda: turns.append(1))
    assert len(turns) == 2
    made.apply({"Queue": {str(UUID(int=3)): {"old": {}}, str(UUID(int=11)): {"new": {}}}}, nothing)
    with pytest.raises(ProtocolError, match="larger than 10 rows"):
        made.apply({"Queue": {str(UUID(int=12)): {"new": {}}}}, nothing)
    monkeypatch.setattr(tables, "MAX_BYTES", 1000)
    with pytest.raises(ProtocolError, match="larger"):
        copy_of(Queue={A: {"new": {"other_config": ["map", [["a", "x" * 2000]]]}}})
