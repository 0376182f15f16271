"""A VM that uses more of a device than its quota is not followed for a while; others are, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest
from support.engine.scenario import ABLE, DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.device.hosts import MAX_HOSTS_OF_VM
from flowlane.core.device.quotas import HOLD, LONGEST_HOLD
from flowlane.core.effects import DeleteLearned, Effect, FlushConnections
from flowlane.core.flow.kept import keep
from flowlane.core.policy import Pins
from flowlane.core.state.flows import PINNED
from flowlane.core.state.quotas import Excess

if TYPE_CHECKING:
    from collections.abc import Iterable

RATE = 400
"""Copies per second of a device (``copy-rate``) in these tests."""

STORM = 2 * RATE

PORTS = count(1024)


def host(**changes: object) -> Scenario:
    given: dict[str, object] = {"copy_rate": RATE, "vm_flows": 0, "track_above": 0, **changes}
    scenario = Scenario(small_policy(**given), caps=replace(LEARNING, conntrack=True))
    scenario.now += 10
    scenario.do(ev.Tick())
    return scenario


def send(scenario: Scenario, per_second: dict[int, int], seconds: float) -> list[Effect]:
    """Let VMs begin flows, evenly over the time; a tick each second."""
    effects: list[Effect] = []
    for step in range(round(seconds * 20)):
        for vm, rate in per_second.items():
            for _ in range(rate // 20):
                number = next(PORTS)
                frame = scenario.frame(vm, 1024 + number % 60000, 80 + number // 60000)
                effects += scenario.do(ev.FlowSeen(DPID, vm, frame, UPLINK, 1))
        scenario.now += 0.05
        if step % 20 == 19:
            effects += scenario.do(ev.Tick())
    return effects


def rest(scenario: Scenario, seconds: float) -> None:
    """Let time pass, and as many ticks as the engine needs to look at all flows."""
    scenario.now += seconds
    for _ in range(12):
        scenario.do(ev.Tick())


def over(scenario: Scenario) -> tuple[int, ...]:
    """The ports of the VMs beyond their quotas; the plan has their numbers."""
    vms = scenario.engine.vms
    return tuple(sorted(vms[number].port_no for number in scenario.plan.over_quota))


def test_a_vm_that_uses_up_the_copies_is_not_followed_and_others_are() -> None:
    scenario = host()
    send(scenario, {1: 20, 2: 20, 3: STORM}, 1.5)
    assert over(scenario) == (3,)
    assert scenario.plan.tracked_ports == tuple(port for port in range(1, 9) if port != 3)
    assert scenario.reports[-1].data["vm"] == "vm3"
    assert (scenario.reports[-1].data["change"], scenario.reports[-1].data["why"]) == ("over-quota", "copies")


def deletions(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, FlushConnections | DeleteLearned)]


def test_its_connections_and_entries_are_deleted_once_when_the_switch_makes_no_more() -> None:
    scenario = host()
    effects = send(scenario, {3: STORM}, 1.0)
    assert over(scenario) == (3,)
    assert deletions(effects) == [], "they would be made again"
    deleted = deletions(send(scenario, {1: 20}, 5))
    assert deleted == [DeleteLearned(DPID, in_port=3), FlushConnections(DPID, 3)]


def test_entries_of_a_port_are_others_as_well_where_a_vm_has_left_it() -> None:
    scenario = host()
    send(scenario, {3: STORM}, 1.0)
    (number,) = scenario.plan.over_quota
    scenario.device.port_vm[3] = number + 1
    assert deletions(send(scenario, {1: 20}, 5)) == []


def test_a_busy_vm_alone_is_followed_as_long_as_copies_are_left() -> None:
    scenario = host()
    send(scenario, {1: RATE // 2}, 20)
    assert over(scenario) == ()


def test_many_flows_that_begin_at_once_change_nothing() -> None:
    scenario = host()
    for _ in range(2 * RATE):
        frame = scenario.frame(1, 1024 + next(PORTS) % 60000)
        scenario.do(ev.FlowSeen(DPID, 1, frame, UPLINK, 1))
    send(scenario, {1: 20}, 3)
    assert over(scenario) == ()


def test_many_vms_with_few_copies_each_are_all_followed() -> None:
    scenario = host()
    send(scenario, dict.fromkeys(range(1, 9), RATE // 8 - RATE // 8 % 20 + 20), 10)
    assert over(scenario) == ()


def test_two_that_use_up_the_copies_together_are_both_beyond() -> None:
    scenario = host()
    send(scenario, {1: 20, 3: RATE * 6 // 10, 4: RATE * 6 // 10}, 3)
    assert over(scenario) in {(3,), (4,), (3, 4)}, "at least so many that copies are left"
    assert 1 not in over(scenario)


def test_it_is_followed_again_and_the_hold_doubles_where_it_goes_on() -> None:
    scenario = host()
    send(scenario, {3: STORM}, 1)
    assert over(scenario) == (3,)
    rest(scenario, HOLD + 1)
    assert over(scenario) == ()
    assert scenario.reports[-1].data["change"] == "within-quota"
    begun = scenario.now
    send(scenario, {3: STORM}, 0.5)
    (usage,) = (usage for usage in scenario.device.usages.values() if usage.excess is not None)
    assert (usage.hold, usage.times) == (2 * HOLD, 2)
    assert usage.since - begun < 0.4, "it is noticed sooner, before others miss copies"
    for _ in range(5):
        rest(scenario, usage.until - scenario.now + 1)
        send(scenario, {3: STORM}, 0.5)
    assert usage.hold == LONGEST_HOLD


def test_after_a_long_time_within_its_quota_it_begins_with_the_first_hold() -> None:
    scenario = host()
    send(scenario, {3: STORM}, 1)
    rest(scenario, 4 * HOLD)
    send(scenario, {3: STORM}, 1)
    (usage,) = (usage for usage in scenario.device.usages.values() if usage.excess is not None)
    assert usage.hold == HOLD


def test_a_vm_with_too_many_flows_is_followed_again_when_it_has_fewer() -> None:
    scenario = host(vm_flows=200, copy_rate=0)
    send(scenario, {2: 100}, 4)
    assert over(scenario) == (2,)
    assert scenario.reports[-1].data["why"] == Excess.FLOWS
    (number,) = scenario.plan.over_quota
    assert scenario.device.flows_of_vm[number] > 200
    rest(scenario, HOLD)
    rest(scenario, 15)
    assert over(scenario) == ()


def test_a_vm_that_begins_too_many_connections_is_tracked_no_more() -> None:
    scenario = host(vm_flows=300, copy_rate=0, pins=Pins(idle_timeout=1))
    send(scenario, {2: 60}, 4)
    rest(scenario, 15)
    assert scenario.device.flows_of_vm == {}
    assert over(scenario) == ()
    send(scenario, {2: 60}, 4)
    assert over(scenario) == (2,), "its flows have ended, its connections stay for longer"
    assert scenario.reports[-1].data["why"] == Excess.CONNECTIONS


def test_flows_of_each_vm_are_counted_until_they_end() -> None:
    scenario = host(copy_rate=0)
    send(scenario, {1: 20, 2: 40}, 1)
    device = scenario.device
    numbers = {vm.port_no: number for number, vm in scenario.engine.vms.items()}
    assert (device.flows_of_vm[numbers[1]], device.flows_of_vm[numbers[2]]) == (20, 40)
    rest(scenario, 60)
    assert device.flows_of_vm == {}


def test_a_device_that_does_not_learn_follows_all() -> None:
    scenario = Scenario(small_policy(copy_rate=RATE), caps=ABLE)
    send(scenario, {3: STORM}, 3)
    assert over(scenario) == ()


@pytest.mark.parametrize("rate", [0, RATE])
def test_no_limit_on_copies_is_no_quota_of_them(rate: int) -> None:
    scenario = host(copy_rate=rate)
    send(scenario, {3: STORM}, 2)
    assert over(scenario) == ((3,) if rate else ())


def test_a_vm_may_invent_few_addresses() -> None:
    scenario = host(copy_rate=0)
    for number in range(MAX_HOSTS_OF_VM + 50):
        frame = scenario.frame(1, 1000)
        frame = frame[:6] + (0x060000000000 + number).to_bytes(6) + frame[12:]
        scenario.do(ev.FlowSeen(DPID, 1, frame, UPLINK, 1))
    assert len(scenario.device.hosts) <= MAX_HOSTS_OF_VM


@pytest.mark.parametrize(("per_second", "excess"), [(60, None), (160, Excess.COPIES)])
def test_copies_of_a_flow_that_is_known_have_a_smaller_share(per_second: int, excess: Excess | None) -> None:
    """As of one with ever other source addresses: no entry keeps its packets from being copied."""
    scenario = host()
    frame = scenario.frame(2, 1000)
    for step in range(per_second * 10):
        scenario.do(ev.FlowSeen(DPID, 2, frame, UPLINK, 1))
        scenario.now += 1 / per_second
        if step % per_second == 0:
            scenario.do(ev.Tick())
    assert [usage.excess for usage in scenario.device.usages.values()] == [excess]


def test_flows_that_are_found_by_their_learned_entries_count_as_copies_that_were_lost() -> None:
    scenario = host()
    frame = scenario.frame(2, 1000)
    scenario.do(ev.FlowSeen(DPID, 2, frame, UPLINK, 1))
    key = next(iter(scenario.device.flows.rows))
    for step in range(20):
        learned = []
        for _ in range(STORM // 20):
            number = next(PORTS)
            ports = (1024 + number % 60000).to_bytes(2) + (81 + number // 60000).to_bytes(2)
            learned.append(ev.LearnedFlow(key[:8] + ports + key[12:], 2, UPLINK, 0x0A0000000002, 1, 1, 60))
        scenario.do(ev.LearnedCounters(DPID, tuple(learned)))
        scenario.now += 0.05
        if step % 10 == 0:
            scenario.do(ev.Tick())
    assert over(scenario) == (2,)


def connected(**changes: object) -> Scenario:
    """A host whose device has just connected."""
    given: dict[str, object] = {"copy_rate": RATE, "vm_flows": 0, "track_above": 0, **changes}
    return Scenario(small_policy(**given), caps=replace(LEARNING, conntrack=True))


def copied(scenario: Scenario, numbers: Iterable[int], per_second: int = RATE) -> None:
    """Let the flows of VM 2 with these numbers be copied once each, as fast as the limit on copies lets them."""
    for sent, number in enumerate(numbers, 1):
        frame = scenario.frame(2, 1024 + number % 60000, 80 + number // 60000)
        scenario.do(ev.FlowSeen(DPID, 2, frame, UPLINK, 1))
        scenario.now += 1 / per_second
        if not sent % per_second:
            scenario.do(ev.Tick())


def test_a_storm_that_goes_on_at_the_connection_is_noticed_within_seconds() -> None:
    scenario = connected()
    send(scenario, {1: 20, 3: STORM}, 2)
    assert over(scenario) == ()
    send(scenario, {1: 20, 3: STORM}, 1.5)
    assert scenario.device.in_adoption
    assert over(scenario) == (3,)


def test_a_storm_that_begins_after_the_connection_is_noticed_within_seconds() -> None:
    scenario = connected()
    send(scenario, {1: 20}, 2)
    send(scenario, {1: 20, 3: STORM}, 2)
    assert scenario.device.in_adoption
    assert over(scenario) == (3,)


def test_flows_that_are_all_copied_once_at_a_first_connection_are_no_storm() -> None:
    scenario = connected()
    copied(scenario, range(2 * RATE))
    send(scenario, {1: 20, 2: 40}, 4)
    assert over(scenario) == ()


def test_flows_that_were_known_before_are_no_storm_when_a_switch_has_lost_its_entries() -> None:
    """However many they are: 4 s of copies here."""
    scenario = connected()
    send(scenario, {1: 20}, 6)
    for number in range(4 * RATE):
        scenario.do(ev.FlowSeen(DPID, 2, scenario.frame(2, 1024 + number), UPLINK, 1))
    scenario.now += 5
    scenario.do(ev.DeviceDown(DPID))
    scenario.connect(4, replace(LEARNING, conntrack=True))
    copied(scenario, range(4 * RATE))
    assert scenario.device.in_adoption
    assert over(scenario) == ()
    assert scenario.device.copies.at < scenario.device.since, "none of them was counted"


def test_flows_that_were_known_before_a_restart_are_no_storm() -> None:
    before = connected()
    for number in range(4 * RATE):
        before.do(ev.FlowSeen(DPID, 2, before.frame(2, 1024 + number), UPLINK, 1))
    scenario = connected()
    flows = before.device.flows.rows
    scenario.engine.state.kept[DPID] = {key: keep(before.device, row) for key, row in flows.items()}
    copied(scenario, range(4 * RATE))
    assert scenario.device.in_adoption
    assert over(scenario) == ()
    assert scenario.device.copies.level == 0


@pytest.mark.parametrize(("seconds", "expected"), [(100.0, ()), (0.5, (2,)), (0.0, ())])
def test_of_learned_entries_those_that_are_newer_than_the_connection_count(
    seconds: float, expected: tuple[int, ...]
) -> None:
    """Those that a restarted controller finds are read one group after the other."""
    scenario = connected()
    scenario.do(ev.FlowSeen(DPID, 2, scenario.frame(2, 1000), UPLINK, 1))
    key = next(iter(scenario.device.flows.rows))
    for step in range(80):
        learned = []
        for _ in range(STORM // 20):
            number = next(PORTS)
            ports = (1024 + number % 60000).to_bytes(2) + (81 + number // 60000).to_bytes(2)
            entry = ev.LearnedFlow(
                key[:8] + ports + key[12:], 2, UPLINK, 0x0A0000000002, 1, 1, 60, seconds=seconds
            )
            learned.append(entry)
        scenario.do(ev.LearnedCounters(DPID, tuple(learned)))
        scenario.now += 0.05
        if step % 20 == 0:
            scenario.do(ev.Tick())
    assert scenario.device.in_adoption
    assert over(scenario) == expected


def test_probes_that_are_not_ours_count_as_copies() -> None:
    scenario = host()
    for _ in range(200):
        scenario.do(ev.LinkSeen(DPID, 2, *ev.NO_SENDER))
        scenario.now += 0.005
    scenario.do(ev.Tick())
    assert over(scenario) == (2,)


BUDGET = 12


def limited(scenario: Scenario, vm: int, flows: int) -> list[int]:
    """Let a VM begin flows with a limit, each with a pin; return its rows that have one."""
    for _ in range(flows):
        scenario.flow(vm, 1024 + next(PORTS) % 60000, 5000, queue_id=1)
    flow_table = scenario.device.flows
    return [
        row
        for row in flow_table
        if flow_table.flags[row] & PINNED and scenario.engine.vms[flow_table.vm_number[row]].port_no == vm
    ]


def test_a_vm_with_few_pins_takes_those_of_one_that_has_more_than_its_share() -> None:
    scenario = host(pins=Pins(budget=BUDGET), copy_rate=0)
    assert len(limited(scenario, 3, 3 * BUDGET)) == BUDGET, "all of them, while nobody else needs one"
    good = limited(scenario, 1, 4)
    assert len(good) == 4
    assert set(limited(scenario, 3, 20)) & set(good) == set(), "and cannot get them back"
    assert len(limited(scenario, 1, 0)) == 4
    assert len(limited(scenario, 1, 20)) == BUDGET // 2, "its share, and no more"
    assert len(limited(scenario, 3, 0)) == BUDGET // 2
    pins_of_vm = scenario.device.pins_of_vm.values()
    assert sum(len(rows) for by_worth in pins_of_vm for rows in by_worth) == scenario.device.pinned == BUDGET


def test_the_last_meters_are_for_vms_that_have_few() -> None:
    scenario = Scenario(small_policy(copy_rate=0), caps=replace(LEARNING, max_meters=32))
    limited(scenario, 3, 100)
    pool = scenario.device.meter_pool
    assert len(pool.ids) == 30
    limited(scenario, 1, 1)
    assert len(pool.ids) == 31
    assert sum(pool.of_vm.values()) == len(pool.ids)
