"""A limit with the default burst: TCP reaches it, and UDP that sends far more does not pass it, over 10 seconds."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own
from support.ovs.delay import delayed

from flowlane.core.policy import TrafficClass
from flowlane.core.state.meters import size_of

pytestmark = pytest.mark.ovs

LIMIT = 5_000_000
SECONDS = 10
ATTEMPTS = 3
SENDER, RECEIVER, FAR = "fltcp-a", "fltcp-b", "fltcp-c"
CABLE = ("fltcp-d", "fltcp-e")
ADDRESSES = {SENDER: "10.8.0.1", RECEIVER: "10.8.0.2", FAR: "10.8.0.3"}
TCP, UDP, TCP_FAR = 5201, 5202, 5203
ROUND_TRIP_S = 0.02
"""Of packets to ``FAR``; to ``RECEIVER`` it takes less than a millisecond."""


def namespace(name: str) -> str:
    """The namespace of a host: their names are those of the whole machine, on which others may run this test too."""
    return f"{name}-{os.getpid()}"


def in_namespace(name: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", namespace(name), *command]


def attach(name: str, address: str) -> None:
    """Give a port a namespace of its own, as a host that is attached to it."""
    subprocess.run(["ip", "netns", "add", namespace(name)], check=True)
    subprocess.run(["ip", "link", "set", name, "netns", namespace(name)], check=True)
    subprocess.run(in_namespace(name, "ip", "addr", "add", f"{address}/24", "dev", name), check=True)
    subprocess.run(in_namespace(name, "ip", "link", "set", name, "up"), check=True)


@pytest.fixture
def hosts() -> Iterator[None]:
    """Three hosts, one of them far away, at a bridge whose meters are as Flowlane sizes them."""
    with network_of_its_own(), private_ovs.running(system=True) as ovs, ExitStack() as stack:
        ovs.add_bridge("br0", (SENDER, RECEIVER, CABLE[0]))
        ovs.add_bridge("br1", (FAR, CABLE[1]))
        for name, address in ADDRESSES.items():
            stack.callback(subprocess.run, ["ip", "netns", "del", namespace(name)], check=False)
            attach(name, address)
        for name in CABLE:
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        for bridge in ("br0", "br1"):
            ovs.ofctl("add-flow", bridge, "priority=0,actions=NORMAL")
        matches = (f"tcp,tp_dst={TCP}", f"udp,tp_dst={UDP}", f"tcp,tp_dst={TCP_FAR}")
        for meter_id, match in enumerate(matches, start=1):
            spec = size_of(TrafficClass("limited", 0, rate_limit=LIMIT), meter_id)
            bands = f"type=drop,rate={spec.rate // 1000},burst_size={spec.burst // 1000}"
            ovs.ofctl("add-meter", "br0", f"meter={meter_id},kbps,burst,bands={bands}")
            ovs.ofctl("add-flow", "br0", f"priority=9,in_port=1,{match},actions=meter:{meter_id},NORMAL")
        stack.enter_context(delayed(*CABLE, ROUND_TRIP_S / 2))
        yield


def round_trip(address: str) -> float:
    """Return the median in s of five pings."""
    words = ("ping", "-c", "6", "-i", "0.2", address)
    output = subprocess.run(in_namespace(SENDER, *words), capture_output=True, text=True, check=True).stdout
    times = sorted(float(found) for found in re.findall(r"icmp_seq=[2-9].*time=([\d.]+)", output))
    return times[len(times) // 2] / 1000


def iperf(*words: str) -> subprocess.Popen[str]:
    command = in_namespace(SENDER, "iperf3", "-J", "-t", str(SECONDS), *words)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> Any:
    output, errors = process.communicate(timeout=3 * SECONDS)
    assert process.returncode == 0, output + errors
    return json.loads(output)["end"]


def test_tcp_reaches_a_limit_near_and_far_and_udp_does_not_pass_it(hosts: None) -> None:
    """A machine that stands still makes TCP slower, never faster: it has three attempts."""
    places = {TCP: RECEIVER, UDP: RECEIVER, TCP_FAR: FAR}
    servers = [
        subprocess.Popen(in_namespace(name, "iperf3", "-s", "-p", str(port)), stdout=subprocess.DEVNULL)
        for port, name in places.items()
    ]
    try:
        near, far = (round_trip(ADDRESSES[name]) for name in (RECEIVER, FAR))
        assert near < ROUND_TRIP_S / 2 < ROUND_TRIP_S <= far < 2 * ROUND_TRIP_S
        words = {port: ["-c", ADDRESSES[name], "-p", str(port)] for port, name in places.items()}
        words[TCP] += ("-C", "cubic")
        words[TCP_FAR] += ("-C", "cubic")
        # The control connection of a UDP test is TCP to the same port, which no meter limits.
        words[UDP] += ("-u", "-l", "1400", "-b", str(4 * LIMIT))
        running = {port: iperf(*of_port) for port, of_port in words.items()}
        ends = {port: finished(process) for port, process in running.items()}
        # Where the other end did not report in time iperf3 has no sum.
        summary = (ends[UDP] if "sum" in ends[UDP] else finished(iperf(*words[UDP])))["sum"]
        reached = {port: [received(ends[port])] for port in (TCP, TCP_FAR)}
        for _ in range(ATTEMPTS - 1):
            slow = [port for port, rates in reached.items() if max(rates) < 0.95 * LIMIT]
            again = {port: iperf(*words[port]) for port in slow}
            for port, process in again.items():
                reached[port].append(received(finished(process)))
    finally:
        for server in servers:
            server.kill()
            server.wait()
    passed = summary["bits_per_second"] * (1 - summary["lost_percent"] / 100) * (1400 + 42) / 1400
    assert min(max(rates) for rates in reached.values()) >= 0.95 * LIMIT, reached
    assert passed <= 1.05 * LIMIT


def received(end: Any) -> float:
    """Return the payload in bit/s that the receiver of a TCP test got."""
    return float(end["sum_received"]["bits_per_second"])
