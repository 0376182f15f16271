"""Attaching is harmless: a bridge with Flowlane sends the same frames by the same ports as with NORMAL alone."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import BROADCAST, arp, checksum, ether, hello, mac, tag, udp, unicast
from support.ovs.twins import Frame, Namer, Setup, flat, learnt, twins, uplink, vm

pytestmark = pytest.mark.ovs


def vlans(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """Access ports of two VLANs, a trunk, a native-untagged port, a QinQ port, and a trunk uplink."""
    vm(ovs, bridge, named("vm1"), 1, "tag=100", macs="02:00:00:00:00:01")
    vm(ovs, bridge, named("vm2"), 2, "tag=200", macs="02:00:00:00:00:02")
    vm(ovs, bridge, named("vm3"), 3, "tag=100")
    vm(ovs, bridge, named("trunk"), 4, "trunks=100,200")
    vm(ovs, bridge, named("native"), 5, "tag=100", "vlan_mode=native-untagged")
    vm(ovs, bridge, named("qinq"), 6, "tag=300", "vlan_mode=dot1q-tunnel")
    uplink(ovs, bridge, named("up"), 9)


def bond(mode: str) -> Setup:
    def setup(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
        vm(ovs, bridge, named("vm1"), 1, macs="02:00:00:00:00:01")
        vm(ovs, bridge, named("vm2"), 2)
        members = [named("eth0"), named("eth1")]
        words = [word for name in members for word in ("--", "set", "Interface", name, "type=dummy")]
        ovs.vsctl("add-bond", bridge, named("bond"), *members, f"bond_mode={mode}", *words)

    return setup


def snooping(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    flat(ovs, bridge, named)
    ovs.vsctl("set", "Bridge", bridge, "mcast_snooping_enable=true")


def mirrored(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    flat(ovs, bridge, named)
    vm(ovs, bridge, named("spy"), 7)
    ovs.vsctl(
        "--", "--id=@spy", "get", "Port", named("spy"), "--", "--id=@m", "create", "Mirror", "name=m",
        "select-all=true", "output-port=@spy", "--", "set", "Bridge", bridge, "mirrors=@m",
    )  # fmt: skip


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
