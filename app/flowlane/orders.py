"""Orders that came over REST, as rows that outlive the controller: hints, pins, cordons, roles; pure.

A row is written when the order is given, and carried out by whatever controller has the device. So each row says what
has to be in force, and :func:`missing` which event brings that about where it is not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core.classify.matching import MatchError, read_match
from flowlane.core.device.cordons import ordered
from flowlane.core.events import (
    FlowPinned,
    FlowReleased,
    HintGiven,
    HintWithdrawn,
    QueueCordoned,
    RoleGiven,
)
from flowlane.core.model import Admission, Hint, HintSource, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flowlane.core.events import Event
    from flowlane.core.state.device import State

HINT, PIN, CORDON, ROLE = "hint", "pin", "cordon", "role"

Key = tuple[str, str]
"""Kind and name of an order."""

NOT_OURS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading a row raises that Flowlane has not written: a value of any kind, without end, or nested without end."""


class Order(NamedTuple):
    """An order as it is kept: ``content`` is JSON, ``expires`` Unix time in seconds (None: never)."""

    kind: str
    name: str
    content: str
    expires: float | None = None

    @property
    def key(self) -> Key:
        """What there is one order of."""
        return self.kind, self.name


class Change(NamedTuple):
    """What an event means for the rows: those to write, and the keys of those to delete."""

    put: tuple[Order, ...] = ()
    delete: tuple[Key, ...] = ()


NOTHING = Change()


def change_of(event: Event, state: State, orders: Iterable[Order], wall: float) -> Change:
    """Return what an event that came over REST and has been carried out changes.

    Args:
        state: the engine's state after the event.
        orders: the orders until now.
        wall: Unix time in seconds.
    """
    change = _CHANGES.get(type(event))
    return NOTHING if change is None else change(event, state, orders, wall)


def _given(event: HintGiven, state: State, _orders: Iterable[Order], wall: float) -> Change:
    return (
        Change((_of_hint(event.hint, wall - state.now),)) if event.hint.source is HintSource.REST else NOTHING
    )


def _withdrawn(event: HintWithdrawn, _state: State, orders: Iterable[Order], _wall: float) -> Change:
    return Change((), tuple(order.key for order in orders if _is_withdrawn(order, event)))


def _pinned(event: FlowPinned, state: State, _orders: Iterable[Order], wall: float) -> Change:
    device = state.devices.get(event.dpid)
    if device is None or event.key not in device.manual_pins:
        return NOTHING
    content = json.dumps({"queue_id": event.queue_id})
    return Change((Order(PIN, _name(event.dpid, event.key.hex()), content, wall + event.lifetime),))


def _released(event: FlowReleased, _state: State, _orders: Iterable[Order], _wall: float) -> Change:
    return Change((), ((PIN, _name(event.dpid, event.key.hex())),))


def _cordoned(event: QueueCordoned, _state: State, _orders: Iterable[Order], _wall: float) -> Change:
    name = _name(event.dpid, str(event.port_no), str(event.queue_id))
    if event.admission is Admission.OPEN:
        return Change((), ((CORDON, name),))
    return Change((Order(CORDON, name, json.dumps({"admission": event.admission.name.lower()})),))


def _role_given(event: RoleGiven, _state: State, _orders: Iterable[Order], _wall: float) -> Change:
    if event.role is None:
        return Change((), ((ROLE, _name(event.dpid)),))
    return Change((Order(ROLE, _name(event.dpid), json.dumps({"role": event.role.value})),))


_CHANGES: Mapping[type, Callable[[Any, State, Iterable[Order], float], Change]] = {
    HintGiven: _given,
    HintWithdrawn: _withdrawn,
    FlowPinned: _pinned,
    FlowReleased: _released,
    QueueCordoned: _cordoned,
    RoleGiven: _role_given,
}


def is_over(order: Order, wall: float) -> bool:
    """Whether an order has expired."""
    return order.expires is not None and order.expires <= wall


def missing(order: Order, state: State, wall: float) -> Event | None:
    """Return the event that puts an order in force; None where it is, or where it cannot be now.

    Raises:
        ValueError: the row is none of ours; the others of :data:`NOT_OURS` likewise.
    """
    content = json.loads(order.content)
    if order.kind == HINT:
        return _missing_hint(order, content, state, wall)
    text, *place = order.name.split()
    dpid = int(text, 16)
    if order.kind == ROLE:
        role = Role(content["role"])
        return None if state.given_roles.get(dpid) is role else RoleGiven(dpid, role)
    if order.kind == PIN:
        lifetime = (order.expires or wall) - wall
        return _missing_pin(state, dpid, bytes.fromhex(place[0]), int(content["queue_id"]), lifetime)
    return _missing_cordon(
        state, dpid, (int(place[0]), int(place[1])), Admission[content["admission"].upper()]
    )


def _missing_pin(state: State, dpid: int, key: bytes, queue_id: int, lifetime: float) -> Event | None:
    """Return the event, also for a flow that is not known yet: it counts when the flow is found or begins."""
    device, ahead = state.devices.get(dpid), state.pins_ahead.get(dpid, {}).get(key)
    pin = None if device is None else device.manual_pins.get(key)
    if ahead is not None and (device is None or key not in device.flows.rows):
        pin = ahead
    is_right = pin is not None and pin.queue_id == queue_id
    return None if is_right else FlowPinned(dpid, key, queue_id, lifetime)


def _missing_cordon(state: State, dpid: int, place: tuple[int, int], admission: Admission) -> Event | None:
    """Return the event, also for a device that has yet to connect: it counts for flows that are found there."""
    is_right = ordered(state, dpid, place) in (None, admission)
    return None if is_right else QueueCordoned(dpid, *place, admission)


def is_in_force(order: Order, state: State) -> bool:
    """Whether a pin by hand is in force; the engine ends it with its queue.

    Raises:
        ValueError: the row is none of ours.
    """
    dpid, key = order.name.split()
    device = state.devices.get(int(dpid, 16))
    return device is not None and bytes.fromhex(key) in device.manual_pins


def undone(order: Order) -> Event:
    """Return the event that takes an order back whose row is gone.

    Raises:
        ValueError: the row is none of ours; the others of :data:`NOT_OURS` likewise.
    """
    if order.kind == HINT:
        return HintWithdrawn(json.loads(order.content)["vm"], order.name)
    dpid, *place = order.name.split()
    if order.kind == PIN:
        return FlowReleased(int(dpid, 16), bytes.fromhex(place[0]))
    if order.kind == ROLE:
        return RoleGiven(int(dpid, 16), None)
    return QueueCordoned(int(dpid, 16), int(place[0]), int(place[1]), Admission.OPEN)


def _of_hint(hint: Hint, to_wall: float) -> Order:
    content = {"vm": hint.vm, "class": hint.class_name, "match": dict(hint.given)}
    expires = None if hint.expires is None else hint.expires + to_wall
    return Order(HINT, hint.id, json.dumps(content, sort_keys=True), expires)


def _missing_hint(order: Order, content: dict[str, object], state: State, wall: float) -> Event | None:
    given = content["match"]
    vm, class_name = str(content["vm"]), str(content["class"])
    known = state.hints.get(order.name)
    if known is not None and (known.vm, known.class_name, dict(known.given)) == (vm, class_name, given):
        return None
    if not isinstance(given, dict):
        raise TypeError("the match of a hint is no object")
    try:
        match = read_match(given)
    except MatchError as error:
        raise ValueError(str(error)) from error
    expires = None if order.expires is None else order.expires - wall + state.now
    return HintGiven(Hint(order.name, vm, class_name, match, HintSource.REST, expires, given))


def _is_withdrawn(order: Order, event: HintWithdrawn) -> bool:
    if order.kind != HINT:
        return False
    if event.hint_id:
        return order.name == event.hint_id
    try:
        return bool(json.loads(order.content)["vm"] == event.vm)
    except NOT_OURS:
        return False


def _name(dpid: int, *place: str) -> str:
    return " ".join((f"{dpid:016x}", *place))
