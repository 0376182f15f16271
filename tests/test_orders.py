"""Orders as rows: what REST gives comes back from its row, on another controller as well."""

from __future__ import annotations

from typing import Any

import pytest
from support.engine.controller import FLOWS, NIC, FakeController, furnished

from flowlane import orders
from flowlane.core import events as ev
from flowlane.core.classify.matching import read_match
from flowlane.core.flowkey import flow_id
from flowlane.core.model import Admission, Hint, HintSource, ManualPin, Role
from flowlane.orders import Order

WALL = 1_800_000_000.0
HINT = Hint("rest:vm:0", "vm", "heavy", read_match({"dst-port": 80}), HintSource.REST, None, {"dst-port": 80})


def carry_out(controller: FakeController, event: Any) -> None:
    """Let the engine carry an event out; pins are put in the table, as its flows here have no entries."""
    if isinstance(event, ev.FlowPinned):
        device = controller.state.devices.get(event.dpid)
        if device is not None and event.key in device.flows.rows:
            pin = ManualPin(9, event.queue_id, controller.now, controller.now + event.lifetime)
            device.manual_pins[event.key] = pin
    elif isinstance(event, ev.FlowReleased):
        del controller.state.devices[event.dpid].manual_pins[event.key]
    else:
        controller.engine.step(event, controller.now)


def given(controller: FakeController, event: Any, known: tuple[Order, ...] = ()) -> orders.Change:
    """Carry an event out, and return what it changes of the rows."""
    carry_out(controller, event)
    return orders.change_of(event, controller.state, known, WALL)


def events_of() -> list[tuple[Any, Any]]:
    """(event, event that takes it back) of every kind of order."""
    key, port_no, queue_id = FLOWS[1][0], 9, 2
    return [
        (ev.HintGiven(HINT), ev.HintWithdrawn("vm")),
        (ev.FlowPinned(NIC, key, queue_id, 60.0), ev.FlowReleased(NIC, key)),
        (
            ev.QueueCordoned(NIC, port_no, queue_id, Admission.CORDONED),
            ev.QueueCordoned(NIC, port_no, queue_id, Admission.OPEN),
        ),
        (ev.RoleGiven(NIC, Role.SWITCH), ev.RoleGiven(NIC, None)),
    ]


EVENTS = events_of()


@pytest.mark.parametrize("number", range(4), ids=["hint", "pin", "cordon", "role"])
def test_an_order_is_in_force_on_another_controller_and_taken_back(number: int) -> None:
    mine, other = furnished(), furnished()
    event, back = EVENTS[number]
    (order,) = given(mine, event).put
    assert orders.missing(order, mine.state, WALL) is None, "it is in force"
    needed = orders.missing(order, other.state, WALL)
    assert needed is not None
    carry_out(other, needed)
    assert orders.missing(order, other.state, WALL) is None
    assert given(mine, back, (order,)) == orders.Change((), (order.key,))
    carry_out(other, orders.undone(order))
    assert orders.missing(order, other.state, WALL) is not None
    assert not orders.is_over(order, WALL)
    assert orders.is_over(order, WALL + 1000) == (order.kind == orders.PIN)


def test_what_is_not_here_waits() -> None:
    controller = furnished()
    elsewhere = "00000000000000ff"
    no_queue = Order(orders.CORDON, f"{NIC:016x} 1 77", '{"admission": "cordoned"}')
    assert orders.missing(no_queue, controller.state, WALL) is None
    for place in (elsewhere, f"{NIC:016x}"):
        pin = Order(orders.PIN, f"{place} aa", '{"queue_id": 1}', WALL + 60)
        waits = orders.missing(pin, controller.state, WALL)
        assert waits == ev.FlowPinned(int(place, 16), b"\xaa", 1, 60.0), (
            "it counts as soon as the flow is there"
        )
        controller.engine.step(waits, controller.now)
        assert orders.missing(pin, controller.state, WALL) is None
        assert orders.missing(pin._replace(content='{"queue_id": 2}'), controller.state, WALL) is not None
        assert not orders.is_in_force(pin, controller.state)
    ahead = Order(orders.CORDON, f"{elsewhere} 1 1", '{"admission": "cordoned"}')
    event = orders.missing(ahead, controller.state, WALL)
    assert event == ev.QueueCordoned(0xFF, 1, 1, Admission.CORDONED), (
        "it counts as soon as the device connects"
    )
    controller.engine.step(event, controller.now)
    assert orders.missing(ahead, controller.state, WALL) is None
    assert (
        orders.missing(Order(orders.ROLE, elsewhere, '{"role": "switch"}'), controller.state, WALL)
        is not None
    )


def test_other_events_change_nothing() -> None:
    controller = furnished()
    ovsdb = Hint("x", "vm", "heavy", read_match({}), HintSource.OVSDB)
    key = bytes.fromhex(flow_id(b"\x01" * 12))
    for event in (ev.Poll(), ev.HintGiven(ovsdb), ev.FlowPinned(NIC, key, 1, 60.0)):
        assert given(controller, event) == orders.NOTHING


@pytest.mark.parametrize(
    "order",
    [
        Order("pin", "x", "{}"),
        Order("cordon", f"{NIC:016x} 1 1", "[]"),
        Order("hint", "h", "{"),
        Order("role", "1", '{"role": "king"}'),
        Order("hint", "h", '{"vm": "v", "class": "c", "match": 5}'),
        Order("hint", "h", '{"vm": "v", "class": "c", "match": {"nonsense": 5}}'),
    ],
)
def test_a_row_that_is_none_of_ours_is_an_error_that_is_caught(order: Order) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        orders.missing(order, furnished().state, WALL)
