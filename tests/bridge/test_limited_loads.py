"""Flows that send far more than their limit, on a real Open vSwitch: they count as what its meter lets pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import ether, ipv4, mac, udp
from support.ovs.hosts import Host, host

pytestmark = pytest.mark.ovs

BRIDGE, DPID, VM, UPLINK = "fll-br", 0x92, "fll-vm1", "fll-up"
LIMIT, PORT_RATE = 1_000_000, 10_000_000
POLICY = """
version: 1
default: other
classes:
  flood: {{limit: 1Mbit/s, limit-scope: {scope}, alike: [qos]}}
  other: {{alike: [qos]}}
rules:
  - {{match: {{protocol: udp, dst-port: 5000}}, class: flood}}
pins: {{idle-timeout: 60s}}
"""
FLOOD = (2000, 2001)
OTHERS = tuple(range(3000, 3008))
BURST = 60
"""Frames of the flood between two packets of each other flow."""


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


def bridged(taps: PrivateOvs, running: Host) -> None:
    """A VM, and an uplink of 10 Mbit/s with two hardware queues and a software queue."""
    running.vm_and_uplink(BRIDGE, DPID, VM, UPLINK)
    taps.set_queues(UPLINK, {number: {} for number in range(3)}, software=(2,), max_rate=PORT_RATE)
    running.programmed()
    running.wait(lambda: len(queues(running)) == 3, "the uplink has no queues")


def queues(running: Host) -> list[Any]:
    return running.rest(f"/v1/devices/{DPID:016x}/queues")["items"]  # type: ignore[no-any-return]


def packet(source: int, destination: int, size: int) -> bytes:
    return ether(mac(9), mac(1), 0x800, ipv4(1, 9, 17, udp(source, destination, bytes(size))))


def send(running: Host, seconds: float) -> None:
    """Send the flood as fast as the machine can up to some 60 Mbit/s, and the other flows beside it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        flood = [packet(source, 5000, 1400) for source in FLOOD for _ in range(BURST // len(FLOOD))]
        running.send(VM, *flood, *(packet(source, 53, 200) for source in OTHERS))
        time.sleep(0.01)


@pytest.mark.parametrize("scope", ["flow", "class"])
def test_a_flood_under_a_limit_loads_its_queue_with_what_passes(
    taps: PrivateOvs, tmp_path: Path, scope: str
) -> None:
    with host(taps, tmp_path, POLICY.format(scope=scope)) as running:
        bridged(taps, running)

        def is_measured() -> bool:
            send(running, 1.0)
            flood = running.flows(dst_port=5000)
            return len(flood) == 2 and sum(flow["rate"] for flow in flood) > 1.2 * PORT_RATE

        running.wait(is_measured, "the flood is not measured as it is sent", 40)
        send(running, 6.0)
        limit = LIMIT * (len(FLOOD) if scope == "flow" else 1)

        def counts_as_what_passes() -> bool:
            """Rates and the meter's share are of different seconds, and a busy machine does not send evenly."""
            send(running, 1.0)
            flood = running.flows(dst_port=5000)
            offered, passed = (sum(flow[name] for flow in flood) for name in ("rate", "passed_rate"))
            return bool(offered > PORT_RATE and 0.5 * limit <= passed <= 1.25 * limit)

        running.wait(counts_as_what_passes, "it sends more than the port carries and counts as much", 20)
        flood = running.flows(dst_port=5000)
        others = running.flows(dst_port=53)
        assert len(others) == len(OTHERS)
        assert {flow["assignments"][0]["kind"] for flow in (*others, *flood)} == {"physical"}
        assert sum(queue["load"] for queue in queues(running)) < 0.5 * PORT_RATE
