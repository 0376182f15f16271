"""The simulated world: when the engine learns what, and what its effects do."""

import pytest
from support.engine.example_policies import policy, spec

from flowlane import policy as policies
from flowlane.core.policy import Policy
from flowlane.simulation.host import Host
from flowlane.simulation.world import World

ONE_CLASS = "version: 1\ndefault: shared\nclasses: {shared: {queues: shared}}\n"


def one_class(more: str = "") -> Policy:
    return policies.load(ONE_CLASS + more, "test")


def world_of(rules: Policy, queues: int = 4, reading: float | None = 1.0) -> World:
    return World(rules, Host(("a",), queues), reading)


def run(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.second()


def rate_of(world: World, number: int) -> float:
    row = world.row(number)
    assert row is not None
    return world.device.flows.rate[row]


def test_a_rate_is_unknown_until_the_first_reading_a_second_after_the_flow_began() -> None:
    world = world_of(one_class())
    world.at(0.5, lambda: world.begin(0, spec("a", 0, 80, 8e6)))
    run(world, 1)
    world.advance(1.5)
    assert rate_of(world, 0) == 0, "the reading at 1.02 s is too soon after 0.5 s"
    run(world, 1)
    world.advance(2.5)
    shown = 1.7 - 0.5
    assert rate_of(world, 0) == pytest.approx(8e6 * shown / 1.52), "counters of 1.7 s, read at 2.02 s"
    run(world, 12)
    assert rate_of(world, 0) == pytest.approx(8e6, rel=0.01)


def test_counters_are_read_when_the_engine_asks_or_at_their_own_times() -> None:
    asked, timed = world_of(one_class(), reading=None), world_of(one_class(), reading=1.0)
    for world in (asked, timed):
        world.begin(0, spec("a", 0, 80, 8e6))
        run(world, 9)
        assert rate_of(world, 0) > 0
        assert world.counts["ReadCounters"] >= 4


def test_a_flow_ends_for_the_engine_when_its_entry_has_been_idle() -> None:
    world = world_of(one_class())
    world.begin(0, spec("a", 0, 80, 8e6))
    run(world, 3)
    world.end(0)
    run(world, 9)
    assert len(world.device.flows) == 1
    assert world.last.by_queue == {}
    run(world, 2)
    assert (len(world.device.flows), world.datapath.flows) == (0, {})


def test_a_flow_that_pauses_for_long_begins_anew() -> None:
    world = world_of(one_class())
    world.begin(0, spec("a", 0, 80, 8e6))
    run(world, 2)
    world.set_rate(0, 0.0)
    run(world, 12)
    assert world.row(0) is None
    world.set_rate(0, 8e6)
    run(world, 1)
    assert world.row(0) is not None
    assert sum(world.last.by_queue.values()) == pytest.approx(1e6)


def test_a_flow_that_ends_in_a_pause_ends_as_long_after_its_last_packet() -> None:
    world = world_of(one_class())
    world.begin(0, spec("a", 0, 80, 8e6))
    run(world, 2)
    world.set_rate(0, 0.0)
    run(world, 5)
    world.end(0)
    run(world, 7)
    assert (len(world.device.flows), world.datapath.flows) == (0, {}), (
        "12 s, of which the entry may be idle 10"
    )


def test_an_exclusive_flow_gets_its_pin_and_its_learned_entry_expires() -> None:
    world = world_of(policy("m07"))
    world.begin(0, spec("a", 0, 80, 8e6))
    run(world, 3)
    (flow,) = world.datapath.flows.values()
    assert flow.learned or flow.pin is not None
    text = "version: 1\ndefault: own\nclasses: {own: {queues: exclusive}}\n"
    world = world_of(policies.load(text, "test"))
    for number in range(8):
        world.begin(number, spec("a", number, 80, 8e6))
    run(world, 2)
    pinned = [flow for flow in world.datapath.flows.values() if flow.pin is not None]
    assert pinned
    assert world.counts["corrected"] > 0
    assert all(flow.learned for flow in pinned)
    run(world, 20)
    assert all(not flow.learned for flow in world.datapath.flows.values() if flow.pin is not None)


def test_young_flows_of_a_tracked_port_have_no_counters() -> None:
    world = world_of(one_class("track-above: 0\n"))
    world.begin(0, spec("a", 0, 80, 8 * 1500 * 8 / 4))
    (flow,) = world.datapath.flows.values()
    assert (flow.young, flow.learned) == (True, False)
    run(world, 3)
    assert rate_of(world, 0) == 0
    run(world, 3)
    assert (flow.young, flow.learned) == (False, True)
    run(world, 8)
    assert rate_of(world, 0) > 0


def test_copies_are_limited_and_readings_find_the_other_flows() -> None:
    world = world_of(one_class("copy-rate: 10\n"))
    for number in range(30):
        world.begin(number, spec("a", number, 80, 1e6))
    assert len(world.device.flows) == 10
    run(world, 1)
    world.advance(1.5)
    assert len(world.device.flows) == 30


def test_the_datapath_sees_every_move_that_is_reported() -> None:
    world = world_of(one_class())
    for number in range(40):
        world.begin(number, spec("a", number, 80, 1e8 if number % 7 == 0 else 1e6))
    run(world, 30)
    assert world.counts["move"] > 0
    assert world.counts["changed"] + world.counts["changed while quiet"] == world.counts["move"]


def test_a_limit_passes_its_rate() -> None:
    text = "version: 1\ndefault: slow\nclasses: {slow: {queues: shared, limit: 2Mbit/s}}\n"
    world = world_of(policies.load(text, "test"))
    world.begin(0, spec("a", 0, 80, 8e6))
    run(world, 10)
    assert sum(world.last.by_queue.values()) * 8 == pytest.approx(2e6, rel=0.01)


def test_there_are_no_more_pins_than_the_budget() -> None:
    text = (
        "version: 1\ndefault: own\nclasses: {own: {queues: exclusive, path: hardware}}\npins: {budget: 5}\n"
    )
    world = world_of(policies.load(text, "test"), queues=8)
    for number in range(24):
        world.begin(number, spec("a", number, 80, 1e8 * (1 + number % 5)))
    run(world, 20)
    pinned = [flow for flow in world.datapath.flows.values() if flow.pin is not None]
    assert 0 < len(pinned) <= 5
    for flow in world.datapath.flows.values():
        if flow.pin is None:
            assert flow.queue_id == flow.learned_queue, "a flow without a pin is where the device put it"


def test_marks_and_passive_switches_are_no_matter_for_the_simulated_switch() -> None:
    marks = "devices: [{queues-by: dscp, keep-marks: ef}]\n"
    behind = "behind: [{device: '*', port: '*'}]"
    switch = f"passive-switches: [{{name: s, queues-by: pcp, ports: [{{name: p, queues: {{0: {{}}}}}}], {behind}}}]\n"
    queues = []
    for more in ("", marks + switch):
        world = world_of(one_class(more))
        for number in range(8):
            world.begin(number, spec("a", number, 80, 8e6))
        run(world, 5)
        rows = [world.row(number) for number in range(8)]
        queues.append([world.device.flows.queue_id[row] for row in rows if row is not None])
    assert queues[0] == queues[1]
    assert len(set(queues[0])) > 1
