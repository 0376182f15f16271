"""Limits hold on the wire: L2 bytes (header and payload, without FCS), over 5 s, within 5 %."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from labtools.counters import Count, hardware_queues, settle
from labtools.traffic import far_end_server, iperf_result, start_iperf

if TYPE_CHECKING:
    from labtools.controller import Controller

    from .conftest import Lab

WINDOW_S = 5.0
SENT_BYTES = Path("/sys/class/net/pf0/statistics/tx_bytes")
UDP_HEADERS = 14 + 20 + 8


def wire_rate(seconds: float) -> float:
    """Bit/s that the uplink sends, over a window that is read without starting a program."""
    began, first = time.monotonic(), int(SENT_BYTES.read_text())
    time.sleep(seconds)
    last, ended = int(SENT_BYTES.read_text()), time.monotonic()
    return (last - first) * 8 / (ended - began)


@pytest.mark.parametrize(
    ("port", "payload", "limit"),
    [(6001, 1514 - UDP_HEADERS, 8_000_000), (6002, 64, 1_000_000)],
    ids=["frames of 1514 bytes", "frames of 106 bytes"],
)
def test_a_limit_holds(lab: Lab, controller: Controller, port: int, payload: int, limit: int) -> None:
    offered = str(int(1.6 * limit * payload / (payload + UDP_HEADERS)))
    with far_end_server(port):
        client = start_iperf("vm1", port, "-u", "-b", offered, "-l", str(payload), "-t", "14")
        assert settle(lambda: any(row["meter"] for row in controller.assignments(port).values()), 10)
        time.sleep(2)
        before = hardware_queues()
        rate = wire_rate(WINDOW_S)
        placed = controller.assignments(port)
        after = hardware_queues()
        iperf_result(client)
    assert rate == pytest.approx(limit, rel=0.05)
    (queue,) = {row["queue_id"] for row in placed.values()}
    others = [after[k].packets - before.get(k, Count(0, 0)).packets for k in after if k != queue]
    assert after[queue].packets - before[queue].packets > 100
    assert max(others) < 10, "only the limited flow's queue carried it"


def test_tcp_stays_below_its_limit(lab: Lab, controller: Controller) -> None:
    """TCP backs off when the meter drops, so it may stay below; segmentation offload must not lift it above."""
    with far_end_server(6001):
        client = start_iperf("vm2", 6001, "-t", "12")
        assert settle(lambda: any(row["meter"] for row in controller.assignments(6001).values()), 10)
        time.sleep(2)
        rate = wire_rate(WINDOW_S)
        iperf_result(client)
    assert 0.4 * 8e6 < rate < 1.05 * 8e6
