from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from flowlane.errors import DatabaseError
from flowlane.southbound.ovsdb.client import open_database

if TYPE_CHECKING:
    from pathlib import Path

    from ovsdb_server import Server


def test_it_reads_the_whole_database(server: Server) -> None:
    server.bridge("br0", 0xAB, "p1")
    with open_database(server.remote) as database:
        snapshot = database.snapshot()
    assert [row.name for row in snapshot.bridges.values()] == ["br0"]
    assert sorted(row.name for row in snapshot.interfaces.values()) == ["br0", "p1"]


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute"))
        listener.listen()
        with pytest.raises(DatabaseError, match=r"no answer from the database at .* within 0\.3 s"):  # noqa: SIM117
            with open_database(f"unix:{tmp_path}/mute", timeout=0.3):
                pass


def test_a_refused_change_is_an_error_with_the_servers_words(server: Server) -> None:
    server.bridge("br0", 1)

    def compose(transaction: object, tables: dict[str, object]) -> None:
        rows = tables["Bridge"].rows  # type: ignore[attr-defined]
        next(iter(rows.values())).name = "br1"

    with open_database(server.remote) as database, pytest.raises(DatabaseError, match="immutable column"):
        database.transact(compose)
