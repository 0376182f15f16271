"""Readiness means that the switches that there are are served: each check can fail."""

from __future__ import annotations

from dataclasses import replace

from support.engine.scenario import ABLE, DPID, UPLINK, Scenario, small_policy

from flowlane import readiness
from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.model import PortReport


def problems(scenario: Scenario) -> dict[str, str]:
    return {check.name: check.problem for check in readiness.checks(scenario.engine.state, None)}


def test_a_controller_without_switches_is_ready() -> None:
    assert not any(check.problem for check in readiness.checks(Engine(small_policy()).state, None))


def test_devices_that_are_not_connected_or_not_usable() -> None:
    scenario = Scenario()
    assert problems(scenario) == {"devices": "", "policy": ""}
    scenario.do(ev.DeviceDown(DPID))
    assert problems(scenario)["devices"] == "0 of 1 device connected"
    ports = (PortReport(1, "vf"), PortReport(UPLINK, "up"))
    scenario.engine.step(ev.DeviceUp(2, ABLE, ports, {}, unusable="it has 2 tables"), scenario.now)
    assert problems(scenario)["devices"] == "1 of 2 devices connected, none usable: it has 2 tables"
    scenario.connect(4)
    assert problems(scenario)["devices"] == ""


def test_a_device_that_waits_for_its_database() -> None:
    scenario = Scenario()
    scenario.do(ev.DeviceDown(DPID))
    scenario.do(ev.DeviceWaits(DPID, "192.0.2.1:5"))
    assert problems(scenario)["devices"] == "1 device of 1 connected, waiting for a database"
    scenario.now += 1000
    scenario.do(ev.Tick())
    assert DPID in scenario.engine.devices, "it is not forgotten"
    scenario.do(ev.DeviceDown(DPID))
    assert problems(scenario)["devices"] == "0 of 1 device connected"


def test_a_policy_that_is_not_in_force_yet() -> None:
    scenario = Scenario()
    scenario.engine.step(ev.PolicyReplaced(replace(small_policy(), copy_rate=7)), scenario.now)
    assert problems(scenario)["policy"] == "1 of 1 device waits for its part of the policy"
    scenario.engine.step_and_catch_up(ev.CatchUp(), scenario.now)
    assert problems(scenario)["policy"] == ""
