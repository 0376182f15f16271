"""Orders of operators are in force again after a restart, by a file of the state directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario

from flowlane.core import events as ev
from flowlane.core.model import Admission, Hint, HintSource, Reason, Role
from flowlane.core.policy import Match
from flowlane.core.state.device import State
from flowlane.order_keeper import ASIDE, FILE_NAME, OrderKeeper


class Controller:
    """A controller with one device, and a keeper of its orders."""

    def __init__(self, directory: Path, *, is_connected: bool = True) -> None:
        self.host = Scenario(queues=4, is_connected=is_connected)
        self.keeper = OrderKeeper(directory, self)
        self.carried: list[ev.Event] = []

    @property
    def state(self) -> State:
        return self.host.engine.state

    def carry_out(self, event: ev.Event) -> None:
        self.carried.append(event)
        self.host.do(event)

    def reason(self, key: bytes) -> Reason:
        """Why the flow is where it is."""
        flows = self.host.device.flows
        return Reason(flows.reason[flows.rows[key]])

    def order(self, event: ev.Event) -> None:
        self.carry_out(event)
        self.keeper.note(event)


def in_force(controller: Controller) -> tuple[object, ...]:
    device, state = controller.host.device, controller.state
    pins = {key: pin.queue_id for key, pin in device.manual_pins.items()}
    cordons = {place: cordon.admission for place, cordon in device.cordons.items()}
    return pins, cordons, dict(state.given_roles), {hint.id: hint.class_name for hint in state.hints.values()}


def test_orders_are_in_force_again_after_a_restart(tmp_path: Path) -> None:
    first = Controller(tmp_path)
    row = first.host.flow(1, 1000)
    key = first.host.device.flows.keys[row] or b""
    hint = Hint("rest:1", "vm1", "heavy", Match(), HintSource.REST, first.host.now + 600.0, {})
    first.order(ev.FlowPinned(DPID, key, 3, 600.0))
    first.order(ev.QueueCordoned(DPID, UPLINK, 1, Admission.CORDONED))
    first.order(ev.RoleGiven(DPID, Role.VSWITCH))
    first.order(ev.HintGiven(hint))
    before = in_force(first)
    assert all(before)
    first.keeper.stop()
    again = Controller(tmp_path)
    again.keeper.look()
    assert in_force(again)[1:] == before[1:]
    again.host.flow(1, 1000)
    again.keeper.look()
    assert in_force(again) == before
    again.order(ev.FlowReleased(DPID, key))
    again.order(ev.HintWithdrawn("vm1", "rest:1"))
    again.order(ev.RoleGiven(DPID, None))
    again.order(ev.QueueCordoned(DPID, UPLINK, 1, Admission.OPEN))
    again.keeper.stop()
    assert json.loads((tmp_path / FILE_NAME).read_text())["orders"] == []


FOUND_AT = ("connection", "first reading", "reading later", "packet", "after its end")


@pytest.mark.parametrize("looks", [True, False], ids=["looked at", "not looked at"])
@pytest.mark.parametrize("found", FOUND_AT)
def test_a_pin_by_hand_is_one_from_the_first_moment_however_its_flow_is_found(
    tmp_path: Path, found: str, looks: bool
) -> None:
    """A flow that was found stays where it is for a time: without its order, as one that was adopted."""
    first = Controller(tmp_path)
    row = first.host.flow(1, 1000)
    key = first.host.device.flows.keys[row] or b""
    first.order(ev.FlowPinned(DPID, key, 3, 600.0))
    first.keeper.stop()
    entry = first.host.pins[row]

    again = Controller(tmp_path, is_connected=False)
    host = again.host
    again.keeper.look()
    pin = ev.FoundPin(entry.ref, entry.key, entry.in_port, entry.egress_port, 3, entry.meter_id, 1, 100)
    host.connect(4, LEARNING, pins=(pin,) if found == "connection" else ())
    learned = ev.LearnedCounters(DPID, (ev.LearnedFlow(key, 1, UPLINK, 0, 3, 10, 1000),))
    if looks:
        again.keeper.look()
    if found == "reading later":
        host.tick(6)
    if found in ("first reading", "reading later"):
        host.do(learned)
    elif found == "packet":
        host.flow(1, 1000, queue_id=2)
    elif found == "after its end":
        host.end(host.flow(1, 1000, queue_id=2))
        host.flow(1, 1000, queue_id=2)
    assert again.reason(key) is Reason.PINNED_BY_HAND
    assert host.device.flows.queue_id[host.device.flows.rows[key]] == 3
    for _ in range(8):
        host.tick(1)
        again.keeper.look()
    assert again.reason(key) is Reason.PINNED_BY_HAND
    again.order(ev.FlowReleased(DPID, key))
    again.keeper.look()
    assert again.reason(key) is not Reason.PINNED_BY_HAND
    assert not host.device.manual_pins


def test_a_pin_whose_device_goes_before_it_is_looked_at_again_is_one(tmp_path: Path) -> None:
    """On a busy machine a connection may end before the next look; nothing can be pinned until there is another."""
    first = Controller(tmp_path)
    row = first.host.flow(1, 1000)
    key = first.host.device.flows.keys[row] or b""
    first.order(ev.FlowPinned(DPID, key, 3, 600.0))
    first.keeper.stop()
    entry = first.host.pins[row]
    again = Controller(tmp_path, is_connected=False)
    again.keeper.look()
    again.keeper.look()
    assert len(again.carried) == 1, "it is given once"
    pin = ev.FoundPin(entry.ref, entry.key, entry.in_port, entry.egress_port, 3, entry.meter_id, 1, 100)
    again.host.connect(4, LEARNING, pins=(pin,))
    again.host.do(ev.DeviceDown(DPID))
    for _ in range(8):
        again.host.tick(1)
        again.keeper.look()
    assert again.reason(key) is Reason.PINNED_BY_HAND


def test_an_order_that_was_taken_back_before_its_flow_is_found_has_no_effect(tmp_path: Path) -> None:
    first = Controller(tmp_path)
    key = first.host.device.flows.keys[first.host.flow(1, 1000)] or b""
    first.order(ev.FlowPinned(DPID, key, 3, 600.0))
    first.keeper.stop()
    again = Controller(tmp_path)
    again.keeper.look()
    again.order(ev.FlowReleased(DPID, key))
    again.host.flow(1, 1000, queue_id=2)
    again.keeper.look()
    assert again.reason(key) is not Reason.PINNED_BY_HAND


@pytest.mark.parametrize("text", ["", "[]", '{"orders": 1}', "[" * 100_000, "\0"])
def test_a_file_that_cannot_be_read_is_said_and_has_none(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    controller = Controller(tmp_path)
    controller.keeper.look()
    assert not any(in_force(controller))
    assert "are ignored" in caplog.text


def test_a_file_that_cannot_be_read_is_kept_beside_the_next_one(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"version": 1, "orders": [{"kind": "hi')
    controller = Controller(tmp_path)
    controller.order(ev.QueueCordoned(DPID, UPLINK, 1, Admission.CORDONED))
    controller.keeper.stop()
    assert len(json.loads((tmp_path / FILE_NAME).read_text())["orders"]) == 1
    assert (tmp_path / (FILE_NAME + ASIDE)).read_text().endswith('"hi')


def test_one_row_that_cannot_be_read_costs_no_other_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cordon = {"kind": "cordon", "name": f"{DPID:016x} {UPLINK} 1", "content": '{"admission": "cordoned"}'}
    odd: list[object] = [
        {"kind": "hint", "name": "h", "content": content, "expires": None}
        for content in (
            "{",
            "[" * 100_000,
            "{}",
            '{"vm": "vm1", "class": "heavy", "match": {"dst-port": []}}',
        )
    ]
    odd += [5, {}, {"kind": "pin"}, {**cordon, "expires": 10**400}, {**cordon, "expires": "soon"}]
    odd += [{"kind": "pin", "name": f"{DPID:016x} 00", "content": '{"queue_id": 1e999}', "expires": 1e300}]
    odd += [{**cordon, "name": f"{DPID:016x} {UPLINK} 2", "content": '{"admission": 5}', "expires": None}]
    rows = [*odd, {**cordon, "expires": None}]
    (tmp_path / FILE_NAME).write_text(json.dumps({"version": 1, "orders": rows}))
    controller = Controller(tmp_path)
    controller.keeper.look()
    assert in_force(controller)[1] == {(UPLINK, 1): Admission.CORDONED}
    controller.order(ev.HintWithdrawn("vm1", ""))
    assert "is ignored" in caplog.text


def test_rows_of_nonsense_are_left_alone(tmp_path: Path) -> None:
    rows = [
        {"kind": kind, "name": name, "content": content, "expires": None}
        for kind in ("pin", "cordon", "role", "hint", "other")
        for name in ("", "x", "1", "1 zz 1")
        for content in ("", "{}", "[]", '{"role": "x", "queue_id": "x", "vm": 1, "class": 1, "match": 1}')
    ]
    (tmp_path / FILE_NAME).write_text(json.dumps({"version": 1, "orders": rows}))
    controller = Controller(tmp_path)
    controller.keeper.look()
    assert not any(in_force(controller))
