"""While long work on one device is under way others are served, and what has to wait is done behind it, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.engine.scenario import small_policy

from flowlane import garbage, hub, pauses, stepping
from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.model import Capabilities, PortReport
from flowlane.core.policy import UNKNOWN_ORIGIN
from flowlane.stepping import LARGE, Stepper

BIG, GOOD = 1, 2
NEW = PortReport(9999, "new", 5)


def up(dpid: int, ports: int) -> ev.DeviceUp:
    reports = tuple(
        PortReport(number, f"d{dpid}p{number}", 0x020000000000 | number) for number in range(1, ports + 1)
    )
    return ev.DeviceUp(dpid, Capabilities(), reports, {1: (0, 1)}, peer="peer")


def packet(dpid: int) -> ev.FlowSeen:
    data = bytes.fromhex("0200000000ff020000000002080045000028000000004006") + bytes(30)
    return ev.FlowSeen(dpid, 2, data, waits=True)


class Rig:
    """A stepper with an engine, a clock, and what it asked of the sessions: (what, dpid)."""

    def __init__(self) -> None:
        self.engine = Engine(small_policy())
        self.now = 1.0
        self.effects: list[fx.Effect] = []
        self.asked: list[tuple[str, int]] = []
        self.faults: list[str] = []
        self.in_pauses: Callable[[], None] | None = None
        self.stepper = Stepper(self.engine, lambda: self.now, self.effects.append, self.faults.append)
        self.stepper.attach(self)  # type: ignore[arg-type]  # the part of the sessions that is used

    def stop_reading(self, dpid: int) -> None:
        self.asked.append(("hold", dpid))

    def read_again(self, dpid: int) -> None:
        self.asked.append(("release", dpid))

    def close(self, dpid: int, _reason: str) -> None:
        self.asked.append(("close", dpid))

    def done(self) -> None:
        for _ in range(1000):
            if self.stepper.is_idle and not self.engine.is_behind:
                return
            hub.sleep(0.005)
        raise AssertionError("the work does not end")

    def sent_back(self) -> list[int]:
        return [effect.dpid for effect in self.effects if isinstance(effect, fx.SendPacket)]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Every place for a pause is one, in which ``in_pauses`` is called."""
    made = Rig()

    def give_way() -> None:
        if made.in_pauses is not None:
            made.in_pauses()
        hub.sleep(0)

    monkeypatch.setattr(pauses, "SLICE", 0.0)
    monkeypatch.setattr(hub, "give_way", give_way)
    yield made
    made.done()


def plans(rig: Rig) -> list[int]:
    return [effect.plan.dpid for effect in rig.effects if isinstance(effect, fx.Program)]


def test_what_is_small_is_done_at_once(rig: Rig) -> None:
    rig.stepper.take(up(GOOD, 4))
    assert plans(rig) == [GOOD]
    assert not rig.asked
    assert rig.stepper.is_idle


def test_a_large_device_is_taken_in_behind_and_not_read_from_meanwhile(rig: Rig) -> None:
    rig.stepper.take(up(BIG, LARGE))
    assert BIG not in rig.engine.devices
    assert not rig.stepper.is_idle
    rig.done()
    assert plans(rig) == [BIG]
    assert rig.asked == [("hold", BIG), ("release", BIG)]


def test_packets_of_others_are_answered_in_pauses_and_its_own_behind(rig: Rig) -> None:
    rig.stepper.take(up(GOOD, 4))
    answers: list[list[int]] = []

    def others() -> None:
        if rig.engine.state.busy == BIG and len(answers) < 5:
            rig.stepper.take(packet(BIG))
            rig.stepper.take(packet(GOOD))
            answers.append(rig.sent_back())

    rig.in_pauses = others
    rig.stepper.take(up(BIG, LARGE))
    rig.done()
    rig.in_pauses = None
    assert answers == [[GOOD] * count for count in range(1, 6)]
    assert rig.sent_back() == [GOOD] * 5 + [BIG] * 5


def test_what_concerns_all_waits_in_its_order(rig: Rig) -> None:
    rig.stepper.take(up(GOOD, 4))
    seen: list[int] = []

    def others() -> None:
        if rig.engine.state.busy == BIG and not seen:
            seen.append(1)
            rig.stepper.take(ev.DeviceDown(GOOD))
            rig.stepper.take(packet(GOOD))
            rig.stepper.take(up(GOOD, 5))
            rig.stepper.take(ev.PolicyReplaced(small_policy(), UNKNOWN_ORIGIN))
            rig.stepper.take(ev.Tick(alone=True))
            assert rig.engine.devices[GOOD].connected
            assert rig.engine.state.policy_changes == 0
            assert not rig.sent_back()

    rig.in_pauses = others
    rig.stepper.take(up(BIG, LARGE))
    rig.done()
    assert seen
    assert rig.engine.devices[GOOD].connected
    assert len(rig.engine.devices[GOOD].ports) == 5
    assert rig.engine.state.policy_changes == 1
    assert rig.sent_back() == [GOOD]


def test_news_of_a_device_whose_work_takes_long_is_gathered_for_longer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.stepper.take(up(BIG, LARGE))
    rig.stepper.take(up(GOOD, 4))
    rig.done()
    monkeypatch.setattr(stepping, "LONG", 0.0)
    rig.stepper.take(ev.PortChanged(BIG, NEW))
    rig.done()
    rig.effects.clear()
    rig.stepper.take(ev.PortChanged(BIG, PortReport(9998, "newer", 6)))
    rig.stepper.take(ev.PortChanged(GOOD, NEW))
    for _ in range(200):
        hub.sleep(0.005)
        if plans(rig):
            break
    assert plans(rig) == [GOOD]
    assert rig.engine.is_behind
    rig.now += stepping.MOST_REST
    rig.done()
    assert plans(rig) == [GOOD, BIG]


def test_readers_wait_until_the_state_is_whole(rig: Rig) -> None:
    found: list[bool] = []

    def read() -> None:
        pauses.give_way()
        found.append(rig.engine.state.busy is None)

    def others() -> None:
        if rig.engine.state.busy == BIG and not found:
            found.append(True)
            hub.spawn(read)

    rig.in_pauses = others
    rig.stepper.take(up(BIG, LARGE))
    rig.done()
    rig.in_pauses = None
    for _ in range(100):
        hub.sleep(0.005)
    assert found == [True, True]


def test_an_exception_costs_the_connection_and_what_waits_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = rig.engine.step

    def fails(event: Any, now: float) -> list[fx.Effect]:
        if isinstance(event, ev.DeviceUp) and event.dpid == BIG:
            raise ValueError
        return step(event, now)

    monkeypatch.setattr(rig.engine, "step", fails)
    rig.stepper.take(up(BIG, LARGE))
    rig.stepper.take(up(GOOD, 4))
    rig.done()
    assert rig.faults == ["DeviceUp"]
    assert ("close", BIG) in rig.asked
    assert rig.engine.state.busy is None
    assert plans(rig) == [GOOD]


def test_an_exception_of_a_catch_up_is_noted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.stepper.take(up(GOOD, 4))
    monkeypatch.setattr(stepping.Stepper, "_catch_up", lambda _stepper: 1 / 0)
    rig.stepper.take(ev.PortChanged(GOOD, NEW))
    for _ in range(100):
        hub.sleep(0.005)
        if rig.faults:
            break
    assert rig.faults == ["catching up"]
    monkeypatch.undo()
    rig.stepper.take(ev.PortChanged(GOOD, PortReport(9998, "x", 6)))
    rig.done()
    assert plans(rig) == [GOOD, GOOD]


def test_orders_do_not_wait_for_what_waits_and_are_in_force_on_return(rig: Rig) -> None:
    rig.stepper.take(up(BIG, LARGE))
    rig.stepper.order(ev.PolicyReplaced(small_policy(), UNKNOWN_ORIGIN))
    assert rig.engine.state.policy_changes == 1
    assert BIG not in rig.engine.devices
    ordered: list[int | None] = []

    def order() -> None:
        rig.stepper.order(ev.PolicyReplaced(small_policy(), UNKNOWN_ORIGIN))
        ordered.append(rig.engine.state.busy)

    def others() -> None:
        if rig.engine.state.busy == BIG:
            rig.in_pauses = None
            hub.spawn(order)

    rig.in_pauses = others
    rig.done()
    for _ in range(100):
        hub.sleep(0.005)
        if ordered:
            break
    assert ordered == [None]
    assert rig.engine.state.policy_changes == 2


def test_packets_that_wait_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "MOST_WAITING", 3)
    rig.stepper.take(up(BIG, LARGE))
    for _ in range(5):
        rig.stepper.take(packet(BIG))
    rig.stepper.take(ev.PortRemoved(BIG, 7))
    rig.done()
    assert rig.sent_back() == [BIG, BIG]
    assert 7 not in rig.engine.devices[BIG].ports


def test_steps_that_are_each_too_short_for_a_pause_are_collected_behind(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what a new policy makes, some flows at a time, is looked at in one go by whoever comes next."""
    monkeypatch.setattr(pauses, "SLICE", 60.0)
    for dpid in range(1, 4):
        rig.stepper.take(up(dpid, 4))
    rig.done()
    collected: list[int] = []
    monkeypatch.setattr(garbage, "collect_new", lambda: collected.append(len(rig.engine.state.due)))
    rig.stepper.take(ev.PolicyReplaced(small_policy(), UNKNOWN_ORIGIN))
    rig.done()
    assert collected[:3] == [2, 1, 0]
