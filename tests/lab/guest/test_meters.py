"""Limits hold on the wire: L2 bytes (header and payload, without FCS), over 5 s, within 5 %."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from labtools.counters import Count, hardware_queues, settle
from labtools.traffic import Paced, far_end_server, iperf_result, start_iperf, udp_flows

if TYPE_CHECKING:
    from labtools.controller import Controller

    from .conftest import Lab

WINDOW_S = 5.0
SENT_BYTES = Path("/sys/class/net/pf0/statistics/tx_bytes")
UDP_HEADERS = 14 + 20 + 8
LARGE, SMALL = 6001, 6002
"""Ports that the tests' policy limits; SMALL's flows are meant for small packets."""


def wire_rate(seconds: float) -> float:
    """Bit/s that the uplink sends, over a window that is read without starting a program."""
    began, first = time.monotonic(), int(SENT_BYTES.read_text())
    time.sleep(seconds)
    last, ended = int(SENT_BYTES.read_text()), time.monotonic()
    return (last - first) * 8 / (ended - began)


@pytest.mark.parametrize(
    ("port", "frame", "limit"),
    [(LARGE, 1514, 2_000_000), (SMALL, 106, 250_000)],
    ids=["1514 bytes", "106 bytes"],
)
def test_a_limit_holds(lab: Lab, controller: Controller, port: int, frame: int, limit: int) -> None:
    """Never more than the limit; and the limit itself in one of three windows at least.

    When an emulated CPU stands still for longer than the meter's burst of 0.1 s, what could have been sent in
    that time is lost, and the rate is honestly lower.
    """
    offered = 2 * limit / (8 * frame)
    with udp_flows(("vm1",), 1, port) as flows, Paced(flows, offered, size=frame - UDP_HEADERS) as paced:
        assert settle(lambda: controller.assignments(port).get(flows[0].key, {}).get("meter"), 20)
        time.sleep(3)
        rates = []
        for _ in range(3):
            before, sent = hardware_queues(), paced.sent[flows[0]]
            rates.append(wire_rate(WINDOW_S))
            assert rates[-1] < 1.05 * limit
            assert (paced.sent[flows[0]] - sent) * frame * 8 / WINDOW_S > 1.3 * limit, (
                "too little was offered"
            )
            if rates[-1] > 0.95 * limit:
                break
        assert rates[-1] == pytest.approx(limit, rel=0.05), rates
        queue = controller.assignments(port)[flows[0].key]["queue_id"]
        carried = {
            k: row.packets - before.get(k, Count(0, 0)).packets for k, row in hardware_queues().items()
        }
    assert carried.pop(queue) > 0.9 * limit * WINDOW_S / 8 / frame
    assert max(carried.values()) < 10, "only the limited flow's queue carried it"


def test_tcp_stays_below_its_limit(lab: Lab, controller: Controller) -> None:
    """TCP backs off when the meter drops, so it may stay below; segmentation offload must not lift it above."""
    limit = 2_000_000
    with far_end_server(LARGE):
        client = start_iperf("vm2", LARGE, "-t", "20")
        # iperf3 has a second connection, for control.
        assert settle(
            lambda: sum(bool(row["meter"]) for row in controller.assignments(LARGE).values()) >= 2, 20
        )
        time.sleep(4)
        rate = wire_rate(WINDOW_S)
        iperf_result(client)
    assert 0.3 * limit < rate < 1.05 * limit
