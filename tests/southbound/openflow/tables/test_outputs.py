"""Marks as entries: written in table output, led to by registers, or by pins where a device has no registers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.plans import ABLE, PORTS, REST, UPLINK, WEB, pin, plan

from flowlane.core import marks
from flowlane.core.effects import PlannedPort
from flowlane.core.flowkey import IPV4, LAYER2, FlowParts, pack
from flowlane.core.marks import FIRST_PCP
from flowlane.core.model import NO_QUEUE, NOT_A_VM, PortRole
from flowlane.southbound.openflow.tables import outputs, pins, standing
from flowlane.southbound.openflow.tables.desired import compile_plan
from flowlane.southbound.openflow.tables.entries import Goto, Output, PushVlan, SetMark, SetQueue
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire.constants import NORMAL_PORT
from flowlane.southbound.openflow.wire.fields import VLAN_PRESENT, values
from flowlane.southbound.openflow.wire.nicira import QUEUE, Load

LEARNS = replace(ABLE, learn=True, normal=True)
AF11, EF = 10, 46
BY_MARK, BOTH = marks.join(NO_QUEUE, AF11), marks.join(1, AF11)
OUT = Output(NORMAL_PORT)
TAGGED = (VLAN_PRESENT, VLAN_PRESENT)


def ways(
    choice: int, keep: tuple[int, ...] = (), normal: bool = True
) -> dict[tuple[object, ...], list[object]]:
    """What is done, by ethertype, tag, ingress port, DSCP and PCP; without what has no choice."""
    found = list(outputs.of_port(UPLINK, [choice], keep, normal, (4,)))[1:]
    assert all(out.fields[QUEUE] == choice + 1 for out in found)
    names = ("eth_type", "vlan_vid", "in_port", "ip_dscp", "vlan_pcp")
    in_order = sorted(found, key=lambda out: out.priority)
    return {tuple(out.fields.get(name) for name in names): list(out.steps) for out in in_order}


def test_a_dscp_is_written_to_ip_packets_and_no_others() -> None:
    assert ways(BY_MARK) == {
        (None, None, None, None, None): [Output(NORMAL_PORT)],
        (0x0800, None, None, None, None): [SetMark(AF11), OUT],
        (0x86DD, None, None, None, None): [SetMark(AF11), OUT],
    }


def test_a_queue_and_a_mark_go_together() -> None:
    assert ways(BOTH)[None, None, None, None, None] == [SetQueue(1), OUT]
    assert ways(BOTH)[0x0800, None, None, None, None] == [SetMark(AF11), SetQueue(1), OUT]


def test_a_mark_that_is_kept_is_not_written_over_and_the_queue_stays() -> None:
    kept = ways(BOTH, (EF,))
    assert kept[0x0800, None, None, EF, None] == kept[0x86DD, None, None, EF, None] == [SetQueue(1), OUT]
    assert list(kept)[-1][3] == EF, "it comes before the entries that write"


def test_a_pcp_is_written_to_tags_and_a_priority_tag_only_where_the_switch_turns_it_into_one() -> None:
    choice, write = marks.join(NO_QUEUE, FIRST_PCP + 3), SetMark(FIRST_PCP + 3)
    kept = ways(choice, (FIRST_PCP + 7,))
    assert kept[None, TAGGED, None, None, None] == [write, OUT]
    assert kept[None, 0, 4, None, None] == [PushVlan(), write, OUT]
    assert kept[None, TAGGED, None, None, 7] == [OUT]
    assert not [place for place in ways(choice, normal=False) if place[1] == 0]


def test_rules_lead_to_marks_by_registers() -> None:
    rule = WEB._replace(queues=((BY_MARK, 1), (marks.join(NO_QUEUE, 8), 3)))
    single = REST._replace(queues=((BY_MARK, 1),))
    for learned_idle, table in ((10, TableId.LEARN), (0, TableId.OUTPUT)):
        planned = plan(rule, single, learned_idle=learned_idle)
        (group,), flows, left_out = standing.compile_rules(planned, LEARNS, PORTS, ())
        assert {bucket.table_id for bucket in group.buckets} == {table}
        assert not left_out
        steps = [entry.steps[-2:] for entry in flows if Load(QUEUE, BY_MARK + 1) in entry.steps]
        assert steps == [(Load(QUEUE, BY_MARK + 1), Goto(table))]


def test_without_registers_pins_write_marks_and_rules_do_not() -> None:
    rule = WEB._replace(queues=((BOTH, 1), (marks.join(1, 8), 2), (marks.join(2, 8), 3)))
    (group,), _, left_out = standing.compile_rules(plan(rule), ABLE, PORTS, ())
    assert [(bucket.queue_id, bucket.weight) for bucket in group.buckets] == [(1, 3), (2, 3)]
    assert [left.remedy for left in left_out] == ["marks from the pin of a flow on"]


@pytest.mark.parametrize("registers", [True, False])
@pytest.mark.parametrize("choice", [1, BY_MARK, BOTH])
def test_a_pin_of_a_choice_is_found_again(choice: int, registers: bool) -> None:
    made = pins.entry(pin(queue_id=choice), registers)
    found = pins.found_pin(made, NOT_A_VM, 1, 1)
    assert found is not None
    assert found.queue_id == choice
    writes = [step for step in made.steps if isinstance(step, SetMark)]
    assert bool(writes) is (choice != 1 and not registers)


def test_a_pin_writes_no_mark_that_its_flow_has_no_field_for() -> None:
    frame = pack(FlowParts(1, None, LAYER2, 0, 0x88B5, 0, bytes(6), bytes(6)))
    untagged = pack(FlowParts(1, None, IPV4, 6, 1, 2, bytes(4), bytes(4)))
    for key, choice in ((frame, BY_MARK), (untagged, marks.join(NO_QUEUE, FIRST_PCP))):
        assert pins.entry(pin(key=key, queue_id=choice, meter_id=0), False).steps == (Goto(TableId.OUTPUT),)


def test_the_compiled_plan_has_marks_only_where_the_device_can_lead_to_them() -> None:
    port = PlannedPort(UPLINK, PortRole.UPLINK, NOT_A_VM, queues=(BY_MARK,), keep_marks=(EF,))
    for learn in (True, False):
        able = replace(LEARNS, learn=learn)
        flows = compile_plan(plan(ports=(port,), learned_idle=0), able, PORTS).standing.flows
        marked = [entry for entry in flows if any(isinstance(step, SetMark) for step in entry.steps)]
        assert {entry.table_id for entry in marked} == ({TableId.OUTPUT} if learn else set())
        out = [entry for entry in flows if entry.table_id == TableId.OUTPUT]
        assert len([entry for entry in out if values(entry.match).get("ip_dscp") == EF]) == 2 * learn
