"""What a real Open vSwitch exports of sampled packets: its templates, and the packets' flow keys."""

from __future__ import annotations

import re
import socket

import pytest
from lab.inside import samples
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import ether, ipv4, mac, tag, tagged, udp

from flowlane.core.frame import read_frame
from flowlane.southbound.ipfix import messages, observation
from flowlane.southbound.ipfix.messages import Reader, Sampled

pytestmark = pytest.mark.ovs

BRIDGE, DPID = "flp-br", 0xABCDEF0123456789
IPV6_UDP = bytes.fromhex("6000000000101140") + bytes(15) + b"\1" + bytes(15) + b"\2"
TCP_HEADER = bytes.fromhex("03e8005000000001000000005002ffff00000000")
FRAMES = {
    "tcp": ether(mac(2), mac(1), 0x800, ipv4(1, 2, 6, TCP_HEADER)),
    "udp": ether(mac(2), mac(1), 0x800, ipv4(1, 2, 17, udp(1000, 80, b"data"))),
    "sctp": ether(mac(2), mac(1), 0x800, ipv4(1, 2, 132, bytes((3, 232, 0, 80)) + bytes(8))),
    "icmp": ether(mac(2), mac(1), 0x800, ipv4(1, 2, 1, b"\x08\0" + bytes(6))),
    "igmp": ether(mac(2), mac(1), 0x800, ipv4(1, 2, 2, bytes(8))),
    "ipv6": ether(mac(2), mac(1), 0x86DD, IPV6_UDP + udp(1000, 80, b"datadata")),
    "other": ether(mac(2), mac(1), 0x88B5, bytes(46)),
}
FRAMES |= {f"{name} in a VLAN": tagged(frame, tag(100, 3)) for name, frame in FRAMES.items()}


def exported(ovs: PrivateOvs, collector: socket.socket) -> list[bytes]:
    """Send each frame through an entry that samples all packets; return the datagrams."""
    domain, point = observation.identify(DPID)
    ids = f"collector_set_id={observation.COLLECTOR_SET},obs_domain_id={domain},obs_point_id={point}"
    ovs.ofctl("add-flow", BRIDGE, f"priority=1,actions=sample(probability=65535,{ids})")
    for frame in FRAMES.values():
        ovs.receive("p1", frame.hex())
    found: list[bytes] = []
    while sum(set_ids(data)[0] >= 256 and point_of(data) == point for data in found) < len(FRAMES):
        found.append(collector.recv(65535))
    return found


def set_ids(data: bytes) -> tuple[int, ...]:
    return tuple(set_id for set_id, _, _ in messages._sets(data))


def point_of(data: bytes) -> int:
    return int.from_bytes(data[20:24])


def test_records_are_read_with_and_without_the_templates_of_the_switch(ovs: PrivateOvs) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(10)
        ovs.add_bridge(BRIDGE, ("p1", "p2"), dpid=DPID)
        samples.export(ovs, BRIDGE, collector.getsockname()[1])
        datagrams = exported(ovs, collector)
        ovs.vsctl("--all", "destroy", "Flow_Sample_Collector_Set", "--", "del-br", BRIDGE)
        assert not ovs.vsctl("list", "IPFIX"), "the IPFIX row goes with its set"
    reader = Reader()
    with_templates = [sampled for data in datagrams for sampled in reader.read(data, "switch")]
    own = [data for data in datagrams if 2 not in set_ids(data)]
    assert len(own) < len(datagrams), "the switch has sent its templates"
    without = [sampled for data in own for sampled in Reader().read(data, "switch")]
    assert without == with_templates
    (layouts,) = reader._templates.values()
    assert messages._KNOWN.items() <= layouts.items()
    assert [expected(frame) for frame in FRAMES.values()] == [actual(sampled) for sampled in without]


def expected(frame: bytes) -> tuple[object, ...]:
    parsed = read_frame(frame)
    assert parsed is not None
    return DPID, parsed.key(0)[4:], int.from_bytes(parsed.eth_src), "p1", len(frame)


def actual(sampled: Sampled) -> tuple[object, ...]:
    packet = sampled.packet
    dpid = observation.dpid_of(sampled.domain, sampled.point)
    return dpid, packet.tail, packet.eth_src, re.sub(r"\W", "", packet.port_name), packet.octets
