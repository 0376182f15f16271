"""What does not fit the hardware queues takes the software path, and is promoted back (M8)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lab.inside.controller import physical
from lab.inside.counters import Count, classes, wait_until
from lab.inside.packet_counts import PacedSender, udp_flows

if TYPE_CHECKING:
    from lab.inside.controller import Controller

    from .conftest import Lab

PORT = 7300
RATE = 1_000_000
SOFTWARE = 2
"""The queue id after two physical ones."""


def test_software_queue_is_used_and_left_again(lab: Lab, controller: Controller) -> None:
    """Four flows of 0.8 Mbit/s do not fit two queues of 1 Mbit/s; alone again, one that overflowed comes back."""
    lab.set_queues(2, software=1, rate=RATE)
    controller.wait_for_queues(physical(2, software=1))

    def queue_kinds() -> dict[tuple[str, int], str]:
        return {key: row["kind"] for key, row in controller.assignments(PORT).items()}

    def packets() -> int:
        return classes().get(SOFTWARE, Count(0, 0)).packets

    def grows() -> bool:
        before = packets()
        time.sleep(2)
        return packets() > before

    with (
        udp_flows(("vm1", "vm2"), 2, PORT, unlimited_buffer=True) as flows,
        PacedSender(flows, 100, size=958) as paced,
    ):
        # What the tests before have sent may still count as load, and more than two be turned away at first.
        assert wait_until(
            lambda: sorted(queue_kinds().values()) == ["physical", "physical", "software", "software"], 90
        ), queue_kinds()
        overflowed = {key for key, kind in queue_kinds().items() if kind == "software"}
        before = packets()
        assert wait_until(lambda: packets() > before + 50, 20), (
            "the kernel's class of the software queue counts them"
        )
        stay = next(flow for flow in flows if flow.key in overflowed)
        paced.keep(stay)
        assert wait_until(lambda: queue_kinds().get(stay.key) == "physical", 60), queue_kinds()
        # What waits in the software queue still leaves by it.
        assert wait_until(lambda: not grows(), 60)
        left, sent = packets(), paced.sent[stay]
        assert wait_until(lambda: paced.sent[stay] > sent + 200, 20)
        assert packets() == left
