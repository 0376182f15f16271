"""From a class to what the allocator is asked for, on a device."""

from dataclasses import replace

import pytest
from support.engine.required import required
from support.engine.scenario import ABLE, DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.allocate import queues_for_new_flows
from flowlane.core.model import NO_QUEUE, Capabilities, PortFacts, QueueFacts, Reason
from flowlane.core.policy import Match, PathPreference, Pins, Rule, TrafficClass

MINIMUM = 40_000_000
POLICY = small_policy(
    classes=(TrafficClass("small", 0), TrafficClass("storage", 1, min_rate=MINIMUM)),
    rules=(Rule("NFS", 0, Match(dst_ports=((2049, 2049),)), 1),),
    gates=(),
)


def guarantee(host: Scenario, **rates: int) -> None:
    """OVSDB gives the uplink's queues these min-rates."""
    queues = {number: QueueFacts(min_rate=rates.get(f"q{number}", 1000)) for number in range(4)}
    facts = required(host.device.described)
    port = PortFacts("pf0", {"flowlane-port": "uplink"}, queues=queues)
    host.do(replace(facts, ports={**facts.ports, UPLINK: port}))


def test_a_class_with_a_minimum_is_served_by_the_queue_that_guarantees_it() -> None:
    host = Scenario(POLICY)
    guarantee(host, q2=MINIMUM)
    small = [host.flow(1, 1000 + number) for number in range(12)]
    storage = [host.flow(2, 1000 + number, 2049) for number in range(4)]
    assert {host.queue_of(row) for row in storage} == {2}
    host.send(dict.fromkeys([*small, *storage], 1_000_000), 40)
    assert {host.queue_of(row) for row in storage} == {2}
    assert {host.queue_of(row) for row in small} == {0, 1, 3}
    assert host.device.left_out == ()


def test_a_device_that_places_flows_itself_is_told_that_queue() -> None:
    host = Scenario(POLICY, caps=LEARNING)
    guarantee(host, q1=MINIMUM, q3=MINIMUM)
    rule = next(rule for rule in host.plan.rules if rule.class_name == "storage")
    assert [queue_id for queue_id, _ in rule.queues] == [1, 3]
    assert host.queue_of(host.flow(2, 1001, 2049, queue_id=0)) in (1, 3), "not guaranteed"
    assert host.queue_of(host.flow(2, 1000, 2049, queue_id=3)) == 3, "as good as any"


def test_a_new_policy_moves_a_class_to_its_guarantee() -> None:
    host = Scenario(replace(POLICY, classes=(POLICY.classes[0], replace(POLICY.classes[1], min_rate=None))))
    guarantee(host, q2=MINIMUM)
    storage = [host.flow(2, 1000 + number, 2049) for number in range(4)]
    assert len({host.queue_of(row) for row in storage}) > 1
    host.do(ev.PolicyReplaced(POLICY))
    host.send(dict.fromkeys(storage, 1_000_000), 120)
    assert {host.queue_of(row) for row in storage} == {2}
    assert queues_for_new_flows(
        required(host.device.ports[UPLINK].allocation), PathPreference.PREFER_HARDWARE, min_rate=MINIMUM
    ) == (2,)


def test_a_new_flow_that_stays_where_the_device_put_it_is_counted_once() -> None:
    """There is no pin to be had for its limit, so it is not where the allocator would have it."""
    host = Scenario(small_policy(pins=Pins(budget=0)), caps=LEARNING)
    rows = [host.flow(1, 1000 + number, 5000, queue_id=3) for number in range(4)]
    assert {host.queue_of(row) for row in rows} == {3}
    allocation = required(host.device.ports[UPLINK].allocation)
    assert [(slot.count, slot.load > 0) for slot in allocation.slots] == [(0, False)] * 3 + [(4, True)]
    meter_only = replace(host.engine.policy.classes[2], meter_only=True)
    host.do(ev.PolicyReplaced(small_policy(pins=Pins(budget=0), classes=(*POLICY.classes, meter_only))))
    for row in rows:
        host.end(row)
    assert [(slot.count, slot.load) for slot in allocation.slots] == [(0, 0)] * 4


@pytest.mark.parametrize("caps", [ABLE, LEARNING])
def test_a_flow_of_a_class_without_queues_stays_without_when_the_devices_queue_for_it_goes(
    caps: Capabilities,
) -> None:
    """With no pin to be had for it, it is where the device puts it; its class has no other queue for it."""
    classes = (*small_policy().classes[:2], TrafficClass("limited", 2, rate_limit=MINIMUM, meter_only=True))
    host = Scenario(small_policy(pins=Pins(budget=0), classes=classes), caps=caps)
    row = host.flow(1, 1000, 5000, queue_id=3)
    assert host.queue_of(row) == 3
    host.describe(3)
    host.do(ev.QueuesReported(DPID, {UPLINK: (0, 1, 2)}))
    assert host.queue_of(row) == NO_QUEUE
    assert host.device.flows.reason[row] == Reason.METER_ONLY
    assert all(slot.count == 0 for slot in required(host.device.ports[UPLINK].allocation).slots)
