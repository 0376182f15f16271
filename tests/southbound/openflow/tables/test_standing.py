from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from support.engine.plans import ABLE, PORTS, REST, UPLINK, VOICE, WEB, plan

from flowlane.core.effects import StandingMatch, StandingRule
from flowlane.core.model import Capabilities
from flowlane.southbound.openflow.tables import standing
from flowlane.southbound.openflow.tables.entries import Bucket, FlowEntry, Goto, Meter, SetQueue, UseGroup
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.wire import cookies


def standing_entries(flows: tuple[FlowEntry, ...]) -> list[FlowEntry]:
    return [f for f in flows if cookies.unpack(f.cookie).kind is cookies.Kind.STANDING]  # type: ignore[union-attr]


def compile_rules(
    *rules: StandingRule, able: Capabilities = ABLE, meters: tuple[int, ...] = (9,)
) -> tuple[dict[int, tuple[Bucket, ...]], list[FlowEntry], list[str]]:
    groups, flows, left_out = standing.compile_rules(plan(*rules), able, PORTS, meters)
    texts = [f"{left.why} -> {left.remedy}" for left in left_out]
    return {group.group_id: group.buckets for group in groups}, standing_entries(flows), texts


def test_one_queue_is_set_and_several_are_spread_by_a_group() -> None:
    groups, flows, left_out = compile_rules(WEB, REST)
    (group_id,) = groups
    assert groups[group_id] == (Bucket(1, UPLINK, 1), Bucket(2, UPLINK, 3))
    assert left_out == []
    by_order = {f.priority: f.steps for f in flows}
    assert by_order[110][-1] == UseGroup(group_id)
    assert by_order[100][-2:] == (SetQueue(0), Goto(TableId.OUTPUT))


def test_a_rule_without_queues_sets_none() -> None:
    _, (made,), _ = compile_rules(REST._replace(queues=(), learn=False))
    assert made.steps == (Goto(TableId.OUTPUT),)


def test_the_meter_comes_before_all_else() -> None:
    _, flows, _ = compile_rules(VOICE)
    assert all(f.steps[0] == Meter(9) for f in flows)


def test_the_copied_packet_has_the_queue() -> None:
    _, flows, _ = compile_rules(VOICE, REST, WEB)
    queue_by_priority = {f.priority: cookies.standing_queue(f.cookie) for f in flows}
    assert queue_by_priority == {120: 3, 100: 0, 110: None}


def test_a_queue_that_the_port_does_not_report_is_never_set() -> None:
    groups, flows, left_out = compile_rules(
        WEB._replace(queues=((1, 1), (77, 1))), REST._replace(queues=((78, 1),))
    )
    assert groups == {}
    named = {step.queue_id for f in flows for step in f.steps if isinstance(step, SetQueue)}
    assert named == {1}
    assert left_out == [
        f"port {UPLINK} does not report queue 77 -> its other queues",
        f"port {UPLINK} does not report queue 78 -> the port's default queue",
    ]


def test_a_rule_for_a_port_that_is_gone_is_left_out() -> None:
    _, flows, left_out = compile_rules(REST._replace(egress_port=9))
    assert flows == []
    assert left_out == ["the device has no port 9 -> "]


def test_without_meters_the_rule_stands_without_limit() -> None:
    _, flows, left_out = compile_rules(VOICE, meters=())
    assert not any(isinstance(step, Meter) for f in flows for step in f.steps)
    assert left_out == ["the device has no meter for it -> no limit"]


def test_without_select_groups_the_heaviest_queue_serves() -> None:
    groups, flows, left_out = compile_rules(WEB, able=replace(ABLE, select_groups=False))
    assert groups == {}
    assert {f.steps[-2] for f in flows} == {SetQueue(2)}
    assert left_out == ["the device has no select groups -> queue 2 only"]


def test_more_groups_than_the_device_holds_are_not_made() -> None:
    others = (WEB, WEB._replace(order=11, class_name="b"), WEB._replace(order=12, class_name="c"))
    groups, flows, left_out = compile_rules(*others, able=replace(ABLE, max_groups=2))
    assert len(groups) == 2
    assert Counter(type(f.steps[-1]) for f in flows if f.priority == 112) == {Goto: 9}
    assert left_out == ["the device has no room for another group -> its first queue only"]


def test_a_group_keeps_its_id_when_its_weights_change() -> None:
    before, _, _ = compile_rules(WEB, REST)
    after, _, _ = compile_rules(REST, WEB._replace(queues=((1, 9), (2, 1), (3, 4))))
    assert list(before) == list(after)
    assert before != after


def test_rules_of_a_class_that_spread_alike_share_a_group() -> None:
    more = WEB._replace(order=11, match=StandingMatch(dscp=10))
    groups, _, _ = compile_rules(WEB, more)
    assert len(groups) == 1
    apart, _, _ = compile_rules(WEB, more._replace(queues=((0, 1), (3, 1))))
    assert len(apart) == 2


def test_group_ids_that_collide_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "group_of_class", lambda *_: 6)
    groups, _, _ = compile_rules(WEB, WEB._replace(order=11, class_name="b"))
    assert list(groups) == [6, 7]


def test_a_rule_that_cannot_be_said_is_left_out_and_takes_no_group() -> None:
    groups, flows, left_out = compile_rules(
        WEB._replace(match=StandingMatch(ip_proto=6, dst_ports=((1, 60000),))),
        able=replace(ABLE, port_masks=False),
    )
    assert (groups, flows) == ({}, [])
    assert left_out[0].startswith("the device takes no masks on ports")


@pytest.mark.parametrize("order", [-1, 65000])
def test_an_order_that_no_priority_can_hold_is_left_out(order: int) -> None:
    _, flows, left_out = compile_rules(REST._replace(order=order))
    assert flows == []
    assert "its order" in left_out[0]


def test_equal_matches_of_one_order_make_one_entry() -> None:
    _, flows, _ = compile_rules(REST, REST._replace(queues=((1, 1),)))
    assert [f.steps[-2] for f in flows] == [SetQueue(0)]


def test_weights_fit_sixteen_bits() -> None:
    groups, _, _ = compile_rules(WEB._replace(queues=((1, 0), (2, 1 << 20))))
    assert [bucket.weight for bucket in next(iter(groups.values()))] == [1, 0xFFFF]


def reactive(able: Capabilities) -> tuple[FlowEntry, ...]:
    _, flows, _ = standing.compile_rules(replace(plan(REST), reactive=True), able, PORTS, ())
    return flows


def test_in_reactive_mode_a_packet_waits_unless_the_switch_reads_it() -> None:
    flows = reactive(replace(ABLE, normal=True))
    assert all(cookies.waits(f.cookie) and len(f.steps) == 1 for f in standing_entries(flows))
    read = [f for f in flows if f.priority == Priority.READ_BY_SWITCH]
    assert len(read) == 9
    assert all(f.steps[-1] == Goto(TableId.OUTPUT) and not cookies.waits(f.cookie) for f in read)
    values = [tuple(term.value for term in f.match) for f in read]
    assert (0x800, 2) in values
    assert {value[-1] for value in values if value[1:2] == (58,)} == {130, 131, 132, 135, 136, 143}


def test_a_device_that_forwards_by_entries_alone_reads_no_packets() -> None:
    assert not [f for f in reactive(ABLE) if f.priority == Priority.READ_BY_SWITCH]


def test_packets_wait_in_reactive_mode_only() -> None:
    _, flows, _ = compile_rules(VOICE, REST, WEB)
    assert not any(cookies.waits(f.cookie) for f in flows)
