"""Flows that become heavy together, under the built-in policy, on a real Open vSwitch: no herd on one queue.

Forty equal flows of a heavy class once met on one of eight queues for a minute, since seven queues were given to one
flow each, and changes of class moved any number of flows at once. Which queue a flow has is read by ``ofproto/trace``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import ether, ipv4, mac, udp
from support.ovs.hosts import Host, host

from flowlane import policy

pytestmark = pytest.mark.ovs

BRIDGE, DPID, VM, UPLINK = "flh-br", 0x93, "flh-vm1", "flh-up"
QUEUES, PORT_RATE = 8, 6_000_000
FLOWS = tuple(range(4000, 4040))
SIZE = 1400
"""Bytes of data in a packet; 50 a second are 560 kbit/s for each flow, more than a quarter of 750 kbit/s."""


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


def bridged(taps: PrivateOvs, running: Host) -> None:
    """A VM, and an uplink of 6 Mbit/s with eight queues."""
    running.vm_and_uplink(BRIDGE, DPID, VM, UPLINK)
    taps.set_queues(UPLINK, {number: {} for number in range(QUEUES)}, max_rate=PORT_RATE)
    running.programmed()
    queues = f"/v1/devices/{DPID:016x}/queues"
    running.wait(lambda: len(running.rest(queues)["items"]) == QUEUES, "the uplink has no queues")


def packet(source: int) -> bytes:
    return ether(mac(9), mac(1), 0x800, ipv4(1, 9, 17, udp(source, 53, bytes(SIZE))))


def send(running: Host, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        running.send(VM, *map(packet, FLOWS))
        time.sleep(0.02)


def queues_by_rest(running: Host) -> Counter[int]:
    return Counter(flow["assignments"][0]["queue_id"] for flow in running.flows(dst_port=53))


def test_forty_flows_that_become_heavy_together_stay_spread_over_the_queues(
    taps: PrivateOvs, tmp_path: Path
) -> None:
    with host(taps, tmp_path, policy.default_text()) as running:
        bridged(taps, running)
        heavy = 0
        for _ in range(15):
            send(running, 1.0)
            spread = queues_by_rest(running)
            assert not spread or max(spread.values()) <= 12, "a herd on one queue"
            heavy = max(heavy, sum(flow["class"] == "heavy" for flow in running.flows(dst_port=53)))
        assert heavy > 20, "they are heavy, most of them"
        send(running, 5.0)
        traced = Counter(running.queue(BRIDGE, VM, packet(source)) for source in FLOWS)
        assert len(traced) == QUEUES and max(traced.values()) <= 8, "five flows on each queue are even"
