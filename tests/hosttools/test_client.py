from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from lab.inside import private_ovs

from flowlane.errors import DatabaseError
from flowlane.hosttools.client import open_database, parse_queues, reported_queues

if TYPE_CHECKING:
    from pathlib import Path

    from support.ovs.ovsdb_server import Server


def test_it_reads_the_whole_database(server: Server) -> None:
    server.bridge("br0", 0xAB, "p1")
    with open_database(server.remote) as database:
        snapshot = database.snapshot()
    assert [row.name for row in snapshot.bridges.values()] == ["br0"]
    assert sorted(row.name for row in snapshot.interfaces.values()) == ["br0", "p1"]


def test_a_server_that_sends_nothing_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute"))
        listener.listen()
        with pytest.raises(DatabaseError, match=r"no answer from the database at .* within 0\.3 s"):  # noqa: SIM117
            with open_database(f"unix:{tmp_path}/mute", timeout=0.3):
                pass


def test_a_refused_change_is_an_error_with_the_text_of_the_server(server: Server) -> None:
    server.bridge("br0", 1)

    def compose(transaction: object, tables: dict[str, object]) -> None:
        rows = tables["Bridge"].rows  # type: ignore[attr-defined]
        next(iter(rows.values())).name = "br1"

    with open_database(server.remote) as database, pytest.raises(DatabaseError, match="immutable column"):
        database.transact(compose)


def test_answers_of_all_versions_are_read() -> None:
    assert parse_queues("OFPT_QUEUE_GET_CONFIG_REPLY (OF1.3) (xid=0x2): port=1\nqueue 0:\nqueue 12:\n") == (
        0,
        12,
    )
    assert parse_queues("OFPST_QUEUE_DESC reply (OF1.5) (xid=0x2): port=2\nqueue 1:\n  min_rate:1%\n") == (1,)
    assert parse_queues("") == ()


@pytest.mark.mininet
def test_a_real_switch_reports_the_queues_of_its_rows() -> None:
    with private_ovs.running(system=True) as switch:
        switch.add_bridge("br0", ("fl-a", "fl-b"))
        switch.set_queues("fl-a", {0: {}, 3: {}})
        assert reported_queues("br0", "fl-a", switch.directory, ("OpenFlow13",)) == (0, 3)
        assert reported_queues("br0", "fl-a", switch.directory, ("OpenFlow15",)) == (0, 3)
        assert reported_queues("br0", "fl-a", switch.directory) == (0, 3)
        assert reported_queues("br0", "fl-b", switch.directory) == ()
        assert reported_queues("br0", "fl-c", switch.directory) is None


def test_a_bridge_that_does_not_exist_reports_nothing(tmp_path: Path) -> None:
    assert reported_queues("br0", "p1", tmp_path) is None
