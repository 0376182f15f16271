"""Weights of new flows follow the load in few, coarse steps."""

from dataclasses import replace
from random import Random

from support.engine.required import required
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.model import QueueFacts
from flowlane.core.policy import Balance, Match, Rule, TrafficClass

STILL = Balance(interval=1e9)
MEAN = 2_000_000


def host(queues: int = 4) -> Scenario:
    """Nothing is moved; eight flows on four queues of a port with 100 Mbit/s, two on each."""
    scenario = Scenario(small_policy(balance=STILL, rules=()), queues, caps=LEARNING)
    for number in range(8):
        scenario.flow(1, 1000 + number, queue_id=number % queues)
    return scenario


def weights(scenario: Scenario) -> dict[int, int]:
    rule = next(
        rule for rule in scenario.plan.rules if rule.class_name == "small" and rule.egress_port == UPLINK
    )
    return dict(rule.queues)


def carry(scenario: Scenario, rates: dict[int, float], seconds: int) -> int:
    """Let the flows of each queue carry bit/s for a while; returns in how many plans the weights changed."""
    flows, changes = scenario.device.flows, 0
    octets = {row: flows.octets[row] for row in flows}
    before = weights(scenario)
    for second in range(seconds):
        scenario.tick()
        for row in flows:
            octets[row] += int(rates[flows.queue_id[row]] / 2 / 8)
        if second % 2:
            items = tuple(
                ev.LearnedFlow(
                    flows.keys[row] or b"", flows.in_port[row], UPLINK, 0, flows.queue_id[row], 1, octets[row]
                )
                for row in flows
            )
            scenario.do(ev.LearnedCounters(DPID, items))
        changes += weights(scenario) != before
        before = weights(scenario)
    return changes


def test_a_fuller_queue_gets_fewer_new_flows_and_an_emptier_one_more() -> None:
    scenario = host()
    carry(scenario, {0: 6 * MEAN, 1: MEAN, 2: MEAN, 3: MEAN / 10}, 30)
    assert weights(scenario) == {0: 1, 1: 2, 2: 2, 3: 8}
    carry(scenario, dict.fromkeys(range(4), MEAN), 60)
    assert weights(scenario) == dict.fromkeys(range(4), 8)


def test_a_faster_queue_gets_more_new_flows() -> None:
    scenario = host()
    facts = required(scenario.device.described)
    queues = {number: QueueFacts(max_rate=(40 if number == 3 else 20) * 10**6) for number in range(4)}
    uplink = replace(facts.ports[UPLINK], queues=queues)
    scenario.do(replace(facts, ports={**facts.ports, UPLINK: uplink}))
    assert weights(scenario) == {0: 8, 1: 8, 2: 8, 3: 16}
    carry(scenario, {0: MEAN, 1: MEAN, 2: MEAN, 3: 2 * MEAN}, 30)
    assert weights(scenario) == {0: 8, 1: 8, 2: 8, 3: 16}, "all are equally full"
    carry(scenario, {0: 6 * MEAN, 1: MEAN, 2: MEAN, 3: MEAN / 10}, 30)
    assert weights(scenario) == {0: 1, 1: 1, 2: 1, 3: 16}


def test_a_port_that_does_little_is_left_even() -> None:
    scenario = host()
    assert carry(scenario, {0: 900_000, 1: 0, 2: 0, 3: 0}, 60) == 0
    assert set(weights(scenario).values()) == {8}


def test_loads_that_waver_around_a_step_change_nothing() -> None:
    """15 % either way around the edge at half the mean: the margin is 30 %."""
    scenario, random = host(), Random(4)
    low = 0.45 * MEAN
    carry(scenario, {0: low, 1: MEAN, 2: MEAN, 3: MEAN}, 30)
    changes = 0
    for _ in range(30):
        there_low = 0.5 * MEAN * random.uniform(0.85, 1.15)
        changes += carry(scenario, {0: there_low, 1: MEAN, 2: MEAN, 3: MEAN}, 4)
    assert changes <= 1


def test_weights_are_looked_at_every_five_seconds_while_no_flow_begins() -> None:
    """However wild the loads are."""
    scenario, random = host(), Random(5)
    turns = [carry(scenario, {q: MEAN * random.choice((0.05, 8.0)) for q in range(4)}, 2) for _ in range(60)]
    assert 3 <= sum(turns) <= 2 * 60 / 5


def test_weights_follow_at_once_where_flows_begin() -> None:
    scenario = host()
    loads: dict[int, float] = {0: 3 * MEAN, 1: MEAN, 2: MEAN, 3: MEAN}
    carry(scenario, dict.fromkeys(range(4), MEAN), 20)
    scenario.flow(2, 700)
    carry(scenario, loads, 2)
    changed = [bool(scenario.flow(3, 700 + turn)) and carry(scenario, loads, 2) for turn in range(2)]
    assert sum(changed) and weights(scenario)[0] < weights(scenario)[1], "within 4 s, not after the next 5 s"


def test_after_a_crowd_the_next_is_spread_as_evenly_as_it_has_to_be() -> None:
    """The queue with least load would otherwise get most of a crowd that is larger than what it lacks."""
    scenario = host()
    carry(scenario, {0: 1.4 * MEAN, 1: MEAN, 2: MEAN, 3: 0.6 * MEAN}, 20)
    uneven = weights(scenario)
    assert max(uneven.values()) >= 4 * min(uneven.values())
    for number in range(400):
        scenario.flow(2, 700 + number)
    scenario.tick(6)
    even = weights(scenario)
    assert max(even.values()) <= 2 * min(even.values())


def test_a_change_of_weights_moves_no_flow() -> None:
    scenario = host()
    flows = scenario.device.flows
    before = {row: flows.queue_id[row] for row in flows}
    pins = scenario.counts["PinFlow"]
    assert carry(scenario, {0: 8 * MEAN, 1: MEAN, 2: MEAN, 3: MEAN / 10}, 60) >= 1
    assert {row: flows.queue_id[row] for row in flows} == before
    assert scenario.counts["PinFlow"] == pins
    assert not any(isinstance(effect, fx.DeleteLearned) for effect in scenario.do(ev.Tick()))


def test_a_class_with_max_queues_gets_no_more_of_them_by_its_standing_rules() -> None:
    """From the first flow on, and as the allocator gives them: so what the device places needs no move, and no pin."""
    classes = (
        TrafficClass("other", 0),
        TrafficClass("one", 1, max_queues=1),
        TrafficClass("two", 2, max_queues=1),
    )
    rules = (Rule("one", 0, Match(dst_ports=((1, 1),)), 1), Rule("two", 1, Match(dst_ports=((2, 2),)), 2))
    scenario = Scenario(small_policy(classes=classes, rules=rules, gates=()), caps=LEARNING)

    def named(name: str) -> tuple[int, ...]:
        (queues,) = {
            rule.queues
            for rule in scenario.plan.rules
            if (rule.class_name, rule.egress_port) == (name, UPLINK)
        }
        return tuple(queue_id for queue_id, _ in queues)

    assert [len(named(name)) for name in ("other", "one", "two")] == [4, 1, 1]
    for number, name in ((1, "one"), (2, "two"), (1, "one")):
        planned = named(name)
        row = scenario.flow(1, 1000 + scenario.counts["FlowReport"], number, queue_id=planned[0])
        assert (scenario.queue_of(row),) == planned
        assert named(name) == planned
    assert named("one") != named("two")
    assert not scenario.pins
