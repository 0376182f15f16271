"""Each kind of frame leaves a bridge with Flowlane by the ports by which it leaves one with NORMAL alone."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import BROADCAST, arp, ether, hello, ipv4, mac, tag, udp, unicast
from support.ovs.twins import Twins, flat, learnt, twins

pytestmark = pytest.mark.ovs

KINDS: dict[str, bytes] = {
    "ARP request": hello(1),
    "ARP reply": ether(mac(9), mac(1), 0x806, arp(1, 9, 2)),
    "RARP": ether(BROADCAST, mac(1), 0x8035, arp(1, 1, 3)),
    "gratuitous ARP": ether(BROADCAST, mac(1), 0x806, arp(1, 1)),
    "neighbour solicitation": ether(
        b"\x33\x33\xff\x00\x00\x09", mac(1), 0x86DD,
        struct.pack("!IHBB", 6 << 28, 24, 58, 255) + bytes(15) + b"\1" + bytes(15) + b"\2" + b"\x87\0\0\0" + bytes(20)),
    "DHCP discover": ether(BROADCAST, mac(1), 0x800, ipv4(0, 255, 17, udp(68, 67, bytes(240)))),
    "VRRP": ether(b"\x01\x00\x5e\x00\x00\x12", b"\x00\x00\x5e\x00\x01\x05", 0x800, ipv4(1, 18, 112, bytes(16))),
    "STP": ether(b"\x01\x80\xc2\x00\x00\x00", mac(1), 0x26, b"\x42\x42\x03" + bytes(35)),
    "LLDP": ether(b"\x01\x80\xc2\x00\x00\x0e", mac(1), 0x88CC, b"\x02\x07\x04" + mac(1) + bytes(8)),
    "LACP": ether(b"\x01\x80\xc2\x00\x00\x02", mac(1), 0x8809, b"\x01\x01" + bytes(108)),
    "multicast": ether(b"\x01\x00\x5e\x01\x02\x03", mac(1), 0x800, ipv4(1, 9, 17, udp(5, 6))),
    "unknown unicast": unicast(1, 77),
    "first fragment": ether(mac(9), mac(1), 0x800, ipv4(1, 9, 17, udp(5, 6, bytes(64)), 0x2000)),
    "later fragment": ether(mac(9), mac(1), 0x800, ipv4(1, 9, 17, bytes(64), 0x0009)),
    "SCTP": ether(mac(9), mac(1), 0x800, ipv4(1, 9, 132, bytes(20))),
    "GRE": ether(mac(9), mac(1), 0x800, ipv4(1, 9, 47, bytes(20))),
    "ICMP": ether(mac(9), mac(1), 0x800, ipv4(1, 9, 1, b"\x08\0" + bytes(10))),
    "unknown ethertype": ether(mac(9), mac(1), 0x88B5, b"anything"),
    "MPLS": ether(mac(9), mac(1), 0x8847, b"\0\1\x01\xff" + bytes(40)),
    "802.3 length": ether(mac(9), mac(1), 0x20, bytes(46)),
    "priority tag": unicast(1, 9, tag(0, 5)),
    "other source address": ether(mac(9), mac(55), 0x800, ipv4(55, 9, 17, udp(1, 2))),
    "jumbo": ether(mac(9), mac(1), 0x800, ipv4(1, 9, 17, udp(1, 2, bytes(8000)))),
    "truncated IP header": ether(mac(9), mac(1), 0x800, b"\x45\0\0"),
}  # fmt: skip


@pytest.fixture(scope="module")
def flat_twins(ovs: PrivateOvs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with twins(ovs, tmp_path_factory.mktemp("flat"), flat) as both:
        both.send(learnt("vm1", "vm2", "up"))
        yield both


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_frame(flat_twins: Twins, kind: str) -> None:
    plain, attached = flat_twins.send([("vm1", KINDS[kind])] * 2)
    assert attached == plain


def test_most_kinds_of_frames_are_sent_at_all(flat_twins: Twins) -> None:
    """The comparison would hold for two bridges that send nothing."""
    sent = [flat_twins.send([("vm1", frame)])[1] for frame in KINDS.values()]
    assert len([one for one in sent if one]) > 18
