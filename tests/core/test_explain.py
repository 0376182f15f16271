"""Why a flow is where it is, in the words that people get."""

import pytest
from fakes.scenario import UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.explain import explain
from flowlane.core.model import QueueKind
from flowlane.core.policy import Balance, Match, Road, Rule, TrafficClass

FULL = "the hardware queues are taken by flows that deserve them more"


def host_with(hardware: int, software: int, **heavy: object) -> Scenario:
    """Flows to port 9000 want a queue each; hardware takes one flow for each of its queues."""
    policy = small_policy(
        classes=(TrafficClass("small", 0), TrafficClass("alone", 1, exclusive=True, **heavy)),
        rules=(Rule("9000", 0, Match(dst_ports=((9000, 9000),)), 1),),
        gates=(),
        balance=Balance(flows_per_queue=1),
    )
    host = Scenario(policy, hardware)
    host.describe(hardware, software)
    host.do(ev.QueuesReported(1, {UPLINK: tuple(range(hardware + software))}))
    return host


def told(host: Scenario, row: int):
    return explain(host.engine.state, host.device, row)


@pytest.mark.parametrize(
    ("hardware", "road", "text"),
    [
        (2, Road.PREFER_HARDWARE, FULL),
        (2, Road.SOFTWARE, "its class uses software queues only"),
        (0, Road.PREFER_HARDWARE, "its egress port has no physical queues"),
    ],
)
def test_why_a_flow_that_has_a_software_queue_alone_is_not_in_hardware(hardware, road, text):
    host = host_with(hardware, 3, road=road)
    for number in range(hardware):
        host.flow(1, 1000 + number)
    row = host.flow(2, 1000, 9000)
    mine = told(host, row)
    assert mine.kind is QueueKind.SOFTWARE and mine.reason.startswith("its class has a queue for each flow")
    assert mine.not_hardware == text
    assert ("a hardware queue that becomes free" in mine.would_change) == (road is not Road.SOFTWARE)


def test_who_is_in_hardware_is_not_told_why_not():
    host = host_with(2, 2)
    assert told(host, host.flow(1, 1000)).not_hardware == ""
