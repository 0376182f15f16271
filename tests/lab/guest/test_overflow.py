"""What does not fit the hardware queues takes the software road, and comes back (M8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labtools.controller import physical
from labtools.counters import Count, classes, settle
from labtools.traffic import Paced, udp_flows

if TYPE_CHECKING:
    from labtools.controller import Controller

    from .conftest import Lab

PORT = 7300
RATE = 2_000_000
SOFTWARE = 2
"""The queue id after two physical ones."""


def test_software_queue_is_used_and_left_again(lab: Lab, controller: Controller) -> None:
    """Three flows fill the uplink, so that a fourth goes to the software queue; when they end, it comes back."""
    lab.set_queues(2, software=1, rate=RATE)
    controller.wait_for_queues(physical(2, software=1))

    def roads() -> dict[tuple[str, int], str]:
        return {key: row["kind"] for key, row in controller.assignments(PORT).items()}

    def packets() -> int:
        return classes().get(SOFTWARE, Count(0, 0)).packets

    def load() -> int:
        return sum(row["rate"] for row in controller.assignments(PORT).values())

    with udp_flows(("vm1", "vm2"), 2, PORT) as flows, Paced(flows[:3], 100, size=958) as paced:
        late = flows[3]
        assert settle(lambda: load() > 0.92 * RATE, 60), load()
        assert set(roads().values()) == {"physical"}
        paced.add(late)
        assert settle(lambda: roads().get(late.key) == "software", 20), roads()
        before = packets()
        assert settle(lambda: packets() > before + 50, 20), (
            "the kernel's class of the software queue counts them"
        )
        paced.keep(late)
        assert settle(lambda: roads().get(late.key) == "physical", 60), roads()
        left, sent = packets(), paced.sent[late]
        assert settle(lambda: paced.sent[late] > sent + 200, 20)
        assert packets() <= left + 1
