"""Limits hold on the wire: L2 bytes (header and payload, without FCS), over 5 s, within 5 %."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from lab.inside.counters import BRIDGE, Count, hardware_queues, ofctl, wait_until
from lab.inside.packet_counts import PacedSender, far_end_server, start_iperf, udp_flows

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.inside.controller import Controller

    from .conftest import Lab

WINDOW_S = 5.0
WINDOWS = 8
SENT_BYTES = Path("/sys/class/net/pf0/statistics/tx_bytes")
UDP_HEADERS = 14 + 20 + 8
LARGE, SMALL = 6001, 6002
"""Ports that the tests' policy limits; SMALL's flows are meant for small packets."""


class Window(NamedTuple):
    """What was seen in one window: rates in bit/s, packets by hardware queue, the flow's queues before and after."""

    rate: float
    offered: float
    packets: dict[int, int]
    places: set[int]


def wire_rate(seconds: float) -> float:
    """Bit/s that the uplink sends, over a window that is read without starting a program; never too high."""
    began, first = time.monotonic(), int(SENT_BYTES.read_text())
    time.sleep(seconds)
    last, ended = int(SENT_BYTES.read_text()), time.monotonic()
    return (last - first) * 8 / (ended - began)


def meter_of(row: dict[str, Any]) -> int:
    """Id of the meter of an assignment, 0 when it has none."""
    return int((row.get("meter") or {"id": 0})["id"])


def dropped(meter: int) -> int:
    """Packets that a meter has dropped, as the switch says: from the first on its burst is spent."""
    shown = re.search(r"0: packet_count:(\d+)", ofctl("meter-stats", BRIDGE, f"meter={meter}"))
    return int(shown[1]) if shown else 0


def watch(place: Callable[[], int], sent: Callable[[], int], frame: int) -> Window:
    first, before, began, offered = place(), hardware_queues(), time.monotonic(), sent()
    rate = wire_rate(WINDOW_S)
    offered, lasted, after = sent() - offered, time.monotonic() - began, hardware_queues()
    packets = {queue: row.packets - before.get(queue, Count(0, 0)).packets for queue, row in after.items()}
    return Window(rate, offered * frame * 8 / lasted, packets, {first, place()})


@pytest.mark.parametrize(
    ("port", "frame", "limit"),
    [(LARGE, 1514, 2_000_000), (SMALL, 106, 250_000)],
    ids=["1514 bytes", "106 bytes"],
)
def test_a_limit_holds(lab: Lab, controller: Controller, port: int, frame: int, limit: int) -> None:
    """Never more than the limit; and the limit itself in a window in which enough was offered without a pause.

    An emulated CPU that others share may stand still for longer than the meter's burst. What could have been sent
    in that time is lost, and the rate is honestly lower: such a window says nothing of the lower bound, as one in
    which the flow was moved says nothing of its queue.
    """
    seen: list[Window] = []
    with udp_flows(("vm1",), 1, port) as flows:
        (flow,) = flows

        def meter() -> int:
            return meter_of(controller.assignments(port).get(flow.key, {}))

        def queue_id() -> int:
            return int(controller.assignments(port)[flow.key]["queue_id"])

        with PacedSender(flows, 1.5 * limit / (8 * frame), size=frame - UDP_HEADERS) as paced:
            assert wait_until(lambda: meter() > 0, 60)
            assert wait_until(lambda: dropped(meter()) > 0, 60)
            while len(seen) < WINDOWS:
                window = watch(queue_id, lambda: paced.sent[flow], frame)
                seen.append(window)
                assert window.rate < 1.05 * limit, seen
                if window.rate > 0.95 * limit and window.offered > 1.2 * limit and len(window.places) == 1:
                    break
            else:
                pytest.fail(f"no window with the limit itself: {seen}")
    (queue,) = seen[-1].places
    others = sum(seen[-1].packets.values()) - seen[-1].packets[queue]
    assert seen[-1].packets[queue] * 8 * frame > 0.95 * limit * WINDOW_S
    # The VM's ARP is a flow of its own, which may have another queue: a request or two in a window.
    assert others <= 2, f"only the limited flow's queue carries it: {seen[-1]}"


def test_tcp_stays_below_its_limit(lab: Lab, controller: Controller) -> None:
    """TCP backs off when the meter drops, so it may stay below; segmentation offload must not lift it above."""
    limit = 2_000_000

    def metered() -> list[int]:
        return [number for row in controller.assignments(LARGE).values() if (number := meter_of(row))]

    with far_end_server(LARGE):
        client = start_iperf("vm2", LARGE, "-t", "120")
        try:
            # iperf3 has a second connection, for control.
            assert wait_until(lambda: len(metered()) >= 2, 60)
            assert wait_until(lambda: any(dropped(meter) for meter in metered()), 60)
            rate = wire_rate(WINDOW_S)
        finally:
            client.kill()
            client.communicate()
    assert 0.9 * limit < rate < 1.05 * limit
