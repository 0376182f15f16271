"""The engine as a whole: facts in, what a device then holds out."""

from collections import Counter
from dataclasses import replace

import pytest
from support.engine.required import required
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.effects import ReadCounters
from flowlane.core.engine import IDLE_TICK
from flowlane.core.model import (
    NO_QUEUE,
    Admission,
    Capabilities,
    Hint,
    HintSource,
    PinRef,
    PortReport,
    QueueKind,
    Reason,
    Refusal,
)
from flowlane.core.policy import LimitScope, Match, Pins, PortSecurity, TrafficClass, Trust, VmSelector


def test_every_flow_has_a_queue_and_an_entry_that_says_so() -> None:
    host = Scenario()
    rows = [host.flow(vm, 1000 + n) for vm in range(1, 9) for n in range(25)]
    assert len(host.pins) == len(set(rows)) == 200
    assert all(host.pins[row].queue_id == host.queue_of(row) for row in rows)
    used = {host.queue_of(row) for row in rows}
    assert used == {0, 1, 2, 3}


def test_a_heavy_flow_gets_a_queue_alone_and_gives_it_back() -> None:
    host = Scenario()
    small = [host.flow(vm, 1000 + n) for vm in range(1, 9) for n in range(5)]
    heavy = host.flow(1, 9999)
    host.send({heavy: 40_000_000, **dict.fromkeys(small, 100_000)}, 6)
    assert host.class_of(heavy) == "heavy"
    host.send({heavy: 40_000_000, **dict.fromkeys(small, 100_000)}, 20)
    assert all(host.queue_of(row) != host.queue_of(heavy) for row in small)
    assert host.device.flows.reason[heavy] == Reason.EXCLUSIVE
    host.send({heavy: 1_000_000, **dict.fromkeys(small, 100_000)}, 12)
    assert host.class_of(heavy) == "small"


def test_heavy_flows_are_alone_while_the_small_ones_do_not_miss_the_queues() -> None:
    host = Scenario()
    small = [host.flow(vm, 1000 + n) for vm in range(1, 9) for n in range(5)]
    heavy = [host.flow(vm, 9000) for vm in range(1, 5)]
    host.send({**dict.fromkeys(heavy, 20_000_000), **dict.fromkeys(small, 100_000)}, 60)
    assert len({host.queue_of(row) for row in heavy}) == 4, (
        "four queues, four flows that are as heavy as a queue"
    )
    host.end(heavy[0])
    host.send({**dict.fromkeys(heavy[1:], 20_000_000), **dict.fromkeys(small, 100_000)}, 60)
    assert [host.device.flows.reason[row] for row in heavy[1:]] == [Reason.EXCLUSIVE] * 3
    assert {host.queue_of(row) for row in heavy[1:]}.isdisjoint(host.queue_of(row) for row in small)


def test_changes_of_class_are_moves_that_are_limited_and_reported() -> None:
    """Forty flows became heavy together, and 33 of them were on one queue some seconds later, with no move reported."""
    host = Scenario(queues=8)
    rows = [host.flow(n % 8 + 1, 2000 + n) for n in range(40)]
    before = {row: host.queue_of(row) for row in rows}
    host.flow_reports.clear()
    for _ in range(20):
        host.send({row: 11_000_000 + row * 50_000 for row in rows}, 2)
        counts = Counter(host.queue_of(row) for row in rows)
        assert max(counts.values()) <= 6, "never a herd on one queue"
    changed = [row for row in rows if host.queue_of(row) != before[row]]
    moved = [report for report in host.flow_reports if report.kind == "move"]
    assert len(moved) >= len(changed)
    assert len(moved) <= 41, "a flow a second at most: 2 % of 40 flows"


def test_many_heavy_flows_do_not_crowd_on_one_queue_for_the_sake_of_a_few() -> None:
    host = Scenario()
    heavy = [host.flow(n % 8 + 1, 2000 + n) for n in range(60)]
    host.send({row: 11_000_000 + row * 1000 for row in heavy}, 60)
    counts = [[host.queue_of(row) for row in heavy].count(queue) for queue in range(4)]
    assert max(counts) <= 18


def test_a_load_that_crosses_the_threshold_every_second_does_not_flap() -> None:
    host = Scenario()
    row = host.flow(1, 1000)
    moves = host.counts["PinFlow"]
    for second in range(30):
        host.send({row: 12_000_000 if second % 2 else 8_000_000}, 2)
    assert host.counts["PinFlow"] - moves <= 2


def test_a_limit_is_a_meter_that_is_written_once() -> None:
    host = Scenario()
    row = host.flow(1, 1000, dport=5000)
    host.send({row: 1_900_000}, 30)
    meter = host.pins[row].meter_id
    assert host.meters[meter][0] == 2_000_000
    assert host.meter_writes[meter] == 1
    host.end(row)
    assert not host.meters


def test_flows_of_a_vm_share_a_meter_when_the_policy_says_so() -> None:
    classes = small_policy().classes
    shared = (*classes[:2], replace(classes[2], limit_scope=LimitScope.VM))
    host = Scenario(small_policy(classes=shared))
    first, second, other = host.flow(1, 1000, 5000), host.flow(1, 1001, 5000), host.flow(2, 1000, 5000)
    assert host.pins[first].meter_id == host.pins[second].meter_id != host.pins[other].meter_id
    host.end(first)
    assert len(host.plan.meters) == host.vms, "each VM has its meter before it sends anything"


def test_a_device_without_meters_is_told_apart() -> None:
    host = Scenario(caps=Capabilities(select_groups=True))
    row = host.flow(1, 1000, dport=5000)
    assert host.pins[row].meter_id == 0
    assert any("limit" in left.what for left in host.device.left_out)


def test_queues_that_go_are_vacated_at_once_and_used_again_when_they_are_back() -> None:
    host = Scenario()
    rows = [host.flow(vm, 1000 + n) for vm in range(1, 9) for n in range(10)]
    host.describe(2)
    assert {host.pins[row].queue_id for row in rows} <= {0, 1}
    host.do(ev.QueuesReported(DPID, {UPLINK: (0, 1)}))
    host.do(ev.QueuesReported(DPID, {UPLINK: (0, 1, 2, 3)}))
    host.describe(4)
    host.send(dict.fromkeys(rows, 1_000_000), 40)
    assert {host.queue_of(row) for row in rows} == {0, 1, 2, 3}


def test_a_port_that_loses_all_queues_serves_its_flows_without_one_and_back() -> None:
    host = Scenario()
    rows = [host.flow(1, 1000 + n) for n in range(10)]
    host.do(ev.QueuesReported(DPID, {}))
    assert {host.pins[row].queue_id for row in rows} == {NO_QUEUE}
    assert {host.device.flows.reason[row] for row in rows} == {Reason.NO_QUEUES}
    host.do(ev.QueuesReported(DPID, {UPLINK: (0, 1)}))
    assert {host.pins[row].queue_id for row in rows} == {0, 1}


def test_ended_flows_leave_nothing_behind() -> None:
    host = Scenario()
    rows = [host.flow(vm, 1000 + n, 5000 if n == 3 else 80) for vm in range(1, 9) for n in range(5)]
    for row in rows:
        host.end(row)
    assert len(host.device.flows) == host.device.pinned == len(host.meters) == 0
    allocation = required(host.device.ports[UPLINK].allocation)
    assert allocation.load == allocation.count == 0


def test_a_flow_whose_end_was_never_told_is_swept_out() -> None:
    host = Scenario()
    host.flow(1, 1000)
    host.tick(40)
    assert not host.device.flows.rows
    assert not host.pins


def test_a_vm_that_goes_takes_its_flows_with_it() -> None:
    host = Scenario()
    host.flow(1, 1000)
    kept = host.flow(2, 1000)
    host.do(ev.PortRemoved(DPID, 1))
    assert list(host.pins) == [kept]
    assert "vm1" not in {vm.id for vm in host.engine.vms.values()}
    host.do(ev.PortChanged(DPID, PortReport(1, "pf0vf1")))
    assert "vm1" in {vm.id for vm in host.engine.vms.values()}


def test_a_vm_that_moves_to_another_port_is_one_vm() -> None:
    host = Scenario()
    number = next(vm.number for vm in host.engine.vms.values() if vm.id == "vm1")
    host.describe(4, ids={1: {}, 8: {"iface-id": "vm1"}})
    assert host.engine.vms[number].port_no == 8
    assert len({vm.port_no for vm in host.engine.vms.values()}) == len(host.engine.vms)


def test_a_hint_counts_only_from_a_vm_whose_hints_are_believed() -> None:
    trust = Trust(VmSelector(names=("vm1",)), frozenset((HintSource.REST,)), frozenset((2,)))
    host = Scenario(small_policy(trust=(trust,)))
    trusted, untrusted = host.flow(1, 1000), host.flow(2, 1000)
    for vm in ("vm1", "vm2"):
        host.do(ev.HintGiven(Hint(f"h-{vm}", vm, "limited", Match(), HintSource.REST, expires=host.now + 5)))
    assert (host.class_of(trusted), host.class_of(untrusted)) == ("limited", "small")
    host.send({trusted: 1000, untrusted: 1000}, 6)
    assert host.class_of(trusted) == "small"
    assert not host.meters


def test_the_policy_replaced_twice_is_the_same_as_once() -> None:
    host = Scenario()
    rows = [host.flow(vm, 1000 + n, 5000 if n == 3 else 80) for vm in range(1, 9) for n in range(5)]
    host.tick()
    before = dict(host.counts)
    host.do(ev.PolicyReplaced(small_policy()))
    for kind in ("PinFlow", "UnpinFlow", "SetMeter", "Program"):
        assert host.counts[kind] == before.get(kind, 0)
    changed = (*small_policy().classes[:2], TrafficClass("limited", 2, rate_limit=3_000_000))
    host.do(ev.PolicyReplaced(small_policy(classes=changed)))
    assert {rate for rate, _ in host.meters.values()} == {3_000_000}
    once = {row: host.pins[row] for row in rows}
    host.do(ev.PolicyReplaced(small_policy(classes=changed)))
    assert {row: host.pins[row] for row in rows} == once


def test_after_a_restart_the_devices_own_tables_give_the_assignments_back() -> None:
    host = Scenario()
    rows = [host.flow(vm, 1000 + n, 5000 if n == 3 else 80) for vm in range(1, 9) for n in range(5)]
    found = tuple(
        ev.FoundPin(
            p.ref,
            bytes(4) + p.key[4:],
            p.in_port,
            p.egress_port,
            p.queue_id,
            p.meter_id,
            5,
            500,
        )
        for p in host.pins.values()
    )
    other = Scenario(queues=4)
    other.meters = dict(host.meters)
    other.pins = dict(host.pins)
    before = dict(other.counts)
    other.connect(4, pins=found)
    assert len(other.device.flows) == len(rows)
    assert {row: other.queue_of(row) for row in rows} == {row: host.queue_of(row) for row in rows}
    for kind in ("PinFlow", "UnpinFlow", "SetMeter", "DeleteMeter"):
        assert other.counts[kind] == before.get(kind, 0)


def test_a_reconnected_device_tells_which_flows_have_ended() -> None:
    host = Scenario()
    lives, ended = host.flow(1, 1000), host.flow(1, 1001)
    pin = host.pins[lives]
    found = ev.FoundPin(pin.ref, pin.key, pin.in_port, pin.egress_port, pin.queue_id, 0, 5, 500)
    host.do(ev.DeviceDown(DPID))
    host.connect(4, pins=(found,))
    assert list(host.device.flows) == [lives]
    assert ended not in host.device.flows


def test_a_refused_entry_leaves_the_flow_on_the_standing_rules_and_does_not_loop() -> None:
    host = Scenario()
    row = host.flow(1, 1000)
    host.do(ev.RuleRefused(DPID, "pin", Refusal.TABLE_FULL, "full", host.device.flows.ref(row)))
    sent = host.counts["PinFlow"]
    for _ in range(20):
        host.tick()
        host.flow(1, 1000)
    assert host.counts["PinFlow"] == sent
    assert host.device.refusals == {"pin": 1}


def test_the_pin_budget_is_held() -> None:
    host = Scenario(small_policy(pins=Pins(budget=10)))
    for n in range(50):
        host.flow(1, 1000 + n)
    assert len(host.pins) == host.device.pinned == 10
    assert len(host.device.flows) == 50


def test_only_worthy_flows_are_pinned_when_the_policy_says_so() -> None:
    host = Scenario(small_policy(pins=Pins(which="worthy")), caps=LEARNING)
    for n in range(50):
        host.flow(1, 1000 + n, queue_id=n % 4)
    limited = host.flow(1, 3000, dport=5000, queue_id=0)
    assert list(host.pins) == [limited]


def test_software_queues_take_what_their_class_sends_there() -> None:
    host = Scenario()
    host.describe(2, software=2)
    assert {q.kind for q in host.device.ports[UPLINK].queues.values()} == {
        QueueKind.PHYSICAL,
        QueueKind.SOFTWARE,
    }


def test_the_same_facts_in_give_the_same_effects_out() -> None:
    def run() -> tuple[dict[int, int], dict[str, int]]:
        host = Scenario()
        rows = [host.flow(vm, 1000 + n) for vm in range(1, 9) for n in range(8)]
        host.send({row: 1_000_000 * (row % 7) for row in rows}, 20)
        return {row: host.queue_of(row) for row in rows}, dict(host.counts)

    assert run() == run()


def test_packets_that_a_vm_may_not_send_teach_nothing() -> None:
    host = Scenario(small_policy(port_security=PortSecurity.STRICT))
    host.describe(4, ids={1: {"iface-id": "vm1", "attached-mac": "02:00:00:00:00:aa"}})
    host.do(ev.FlowSeen(DPID, 1, host.frame(1, 1000), UPLINK))
    assert not host.device.flows.rows
    assert not host.device.hosts


@pytest.mark.parametrize("frame", [b"", bytes(5), bytes(14), bytes(60), b"\xff" * 60])
def test_garbage_is_survived(frame: bytes) -> None:
    host = Scenario()
    host.do(ev.FlowSeen(DPID, 1, frame, UPLINK))
    host.do(ev.FlowSeen(77, 1, frame, UPLINK))
    host.do(ev.FlowSeen(DPID, 4711, frame, None))


def test_events_about_unknown_devices_and_rows_change_nothing() -> None:
    host = Scenario()
    for event in (
        ev.DeviceDown(9),
        ev.PortRemoved(9, 1),
        ev.QueuesReported(9, {}),
        ev.PinCounters(DPID, ((77, 0, 1, 1),)),
        ev.PinEnded(DPID, PinRef(77, 3), 1, 1, idle=True),
        ev.RuleRefused(DPID, "pin", Refusal.OTHER, "x", PinRef(77, 0)),
        ev.HintWithdrawn("nobody"),
    ):
        assert not [effect for effect in host.do(event) if type(effect).__name__ not in {"Report"}]


STRANGER = 99
"""The datapath id of a device that never connected."""


@pytest.mark.parametrize(
    "event",
    [
        ev.DeviceDown(STRANGER),
        ev.PortChanged(STRANGER, PortReport(1, "p1")),
        ev.PortRemoved(STRANGER, 1),
        ev.QueuesReported(STRANGER, {1: (0,)}),
        ev.DescriptionRemoved(STRANGER),
        ev.FlowSeen(STRANGER, 1, bytes(60)),
        ev.PinCounters(STRANGER, ((0, 1, 2, 3),)),
        ev.PinEnded(STRANGER, PinRef(0, 1), 1, 60, idle=True),
        ev.LearnedCounters(STRANGER, ()),
        ev.LearnedEnded(STRANGER, bytes(16), 1, 2, 3, 1, 60, idle=True),
        ev.QueueCounters(STRANGER, {(1, 0): (1, 2, 3)}),
        ev.MeterCounters(STRANGER, {1: (1, 2, 3, 4)}),
        ev.RuleRefused(STRANGER, "pin", Refusal.OTHER, "no"),
        ev.PlanLeftOut(STRANGER, ()),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_comes_late_about_a_device_that_is_gone_changes_nothing(event: ev.Event) -> None:
    there = Scenario()
    before = there.device.plan
    assert there.engine.step_and_catch_up(event, there.now) == []
    assert list(there.engine.devices) == [DPID]
    assert there.device.plan == before


def test_the_same_news_again_is_no_news() -> None:
    there = Scenario()
    described, reports = there.device.described, there.device.reported_ports
    assert described is not None
    for event in (
        described,
        ev.PortChanged(DPID, reports[1]),
        ev.QueuesReported(DPID, there.device.reported_queues),
    ):
        assert there.engine.step(event, there.now) == []
        assert not there.engine.is_behind
    there.do(ev.PortRemoved(DPID, 12345))
    there.do(ev.DeviceDown(DPID))
    assert there.engine.step(ev.DeviceDown(DPID), there.now) == []


def test_a_meter_that_no_flow_has_may_be_refused() -> None:
    there = Scenario()
    there.do(ev.RuleRefused(DPID, "meter", Refusal.OTHER, "no", meter_id=77))
    assert there.device.refusals == {"meter": 1}


def test_a_device_without_flows_is_ticked_and_polled_seldom() -> None:
    there = Scenario(small_policy())
    there.tick(6)
    assert DPID not in there.engine.to_tick(there.now + 1.0)
    assert DPID in there.engine.to_tick(there.now + IDLE_TICK)
    there.flow(1, 1000)
    assert DPID in there.engine.to_tick(there.now)
    assert DPID in there.engine.state.awake
    there.do(ev.DeviceDown(DPID))
    there.connect(4)
    assert DPID in there.engine.to_tick(there.now), "the end of its adoption waits for a tick"


def test_devices_can_be_polled_some_at_a_time() -> None:
    scenario = Scenario(small_policy())
    engine, now = scenario.engine, scenario.now
    for dpid in range(101, 106):
        engine.step(ev.DeviceUp(dpid, scenario.device.capabilities, (), {}), now)
    assert engine.to_poll(now + 10.0) == [DPID, 101, 102, 103, 104, 105], "those without flows, too"
    effects = engine.step(ev.Poll((102, 104, 99)), now + 10.0)
    assert [effect.dpid for effect in effects if isinstance(effect, ReadCounters)] == [102, 104]
    assert engine.to_poll(now + 11.0) == [DPID, 101, 103, 105], "without those that were read"
    engine.state.devices[104].address_waits = True
    assert 104 in engine.to_poll(now + 12.0)
    assert engine.to_poll(now + 12.1) == [], "without flows not so soon"


UNKNOWN = 0xDEAD
LATE: list[ev.Event] = [
    ev.ReadingEnded(UNKNOWN, 1, 5, 0.1),
    ev.GroupsCounted(UNKNOWN, {1: 5}),
    ev.ConflictsReported(UNKNOWN, ("a conflict",)),
    ev.DpidShared(UNKNOWN, ("192.0.2.1",)),
    ev.PlanLeftOut(UNKNOWN, ()),
    ev.Repaired(UNKNOWN, {"entry": 1}, "an entry"),
    ev.QueueCordoned(UNKNOWN, UPLINK, 1, Admission.CORDONED),
    ev.QueuesReported(UNKNOWN, {1: (0,)}),
    ev.PinCounters(UNKNOWN, ((0, 1, 2, 3),)),
    ev.PortRemoved(UNKNOWN, 1),
    ev.DeviceDown(UNKNOWN),
    ev.RuleRefused(UNKNOWN, "pin", Refusal.TABLE_FULL, "full", PinRef(0, 1)),
]


@pytest.mark.parametrize("event", LATE, ids=lambda event: type(event).__name__)
def test_late_word_of_a_device_that_is_forgotten_changes_nothing(event: ev.Event) -> None:
    host = Scenario()
    assert list(host.engine.step(event, host.now)) == []
    assert UNKNOWN not in host.engine.devices


def test_a_repair_is_reported_with_what_was_put_back() -> None:
    host = Scenario()
    (report,) = host.engine.step(ev.Repaired(DPID, {"entry": 2, "group": 1}, "add an entry"), host.now)
    assert "add an entry" in str(report)


def test_a_queue_that_is_not_there_and_what_changes_nothing_are_not_noted() -> None:
    host = Scenario()
    for event in (
        ev.QueueCordoned(DPID, UPLINK, 99, Admission.CORDONED),
        ev.QueueCordoned(DPID, UPLINK, 1, Admission.OPEN),
    ):
        assert list(host.engine.step(event, host.now)) == []
    assert host.engine.devices[DPID].cordons == {}
