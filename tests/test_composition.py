from __future__ import annotations

from pathlib import Path

import pytest

from flowlane import hub, policy
from flowlane.composition import LONGEST, Composition
from flowlane.core import events as ev
from flowlane.core.classify.classifier import compile_rules
from flowlane.core.model import Capabilities, PortReport
from flowlane.core.state.device import Device
from flowlane.errors import ConfigError, PolicyError
from flowlane.options import Settings

SETTINGS = Settings("127.0.0.1", 0, (), None)
UP = ev.DeviceUp(0x42, Capabilities(), (PortReport(1, "p1"),), {})


class Time:
    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


def test_facts_reach_the_engine_and_reports_the_feed() -> None:
    made = Composition(SETTINGS, Time())
    made.submit(UP)
    assert made.state.devices[0x42].connected
    assert made.state.now == 5.0
    assert next(entry.report.kind for entry in made.feed.since(0)) == "device"
    made.submit(ev.DeviceDown(0x42))
    assert not made.state.devices[0x42].connected


def test_what_is_counted_of_devices_that_are_gone_is_forgotten() -> None:
    made = Composition(SETTINGS, Time())
    made.submit(UP)
    for dpid in (UP.dpid, 99):
        made.telemetry.traffic_of(dpid).packet_ins += 1
    made.forget()
    assert list(made.telemetry.devices) == [UP.dpid]


def test_both_clocks_are_read_together() -> None:
    time = Time()
    made = Composition(SETTINGS, time)
    clock = made.clock()
    assert clock.now == 5.0
    assert abs(clock.wall - made.started) < 60


def test_start_serves_and_stop_ends_it() -> None:
    made = Composition(SETTINGS)
    made.start()
    hub.sleep()
    made.stop()


def test_rest_address_in_use() -> None:
    server = hub.listen("127.0.0.1", 0, 1)
    made = Composition(SETTINGS._replace(wsapi_port=server.getsockname()[1]))
    with pytest.raises(ConfigError, match=r"cannot listen for REST on 127\.0\.0\.1 port"):
        made.start()
    server.close()


def test_wrong_database() -> None:
    with pytest.raises(ConfigError, match="ovsdb remote"):
        Composition(SETTINGS._replace(ovsdb=("nonsense",)))


def test_database_that_is_away_is_told(tmp_path: Path) -> None:
    made = Composition(SETTINGS._replace(ovsdb=(f"unix:{tmp_path}/no.sock",)))
    problems = {check.name: check.problem for check in made.checks()}
    assert problems["ovsdb"]
    assert problems == {"ovsdb": problems["ovsdb"], "devices": "", "policy": ""}
    assert [check.name for check in Composition(SETTINGS).checks()] == ["devices", "policy"]


def test_policy_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\nclases: {}\n")
    with pytest.raises(PolicyError, match=r"policy\.yaml:2"):
        Composition(SETTINGS._replace(policy=file))
    with pytest.raises(ConfigError, match=r"policy file .*none\.yaml cannot be read"):
        Composition(SETTINGS._replace(policy=tmp_path / "none.yaml"))
    assert Composition(SETTINGS).state.policy == policy.default()


def test_a_policy_is_tried_in_a_copy_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Composition(SETTINGS, Time())
    made.submit(UP)
    assert made.try_policy(policy.default()) == (0, 0, 0)
    assert made.state.policy_changes == 0

    def refuse(*_: object) -> bytes:
        raise OSError("no memory")

    monkeypatch.setattr(hub, "in_child", refuse)
    assert made.try_policy(policy.default()) == (0, 0, 0), "where no process can be made, in this one"
    assert made.state.policy_changes == 0


def test_a_policy_is_tried_with_a_whole_state(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Composition(SETTINGS, Time())
    made.submit(UP)
    seen: list[int | None] = []

    def in_child(*_: object) -> bytes:
        seen.append(made.state.busy)
        return b"[0, 0, 0]"

    monkeypatch.setattr(hub, "in_child", in_child)
    made.state.busy = 0x42
    task = hub.spawn(made.try_policy, policy.default())
    hub.sleep(0.02)
    made.state.busy = None
    for _ in range(100):
        hub.sleep(0.005)
        if seen:
            break
    task.kill()
    assert seen == [None]


def test_a_new_policy_is_awaited_on_every_device() -> None:
    made = Composition(SETTINGS, Time())
    made.submit(UP)
    made.submit(ev.PolicyReplaced(policy.load("version: 1\nclasses: {a: {}}\ndefault: a\n")))
    assert made.state.policy_awaited == {0x42}
    made.wait_for_policy()
    assert [item.name for item in made.state.devices[0x42].policy.classes] == ["a"]


def test_a_tick_that_fails_does_not_end_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowlane.composition.TICK", 0.0)
    made = Composition(SETTINGS)
    ticks: list[object] = []

    def submit(event: object) -> None:
        ticks.append(event)
        if len(ticks) == 1:
            raise ValueError("a mistake of ours")

    monkeypatch.setattr(made, "submit", submit)
    made.start()
    for _ in range(20):
        hub.sleep()
    made.stop()
    assert len(ticks) > 1
    assert made.faults == 1


def test_ticks_of_many_devices_let_others_run_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    made = Composition(SETTINGS, time)
    order: list[object] = []

    def submit(event: ev.Tick) -> None:
        time.now += 0.6 * LONGEST
        order.append("all" if event.alone else event.dpid)

    monkeypatch.setattr(made, "submit", submit)
    monkeypatch.setattr(hub, "give_way", lambda: order.append("others"))
    for dpid in (1, 2, 3, 4):
        made.state.devices[dpid] = Device(dpid, made.state.policy, compile_rules(made.state.policy))
    made._tick_devices()
    assert order == ["all", 1, 2, "others", 3, 4, "others"]


def test_a_tick_of_its_own_does_for_a_device_what_the_tick_of_all_does() -> None:
    whole, single = Composition(SETTINGS, Time()), Composition(SETTINGS, Time())
    for made, ticks in ((whole, [ev.Tick()]), (single, [ev.Tick(alone=True), ev.Tick(0x42), ev.Tick(0x43)])):
        made.submit(UP)
        made._clock.now = 60.0  # type: ignore[attr-defined]
        for tick in ticks:
            made.submit(tick)
    devices = whole.state.devices[0x42], single.state.devices[0x42]
    assert [device.in_adoption for device in devices] == [False, False]
    assert devices[0].next_weighing == devices[1].next_weighing > 60.0


def test_a_sample_of_all_devices_ticks_those_that_are_due_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Composition(SETTINGS, Time())
    for dpid in (1, 2, 3):
        made.state.devices[dpid] = Device(dpid, made.state.policy, compile_rules(made.state.policy))
    made.state.devices[2].next_tick = made.state.devices[2].next_probe = 1e9
    ticked: list[int | None] = []
    sampled: list[int] = []
    monkeypatch.setattr(made, "submit", lambda event: ticked.append(event.dpid))
    monkeypatch.setattr(made.history, "sample", lambda device: sampled.append(device.dpid))
    assert made.history.is_due(made._clock())
    made._tick_devices()
    assert ticked == [None, 1, 3]
    assert sampled == [1, 2, 3]
