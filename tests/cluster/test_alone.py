"""A controller without others leads all devices, as soon as it has what operators ordered."""

from __future__ import annotations

import pytest

from flowlane import hub
from flowlane.cluster import alone
from flowlane.cluster.alone import Alone


class Devices:
    def __init__(self) -> None:
        self.led: list[tuple[int, int]] = []

    def lead(self, dpid: int, generation: int) -> None:
        self.led.append((dpid, generation))


def test_devices_wait_for_the_database() -> None:
    devices = Devices()
    controller = Alone(devices)
    for dpid in (3, 1, 2):
        controller.connected(dpid)
    controller.disconnected(2)
    controller.demoted(1)
    assert (devices.led, controller.generation_of(1)) == ([], 0)
    controller.begin()
    controller.begin()
    controller.connected(4)
    assert devices.led == [(1, 0), (3, 0), (4, 0)]


def test_devices_are_led_without_a_database_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "PATIENCE", 0.01)
    devices = Devices()
    controller = Alone(devices)
    controller.connected(1)
    controller.start()
    hub.sleep(0.1)
    controller.stop()
    assert devices.led == [(1, 0)]
