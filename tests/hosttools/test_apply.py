"""Plans put into a real ovsdb-server, judged by ovs-vsctl."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowlane.errors import DatabaseError, RequestError
from flowlane.hosttools.apply import apply_plan
from flowlane.hosttools.client import open_database
from flowlane.hosttools.qos_plan import DesiredQos, even_queues, plan_clear, plan_qos

if TYPE_CHECKING:
    from pathlib import Path

    from support.ovs.ovsdb_server import Server

    from flowlane.hosttools.qos_plan import RowChange
    from flowlane.southbound.ovsdb.rows import Snapshot

GBIT = 10**9


def make(
    server: Server, port: str, physical: int, software: int = 0, *, replace: bool = False
) -> list[RowChange]:
    wanted = DesiredQos(port, "linux-htb", GBIT, even_queues(physical, software, GBIT, None))
    with open_database(server.remote, timeout=2) as database:
        return apply_plan(database, lambda now: plan_qos(wanted, now, replace=replace), timeout=0)[0]


def clear(server: Server, port: str) -> None:
    with open_database(server.remote, timeout=2) as database:
        apply_plan(database, lambda now: plan_clear(port, now), timeout=0)


def state(server: Server) -> tuple[str, str, str]:
    columns = "_uuid,other_config,external_ids"
    return (
        server.vsctl("--columns=name,qos", "list", "port"),
        server.vsctl(f"--columns=type,queues,{columns}", "list", "qos"),
        server.vsctl(f"--columns={columns}", "list", "queue"),
    )


def count(server: Server, table: str) -> int:
    return len(server.vsctl("--bare", "--columns=_uuid", "list", table).split())


def test_made_as_ovs_vsctl_shows_it_and_the_second_time_changes_nothing(server: Server) -> None:
    server.bridge("br0", 1, "up0", "vf0")
    assert make(server, "up0", 2, 1)
    assert server.vsctl("get", "qos", "up0", "type") == "linux-htb"
    assert server.vsctl("get", "qos", "up0", "other_config:max-rate") == '"1000000000"'
    uuid = server.vsctl("get", "qos", "up0", "queues:2")
    assert server.vsctl("get", "queue", uuid, "external_ids:flowlane-kind") == "software"
    assert server.vsctl("get", "queue", uuid, "other_config:min-rate") == '"333333333"'
    before = state(server)
    assert make(server, "up0", 2, 1) == []
    assert state(server) == before


def test_shrinks_grows_and_clears_without_orphans(server: Server) -> None:
    server.bridge("br0", 1, "up0")
    for physical in (8, 2, 5):
        make(server, "up0", physical)
        assert (count(server, "qos"), count(server, "queue")) == (1, physical)
    clear(server, "up0")
    assert (count(server, "qos"), count(server, "queue")) == (0, 0)
    assert server.vsctl("get", "port", "up0", "qos") == "[]"
    clear(server, "up0")


def test_a_foreign_row_is_left_alone_until_replaced(server: Server) -> None:
    server.bridge("br0", 1, "up0", "up1")
    server.vsctl(
        *"set port up0 qos=@q -- set port up1 qos=@q -- --id=@q create qos type=linux-hfsc queues:7=@a".split(),  # noqa: SIM905
        *"-- --id=@a create queue other_config:max-rate=5".split(),  # noqa: SIM905
    )
    before = state(server)
    with pytest.raises(RequestError, match="--replace"):
        make(server, "up0", 2)
    assert state(server) == before
    make(server, "up0", 2, replace=True)
    assert server.vsctl("get", "qos", "up1", "type") == "linux-hfsc"
    assert (count(server, "qos"), count(server, "queue")) == (2, 3)
    make(server, "up1", 1, replace=True)
    assert (count(server, "qos"), count(server, "queue")) == (2, 3)


def test_a_change_by_somebody_else_between_plan_and_commit_is_seen(server: Server) -> None:
    server.bridge("br0", 1, "up0")
    make(server, "up0", 4)
    plans = 0

    def plan(now: Snapshot) -> list[RowChange]:
        nonlocal plans
        plans += 1
        if plans == 1:
            server.vsctl("remove", "qos", "up0", "queues", "3")
        return plan_qos(DesiredQos("up0", "linux-htb", GBIT, even_queues(6, 0, GBIT, None)), now)

    with open_database(server.remote, timeout=2) as database:
        apply_plan(database, plan, timeout=0)
    assert plans == 2
    assert len(server.vsctl("get", "qos", "up0", "queues").split(",")) == 6
    assert count(server, "queue") == 6


def test_a_port_given_to_another_qos_row_in_between_is_not_overridden(server: Server) -> None:
    server.bridge("br0", 1, "up0")
    make(server, "up0", 2)
    plans = 0

    def plan(now: Snapshot) -> list[RowChange]:
        nonlocal plans
        plans += 1
        if plans == 1:
            server.vsctl("set", "port", "up0", "qos=@q", "--", "--id=@q", "create", "qos", "type=linux-hfsc")
        return plan_qos(DesiredQos("up0", "linux-htb", GBIT, even_queues(3, 0, GBIT, None)), now)

    with open_database(server.remote, timeout=2) as database, pytest.raises(RequestError, match="--replace"):
        apply_plan(database, plan, timeout=0)
    assert server.vsctl("get", "qos", "up0", "type") == "linux-hfsc"


def test_a_switch_that_does_not_apply_the_change_is_reported(server: Server) -> None:
    server.bridge("br0", 1, "up0")
    wanted = DesiredQos("up0", "linux-htb", GBIT, even_queues(1, 0, GBIT, None))
    with open_database(server.remote, timeout=2) as database:
        assert apply_plan(database, lambda now: plan_qos(wanted, now), timeout=0.2)[1] is False
        assert apply_plan(database, lambda now: plan_qos(wanted, now)) == ([], True)


def test_no_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    with (
        pytest.raises(DatabaseError, match=r"none\.sock: No such file"),
        open_database(f"unix:{tmp_path}/none.sock", timeout=0.3),
    ):
        pass
