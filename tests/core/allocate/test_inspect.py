"""Why a flow is not on the other queues, and the queues for new flows."""

from support.engine.allocation import Port, hardware, software

from flowlane.core.allocate import alternatives, queues_for_new_flows
from flowlane.core.model import Queue
from flowlane.core.policy import Balance, PathPreference


def reasons_of(port: Port, row: int) -> dict[int, str]:
    return {queue.queue_id: queue.why for queue in alternatives(port.state, row)}


def test_every_queue_is_listed_with_its_load() -> None:
    port = Port(hardware(0, 1, 2) + software(10))
    for row in range(6):
        port.arrive(row, rate=100)
    listed = alternatives(port.state, 0)
    assert [queue.queue_id for queue in listed] == [0, 1, 2, 10]
    assert {queue.load for queue in listed[:3]} == {200} and listed[3].load == 0
    assert [queue.why for queue in listed if queue.queue_id == port.queue_of[0]] == [""]
    assert reasons_of(port, 0)[10] == "a software queue, and hardware has room"


def test_reasons_within_the_hardware() -> None:
    port = Port(hardware(0, 1, 2, 3))
    port.arrive(0, rate=900, exclusive=True, class_index=1, group=1)
    port.arrive(1, rate=100)
    port.arrive(2, rate=100, class_index=2, group=2)
    port.run_until_quiet()
    reasons = reasons_of(port, 1)
    assert reasons[port.queue_of[0]] == "the exclusive queue of another flow"
    assert reasons[port.queue_of[2]] == "serves flows that are less like it"
    assert set(reasons_of(port, 0).values()) == {"", "the flow has an exclusive queue"}


def test_why_not_hardware() -> None:
    port = Port([Queue(0, max_rate=1000), *software(10)])
    port.arrive(0, rate=800)
    port.arrive(1, rate=200)
    port.arrive(2, rate=1, path=PathPreference.SOFTWARE)
    assert reasons_of(port, 1)[0] == "hardware is full: 1 flow with 800bit/s on it"
    assert reasons_of(port, 2)[0] == "its class uses software queues"
    port.depart(0)
    assert reasons_of(port, 1)[0].startswith("hardware has room again")


def test_other_vms_hardware_and_other_strategies() -> None:
    port = Port(hardware(0, 1), shares=(0.5,))
    port.arrive(0, rate=1, share=0)
    assert sorted(reasons_of(port, 0).values()) == ["", "hardware of another VM's share"]
    port = Port(hardware(0, 1), Balance(strategy="round-robin"))
    port.arrive(0, rate=1)
    assert reasons_of(port, 0) == {0: "", 1: "strategy round-robin chose another queue"}


def test_new_flows_are_spread_over_queues_that_are_not_exclusive() -> None:
    port = Port(hardware(0, 1, 2) + software(10))
    assert queues_for_new_flows(port.state, PathPreference.HARDWARE) == (0, 1, 2)
    assert queues_for_new_flows(port.state, PathPreference.SOFTWARE) == (10,)
    exclusive = port.arrive(0, rate=1, exclusive=True).queue_id
    assert exclusive not in queues_for_new_flows(port.state, PathPreference.PREFER_HARDWARE)
    assert queues_for_new_flows(Port([]).state, PathPreference.HARDWARE) == ()
