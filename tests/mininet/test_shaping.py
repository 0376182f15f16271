"""The model of a port's queues against the kernel's HTB, as Open vSwitch sets it up.

Packets are sent from a tap device whose QoS row has the queues; a socket's priority is the class, as ``set_queue``
makes it (net/sched/sch_htb.c, ``htb_classify``). The kernel's own counters of each class are what was transmitted.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from lab.inside import private_ovs

from flowlane.simulation.shaping import Rates, transmitted

BRIDGE, PORT = "fls-br", "fls-up"
MBIT = 1_000_000
FRAME = 1400
SECONDS = 5.0
WARMING = 1.5
"""Seconds before bytes are counted: the classes' bursts are used up then."""


@pytest.fixture
def ovs() -> Iterator[private_ovs.PrivateOvs]:
    with private_ovs.running(system=True) as switch:
        switch.add_bridge(BRIDGE, (PORT,))
        subprocess.run(["ip", "link", "set", PORT, "up"], check=True)
        yield switch


def counted() -> dict[int, int]:
    """Return queue id -> bytes that the kernel has transmitted of its class."""
    text = subprocess.run(
        ["tc", "-s", "class", "show", "dev", PORT], check=True, capture_output=True, text=True
    ).stdout
    found = re.findall(r"class htb 1:([0-9a-f]+) .*\n Sent (\d+) bytes", text)
    return {int(minor, 16) - 1: int(count) for minor, count in found if minor != "fffe"}


def offer(rates: list[float]) -> tuple[list[float], list[float]]:
    """Send to each queue at a rate (bit/s); return what was offered and what was transmitted, in bit/s."""
    senders = []
    for queue_id, _ in enumerate(rates):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 0x10000 + queue_id + 1)
        sender.bind((PORT, 0))
        sender.setblocking(False)  # A queue that is full drops, and does not hold the sender back.
        senders.append(sender)
    frame = bytes.fromhex("0200000000fe02000000000188b5") + bytes(FRAME - 14)
    tried = [0] * len(rates)
    marks: list[tuple[float, list[int], dict[int, int]]] = []
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < WARMING + SECONDS:
        for place, (sender, rate) in enumerate(zip(senders, rates, strict=True)):
            due = int(passed * rate / (8 * FRAME))
            for _ in range(min(due - tried[place], 200)):
                with suppress(OSError):
                    sender.send(frame)
            tried[place] = due
        if not marks and passed >= WARMING:
            marks.append((passed, list(tried), counted()))
        time.sleep(0.005)
    marks.append((time.monotonic() - begin, list(tried), counted()))
    for sender in senders:
        sender.close()
    (begun, tried_first, first), (ended, tried_last, last) = marks
    bits = 8 / (ended - begun)
    offered = [(b - a) * FRAME * bits for a, b in zip(tried_first, tried_last, strict=True)]
    return offered, [(last[queue_id] - first[queue_id]) * bits for queue_id, _ in enumerate(rates)]


@pytest.mark.parametrize(
    ("rates", "queues"),
    [
        ([12, 12, 1], [Rates(), Rates(), Rates()]),
        ([12, 12], [Rates(highest=2 * MBIT), Rates(highest=6 * MBIT)]),
        ([12, 12, 12], [Rates(5 * MBIT), Rates(1 * MBIT), Rates()]),
    ],
    ids=["equal", "max-rates", "min-rates"],
)
def test_the_kernel_shares_a_port_as_the_model_does(
    ovs: private_ovs.PrivateOvs, rates: list[float], queues: list[Rates]
) -> None:
    settings = {
        number: {
            name: str(value)
            for name, value in (("min-rate", rate.lowest), ("max-rate", rate.highest))
            if value is not None
        }
        for number, rate in enumerate(queues)
    }
    port_rate = 10 * MBIT
    ovs.set_queues(PORT, settings, max_rate=port_rate)
    offered, sent = offer([rate * MBIT for rate in rates])
    assert sent == pytest.approx(transmitted(offered, queues, port_rate), rel=0.1)
