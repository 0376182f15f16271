"""Ports that begin many flows are tracked: from when, for how long, and what of it is in the plan."""

from __future__ import annotations

from itertools import count

from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.device.arrivals import HOLD
from flowlane.core.model import PortReport

ABOVE = 50
STORM = 7
"""Seconds of twice the rate after which a port is tracked."""


def host(**changes: object) -> Scenario:
    given: dict[str, object] = {"track_above": ABOVE, "learn_after": 8, **changes}
    return Scenario(small_policy(**given), caps=LEARNING)


class Traffic:
    """New flows of one VM, each from a port of its own."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.ports = scenario, count(1000)

    def begin(self, per_second: int, seconds: int, vm: int = 1) -> None:
        for _ in range(seconds):
            for _ in range(per_second):
                self.scenario.flow(vm, next(self.ports), 80, queue_id=1)
            self.scenario.tick()


def test_a_port_that_begins_few_flows_is_not_tracked() -> None:
    scenario = host()
    Traffic(scenario).begin(ABOVE - 10, 20)
    assert scenario.plan.tracked_ports == ()


def test_a_port_that_begins_many_flows_is_tracked_within_seconds_and_no_other() -> None:
    scenario = host()
    Traffic(scenario).begin(2 * ABOVE, STORM, vm=2)
    assert scenario.plan.tracked_ports == (2,)


def test_a_short_burst_changes_nothing() -> None:
    scenario = host()
    Traffic(scenario).begin(2 * ABOVE, 1)
    Traffic(scenario).begin(0, 5)
    assert scenario.plan.tracked_ports == ()


def test_many_flows_that_begin_at_once_and_last_change_nothing() -> None:
    """They would pass the tracker for as long as they last, and no flow would be spared that is still to come."""
    scenario = host()
    traffic = Traffic(scenario)
    traffic.begin(0, 1)
    traffic.begin(6 * ABOVE, 1)
    traffic.begin(0, 5)
    assert scenario.plan.tracked_ports == ()


def test_a_storm_of_very_many_is_tracked_with_the_first_tick() -> None:
    scenario = host()
    traffic = Traffic(scenario)
    traffic.begin(0, 1)
    traffic.begin(10 * ABOVE, 1)
    assert scenario.plan.tracked_ports == (1,)


def test_tracking_holds() -> None:
    scenario = host()
    traffic = Traffic(scenario)
    traffic.begin(2 * ABOVE, STORM)
    traffic.begin(0, int(HOLD) - 5)
    assert scenario.plan.tracked_ports == (1,), "not on and off with each burst"
    traffic.begin(0, 10)
    assert not scenario.plan.tracked_ports


def test_tracking_ends_below_half_the_rate() -> None:
    scenario = host()
    traffic = Traffic(scenario)
    traffic.begin(2 * ABOVE, STORM)
    traffic.begin(int(0.7 * ABOVE), int(HOLD) + 10)
    assert scenario.plan.tracked_ports == (1,), "hysteresis"
    traffic.begin(int(0.3 * ABOVE), 15)
    assert not scenario.plan.tracked_ports


def test_zero_tracks_every_port_with_a_vm_and_learn_after_zero_none() -> None:
    assert host(track_above=0).plan.tracked_ports == tuple(range(1, 9))
    assert host(track_above=0, learn_after=0).plan.tracked_ports == ()
    scenario = host(learn_after=0)
    Traffic(scenario).begin(3 * ABOVE, 5)
    assert scenario.plan.tracked_ports == ()


def test_a_port_found_tracked_stays_so_after_a_restart() -> None:
    scenario = host()
    ports = tuple(PortReport(port_no, f"pf0vf{port_no}") for port_no in (1, 2))
    up = (*ports, PortReport(UPLINK, "pf0"))
    scenario.do(ev.DeviceUp(DPID, LEARNING, up, {UPLINK: (0, 1)}, tracked=(2,)))
    assert scenario.plan.tracked_ports == (2,)


def test_a_port_that_is_gone_is_not_tracked_any_more() -> None:
    scenario = host()
    Traffic(scenario).begin(2 * ABOVE, STORM)
    scenario.do(ev.PortRemoved(DPID, 1))
    scenario.tick()
    assert scenario.plan.tracked_ports == ()


def test_a_port_is_tracked_by_the_ends_of_flows_that_nobody_has_seen() -> None:
    """Where the controller cannot read the copies of a storm, it would have entries of all flows to read else."""
    scenario = host()
    scenario.flow(2, 1000, queue_id=1)
    (key,) = scenario.device.flows.rows
    for number in range(60 * ABOVE):
        unseen = key[:8] + (2000 + number).to_bytes(2) + key[10:]
        scenario.do(ev.LearnedEnded(DPID, unseen, 2, UPLINK, 0x0A0000000002, 2, 120, idle=number % 2 == 0))
        if number % (5 * ABOVE) == 0:
            scenario.tick()
    scenario.tick()
    assert scenario.plan.tracked_ports == (2,)


def test_where_the_controller_is_behind_fewer_flows_that_it_sees_are_many() -> None:
    scenario = host()
    scenario.device.copy_limit.halved = 3
    scenario.device.copy_limit.changed_at = scenario.now + 1000
    Traffic(scenario).begin(ABOVE // 4, STORM)
    assert scenario.plan.tracked_ports == (1,)
    assert not host().plan.tracked_ports
