"""Fragments under a limit on ports: they have none, and are under it all the same, old flows and new ones alike.

Judged by the counters of the switch's meter, and by its trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from lab.inside.manager import launched, wait_for
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import ether, mac, udp
from support.ovs.hosts import Host
from support.ovs.kinds import FAR, KINDS, ipv4
from support.ovs.twins import uplink, vm

pytestmark = pytest.mark.ovs

BRIDGE, DPID, PORT = "frag", 0x93, "frag-vm1"
POLICY = """
version: 1
classes:
  slow: {limit: 8Mbit/s, limit-scope: class}
rules:
  - {name: names, match: {protocol: udp, dst-port: 53}, class: slow}
"""
LIMITED = ("UDP fragments", "IPv6 fragments")
FREE = ("TCP fragments", "ICMP fragments", "GRE")
"""No rule matches these: TCP's fragments are those of another protocol than the rule's."""
NAMES = 53
WHOLE = ether(FAR, mac(1), 0x800, ipv4(1, 17, udp(5, NAMES)))
TIMES = 10
"""How often each kind is sent: the first ones are of new flows, the last ones of old ones."""


@pytest.fixture(params=[(), ("--nolearn",)], ids=["learned entries", "pins"])
def host(
    request: pytest.FixtureRequest, ovs: PrivateOvs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(POLICY)
    options = (f"--ovsdb={ovs.database}", f"--policy={path}", *request.param)
    with launched(*options) as manager:
        running = Host(ovs, options, manager.openflow_port, manager)
        ovs.add_bridge(BRIDGE, (), dpid=DPID)
        try:
            vm(ovs, BRIDGE, PORT, 1, macs=mac(1).hex(":"))
            uplink(ovs, BRIDGE, "frag-up", 9)
            ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{manager.openflow_port}")
            running.wait(lambda: meters(running), "the class has no meter")
            running.wait(lambda: is_limited(running, WHOLE), "the rules are not there")
            yield running
        finally:
            ovs.vsctl("del-br", BRIDGE)


def meters(host: Host) -> dict[str, int]:
    """The meters of limits, and the packets that came to each."""
    text = host.ovs.ofctl("meter-stats", BRIDGE, version="OpenFlow15")
    found = re.findall(r"meter[:=](\d+) .*?packet_in_count:(\d+)", text, re.S)
    return {meter: int(packets) for meter, packets in found}


def is_limited(host: Host, frame: bytes) -> bool:
    return "meter:" in host.trace(BRIDGE, PORT, frame).rsplit("Datapath actions:", 1)[0]


def limited(host: Host, kind: str) -> set[bool]:
    """Whether the first and later fragments of a kind would pass a meter."""
    return {is_limited(host, frame) for frame in KINDS[kind].make(1, bytes(60))}


def test_fragments_are_under_a_limit_on_ports(host: Host) -> None:
    before = sum(meters(host).values())
    for kind in (*LIMITED, *FREE):
        for _ in range(TIMES):
            for frame in KINDS[kind].make(1, bytes(60)):
                host.ovs.control("netdev-dummy/receive", PORT, frame.hex())
    sent = sum(len(KINDS[kind].make(1, b"")) for kind in LIMITED) * TIMES
    wait_for(lambda: sum(meters(host).values()) - before >= sent, 10, str(meters(host)))
    assert sum(meters(host).values()) - before == sent, "each fragment once, and no packet of the others"
    assert {kind: limited(host, kind) for kind in LIMITED} == {kind: {True} for kind in LIMITED}
    assert {kind: limited(host, kind) for kind in FREE} == {kind: {False} for kind in FREE}


def test_fragments_of_a_packet_are_one_flow_of_the_class_in_the_list(host: Host) -> None:
    for kind in LIMITED:
        for _ in range(TIMES):
            for frame in KINDS[kind].make(1, bytes(60)):
                assert frame[:6] == FAR
                host.ovs.control("netdev-dummy/receive", PORT, frame.hex())
    host.wait(lambda: len(fragments(host)) >= len(LIMITED), "the fragments' flows are not listed")
    wait_for(lambda: {flow["class"] for flow in fragments(host)} == {"slow"}, 10, str(host.flows()))
    assert sorted(flow["protocol"] for flow in fragments(host)) == ["44", "udp"]
    assert {(flow["src_port"], flow["dst_port"]) for flow in fragments(host)} <= {(0, 0), (None, None)}


def fragments(host: Host) -> list[Any]:
    """The flows of REST but that of the whole packet, which a trace of its bytes shows to the controller."""
    return [flow for flow in host.flows() if flow["dst_port"] != NAMES]
