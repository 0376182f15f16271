"""Queues that an operator takes out of service."""

from __future__ import annotations

import pytest
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.device import cordons
from flowlane.core.model import Admission, PortReport, Reason, Role
from flowlane.core.policy import Balance

QUICK = small_policy(balance=Balance(moves_per_second=10.0, window=1.0))


def set_queue(scenario: Scenario, queue_id: int, admission: Admission) -> None:
    scenario.do(ev.QueueCordoned(DPID, UPLINK, queue_id, admission))


def planned(scenario: Scenario) -> set[int]:
    """The queues over which the device itself spreads new flows."""
    return {queue_id for rule in scenario.plan.rules for queue_id, _ in rule.queues}


def changes(scenario: Scenario) -> list[object]:
    words = {"cordoned", "draining", "drained", "uncordoned"}
    return [r.data["change"] for r in scenario.reports if r.kind == "queue" and r.data["change"] in words]


def test_a_cordoned_queue_keeps_its_flows_and_gets_no_new_ones() -> None:
    scenario = Scenario(QUICK, caps=LEARNING)
    rows = [scenario.flow(1, n, queue_id=n % 4) for n in range(8)]
    before = [scenario.queue_of(row) for row in rows]
    set_queue(scenario, 1, Admission.CORDONED)
    assert planned(scenario) == {0, 2, 3}
    scenario.tick(20)
    assert [scenario.queue_of(row) for row in rows] == before
    # The switch may still use its old rules for a moment: such a flow is corrected.
    late = scenario.flow(2, 99, queue_id=1)
    assert scenario.queue_of(late) != 1 and scenario.pins[late].queue_id == scenario.queue_of(late)
    set_queue(scenario, 1, Admission.OPEN)
    assert planned(scenario) == {0, 1, 2, 3}
    assert changes(scenario) == ["cordoned", "uncordoned"]


def test_a_drained_queue_is_reported_once_it_is_empty() -> None:
    scenario = Scenario(QUICK, caps=LEARNING)
    rows = [scenario.flow(1, n, queue_id=n % 4) for n in range(8)]
    set_queue(scenario, 1, Admission.DRAINING)
    assert scenario.device.cordons[UPLINK, 1].flows == 2
    scenario.tick(20)
    assert 1 not in {scenario.queue_of(row) for row in rows}
    moved = [row for n, row in enumerate(rows) if n % 4 == 1]
    assert {scenario.device.flows.reason[row] for row in moved} == {Reason.DRAINED}
    assert all(scenario.pins[row].queue_id == scenario.queue_of(row) for row in moved)
    assert changes(scenario) == ["draining", "drained"]


def test_cordons_survive_a_reconnection() -> None:
    scenario = Scenario(QUICK, caps=LEARNING)
    set_queue(scenario, 1, Admission.CORDONED)
    scenario.do(ev.DeviceDown(DPID))
    scenario.connect(4, LEARNING)
    assert planned(scenario) == {0, 2, 3}


@pytest.mark.parametrize("waits", [True, False])
def test_a_cordon_counts_for_the_first_plan_of_a_device_that_waits_or_is_yet_to_connect(waits: bool) -> None:
    scenario = Scenario(QUICK, caps=LEARNING)
    scenario.engine.state.devices.pop(DPID)
    if waits:
        scenario.do(ev.DeviceWaits(DPID, "192.0.2.1:5"))
    set_queue(scenario, 1, Admission.CORDONED)
    scenario.describe(4)
    scenario.connect(4, LEARNING)
    assert planned(scenario) == {0, 2, 3}
    assert scenario.counts["Program"] == 2, "nothing is programmed without the cordon, and then changed"


def test_a_queue_is_opened_while_its_port_is_away() -> None:
    scenario = Scenario(QUICK, caps=LEARNING)
    state = scenario.engine.state
    set_queue(scenario, 1, Admission.CORDONED)
    assert cordons.ordered(state, DPID, (UPLINK, 1)) is Admission.CORDONED
    scenario.do(ev.DeviceDown(DPID))
    scenario.do(ev.PortRemoved(DPID, UPLINK))
    set_queue(scenario, 1, Admission.OPEN)
    assert cordons.ordered(state, DPID, (UPLINK, 1)) is Admission.OPEN
    scenario.connect(4, LEARNING)
    assert planned(scenario) == {0, 1, 2, 3}
    assert cordons.ordered(state, DPID, (UPLINK, 1)) is Admission.OPEN
    assert cordons.ordered(state, DPID, (UPLINK, 9)) is None, "there is no such queue"


def test_what_was_ordered_last_counts() -> None:
    scenario = Scenario(QUICK, caps=LEARNING)
    scenario.do(ev.DeviceDown(DPID))
    scenario.do(ev.PortRemoved(DPID, UPLINK))
    set_queue(scenario, 1, Admission.DRAINING)
    scenario.do(ev.PortChanged(DPID, PortReport(UPLINK, "pf0")))
    scenario.do(ev.QueuesReported(DPID, {UPLINK: (0, 1, 2, 3)}))
    set_queue(scenario, 1, Admission.CORDONED)
    scenario.connect(4, LEARNING)
    assert cordons.ordered(scenario.engine.state, DPID, (UPLINK, 1)) is Admission.CORDONED


def test_one_queue_of_a_port_takes_flows() -> None:
    scenario = Scenario(QUICK, queues=2)
    port = scenario.device.ports[UPLINK]
    assert cordons.obstacle(port, 0, Admission.CORDONED) == ""
    set_queue(scenario, 0, Admission.CORDONED)
    assert cordons.obstacle(port, 1, Admission.DRAINING) == (
        "queue 1 is the last one of pf0 that takes flows, which would have none to go to: queue 0 is cordoned; "
        "uncordon one of pf0 first"
    )
    assert (cordons.open_queues(port), cordons.open_queues(port, 1), cordons.open_queues(port, 0)) == (
        1,
        0,
        1,
    )
    assert cordons.obstacle(port, 1, Admission.OPEN) == ""


def test_a_refusal_names_some_of_many_cordoned_queues() -> None:
    scenario = Scenario(QUICK, queues=12)
    for queue_id in range(11):
        set_queue(scenario, queue_id, Admission.CORDONED)
    why = cordons.obstacle(scenario.device.ports[UPLINK], 11, Admission.CORDONED)
    assert "queues 0, 1, 2, 3, 4, 5, 6, 7, ... are cordoned" in why


def test_the_only_queue_of_a_port_is_refused_without_advice_that_cannot_help() -> None:
    port = Scenario(QUICK, queues=1).device.ports[UPLINK]
    why = cordons.obstacle(port, 0, Admission.CORDONED)
    assert why == "queue 0 is the only one of pf0: its flows have no other to go to"


def test_a_role_by_hand_comes_before_the_others() -> None:
    scenario = Scenario(QUICK)
    roles = []
    for role in (Role.SWITCH, None):
        scenario.do(ev.RoleGiven(DPID, role))
        scenario.describe(4)
        roles.append(scenario.device.role.value)
    assert roles == ["switch", "nic"]
