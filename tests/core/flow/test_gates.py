"""What a queue of a port can carry, by which the thresholds of the policy's rate gates are measured."""

from __future__ import annotations

import pytest
from support.engine.scenario import LEARNING, UPLINK, Scenario, small_policy

from flowlane.core.flow.gates import LEAST_RATE, gates_at
from flowlane.core.policy import RateGate

POLICY = small_policy(gates=(RateGate(250_000, 0.0, 100_000, of_queue=True),))


@pytest.mark.parametrize("queues", [2, 4, 8])
def test_a_port_divides_its_rate_among_its_queues(queues: int) -> None:
    scenario = Scenario(POLICY, queues)
    (gate,) = gates_at(scenario.device, UPLINK, scenario.now + 10)
    assert gate.at_least == 100_000_000 // queues // 4


def test_where_no_rate_is_known_the_flows_tell_it_but_little_traffic_is_not_heavy() -> None:
    scenario = Scenario(POLICY, caps=LEARNING)
    port = scenario.device.ports[UPLINK]
    assert port.allocation is not None
    port.allocation.speed = None
    for region in port.allocation.hardware:
        region.capacity = None
    assert gates_at(scenario.device, UPLINK, scenario.now + 10)[0].at_least == LEAST_RATE // 4
    rows = [scenario.flow(1, number) for number in range(8)]
    scenario.send(dict.fromkeys(rows, 100_000_000), 10)
    assert gates_at(scenario.device, UPLINK, scenario.now + 10)[0].at_least == pytest.approx(
        50_000_000, rel=0.05
    )


def test_a_flow_that_leaves_by_no_one_port_has_the_least_rate() -> None:
    scenario = Scenario(POLICY)
    assert gates_at(scenario.device, 77, scenario.now)[0].at_least == LEAST_RATE // 4
