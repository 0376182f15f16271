"""Marks in the place of queue ids: choices, and what an engine and its device make of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core import marks
from flowlane.core.effects import DeleteLearned, PinFlow
from flowlane.core.marks import FIRST_PCP, NO_MARK, marking
from flowlane.core.model import NO_QUEUE, Reason
from flowlane.core.policy import DeviceRules, DeviceSelector, Policy, QueuesBy, TrafficClass

MARKS = st.integers(NO_MARK, FIRST_PCP + 7)


@given(st.integers(NO_QUEUE, 61_439), MARKS)
def test_a_choice_gives_back_what_it_was_made_of_and_fits_its_register(queue_id: int, mark: int) -> None:
    choice = marks.join(queue_id, mark)
    assert marks.split(choice) == (queue_id, mark)
    assert 0 <= choice + 1 < 1 << 32
    assert mark != NO_MARK or choice == queue_id


def test_the_usual_map_is_by_class_selectors_and_priorities() -> None:
    by_dscp, by_pcp = (marking(by, (), ()) for by in (QueuesBy.DSCP, QueuesBy.PCP))
    assert [by_dscp.mark_of(queue_id) for queue_id in range(9)] == [*range(0, 64, 8), NO_MARK]
    assert [marks.value_of(by_pcp.mark_of(queue_id)) for queue_id in range(8)] == list(range(8))
    assert all(marks.is_pcp(by_pcp.mark_of(queue_id)) for queue_id in range(8))


def test_the_first_of_several_marks_is_written_and_each_is_read() -> None:
    made = marking(QueuesBy.DSCP, ((10, 2), (12, 2), (0, 0)), (46,))
    assert made.mark_of(2) == 10
    assert (made.queue_of(12), made.queue_of(0), made.queue_of(1)) == (2, 0, NO_QUEUE)
    assert made.kept(46, 0)
    assert not made.kept(10, 46)


def policy(*keep: int, by: QueuesBy = QueuesBy.DSCP, **changes: object) -> Policy:
    entry = DeviceRules(DeviceSelector(), queues_by=by, keep_marks=keep)
    return small_policy(classes=(TrafficClass("small", 0),), rules=(), gates=(), devices=(entry,), **changes)


def choice_of(queue_id: int) -> int:
    return marks.join(NO_QUEUE, 8 * queue_id)


def test_the_plan_names_marks_and_the_engine_queues() -> None:
    scenario = Scenario(policy(46), caps=LEARNING)
    plan = scenario.device.plan
    assert plan is not None
    (uplink,) = [port for port in plan.ports if port.port_no == UPLINK]
    assert uplink.queues == tuple(map(choice_of, range(4)))
    assert uplink.keep_marks == (46,)
    of_uplink = {choice for rule in plan.rules if rule.egress_port == UPLINK for choice, _ in rule.queues}
    assert of_uplink == set(map(choice_of, range(4)))
    row = scenario.flow(1, 1, queue_id=choice_of(2))
    assert scenario.device.flows.device_queue[row] == scenario.queue_of(row) == 2
    assert Reason(scenario.device.flows.reason[row]) is Reason.DEVICE_CHOSE


def test_a_flow_with_a_mark_that_is_kept_has_no_queue_and_no_pin() -> None:
    scenario = Scenario(policy(46), caps=LEARNING)
    row = scenario.flow(1, 1, dscp=46, queue_id=choice_of(2))
    flows = scenario.device.flows
    assert (scenario.queue_of(row), Reason(flows.reason[row])) == (NO_QUEUE, Reason.MARK_KEPT)
    assert scenario.device.pinned == 0


def test_every_pin_is_sent_again_where_queues_are_chosen_in_another_way() -> None:
    scenario = Scenario(policy(pins=replace(small_policy().pins, which="all")), caps=LEARNING)
    rows = [scenario.flow(1, number) for number in range(3)]
    by_queue = replace(scenario.engine.state.policy, devices=())
    effects = scenario.do(ev.PolicyReplaced(by_queue))
    pins = {effect.ref.row: effect for effect in effects if isinstance(effect, PinFlow)}
    assert {row: pin.queue_id for row, pin in pins.items()} == {row: scenario.queue_of(row) for row in rows}
    assert all(pin.moved for pin in pins.values()), "the entries are changed and keep their counters"
    assert {effect.egress_port for effect in effects if isinstance(effect, DeleteLearned)} >= {UPLINK}


def test_a_queue_that_no_mark_reaches_is_left_out() -> None:
    scenario = Scenario(policy(), queues=10, caps=LEARNING)
    assert set(scenario.device.ports[UPLINK].queues) == set(range(8))
    (left,) = [left for left in scenario.device.left_out if left.what.startswith("queue ")]
    assert left.what.startswith("queue 8, 9 of port ")


def test_an_uplink_without_queues_in_openflow_has_those_of_the_map() -> None:
    scenario = Scenario(policy(), queues=4, caps=LEARNING)
    scenario.describe(0)
    scenario.do(ev.QueuesReported(DPID, {}))
    assert set(scenario.device.ports[UPLINK].queues) == set(range(8))


@pytest.mark.parametrize("by", [QueuesBy.SET_QUEUE, QueuesBy.PCP])
def test_the_last_entry_that_says_how_counts(by: QueuesBy) -> None:
    first = policy().devices[0]
    both = replace(policy(), devices=(first, replace(first, queues_by=by), replace(first, queues_by=None)))
    scenario = Scenario(both, caps=LEARNING)
    made = scenario.device.marking
    assert (made.by if made else QueuesBy.SET_QUEUE) is by
