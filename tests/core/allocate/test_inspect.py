"""Why not the other queues, and where a device may spread new flows."""

from support.engine.allocation import Port, hardware, software

from flowlane.core.allocate import alternatives, queues_for_new_flows
from flowlane.core.model import Queue
from flowlane.core.policy import Balance, PathPreference


def why(port: Port, row: int) -> dict[int, str]:
    return {each.queue_id: each.why for each in alternatives(port.state, row)}


def test_every_queue_is_told_with_its_load() -> None:
    port = Port(hardware(0, 1, 2) + software(10))
    for row in range(6):
        port.arrive(row, rate=100)
    told = alternatives(port.state, 0)
    assert [each.queue_id for each in told] == [0, 1, 2, 10]
    assert {each.load for each in told[:3]} == {200} and told[3].load == 0
    assert [each.why for each in told if each.queue_id == port.place[0]] == [""]
    assert why(port, 0)[10] == "a software queue, and hardware has room"


def test_reasons_within_the_hardware() -> None:
    port = Port(hardware(0, 1, 2, 3))
    port.arrive(0, rate=900, exclusive=True, class_index=1, group=1)
    port.arrive(1, rate=100)
    port.arrive(2, rate=100, class_index=2, group=2)
    port.settle()
    mine = why(port, 1)
    assert mine[port.place[0]] == "the exclusive queue of another flow"
    assert mine[port.place[2]] == "serves flows that are less like it"
    assert set(why(port, 0).values()) == {"", "the flow has an exclusive queue"}


def test_why_not_hardware() -> None:
    port = Port([Queue(0, max_rate=1000), *software(10)])
    port.arrive(0, rate=800)
    port.arrive(1, rate=200)
    port.arrive(2, rate=1, path=PathPreference.SOFTWARE)
    assert why(port, 1)[0] == "hardware is full: 800bit/s and 1 flows are on it"
    assert why(port, 2)[0] == "its class uses software queues"
    port.depart(0)
    assert why(port, 1)[0].startswith("hardware has room again")


def test_other_vms_hardware_and_other_strategies() -> None:
    port = Port(hardware(0, 1), shares=(0.5,))
    port.arrive(0, rate=1, share=0)
    assert sorted(why(port, 0).values()) == ["", "hardware of another VM's share"]
    port = Port(hardware(0, 1), Balance(strategy="round-robin"))
    port.arrive(0, rate=1)
    assert why(port, 0) == {0: "", 1: "strategy round-robin chose another queue"}


def test_new_flows_are_spread_over_queues_that_nobody_has_alone() -> None:
    port = Port(hardware(0, 1, 2) + software(10))
    assert queues_for_new_flows(port.state, PathPreference.HARDWARE) == (0, 1, 2)
    assert queues_for_new_flows(port.state, PathPreference.SOFTWARE) == (10,)
    alone = port.arrive(0, rate=1, exclusive=True).queue_id
    assert alone not in queues_for_new_flows(port.state, PathPreference.PREFER_HARDWARE)
    assert queues_for_new_flows(Port([]).state, PathPreference.HARDWARE) == ()
