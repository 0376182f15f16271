"""By hand, past any controller: an OpenFlow queue is a class of the kernel's HTB and a transmit queue at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab.inside.counters import exactly
from lab.inside.namespaces import FIRST_PORT, send_by_queue, send_counts

if TYPE_CHECKING:
    from .conftest import Lab


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_every_packet_leaves_by_exactly_its_queue(lab: Lab, queue_flows: None, count: int) -> None:
    lab.set_queues(count)
    with exactly() as expected:
        expected.update(send_by_queue("vm1", count))


def test_a_queue_that_is_not_there_means_the_first_one_without_an_error(lab: Lab, queue_flows: None) -> None:
    """Why a controller must check queue ids itself: the switch takes the rule and the packets go astray."""
    lab.set_queues(4)
    with exactly() as expected:
        send_counts("vm1", [(FIRST_PORT + 8, 25)])
        expected[0] = 25
