"""A limit with the default burst: TCP reaches it, and UDP that sends far more does not pass it, over 10 seconds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own

from flowlane.core.policy import TrafficClass
from flowlane.core.state.meters import size_of

pytestmark = pytest.mark.ovs

LIMIT = 5_000_000
SECONDS = 10
ATTEMPTS = 3
SENDER, RECEIVER = "fltcp-a", "fltcp-b"
TCP, UDP = 5201, 5202


def in_namespace(name: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", name, *command]


@pytest.fixture
def far_end() -> Iterator[str]:
    """Two hosts at a bridge whose meters are as Flowlane sizes them; the round trip takes less than a millisecond."""
    with network_of_its_own(), private_ovs.running(system=True) as ovs:
        try:
            ovs.add_bridge("br0", (SENDER, RECEIVER))
            for number, name in enumerate((SENDER, RECEIVER), start=1):
                subprocess.run(["ip", "netns", "add", name], check=True)
                subprocess.run(["ip", "link", "set", name, "netns", name], check=True)
                subprocess.run(
                    in_namespace(name, "ip", "addr", "add", f"10.8.0.{number}/24", "dev", name), check=True
                )
                subprocess.run(in_namespace(name, "ip", "link", "set", name, "up"), check=True)
            ovs.ofctl("add-flow", "br0", "priority=0,actions=NORMAL")
            for meter_id, match in enumerate((f"tcp,tp_dst={TCP}", f"udp,tp_dst={UDP}"), start=1):
                spec = size_of(TrafficClass("limited", 0, rate_limit=LIMIT), meter_id)
                bands = f"type=drop,rate={spec.rate // 1000},burst_size={spec.burst // 1000}"
                ovs.ofctl("add-meter", "br0", f"meter={meter_id},kbps,burst,bands={bands}")
                ovs.ofctl("add-flow", "br0", f"priority=9,in_port=1,{match},actions=meter:{meter_id},NORMAL")
            yield "10.8.0.2"
        finally:
            for name in (SENDER, RECEIVER):
                subprocess.run(["ip", "netns", "del", name], check=False)


def iperf(*words: str) -> subprocess.Popen[str]:
    command = in_namespace(SENDER, "iperf3", "-J", "-t", str(SECONDS), *words)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> Any:
    output, errors = process.communicate(timeout=3 * SECONDS)
    assert process.returncode == 0, output + errors
    return json.loads(output)["end"]


def test_tcp_reaches_a_limit_and_udp_does_not_pass_it(far_end: str) -> None:
    """A machine that stands still makes TCP slower, never faster: it has three attempts."""
    servers = [
        subprocess.Popen(in_namespace(RECEIVER, "iperf3", "-s", "-p", str(port)), stdout=subprocess.DEVNULL)
        for port in (TCP, UDP)
    ]
    try:
        tcp_words = ("-c", far_end, "-p", str(TCP), "-C", "cubic")
        tcp = iperf(*tcp_words)
        # The control connection of a UDP test is TCP to the same port, which no meter limits.
        udp_words = ("-c", far_end, "-p", str(UDP), "-u", "-l", "1400", "-b", str(4 * LIMIT))
        udp = finished(iperf(*udp_words))
        reached = [finished(tcp)["sum_received"]["bits_per_second"]]
        for _ in range(ATTEMPTS):
            # Where the other end did not report in time iperf3 has no sum.
            udp = udp if "sum" in udp else finished(iperf(*udp_words))
        summary = udp["sum"]
        while reached[-1] < 0.95 * LIMIT and len(reached) < ATTEMPTS:
            reached.append(finished(iperf(*tcp_words))["sum_received"]["bits_per_second"])
    finally:
        for server in servers:
            server.kill()
            server.wait()
    passed = summary["bits_per_second"] * (1 - summary["lost_percent"] / 100) * (1400 + 42) / 1400
    assert max(reached) >= 0.95 * LIMIT, reached
    assert passed <= 1.05 * LIMIT
