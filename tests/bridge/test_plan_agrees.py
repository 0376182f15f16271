"""``flowlane plan`` predicts what a switch does: class, kind of queue and limit, as ofproto/trace shows them.

On tap devices with two hardware and two software queues. Each class has a limit of its own, shared by all its flows,
so that the meter of a traced packet shows the class. The queues are those of the group that the trace
ends at, or the one of a rule without a group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from lab.inside import tap_host
from lab.inside.manager import wait_for

from flowlane import policy as policies
from flowlane.cli.plan import SETTLE, describe
from flowlane.core.flowkey import FRAGMENT, ICMP, ICMPV6, IPV4, IPV6, LAYER2, SCTP, TCP, UDP
from flowlane.simulation.flowspec import FlowSpec, frame_of
from flowlane.simulation.host import Host
from flowlane.simulation.run import simulate

pytestmark = pytest.mark.mininet

POLICY = """version: 1
default: rest
learn-after: 0
classes:
  rest: {limit: 10Mbit/s, limit-scope: class, path: hardware}
  names: {limit: 11Mbit/s, limit-scope: class, path: software}
  groups: {limit: 12Mbit/s, limit-scope: class, path: software}
  web: {limit: 13Mbit/s, limit-scope: class, path: hardware}
  tagged: {limit: 14Mbit/s, limit-scope: class, path: software}
  clock: {limit: 15Mbit/s, limit-scope: class, path: software}
  tunnels: {limit: 16Mbit/s, limit-scope: class, path: hardware}
  voice: {limit: 17Mbit/s, limit-scope: class, path: software}
  six: {limit: 18Mbit/s, limit-scope: class, path: hardware}
  discovery: {limit: 19Mbit/s, limit-scope: class, path: software}
  other: {limit: 20Mbit/s, limit-scope: class, path: software}
rules:
  - {match: {vm: nobody}, class: other}
  - {match: {vlan: 100}, class: tagged}
  - {match: {dscp: ef}, class: voice}
  - {match: {dst: 224.0.0.0/4}, class: groups}
  - {match: {protocol: udp, dst-port: 53}, class: names}
  - {match: {protocol: tcp, dst-port: "8000-8099"}, class: web}
  - {match: {protocol: gre}, class: tunnels}
  - {match: {ethertype: [0x88f7, mpls]}, class: clock}
  - {match: {ethertype: [arp, 0x8035]}, class: discovery}
  - {match: {dst: "fd00::/64"}, class: six}
"""
SOFTWARE = (2, 3)


def ip(text: str) -> bytes:
    return ip_address(text).packed


def flow(kind: int, protocol: int, dst: bytes, *ports: int, **others: Any) -> FlowSpec:
    src = {IPV4: ip("10.9.0.1"), IPV6: ip("fd01::1"), LAYER2: bytes.fromhex("020000000001")}[kind]
    src_port, dst_port = ports or (0, 0)
    return FlowSpec(tap_host.vm_port(1), kind, protocol, src, dst, src_port, dst_port, 1000.0, **others)


FAR4, FAR6, FAR2 = ip("10.9.255.254"), ip("fd01::9"), bytes.fromhex("02000000fffe")
FLOWS: dict[str, FlowSpec] = {
    "tcp": flow(IPV4, TCP, FAR4, 1, 443),
    "tcp in a range": flow(IPV4, TCP, FAR4, 1, 8050),
    "udp": flow(IPV4, UDP, FAR4, 1, 53),
    "sctp": flow(IPV4, SCTP, FAR4, 1, 53),
    "icmp": flow(IPV4, ICMP, FAR4, 8, 0),
    "gre": flow(IPV4, 47, FAR4),
    "dscp": flow(IPV4, UDP, FAR4, 7, 53, dscp=46),
    "multicast": flow(IPV4, UDP, ip("239.1.2.3"), 1, 2),
    "broadcast": flow(IPV4, UDP, ip("255.255.255.255"), 68, 67),
    "tagged": flow(IPV4, TCP, FAR4, 1, 8050, vlan=100, pcp=3),
    "another tag": flow(IPV4, TCP, FAR4, 1, 8050, vlan=101),
    "priority tag": flow(IPV4, UDP, FAR4, 1, 53, vlan=0, pcp=5),
    "tagged multicast": flow(IPV4, UDP, ip("239.1.2.3"), 1, 2, vlan=100),
    "tcp fragments": flow(IPV4, TCP, FAR4),
    "udp fragments": flow(IPV4, UDP, FAR4),
    "sctp fragments": flow(IPV4, SCTP, FAR4),
    "icmp fragments": flow(IPV4, ICMP, FAR4, 0, 0),
    "udp multicast fragments": flow(IPV4, UDP, ip("239.1.2.3")),
    "tcp over IPv6": flow(IPV6, TCP, FAR6, 1, 443),
    "udp over IPv6": flow(IPV6, UDP, FAR6, 1, 53),
    "by prefix": flow(IPV6, TCP, ip("fd00::9"), 1, 443),
    "IPv6 fragments": flow(IPV6, FRAGMENT, FAR6),
    "neighbour solicitation": flow(IPV6, ICMPV6, ip("ff02::1:ff00:9"), 135, 0),
    "IPv6 multicast": flow(IPV6, UDP, ip("ff02::fb"), 5353, 5353),
    "ARP": flow(LAYER2, 0, b"\xff" * 6, 0x806, 0),
    "ARP reply": flow(LAYER2, 0, FAR2, 0x806, 0),
    "RARP": flow(LAYER2, 0, b"\xff" * 6, 0x8035, 0),
    "PTP": flow(LAYER2, 0, FAR2, 0x88F7, 0),
    "MPLS": flow(LAYER2, 0, FAR2, 0x8847, 0),
    "QinQ": flow(LAYER2, 0, FAR2, 0x8100, 0, vlan=100),
    "unknown ethertype": flow(LAYER2, 0, FAR2, 0x88B5, 0),
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tap_host.TapHost]:
    with tap_host.running(tmp_path_factory.mktemp("plan"), POLICY) as running:
        running.ovs.set_queues(tap_host.UPLINK, {number: {} for number in range(4)}, software=SOFTWARE)
        wait_for(lambda: kinds(running) == {"physical": 2, "software": 2}, 10, "the kinds of queues")
        wait_for(lambda: tap_host.is_quiet(running), 20)
        yield running


def kinds(host: tap_host.TapHost) -> dict[str, int]:
    queues = host.manager.rest(f"/v1/devices/{tap_host.DPID:016x}/queues")["items"]
    found = [queue["kind"] for queue in queues if queue["port"] == tap_host.UPLINK]
    return {kind: found.count(kind) for kind in set(found)}


def planned(spec: FlowSpec) -> tuple[int, str]:
    """Rate of the limit, and kind of the queue, as ``flowlane plan`` prints them."""
    world, _ = simulate(policies.load(POLICY), Host((spec.vm,), 2, 2, 10**9), [spec], SETTLE)
    (assignment,) = describe(world)["assignments"]
    return assignment["limit"], assignment["kind"]


def traced(host: tap_host.TapHost, spec: FlowSpec) -> tuple[int, str]:
    lines = host.ovs.trace(tap_host.BRIDGE, "in_port=1", frame_of(spec, 1))
    meters = dict(re.findall(r"meter=(\d+) kbps.*\n.*rate=(\d+)", host.meters()))
    rates = {int(meters[number]) * 1000 for number in re.findall(r"\bmeter:(\d+)", lines)}
    groups = re.findall(r"\bgroup:(\d+)", lines)
    buckets = [line for line in host.groups() for group in groups if f"group_id={group}," in line]
    registers = re.findall(r"set_field:(\w+)->reg1", "".join(buckets) or lines)
    queues = {int(register, 16) - 1 for register in registers}
    (kind,) = {"software" if queue in SOFTWARE else "physical" for queue in queues}
    assert len(rates) == 1, lines
    return rates.pop(), kind


@pytest.mark.parametrize("name", FLOWS)
def test_plan_and_switch_agree(host: tap_host.TapHost, name: str) -> None:
    assert planned(FLOWS[name]) == traced(host, FLOWS[name])


def test_the_flows_are_of_many_classes() -> None:
    assert len({planned(spec) for spec in FLOWS.values()}) > 9
