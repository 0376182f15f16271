"""Attaching is harmless: a bridge with Flowlane sends the same frames by the same ports as with NORMAL alone."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.twins import Frame, Setup, twins

pytestmark = pytest.mark.ovs

BROADCAST = b"\xff" * 6
Named = Callable[[str], str]


def mac(number: int) -> bytes:
    return b"\x02\x00\x00\x00\x00" + bytes([number])


def ether(dst: bytes, src: bytes, eth_type: int, payload: bytes = b"", *tags: int) -> bytes:
    """A frame of at least 60 bytes; tags are (TPID << 16 | TCI), the outer one first."""
    inserted = b"".join(struct.pack("!I", tag) for tag in tags)
    return (dst + src + inserted + struct.pack("!H", eth_type) + payload).ljust(60, b"\0")


def tag(vid: int, pcp: int = 0, tpid: int = 0x8100) -> int:
    return tpid << 16 | pcp << 13 | vid


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(src: int, dst: int, protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0,
        bytes((10, 0, 0, src)), bytes((10, 0, 0, dst)),
    )  # fmt: skip
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(sport: int, dport: int, data: bytes = b"data") -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def arp(src: int, dst: int, operation: int = 1) -> bytes:
    target = mac(dst) if operation == 2 else bytes(6)
    return (
        struct.pack("!HHBBH", 1, 0x800, 6, 4, operation)
        + mac(src)
        + bytes((10, 0, 0, src))
        + target
        + bytes((10, 0, 0, dst))
    )


def unicast(src: int, dst: int, *tags: int) -> bytes:
    return ether(mac(dst), mac(src), 0x800, ipv4(src, dst, 17, udp(1000 + src, 2000 + dst)), *tags)


def hello(src: int, *tags: int) -> bytes:
    return ether(BROADCAST, mac(src), 0x806, arp(src, 99), *tags)


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


def vm(ovs: PrivateOvs, bridge: str, name: str, number: int, *settings: str, macs: str = "") -> None:
    ids = [f"external_ids:iface-id={name}", *([f'external_ids:attached-mac="{macs}"'] if macs else [])]
    ovs.vsctl(
        "add-port", bridge, name, *settings,
        "--", "set", "Interface", name, "type=dummy", f"ofport_request={number}", *ids,
    )  # fmt: skip


def flat(ovs: PrivateOvs, bridge: str, named: Named) -> None:
    """Two VMs with and one without a known address, and an uplink."""
    vm(ovs, bridge, named("vm1"), 1, macs="02:00:00:00:00:01")
    vm(ovs, bridge, named("vm2"), 2, macs="02:00:00:00:00:02")
    vm(ovs, bridge, named("vm3"), 3)
    uplink(ovs, bridge, named("up"), 9)


def uplink(ovs: PrivateOvs, bridge: str, name: str, number: int, *settings: str) -> None:
    ovs.vsctl(
        "add-port", bridge, name, *settings,
        "--", "set", "Interface", name, "type=dummy", f"ofport_request={number}", "external_ids:flowlane-port=uplink",
    )  # fmt: skip


def vlans(ovs: PrivateOvs, bridge: str, named: Named) -> None:
    """Access ports of two VLANs, a trunk, a native-untagged port, a QinQ port, and a trunk uplink."""
    vm(ovs, bridge, named("vm1"), 1, "tag=100", macs="02:00:00:00:00:01")
    vm(ovs, bridge, named("vm2"), 2, "tag=200", macs="02:00:00:00:00:02")
    vm(ovs, bridge, named("vm3"), 3, "tag=100")
    vm(ovs, bridge, named("trunk"), 4, "trunks=100,200")
    vm(ovs, bridge, named("native"), 5, "tag=100", "vlan_mode=native-untagged")
    vm(ovs, bridge, named("qinq"), 6, "tag=300", "vlan_mode=dot1q-tunnel")
    uplink(ovs, bridge, named("up"), 9)


def bond(mode: str) -> Setup:
    def setup(ovs: PrivateOvs, bridge: str, named: Named) -> None:
        vm(ovs, bridge, named("vm1"), 1, macs="02:00:00:00:00:01")
        vm(ovs, bridge, named("vm2"), 2)
        members = [named("eth0"), named("eth1")]
        words = [word for name in members for word in ("--", "set", "Interface", name, "type=dummy")]
        ovs.vsctl("add-bond", bridge, named("bond"), *members, f"bond_mode={mode}", *words)

    return setup


def snooping(ovs: PrivateOvs, bridge: str, named: Named) -> None:
    flat(ovs, bridge, named)
    ovs.vsctl("set", "Bridge", bridge, "mcast_snooping_enable=true")


def mirrored(ovs: PrivateOvs, bridge: str, named: Named) -> None:
    flat(ovs, bridge, named)
    vm(ovs, bridge, named("spy"), 7)
    ovs.vsctl(
        "--", "--id=@spy", "get", "Port", named("spy"), "--", "--id=@m", "create", "Mirror", "name=m",
        "select-all=true", "output-port=@spy", "--", "set", "Bridge", bridge, "mirrors=@m",
    )  # fmt: skip


def learnt(*ports: str) -> list[Frame]:
    """Frames by which a bridge learns who is where: VM n at port vmn, 9 behind the uplink."""
    return [(port, hello(9 if port == "up" else int(port[-1]))) for port in ports]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_frame(ovs: PrivateOvs, tmp_path: Path, kind: str) -> None:
    with twins(ovs, tmp_path, flat) as both:
        plain, attached = both.send([*learnt("vm1", "vm2", "up"), ("vm1", KINDS[kind]), ("vm1", KINDS[kind])])
        assert attached == plain
        assert plain


VLAN_FRAMES: list[Frame] = [
    ("vm1", hello(1)), ("vm2", hello(2)), ("vm3", hello(3)), ("up", hello(9, tag(100))), ("up", hello(8, tag(200))),
    ("vm1", unicast(1, 3)), ("vm1", unicast(1, 2)), ("vm1", unicast(1, 9)), ("vm2", unicast(2, 8)),
    ("vm2", unicast(2, 9)), ("up", unicast(9, 1, tag(100))), ("up", unicast(9, 1, tag(200))), ("up", unicast(9, 1)),
    ("trunk", hello(4, tag(100))), ("trunk", hello(4, tag(200))), ("trunk", hello(4, tag(300))), ("trunk", hello(4)),
    ("native", hello(5)), ("native", unicast(5, 1)), ("native", unicast(5, 2, tag(200))),
    ("qinq", hello(6)), ("qinq", unicast(6, 9, tag(7))), ("up", unicast(9, 6, tag(300, tpid=0x88A8), tag(7))),
    ("vm1", unicast(1, 3, tag(200))), ("vm1", unicast(1, 77)),
]  # fmt: skip


def test_vlans_isolate_and_are_tagged_as_configured(ovs: PrivateOvs, tmp_path: Path) -> None:
    with twins(ovs, tmp_path, vlans) as both:
        plain, attached = both.send(VLAN_FRAMES)
        assert attached == plain
        crossed = [port for port, data in attached if port == "vm2" and data[6:12] in (mac(1), mac(3))]
        assert crossed == [], "what VLAN 100 sends never reaches VLAN 200"


@pytest.mark.parametrize("mode", ["active-backup", "balance-slb", "balance-tcp"])
def test_a_bond_stays_one_port(ovs: PrivateOvs, tmp_path: Path, mode: str) -> None:
    with twins(ovs, tmp_path, bond(mode)) as both:
        frames = [
            ("vm1", hello(1)),
            ("vm2", hello(2)),
            ("vm1", unicast(1, 9)),
            ("vm1", unicast(1, 2)),
            ("vm2", unicast(2, 9)),
        ]
        plain, attached = both.send(frames)
        members = {"eth0", "eth1"}

        def as_one(sent: dict[Frame, int]) -> dict[Frame, int]:
            """Which member carries a frame is the bond's choice by a hash that differs from bridge to bridge."""
            merged: dict[Frame, int] = {}
            for (port, data), count in sent.items():
                place = ("bond" if port in members else port, data)
                merged[place] = merged.get(place, 0) + count
            return merged

        assert as_one(attached) == as_one(plain)
        assert set(as_one(attached).values()) == {1}, "one broadcast is one"


def test_multicast_snooping(ovs: PrivateOvs, tmp_path: Path) -> None:
    group = bytes((239, 1, 2, 3))
    report = struct.pack("!BBH4s", 0x16, 0, 0, group)
    report = report[:2] + struct.pack("!H", checksum(report)) + report[4:]
    head = (
        struct.pack("!BBHHHBBH4s4s", 0x46, 0, 32, 1, 0, 1, 2, 0, bytes((10, 0, 0, 2)), group)
        + b"\x94\x04\0\0"
    )
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    to_group = b"\x01\x00\x5e\x01\x02\x03"
    data = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, 1, 0, 9, 17, 0, bytes((10, 0, 0, 1)), group)
    data = data[:10] + struct.pack("!H", checksum(data)) + data[12:] + udp(5, 6)
    with twins(ovs, tmp_path, snooping) as both:
        plain, attached = both.send(
            [
                *learnt("vm1", "vm2", "vm3", "up"),
                ("vm2", ether(to_group, mac(2), 0x800, head + report)),
                ("vm1", ether(to_group, mac(1), 0x800, data)),
            ]
        )
        assert attached == plain
        assert ("vm3", ether(to_group, mac(1), 0x800, data)) not in attached


def test_mirrors(ovs: PrivateOvs, tmp_path: Path) -> None:
    with twins(ovs, tmp_path, mirrored) as both:
        plain, attached = both.send(
            [*learnt("vm1", "vm2", "up"), ("vm1", unicast(1, 2)), ("vm1", unicast(1, 9))]
        )
        assert attached == plain


def test_nobody_overhears_unicast_and_the_host_gets_no_copy(ovs: PrivateOvs, tmp_path: Path) -> None:
    """The far side's address is known to the bridge, and to Flowlane only from data packets."""
    with twins(ovs, tmp_path, flat) as both:
        plain, attached = both.send([("up", unicast(9, 1)), *[("vm1", unicast(1, 9))] * 3])
        assert attached == plain
        assert {port for port, data in attached if data[:6] == mac(9)} == {"up"}


def test_a_vm_that_moved_is_followed_by_its_rarp(ovs: PrivateOvs, tmp_path: Path) -> None:
    rarp = ether(BROADCAST, mac(3), 0x8035, arp(3, 3, 3))
    with twins(ovs, tmp_path, flat) as both:
        plain, attached = both.send(
            [
                *learnt("vm1", "vm2", "up"),
                ("up", hello(3)),
                ("vm1", unicast(1, 3)),
                ("vm3", rarp),
                ("vm1", unicast(1, 3)),
            ]
        )
        assert attached == plain
        assert attached["vm3", unicast(1, 3)] == 1
