"""Without a controller: an OpenFlow queue is a class of the kernel's HTB and a transmit queue of the NIC at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from labtools.counters import BRIDGE, UPLINK_PORT, ofctl, packets_since, read_all, settle
from labtools.namespaces import send_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Lab

FIRST_PORT = 7000


@pytest.fixture
def queue_flows(lab: Lab) -> Iterator[None]:
    """UDP to port 7000+k goes to queue k, whether the uplink has it or not."""
    for queue in range(9):
        match = f"priority=9,in_port=1,udp,tp_dst={FIRST_PORT + queue}"
        ofctl("add-flow", BRIDGE, f"{match},actions=set_queue:{queue},output:{UPLINK_PORT}")
    yield
    ofctl("del-flows", BRIDGE)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_every_packet_leaves_by_exactly_its_queue(lab: Lab, queue_flows: None, count: int) -> None:
    lab.set_queues(count)
    expected = {queue: 10 * (queue + 1) for queue in range(count)}
    before = read_all()
    send_counts("vm1", [(FIRST_PORT + queue, packets) for queue, packets in expected.items()])
    settle(lambda: set(map(str, packets_since(before).values())) == {str(expected)})
    assert packets_since(before) == {"hardware": expected, "class": expected, "openflow": expected}


def test_a_queue_that_is_not_there_means_the_first_one_without_an_error(lab: Lab, queue_flows: None) -> None:
    """Why a controller must check queue ids itself: the switch takes the rule and the packets go astray."""
    lab.set_queues(4)
    before = read_all()
    send_counts("vm1", [(FIRST_PORT + 8, 25)])
    expected = {0: 25, 1: 0, 2: 0, 3: 0}
    settle(lambda: packets_since(before)["class"] == expected)
    assert packets_since(before) == {"hardware": expected, "class": expected, "openflow": expected}
