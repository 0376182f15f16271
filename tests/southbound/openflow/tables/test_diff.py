from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine.packets import packet
from support.engine.plans import ABLE, PORTS, REST, UPLINK, VM, VOICE, WEB, pin, plan
from support.openflow.memory_switch import MemorySwitch

from flowlane.core.effects import DevicePlan
from flowlane.core.model import MeterSpec
from flowlane.core.pacing import BETWEEN
from flowlane.southbound.openflow.tables import desired, diff, pins
from flowlane.southbound.openflow.tables.entries import (
    BARRIER,
    EMPTY,
    Change,
    FlowEntry,
    GroupEntry,
    MeterEntry,
    Op,
    Standing,
    flow,
)
from flowlane.southbound.openflow.tables.pipeline import TableId


def test_changes_have_places_for_pauses_also_where_all_is_deleted() -> None:
    many = tuple(flow(TableId.SPREAD, number, (), (), 0) for number in range(3 * BETWEEN))
    places: list[int] = []
    changes = diff.changes(EMPTY, Standing(many), lambda: places.append(0))
    assert len(changes) == len(many) + 1
    assert len(places) >= 2 * 3


RULES = st.lists(
    st.builds(
        lambda rule, order, queues: rule._replace(order=order, queues=tuple(sorted(queues.items()))),
        st.sampled_from((WEB, VOICE, REST)),
        st.integers(0, 5),
        st.dictionaries(st.integers(0, 3), st.integers(1, 5), max_size=3),
    ),
    max_size=4,
)
PLANS = st.builds(
    lambda rules, hosts, unknown, rate, copies: plan(
        *rules, hosts=tuple(hosts.items()), unknown_port=unknown, meters=(MeterSpec(9, rate, 10**6),), copy_rate=copies
    ),
    RULES,
    st.dictionaries(st.integers(2, 9), st.sampled_from((VM, UPLINK))),
    st.sampled_from((None, UPLINK)),
    st.sampled_from((10**6, 2 * 10**6)),
    st.sampled_from((0, 100)),
)  # fmt: skip


def compiled(wanted: DevicePlan) -> Standing:
    return desired.compile_plan(wanted, ABLE, PORTS).standing


def filled(standing: Standing) -> MemorySwitch:
    switch = MemorySwitch(PORTS)
    assert switch.apply(diff.changes(standing, EMPTY)) == []
    return switch


def as_sets(standing: Standing) -> tuple[set[FlowEntry], set[GroupEntry], set[MeterEntry]]:
    return set(standing.flows), set(standing.groups), set(standing.meters)


@given(PLANS, PLANS)
def test_the_changes_lead_from_any_plan_to_any_other(old: DevicePlan, new: DevicePlan) -> None:
    switch = filled(compiled(old))
    assert switch.apply(diff.changes(compiled(new), compiled(old))) == []
    assert as_sets(switch.standing()) == as_sets(compiled(new))


@given(PLANS)
def test_what_is_as_it_should_be_is_not_touched(wanted: DevicePlan) -> None:
    assert diff.changes(compiled(wanted), compiled(wanted)) == ()
    assert diff.changes(compiled(wanted), _backwards(filled(compiled(wanted)).standing())) == ()


def _backwards(standing: Standing) -> Standing:
    return diff.standing_part(reversed(standing.flows), reversed(standing.groups), standing.meters)


@given(PLANS, PLANS)
def test_only_what_differs_is_sent(old: DevicePlan, new: DevicePlan) -> None:
    before, after = compiled(old), compiled(new)
    untouched = {*before.flows, *before.groups, *before.meters} & {*after.flows, *after.groups, *after.meters}
    sent = [change for change in diff.changes(after, before) if change.op is not Op.BARRIER]
    assert not untouched & {change.entry for change in sent}
    assert len(sent) == len(set(sent))


@given(PLANS, PLANS)
def test_every_stage_ends_with_a_barrier(old: DevicePlan, new: DevicePlan) -> None:
    sent = diff.changes(compiled(new), compiled(old))
    assert not sent or sent[-1] == BARRIER
    stages = "".join(
        "|" if change.op is Op.BARRIER else "f" if isinstance(change.entry, FlowEntry) else "x"
        for change in sent
    ).strip("|")
    assert all(len(set(stage)) == 1 for stage in stages.split("|") if stage)


def test_no_packet_is_lost_on_the_way_from_one_plan_to_another() -> None:
    """At every step of the change a flow that goes out before and after goes out."""
    there = packet(VM, eth_src=0x0A0000000001, eth_dst=9, eth_type=0x800, ip_proto=6, ip_dscp=0, tcp_dst=80)
    old, new = (
        compiled(plan(WEB, REST)),
        compiled(plan(WEB._replace(order=40, queues=((0, 1), (1, 1))), VOICE)),
    )
    switch = filled(old)
    for change in diff.changes(new, old):
        assert switch.apply([change]) == []
        assert [port for port, _ in switch.receive(there).sent] == [UPLINK]
    assert switch.wrong_queues == []


def test_a_device_that_is_being_filled_leads_no_packet_into_an_empty_table() -> None:
    there = packet(VM, eth_src=0x0A0000000001, eth_dst=9, eth_type=0x800, ip_proto=6, ip_dscp=0, tcp_dst=443)
    switch = MemorySwitch(PORTS)
    for change in diff.changes(compiled(plan()), EMPTY):
        assert switch.apply([change]) == []
        outcome = switch.receive(there)
        assert outcome.sent or len(outcome.path) <= 1
    assert outcome.sent


def test_counters_live_on_when_only_the_queue_changes() -> None:
    before, after = compiled(plan(REST)), compiled(plan(REST._replace(queues=())))
    ops = [change.op for change in diff.changes(after, before)]
    assert ops == [Op.ADD, Op.BARRIER]
    same_cookie = flow(TableId.OUTPUT, 0, (), (), before.flows[0].cookie)
    assert same_cookie in before.flows
    changed = replace(before, flows=tuple(replace(f, steps=()) for f in before.flows))
    assert {change.op for change in diff.changes(changed, before)} == {Op.MODIFY, Op.BARRIER}


def test_a_meter_is_changed_in_place() -> None:
    faster = compiled(plan(meters=(MeterSpec(9, 6_000_000, 400_000),)))
    assert diff.changes(faster, compiled(plan())) == (Change(Op.MODIFY, MeterEntry(9, 6000, 400)), BARRIER)


def test_a_meter_that_nothing_uses_any_more_goes_last() -> None:
    sent = diff.changes(compiled(plan(REST, meters=())), compiled(plan(VOICE)))
    assert sent[-2:] == (Change(Op.DELETE, MeterEntry(9, 5000, 400)), BARRIER)


def test_pins_and_their_meters_are_not_part_of_what_stands() -> None:
    made = compiled(plan(REST, meters=()))
    meter, other = MeterEntry(9, 1, 0), MeterEntry(8, 1, 0)
    foreign = replace(made.flows[0], cookie=0x77)
    found = diff.standing_part([*made.flows, foreign, pins.entry(pin())], made.groups, [meter, other])
    assert found.flows == made.flows
    assert found.meters == (other,)


def test_a_meter_that_pins_and_standing_rules_share_is_part_of_what_stands() -> None:
    """Otherwise it would be modified at every connect, with a full bucket."""
    made = compiled(plan(VOICE))
    found = diff.standing_part([*made.flows, pins.entry(pin())], made.groups, made.meters)
    assert found.meters == made.meters
    assert diff.changes(made, found) == ()


@pytest.mark.parametrize("wanted", [(), (BARRIER,)])
def test_nothing_to_do_sends_no_barrier(wanted: tuple[Change, ...]) -> None:
    assert diff.ordered(wanted) == ()
