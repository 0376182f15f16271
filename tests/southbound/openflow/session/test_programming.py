from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine.plans import (
    ABLE,
    FAR_MAC,
    OTHER_VM,
    PORTS,
    REST,
    UPLINK,
    VM,
    VM_MAC,
    WEB,
    plan,
)
from support.openflow.memory_switch import NO_GROUPS, NO_METERS, MemorySwitch, RefusedChange

from flowlane.core.model import MeterSpec
from flowlane.southbound.openflow.session.programming import HELD_CALLS, MAX_RETRIES, Programming
from flowlane.southbound.openflow.tables.desired import compile_plan, meter_mark
from flowlane.southbound.openflow.tables.entries import (
    Bucket,
    Change,
    GroupEntry,
    Meter,
    MeterEntry,
    Op,
    SetQueue,
    Standing,
    UseGroup,
    counted_groups,
    learned_group,
)
from flowlane.southbound.openflow.wire.constants import CONTROLLER_METER

METER = MeterSpec(5, 10_000_000, 1_000_000)
ENTRY = MeterEntry(5, 10_000, 1000)


def carry_out(
    programming: Programming, switch: MemorySwitch, changes: tuple[Change, ...]
) -> list[RefusedChange]:
    """Send changes, and give back what the switch refused, as a session does."""
    refusals = switch.apply(changes)
    for refusal in refusals:
        if refusal.change.entry is not None:
            programming.note_refusal(refusal.change.entry)
    return refusals


def test_plan_is_carried_out_and_not_sent_twice() -> None:
    programming, switch = Programming(ABLE), MemorySwitch(PORTS)
    assert carry_out(programming, switch, programming.program(plan(), PORTS)) == []
    assert set(switch.standing().flows) == set(programming.present.flows)
    assert programming.program(plan(), PORTS) == ()


def test_what_is_learned_goes_into_another_group_also_with_the_next_plan() -> None:
    learning = replace(ABLE, learn=True)
    programming, switch = Programming(learning), MemorySwitch(PORTS)
    carry_out(programming, switch, programming.program(plan(learned_idle=10), PORTS))
    assert counted_groups(switch.standing().flows) == {0}
    changes = programming.begin_group(5, (0, 2))
    assert [change.op for change in changes[:3]] == [Op.ADD, Op.ADD, Op.MODIFY], (
        "counted from its first entry on"
    )
    assert carry_out(programming, switch, changes) == []
    assert learned_group(switch.standing().flows) == 5
    assert counted_groups(switch.standing().flows) == {0, 2, 5}
    assert programming.begin_group(5, (0, 2)) == ()
    assert carry_out(programming, switch, programming.begin_group(5, (2,))) == []
    assert counted_groups(switch.standing().flows) == {2, 5}, "the others are over"
    assert programming.program(plan(learned_idle=10), PORTS) == ()
    carry_out(programming, switch, programming.program(plan(WEB, learned_idle=10), PORTS))
    assert learned_group(switch.standing().flows) == 5
    again = Programming(learning, switch.standing(), learned_group=5, groups=frozenset((2, 5)))
    assert again.program(plan(WEB, learned_idle=10), PORTS) == (), (
        "a restart of the controller changes nothing"
    )


def test_new_plan_sends_what_differs() -> None:
    programming, switch = Programming(ABLE), MemorySwitch(PORTS)
    carry_out(programming, switch, programming.program(plan(), PORTS))
    changes = programming.program(plan(unknown_port=None), PORTS)
    assert 0 < len([change for change in changes if change.op is not Op.BARRIER]) < 5
    assert carry_out(programming, switch, changes) == []


HOSTS = st.dictionaries(st.integers(1, 6), st.sampled_from((VM, OTHER_VM, UPLINK, 99)), max_size=5)


@given(st.lists(HOSTS, min_size=1, max_size=5))
def test_destinations_alone_are_patched_as_if_the_whole_plan_was_compiled(news: list[dict[int, int]]) -> None:
    programming, switch = Programming(ABLE), MemorySwitch(PORTS)
    carry_out(programming, switch, programming.program(plan(), PORTS))
    for hosts in news:
        wanted = plan(hosts=tuple(sorted(hosts.items())))
        assert carry_out(programming, switch, programming.program(wanted, PORTS)) == []
        assert set(switch.standing().flows) == set(compile_plan(wanted, ABLE, PORTS).standing.flows)
        assert set(programming.present.flows) == set(switch.standing().flows)
        assert programming.program(wanted, PORTS) == ()


def test_a_new_destination_compiles_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    programming = Programming(ABLE)
    programming.program(plan(), PORTS)
    monkeypatch.setattr("flowlane.southbound.openflow.session.programming.compile_plan", None)
    changes = programming.program(plan(hosts=((FAR_MAC, UPLINK),)), PORTS)
    assert [change.op for change in changes] == [Op.ADD, Op.BARRIER, Op.DELETE, Op.DELETE, Op.BARRIER]


def test_destinations_and_ports_together_compile_the_plan() -> None:
    programming = Programming(ABLE)
    programming.program(plan(), PORTS)
    fewer = {port_no: queues for port_no, queues in PORTS.items() if port_no != OTHER_VM}
    wanted = plan(hosts=((VM_MAC, VM),))
    programming.program(wanted, fewer)
    assert set(programming.present.flows) == set(compile_plan(wanted, ABLE, fewer).standing.flows)


def test_queue_that_is_gone_is_named_by_no_entry() -> None:
    programming, switch = Programming(ABLE), MemorySwitch(PORTS)
    carry_out(programming, switch, programming.program(plan(), PORTS))
    carry_out(programming, switch, programming.program(plan(), {**PORTS, UPLINK: (0, 1)}))
    steps = [step for flow in switch.standing().flows for step in flow.steps]
    queues = {step.queue_id for step in steps if isinstance(step, SetQueue)}
    queues |= {bucket.queue_id for group in switch.standing().groups for bucket in group.buckets}
    assert queues <= {0, 1}


def test_refused_group_is_done_without() -> None:
    """The device reports select groups and refuses one: the queue with the largest weight then serves the class."""
    programming, switch = Programming(ABLE), MemorySwitch(PORTS, refuses=(NO_GROUPS,))
    assert carry_out(programming, switch, programming.program(plan(WEB, REST), PORTS))
    assert carry_out(programming, switch, programming.settle(PORTS)) == []
    steps = [step for flow in switch.standing().flows for step in flow.steps]
    assert not any(isinstance(step, UseGroup) for step in steps)
    assert SetQueue(2) in steps
    assert programming.settle(PORTS) == ()


def test_refused_controller_meter_is_done_without() -> None:
    programming = Programming(ABLE)
    programming.program(plan(), PORTS)
    meter = next(meter for meter in programming.present.meters if meter.meter_id == CONTROLLER_METER)
    programming.note_refusal(meter)
    assert programming.settle(PORTS) == ()
    assert CONTROLLER_METER not in {meter.meter_id for meter in programming.present.meters}
    assert not programming.capabilities.controller_meter


def test_plan_that_is_refused_again_and_again_is_let_be() -> None:
    programming = Programming(ABLE)
    programming.program(plan(), PORTS)
    sent = 0
    for _ in range(3 * MAX_RETRIES):
        group_or_meter: tuple[GroupEntry | MeterEntry, ...] = (
            *programming.present.groups,
            *programming.present.meters,
        )
        if not group_or_meter:
            break
        programming.note_refusal(group_or_meter[0])
        sent += bool(programming.settle(PORTS))
    assert sent <= MAX_RETRIES


def test_refused_flow_is_tried_again_with_the_next_plan_only() -> None:
    programming = Programming(ABLE)
    programming.program(plan(), PORTS)
    refused = programming.present.flows[-1]
    programming.note_refusal(refused)
    assert programming.settle(PORTS) == ()
    assert Change(Op.ADD, refused) in programming.program(plan(), PORTS)


def test_all_that_was_refused_is_asked_for_again_after_a_while_and_later_each_time() -> None:
    """Others may have had the room for a while only."""
    programming, switch = Programming(ABLE), MemorySwitch(PORTS)
    programming.program(plan(), PORTS)
    groups, flow = programming.present.groups, programming.present.flows[-1]
    assert groups
    carry_out(programming, switch, programming.program(plan(), PORTS))
    waits = []
    for _ in range(3):
        for group in groups:
            programming.note_refusal(group)
        programming.note_refusal(flow)
        assert programming.settle(PORTS), "without groups"
        assert not programming.present.groups
        calls = 0
        while not programming.present.groups:
            assert not programming.is_settled
            assert programming.is_idle, "what stands is verified meanwhile"
            programming.settle(PORTS)
            calls += 1
        waits.append(calls)
    assert waits == [HELD_CALLS, 2 * HELD_CALLS, 4 * HELD_CALLS]
    assert set(programming.present.groups) == set(groups)
    assert flow in programming.present.flows
    assert programming.is_settled


def test_what_could_not_be_modified_or_deleted_is_deleted_later() -> None:
    """A group or a meter that nothing names would stand for ever: nobody else knows that it is ours."""
    programming = Programming(ABLE)
    programming.program(plan(), PORTS)
    (group, *_), (meter, *_) = programming.present.groups, programming.present.meters
    programming.note_refusal(group, stands=True)
    deleted = {change.entry for change in programming.settle(PORTS) if change.op is Op.DELETE}
    assert group.group_id in {entry.group_id for entry in deleted if isinstance(entry, GroupEntry)}
    gone = replace(group, group_id=77), replace(meter, meter_id=78)
    for entry in gone:
        programming.note_undeleted(entry, "OFPGMFC_EPERM")
    programming.note_undeleted(replace(meter, meter_id=79), "OFPMMFC_UNKNOWN_METER")
    later = [change for _ in range(HELD_CALLS) for change in programming.settle(PORTS)]
    ids = {getattr(change.entry, "group_id", getattr(change.entry, "meter_id", 0)) for change in later}
    assert {77, 78} <= ids
    assert 79 not in ids
    assert programming.is_settled


def test_meter_is_added_changed_and_deleted_once() -> None:
    programming = Programming(ABLE)
    assert programming.set_meter(METER) == (Change(Op.ADD, ENTRY),)
    assert programming.set_meter(METER) == ()
    assert programming.set_meter(METER._replace(rate=20_000_000)) == (
        Change(Op.MODIFY, replace(ENTRY, rate=20_000)),
    )
    assert programming.delete_meter(5) == (Change(Op.DELETE, replace(ENTRY, rate=20_000)),)
    assert programming.delete_meter(5) == (Change(Op.DELETE, MeterEntry(5, 1, 0)),), (
        "one of an earlier connection"
    )
    assert Programming(replace(ABLE, max_meters=0)).delete_meter(5) == ()


def test_refused_meter_of_a_plan_is_done_without_until_the_plan_names_others() -> None:
    """A standing rule that names a meter that is not there would be refused, and the class's flows go astray."""
    programming, switch = Programming(ABLE), MemorySwitch(PORTS, refuses=(NO_METERS,))
    assert carry_out(programming, switch, programming.program(plan(), PORTS))
    assert carry_out(programming, switch, programming.settle(PORTS)) == []
    assert {left.why for left in programming.left_out} == {"the device has no meter for it"}
    assert not any(isinstance(step, Meter) for flow in switch.standing().flows for step in flow.steps)
    assert programming.program(plan(unknown_port=None), PORTS)
    assert programming.left_out, "another plan with the same meters"
    programming.program(plan(meters=(MeterSpec(9, 6_000_000, 400_000),)), PORTS)
    assert not programming.left_out


def test_a_meter_that_pins_use_goes_by_the_engines_word_only() -> None:
    """After a reconnection pins may still use the meter of a class that has no limit any more."""
    programming, switch = Programming(ABLE), MemorySwitch(PORTS)
    carry_out(programming, switch, programming.program(plan(), PORTS))
    nine = next(meter for meter in programming.present.meters if meter.meter_id == 9)
    again = Programming(ABLE, programming.present, {9: nine})
    changes = again.program(plan(REST, meters=()), PORTS)
    assert Change(Op.DELETE, nine) not in changes
    assert again.delete_meter(9) == (Change(Op.DELETE, nine),)


def test_a_meter_of_pins_is_marked_as_ours_once_it_has_lived_for_a_while() -> None:
    programming = Programming(ABLE)
    programming.set_meter(METER)
    assert programming.mark_meters() == (), "the device may yet refuse it, since it is somebody else's"
    assert programming.mark_meters() == (Change(Op.ADD, meter_mark(5)),)
    assert programming.mark_meters() == ()
    programming.set_meter(METER._replace(rate=20_000_000))
    assert (programming.mark_meters(), programming.mark_meters()) == ((), ())
    programming.delete_meter(5)
    assert programming.mark_meters() == (), "the device deletes the entry with the meter"
    programming.set_meter(METER)
    programming.delete_meter(5)
    assert (programming.mark_meters(), programming.mark_meters()) == ((), ()), "its flow has ended before"


def test_a_meter_of_others_is_never_marked() -> None:
    programming = Programming(ABLE)
    programming.set_meter(METER)
    programming.mark_meters()
    programming.note_refusal(ENTRY, "OFPMMFC_METER_EXISTS")
    assert programming.mark_meters() == ()
    late = Programming(ABLE)
    late.set_meter(METER)
    late.mark_meters()
    late.mark_meters()
    late.note_refusal(ENTRY, "OFPMMFC_METER_EXISTS")
    assert late.mark_meters() == (Change(Op.DELETE, meter_mark(5)),), "the refusal came late"


def test_a_mark_that_was_refused_is_sent_again_later() -> None:
    programming = Programming(ABLE, pin_meters={5: ENTRY})
    programming.program(plan(), PORTS)
    marks = [programming.mark_meters(), programming.mark_meters()]
    assert marks[1] == (Change(Op.ADD, meter_mark(5)),)
    programming.note_unmarked(meter_mark(5))
    assert (programming.mark_meters(), programming.marked_meters) == ((), set())
    for _ in range(HELD_CALLS):
        programming.settle(PORTS)
    assert (programming.mark_meters(), programming.mark_meters()) == ((), (Change(Op.ADD, meter_mark(5)),))


def test_meters_of_pins_from_before_are_marked_unless_they_are() -> None:
    programming = Programming(ABLE, pin_meters={5: ENTRY, 6: replace(ENTRY, meter_id=6)}, marked_meters={6})
    programming.mark_meters()
    assert programming.mark_meters() == (Change(Op.ADD, meter_mark(5)),)


def test_meter_that_was_there_before_is_left_alone() -> None:
    """A modified meter has a full bucket, and lets a burst through."""
    programming = Programming(ABLE, pin_meters={5: ENTRY})
    assert programming.set_meter(METER) == ()


def test_refused_meter_is_tried_again_when_it_is_wanted_again() -> None:
    programming = Programming(ABLE)
    programming.set_meter(METER)
    programming.note_refusal(ENTRY)
    assert programming.set_meter(METER) == (Change(Op.ADD, ENTRY),)


def test_a_meter_of_others_is_never_changed_or_deleted() -> None:
    programming = Programming(ABLE)
    (add,) = programming.set_meter(METER)
    assert programming.fallback(add, "OFPMMFC_METER_EXISTS") == ()
    programming.note_refusal(ENTRY, "OFPMMFC_METER_EXISTS")
    assert programming.set_meter(METER) == ()
    assert programming.delete_meter(METER.meter_id) == ()


def test_a_meter_that_was_not_deleted_is_modified_when_its_id_is_used_again() -> None:
    """The device would refuse to add it, and it would be taken for a meter of others, which nobody deletes."""
    programming = Programming(ABLE)
    programming.set_meter(METER)
    programming.delete_meter(METER.meter_id)
    programming.note_undeleted(ENTRY, "OFPBRC_EPERM")
    slower = replace(ENTRY, rate=1000)
    assert programming.set_meter(METER._replace(rate=1_000_000)) == (Change(Op.MODIFY, slower),)
    assert programming.delete_meter(METER.meter_id) == (Change(Op.DELETE, slower),)
    later = [change for _ in range(HELD_CALLS) for change in programming.settle(PORTS)]
    assert later == [], "it is known to be there no more"


def test_a_meter_that_could_not_be_modified_is_modified_when_its_id_is_used_again() -> None:
    programming = Programming(ABLE, pin_meters={METER.meter_id: replace(ENTRY, rate=1000)})
    (modify,) = programming.set_meter(METER)
    assert programming.fallback(modify, "OFPMMFC_BAD_RATE") == ()
    programming.note_refusal(ENTRY, "OFPMMFC_BAD_RATE", stands=True)
    assert programming.set_meter(METER) == (Change(Op.MODIFY, ENTRY),)


def test_a_plan_that_uses_a_meter_which_was_not_deleted_modifies_it() -> None:
    programming = Programming(ABLE)
    programming.note_undeleted(MeterEntry(9, 1, 1), "OFPBRC_EPERM")
    changes = programming.program(plan(), PORTS)
    (nine,) = [meter for meter in programming.present.meters if meter.meter_id == 9]
    assert Change(Op.MODIFY, nine) in changes


def test_a_meter_that_is_not_there_is_added_and_one_that_is_all_the_same_is_modified_once() -> None:
    unknown, exists = "OFPMMFC_UNKNOWN_METER", "OFPMMFC_METER_EXISTS"
    programming = Programming(ABLE, pin_meters={METER.meter_id: replace(ENTRY, rate=1000)})
    (modify,) = programming.set_meter(METER)
    add = Change(Op.ADD, ENTRY)
    assert programming.fallback(modify, unknown) == (add,)
    assert programming.fallback(add, exists) == (modify,)
    assert programming.fallback(modify, unknown) == ()
    programming.note_refusal(ENTRY, unknown, stands=True)
    assert programming.set_meter(METER) == (add,)
    assert programming.fallback(add, exists) == (), "another has taken the id"


def test_a_meter_that_was_deleted_and_is_still_there_is_deleted_again() -> None:
    programming = Programming(ABLE)
    programming.program(plan(), PORTS)
    programming.set_meter(METER)
    programming.delete_meter(METER.meter_id)
    programming.note_undeleted(ENTRY, "OFPBRC_EPERM")
    programming.set_meter(METER._replace(meter_id=6))
    programming.delete_meter(6)
    asked = dict(programming.deleted_meters)
    assert tuple(asked) == (5, 6)
    others = replace(ENTRY, meter_id=6, rate=1)
    assert programming.undeleted(asked, {5: ENTRY, 6: others}) == (Change(Op.DELETE, ENTRY),)
    assert tuple(programming.deleted_meters) == (5,), "somebody has made another meter of the other id"
    assert programming.undeleted({5: asked[5]}, {}) == ()
    assert not programming.deleted_meters
    assert [change for _ in range(HELD_CALLS) for change in programming.settle(PORTS)] == []


def test_a_meter_that_is_used_again_is_not_deleted_by_a_reading_from_before() -> None:
    programming = Programming(ABLE)
    programming.set_meter(METER)
    programming.delete_meter(METER.meter_id)
    programming.set_meter(METER)
    asked = dict(programming.deleted_meters)
    assert programming.undeleted(asked, {METER.meter_id: ENTRY}) == ()


def test_a_meter_that_was_set_and_deleted_again_since_the_request_is_not_taken_for_one_that_was_not_deleted() -> (
    None
):
    programming = Programming(ABLE)
    programming.set_meter(METER)
    programming.delete_meter(METER.meter_id)
    programming.set_meter(METER)
    asked = dict(programming.deleted_meters)
    programming.delete_meter(METER.meter_id)
    assert programming.undeleted(asked, {METER.meter_id: ENTRY}) == (), "it was there when it was read"
    asked = dict(programming.deleted_meters)
    assert programming.undeleted(asked, {METER.meter_id: ENTRY}) == (Change(Op.DELETE, ENTRY),)


def test_a_meter_that_stands_with_the_rules_since_is_not_deleted_and_its_entries_with_it() -> None:
    programming = Programming(ABLE)
    programming.set_meter(METER)
    programming.delete_meter(METER.meter_id)
    asked = dict(programming.deleted_meters)
    programming.program(replace(plan(), meters=(METER,)), PORTS)
    assert programming.undeleted(asked, {METER.meter_id: ENTRY}) == ()


def test_a_meter_that_was_taken_for_one_of_others_is_deleted_when_it_shows_that_it_is_not() -> None:
    programming = Programming(ABLE)
    programming.set_meter(METER)
    programming.delete_meter(METER.meter_id)
    programming.set_meter(METER)
    programming.note_refusal(ENTRY, "OFPMMFC_METER_EXISTS")
    asked = dict(programming.deleted_meters)
    (change,) = programming.undeleted(asked, {METER.meter_id: ENTRY})
    assert change == Change(Op.DELETE, ENTRY)
    assert programming.is_safe(change)


def test_a_meter_that_the_device_has_and_the_core_uses_is_ours() -> None:
    programming = Programming(ABLE, found_meters={METER.meter_id: ENTRY})
    assert programming.set_meter(METER) == (Change(Op.MODIFY, ENTRY),)


def test_a_meter_from_before_that_the_plan_no_longer_has_is_added_again_for_a_pin() -> None:
    """Open vSwitch refuses to modify a meter that it does not have (OFPMMFC_UNKNOWN_METER)."""
    present = Standing(meters=(ENTRY,))
    programming = Programming(ABLE, present, found_meters={METER.meter_id: ENTRY})
    assert Change(Op.DELETE, ENTRY) in programming.program(plan(), PORTS)
    assert programming.set_meter(METER) == (Change(Op.ADD, ENTRY),)


def test_a_group_of_others_is_left_alone_and_the_rules_use_another() -> None:
    programming, switch = Programming(ABLE), MemorySwitch(PORTS)
    (wanted,) = compile_plan(plan(WEB), ABLE, PORTS).standing.groups
    foreign = GroupEntry(wanted.group_id, (Bucket(0, UPLINK, 1),))
    switch.apply([Change(Op.ADD, foreign)])
    refused = switch.apply(programming.program(plan(WEB), PORTS))
    (refusal,) = refused
    assert switch.apply(programming.fallback(*refusal)) == []
    assert switch.groups[wanted.group_id] == foreign
    used = {
        step.group_id
        for entry in switch.standing().flows
        for step in entry.steps
        if isinstance(step, UseGroup)
    }
    assert used == {wanted.group_id + 1}
    assert switch.apply(programming.program(plan(REST), PORTS)) == []
    assert switch.groups == {wanted.group_id: foreign}


def test_a_meter_of_pins_that_stands_with_the_rules_is_marked_when_it_does_no_longer() -> None:
    """Its standing entries say whose it is: an entry more would be a trace of the restart."""
    programming = Programming(ABLE, Standing(meters=(ENTRY,)), {5: ENTRY})
    assert (programming.mark_meters(), programming.mark_meters()) == ((), ())
    assert programming.set_meter(METER) == (), "the device has it"
    programming.mark_meters()
    assert programming.mark_meters() == (Change(Op.ADD, meter_mark(5)),)
