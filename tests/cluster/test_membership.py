"""Members on a real ovsdb-server, with devices that only record what they are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise

import pytest
from lab.inside.database_servers import DatabaseServers, database

from flowlane import hub
from flowlane.cluster.database import Copy, Transactions, update
from flowlane.cluster.membership import About, Membership
from flowlane.core import leadership
from flowlane.errors import DatabaseError
from flowlane.southbound.ovsdb.remote import read_target

DPIDS = range(1, 7)


class Controller:
    """A member whose devices only record what they are told."""

    def __init__(self, servers: DatabaseServers, name: str, log: list[tuple[str, str, int]]) -> None:
        self.name, self.log = name, log
        target = read_target(servers.target)
        self.copy = Copy(target, self.changed)
        about = About(name, f"http://{name}", "1")
        self.member = Membership(target, self.copy, about, self, lambda: True)
        self.copy.start()
        self.member.start()
        for dpid in DPIDS:
            self.member.connected(dpid)

    def changed(self, tables: frozenset[str]) -> None:
        self.member.changed(tables)

    def lead(self, dpid: int, generation: int) -> None:
        self.log.append(("lead", self.name, dpid))

    def stand_by(self, dpid: int, generation: int, why: str) -> None:
        self.log.append(("stand by", self.name, dpid))

    @property
    def led(self) -> set[int]:
        return set(self.member.leading)

    def freeze(self) -> None:
        """Stop as a killed process does: without a word."""
        self.member.stop()
        self.copy.stop()


@pytest.fixture(scope="module")
def servers() -> Iterator[DatabaseServers]:
    with database() as started:
        yield started


class Trial:
    def __init__(self, servers: DatabaseServers) -> None:
        self.servers = servers
        self.log: list[tuple[str, str, int]] = []
        self.controllers: list[Controller] = []

    def join(self, *names: str) -> list[Controller]:
        new = [Controller(self.servers, name, self.log) for name in names]
        self.controllers += new
        return new

    def leaders(self, dpid: int) -> list[str]:
        return [one.name for one in self.controllers if dpid in one.led]


@pytest.fixture
def trial(servers: DatabaseServers) -> Iterator[Trial]:
    made = Trial(servers)
    yield made
    for one in made.controllers:
        one.freeze()
    with suppress(DatabaseError):
        everything = Transactions(read_target(servers.target), 5.0)
        tables: list[dict[str, object]] = [
            {"op": "delete", "table": table, "where": []} for table in ("Member", "Device")
        ]
        everything.transact(tables)
        everything.close()


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> float:
    """Wait for a condition; return the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        hub.sleep(0.01)
    return time.monotonic() - began


def led_by(*controllers: Controller) -> bool:
    return sorted(dpid for one in controllers for dpid in one.led) == list(DPIDS)


def test_devices_are_shared_and_handed_over(trial: Trial) -> None:
    (a,) = trial.join("a")
    wait_for(lambda: led_by(a))
    assert [(view.name, view.is_own, len(view.leads)) for view in a.member.views()] == [("a", True, 6)]
    assert a.member.leader_of(1) is None
    (b,) = trial.join("b")
    wait_for(lambda: len(a.led) == len(b.led) == 3)
    assert led_by(a, b)
    elsewhere = next(iter(b.led))
    wait_for(
        lambda: a.member.leader_of(elsewhere) is not None
    )  # As soon as its copy shows what it has written.
    leader = a.member.leader_of(elsewhere)
    assert leader is not None
    assert (leader.name, leader.url) == ("b", "http://b")
    log = list(trial.log)
    a.member.leave()
    wait_for(lambda: led_by(b), 1.5)  # It is told: nobody waits for the end of a lease, which is later.
    for dpid in DPIDS:
        acts = [(act, name) for act, name, number in trial.log if number == dpid]
        for (act, name), (following, other) in pairwise(acts):
            assert act != following or name == other, acts  # Nobody leads before the other has stood by.
    assert len(log) == 6 + 2 * 3, "only three devices moved when the second member joined"


def test_a_dead_member_is_replaced_in_time_and_only_then(trial: Trial) -> None:
    a, b = trial.join("a", "b")
    wait_for(lambda: led_by(a, b) and bool(a.led) and bool(b.led))
    a.freeze()
    wait_for(lambda: len(b.led) == 6, 8)
    assert time.monotonic() - a.member._sent >= leadership.LEASE, "its lease was over"
    with pytest.raises(AssertionError):
        wait_for(lambda: not b.member.has_lease, 0.5)


def test_a_member_without_its_database_stands_by_and_leads_again(trial: Trial) -> None:
    (a,) = trial.join("a")
    wait_for(lambda: led_by(a))
    trial.servers.kill(0)
    wait_for(lambda: not a.led, leadership.LEASE + 0.5)
    trial.servers.start(0)
    wait_for(lambda: led_by(a))


def test_a_member_that_was_taken_for_dead_joins_again(trial: Trial) -> None:
    (a,) = trial.join("a")
    wait_for(lambda: led_by(a))
    own = a.member.own
    removal = Transactions(read_target(trial.servers.target), 5.0)
    removal.transact([{"op": "delete", "table": "Member", "where": []}])
    removal.close()
    wait_for(lambda: a.member.own not in ("", own) and led_by(a))


def test_a_device_that_another_has_taken_is_asked_again(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowlane.cluster.membership.RECLAIM_AFTER", 0.2)
    (a,) = trial.join("a")
    wait_for(lambda: led_by(a))
    before = a.member.leading[1]
    a.member.demoted(1)
    assert 1 not in a.led
    assert trial.log[-1] == ("stand by", "a", 1)
    wait_for(lambda: a.member.leading.get(1, 0) > before)
    a.member.demoted(1, 1 << 60)
    wait_for(lambda: a.member.leading.get(1, 0) > 1 << 60)


def test_a_device_goes_to_the_member_that_it_is_connected_to(trial: Trial) -> None:
    a, b = trial.join("a", "b")
    wait_for(lambda: led_by(a, b) and bool(a.led) and bool(b.led))
    dpid = next(iter(a.led))
    a.member.disconnected(dpid)
    wait_for(lambda: dpid in b.led)
    assert trial.leaders(dpid) == ["b"]


def test_a_conflict_changes_nothing(trial: Trial) -> None:
    (a,) = trial.join("a")
    wait_for(lambda: led_by(a))
    with pytest.raises(DatabaseError, match="constraint violation"):
        a.member._transactions.transact(
            [
                update("Member", [], {"version": "2"}),
                {"op": "insert", "table": "Device", "row": {"dpid": f"{1:016x}"}},
            ]
        )
    assert a.copy.rows["Member"][a.member.own]["version"] == "1"
