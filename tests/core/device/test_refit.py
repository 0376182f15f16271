"""Flows follow the rate of their port, as OVSDB describes it."""

from dataclasses import replace

from support.engine.required import required
from support.engine.scenario import UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.model import PortFacts, QueueFacts, QueueKind

MBIT = 1_000_000


def describe_rate(host: Scenario, max_rate: int) -> None:
    """OVSDB: two hardware queues that may each send 100 Mbit/s, a software queue, and the QoS row's own rate."""
    queues = {number: QueueFacts(QueueKind.PHYSICAL, max_rate=100 * MBIT) for number in range(2)}
    queues[2] = QueueFacts(QueueKind.SOFTWARE)
    facts = required(host.device.described)
    port = PortFacts("pf0", {"flowlane-port": "uplink"}, qos_max_rate=max_rate, queues=queues)
    host.do(replace(facts, ports={**facts.ports, UPLINK: port}))
    host.do(ev.QueuesReported(1, {UPLINK: (0, 1, 2)}))


def in_software(host: Scenario, rows: list[int]) -> int:
    return sum(host.queue_of(row) == 2 for row in rows)


def test_a_port_that_may_carry_less_sends_flows_to_software_and_takes_them_back() -> None:
    host = Scenario(small_policy(rules=()))
    describe_rate(host, 200 * MBIT)
    rows = [host.flow(1 + number % 8, 1000 + number) for number in range(12)]
    host.send(dict.fromkeys(rows, 8 * MBIT), 20)
    assert in_software(host, rows) == 0
    describe_rate(host, 50 * MBIT)
    host.send(dict.fromkeys(rows, 8 * MBIT), 60)
    assert in_software(host, rows) == 6, "six of 8 Mbit/s fit 50"
    describe_rate(host, 200 * MBIT)
    host.send(dict.fromkeys(rows, 8 * MBIT), 60)
    assert in_software(host, rows) == 0
