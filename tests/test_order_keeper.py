"""Orders of operators are in force again after a restart, by a file of the state directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.engine.scenario import DPID, UPLINK, Scenario

from flowlane.core import events as ev
from flowlane.core.model import Admission, Hint, HintSource, Role
from flowlane.core.policy import Match
from flowlane.core.state.device import State
from flowlane.order_keeper import ASIDE, FILE_NAME, OrderKeeper


class Controller:
    """A controller with one device, and a keeper of its orders."""

    def __init__(self, directory: Path) -> None:
        self.host = Scenario(queues=4)
        self.keeper = OrderKeeper(directory, self)

    @property
    def state(self) -> State:
        return self.host.engine.state

    def carry_out(self, event: ev.Event) -> None:
        self.host.do(event)

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
