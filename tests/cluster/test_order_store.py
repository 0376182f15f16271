"""Orders and policy of a database: what others wrote comes into force, what REST gave here is written, once each."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.engine.controller import FLOWS, NIC, FakeController, furnished

from flowlane import orders
from flowlane.cluster import order_store
from flowlane.cluster.database import ConflictError
from flowlane.cluster.order_store import OrderStore
from flowlane.core import events as ev
from flowlane.core.model import Admission, ManualPin, Role
from flowlane.core.policy import PolicyOrigin
from flowlane.errors import DatabaseError, PolicyError, Problem
from flowlane.orders import Order
from flowlane.policy import loader

CORDON = ev.QueueCordoned(NIC, 9, 2, Admission.CORDONED)
PIN = ev.FlowPinned(NIC, FLOWS[1][0], 2, 600.0)
TEXT = "version: 1\nclasses: {other: {}}\ndefault: other\n"


class Engine:
    """Carries orders out in a fake controller's engine."""

    def __init__(self) -> None:
        self.controller: FakeController = furnished()
        self.carried: list[Any] = []

    @property
    def state(self) -> Any:
        return self.controller.state

    def carry_out(self, event: Any) -> None:
        self.carried.append(event)
        if isinstance(event, ev.FlowPinned):
            pin = ManualPin(9, event.queue_id, self.controller.now, self.controller.now + event.lifetime)
            self.state.devices[event.dpid].manual_pins[event.key] = pin
        else:
            self.controller.engine.step(event, self.controller.now)

    def compile_policy(self, text: str) -> Any:
        if text == "wrong":
            raise PolicyError([Problem(1, 1, "default", "it is wrong", "mend it")])
        return loader.load(text)


class Database:
    """The copy of a database, and the transactions that it has committed."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, dict[str, Any]]] = {"Policy": {}, "Order": {}}
        self.is_synchronized = True
        self.done: list[Any] = []
        self.error: DatabaseError | None = None

    def transact(self, operations: Any) -> list[Any]:
        if self.error is not None:
            raise self.error
        self.done.append(operations)
        return []

    def close(self) -> None:
        self.done.append("closed")

    def show(self, *found: Order) -> None:
        """Have the copy show these orders."""
        self.rows["Order"] = {str(number): order._asdict() for number, order in enumerate(found)}


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    made = Database()
    monkeypatch.setattr(order_store, "Transactions", lambda _target, _within: made)
    return made


def store_of(database: Database, **options: bool) -> tuple[OrderStore, Engine]:
    engine = Engine()
    target: Any = SimpleNamespace()
    copy: Any = database
    return OrderStore(target, copy, engine, **options), engine


def row_of(event: Any) -> Order:
    """Return the row of an event, as another controller has written it."""
    engine = Engine()
    engine.carry_out(event)
    (order,) = orders.change_of(event, engine.state, (), time.time()).put
    return order


def of_policy(text: str, **changed: Any) -> dict[str, Any]:
    return {**PolicyOrigin("rest", "f" * 64, 5.0, "", "192.0.2.1", "")._asdict(), "text": text, **changed}


@pytest.mark.parametrize("event", [CORDON, PIN, ev.RoleGiven(NIC, Role.SWITCH)])
def test_what_another_wrote_is_in_force_until_its_row_is_gone(database: Database, event: Any) -> None:
    store, engine = store_of(database)
    order = row_of(event)
    database.show(order)
    store.changed(frozenset({"Order"}))
    assert orders.missing(order, engine.state, time.time()) is None
    assert store.is_taken
    store.changed(frozenset({"Order"}))
    assert len(engine.carried) == 1, "an order that is in force is not given again"
    database.show()
    store.changed(frozenset({"Order"}))
    assert engine.carried[1:] == [orders.undone(order)]


@pytest.mark.parametrize("kind", [orders.HINT, orders.PIN, orders.CORDON, orders.ROLE, "nonsense"])
def test_a_row_that_is_none_of_ours_is_ignored(database: Database, kind: str) -> None:
    store, engine = store_of(database)
    database.show(Order(kind, "no such place", "[]"))
    store.changed(frozenset({"Order"}))
    database.show()
    store.changed(frozenset({"Order"}))
    assert engine.carried == []


@pytest.mark.parametrize(
    "odd",
    [
        Order(orders.PIN, "no such place", "[]"),
        Order(orders.CORDON, f"{NIC:016x} 1 2", '{"admission": 5}'),
        Order(orders.HINT, "deep", "[" * 100_000),
    ],
)
def test_a_row_that_is_none_of_ours_keeps_no_other_one_waiting(database: Database, odd: Order) -> None:
    store, engine = store_of(database)
    database.show(odd, row_of(CORDON))
    store.changed(frozenset({"Order"}))
    assert engine.carried == [CORDON]
    engine.carried.clear()
    engine.state.devices[NIC].cordons.clear()
    store._look()
    assert engine.carried == [CORDON], "what waited is in force"


def test_what_rest_gave_is_written_and_not_undone_before_the_copy_shows_it(database: Database) -> None:
    store, engine = store_of(database)
    store.changed(frozenset())
    engine.carry_out(CORDON)
    store.note(CORDON)
    store.note(ev.Tick())
    engine.carried.clear()
    store.changed(frozenset({"Order"}))
    assert engine.carried == [], "it waits to be written"
    store._write()
    ((deleted, inserted),) = database.done
    assert (deleted["op"], inserted["op"], inserted["row"]["kind"]) == ("delete", "insert", "cordon")
    store.changed(frozenset({"Order"}))
    assert engine.carried == [], "the copy may be behind for a while"
    store._unseen = dict.fromkeys(store._unseen, 0.0)
    store.changed(frozenset({"Order"}))
    assert engine.carried == [replace(CORDON, admission=Admission.OPEN)], "another has written over it"


def test_an_order_that_is_taken_back_is_deleted(database: Database) -> None:
    store, engine = store_of(database)
    for event in (CORDON, replace(CORDON, admission=Admission.OPEN)):
        engine.carry_out(event)
        store.note(event)
    store._write()
    store._write()
    assert [operation["op"] for operation in database.done[1]] == ["delete"]


def test_orders_end_with_their_time_and_pins_with_the_engines(database: Database) -> None:
    store, engine = store_of(database)
    pin, over = row_of(PIN), row_of(CORDON)._replace(expires=1.0)
    database.show(pin, over)
    store.changed(frozenset({"Order"}))
    assert [type(event) for event in engine.carried] == [ev.FlowPinned]
    store._look()
    del engine.state.devices[NIC].manual_pins[PIN.key]
    store._copy.is_synchronized = False
    store._look()
    while store._pending:
        store._write()
    gone = [operation["where"] for change in database.done for operation in change]
    assert [["kind", "==", pin.kind], ["name", "==", pin.name]] in gone
    assert [["kind", "==", over.kind], ["name", "==", over.name]] in gone


def test_an_order_waits_for_its_device(database: Database) -> None:
    store, engine = store_of(database)
    device = engine.state.devices.pop(NIC)
    database.show(row_of(CORDON))
    store.changed(frozenset({"Order"}))
    assert engine.carried == [CORDON], "the core has it for when the device connects"
    engine.state.devices[NIC] = device
    store._look()
    assert engine.carried == [CORDON, CORDON]


def test_the_policy_of_the_database_is_in_force_unless_it_is_refused(database: Database) -> None:
    store, engine = store_of(database)
    database.rows["Policy"] = {"1": of_policy("wrong")}
    store.changed(frozenset({"Policy"}))
    assert engine.carried == []
    database.rows["Policy"] = {"1": of_policy(TEXT, hash="e" * 64)}
    store.changed(frozenset({"Policy"}))
    store.changed(frozenset({"Policy"}))
    (replaced,) = engine.carried
    assert (replaced.origin.hash, [item.name for item in replaced.policy.classes]) == (
        "e" * 64,
        ["other"],
    )
    assert store.has_policy(engine.state.policy_origin)


@pytest.mark.parametrize(
    ("source", "shares_file", "is_written"),
    [("rest", True, True), ("file", True, True), ("file", False, False), ("built-in", True, False)],
)
def test_a_database_without_a_policy_gets_what_was_given(
    database: Database, source: str, shares_file: bool, is_written: bool
) -> None:
    store, engine = store_of(database, shares_file=shares_file)
    engine.state.policy_origin = PolicyOrigin(source, "a" * 64, 9.0, "", "", "")
    store.changed(frozenset())
    store._write()
    assert bool(database.done) == is_written
    if is_written:
        (_, inserted) = database.done[0]
        assert (inserted["row"]["hash"], inserted["row"]["text"]) == ("a" * 64, engine.state.policy.text)


def test_a_newer_file_wins_over_the_database_at_the_start(database: Database) -> None:
    store, engine = store_of(database)
    engine.state.policy_origin = PolicyOrigin("file", "a" * 64, 9.0, "", "", "policy.yaml")
    database.rows["Policy"] = {"1": of_policy(TEXT)}
    store.changed(frozenset({"Policy"}))
    store._write()
    assert (engine.carried, len(database.done)) == ([], 1)


def test_a_database_that_is_away_is_waited_for_and_one_that_refuses_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_store, "WRITE_WITHIN", 0.3)
    monkeypatch.setattr(order_store, "_RETRY", 0.01)
    store, engine = store_of(database)
    store.start()
    database.error = DatabaseError("gone")
    assert not store.keep_policy()
    database.error = None
    assert store.keep_policy()
    database.error = ConflictError("refused")
    engine.carry_out(CORDON)
    store.note(CORDON)
    assert store.keep_policy(), "nothing waits any more"
    database.error = None
    store.note(CORDON)
    store.stop()
    assert database.done[-1] == "closed"
    assert json.dumps(database.done[-2]).count("cordon") > 0


def test_what_cannot_be_written_at_the_end_is_said(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    store, engine = store_of(database)
    engine.carry_out(CORDON)
    store.note(CORDON)
    database.error = DatabaseError("gone")
    store.stop()
    assert "an order was not written to the database: gone" in caplog.text
