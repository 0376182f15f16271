"""The limit on copies: lower while a device's replies are late, and raised in time."""

from __future__ import annotations

from support.engine.scenario import DPID, LEARNING, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.device.copies import FIRST_WAIT, LEAST, copy_rate


def late(scenario: Scenario, seconds: float) -> None:
    """The device's reply to a request for counters has not come for so many seconds."""
    scenario.device.readings.waiting = {0: scenario.now - seconds}


def test_a_device_whose_replies_are_late_is_to_copy_less_until_they_are_not() -> None:
    scenario = Scenario(small_policy(), caps=LEARNING)
    scenario.flow(1, 1000, queue_id=1)
    limits = []
    for _ in range(7):
        scenario.now += 1
        late(scenario, 30)
        scenario.do(ev.Tick())
        limits.append(scenario.plan.copy_rate)
    assert limits == [500, 250, 125, 62, LEAST, LEAST, LEAST]
    scenario.device.readings.waiting.clear()
    waited = 0
    while scenario.plan.copy_rate < 1000:
        scenario.now += 1
        waited += 1
        scenario.do(ev.Tick())
    assert waited == 5 * FIRST_WAIT, "doubled after each wait"
    scenario.now += 1
    late(scenario, 30)
    scenario.do(ev.Tick())
    assert scenario.device.copy_limit.wait == 2 * FIRST_WAIT, "it was too soon"


def test_a_slow_switch_and_one_that_is_away_are_no_reason() -> None:
    scenario = Scenario(small_policy(), caps=LEARNING)
    scenario.flow(1, 1000, queue_id=1)
    readings = scenario.device.readings
    readings.waiting.clear()
    readings.shortest, readings.last_took, readings.replied_at = 2.0, 2.5, scenario.now
    scenario.do(ev.Tick())
    assert copy_rate(scenario.device) == 1000
    late(scenario, 30)
    scenario.do(ev.DeviceDown(DPID))
    scenario.do(ev.Tick())
    assert copy_rate(scenario.device) == 1000


def test_a_reply_that_came_late_counts_for_a_while() -> None:
    scenario = Scenario(small_policy(), caps=LEARNING)
    scenario.flow(1, 1000, queue_id=1)
    readings = scenario.device.readings
    readings.waiting = {0: scenario.now - 20}
    scenario.do(ev.ReadingEnded(DPID, 0, 1, 20.0))
    assert readings.lag(scenario.now) == 0.0, "the first reply is the quickest"
    readings.shortest = 0.01
    assert readings.lag(scenario.now) > 19
    assert readings.lag(scenario.now + 10) == 0.0
