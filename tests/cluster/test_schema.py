"""Rows as ovsdb-server has them, and as plain values."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flowlane.cluster import schema
from flowlane.errors import ProtocolError

MEMBER = {
    "name": "a", "url": "", "version": "1", "started": 1.5, "beat": 3, "leaving": False,
    "devices": frozenset(("1", "2")),
}  # fmt: skip
DEVICES = (
    {"dpid": "1", "generation": 1 << 40, "leader": None},
    {"dpid": "1", "generation": 0, "leader": "5f858323-881d-45cf-b8ee-d465207ad2bf"},
)


@pytest.mark.parametrize(("table", "row"), [("Member", MEMBER), *(("Device", row) for row in DEVICES)])
def test_rows_come_back_as_they_were(table: str, row: schema.Row) -> None:
    assert schema.from_json(table, json.loads(json.dumps(schema.to_json(table, row)))) == row


def test_a_set_of_one_may_come_without_brackets() -> None:
    assert schema.from_json("Member", {"devices": "1"}) == {"devices": {"1"}}
    assert schema.from_json("Device", {"leader": ["uuid", "x"]}) == {"leader": "x"}


@pytest.mark.parametrize("row", [{"name": 1}, {"nothing": 1}, {"beat": "x"}, {"started": []}])
def test_what_has_another_form_is_refused(row: schema.Row) -> None:
    with pytest.raises(ProtocolError, match="table Member"):
        schema.from_json("Member", row)


def test_ovsdb_tool_takes_the_schema(tmp_path: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "flowlane.cluster.schema"], check=True, capture_output=True, text=True
    )
    assert printed.stdout == schema.text()
    file = tmp_path / "schema"
    file.write_text(printed.stdout)
    subprocess.run(["ovsdb-tool", "create", tmp_path / "db", file], check=True)
    version = subprocess.run(
        ["ovsdb-tool", "db-version", tmp_path / "db"], capture_output=True, text=True, check=True
    )
    assert version.stdout.strip() == schema.VERSION
