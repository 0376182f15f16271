"""Bridges as hosts have them, and frames that show what they do: VLANs, bonds, patch ports, snooping, mirrors."""

from __future__ import annotations

from dataclasses import dataclass

from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import BROADCAST, arp, ether, hello, igmp, mac, mld, tag, to_group, unicast
from support.ovs.protocols import FRAGMENTS, GROUP, GROUP6, KINDS
from support.ovs.twins import Frame, Namer, Setup, View, cable, flat, learnt, merged, patch, uplink, vm


@dataclass(frozen=True)
class Scenario:
    """A set-up, and frames that tell whether it works.

    Args:
        others: more bridges that Flowlane is attached to.
        upstream: more bridges that it is not attached to.
    """

    setup: Setup
    frames: tuple[Frame, ...]
    view: View = lambda sent: sent
    others: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()


def vlans(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """Access ports of two VLANs, a trunk, native ports, QinQ ports, ports with priority tags, and a trunk uplink."""
    vm(ovs, bridge, named("vm1"), 1, "tag=100", macs="02:00:00:00:00:01")
    vm(ovs, bridge, named("vm2"), 2, "tag=200", macs="02:00:00:00:00:02")
    vm(ovs, bridge, named("vm3"), 3, "tag=100")
    vm(ovs, bridge, named("trunk"), 4, "trunks=100,200")
    vm(ovs, bridge, named("untagged"), 5, "tag=100", "vlan_mode=native-untagged")
    vm(ovs, bridge, named("qinq"), 6, "tag=300", "vlan_mode=dot1q-tunnel")
    vm(ovs, bridge, named("tagged"), 7, "tag=100", "vlan_mode=native-tagged")
    vm(ovs, bridge, named("cvlans"), 8, "tag=300", "vlan_mode=dot1q-tunnel", "cvlans=7,8")
    vm(
        ovs,
        bridge,
        named("oldqinq"),
        10,
        "tag=100",
        "vlan_mode=dot1q-tunnel",
        "other_config:qinq-ethtype=802.1q",
    )
    vm(ovs, bridge, named("prio"), 11, "tag=200", "other_config:priority-tags=if-nonzero")
    vm(ovs, bridge, named("always"), 12, "tag=200", "other_config:priority-tags=always")
    uplink(ovs, bridge, named("up"), 9)


SERVICE = tag(300, tpid=0x88A8)
VLAN_FRAMES: tuple[Frame, ...] = (
    ("vm1", hello(1)), ("vm2", hello(2)), ("vm3", hello(3)), ("up", hello(9, tag(100))), ("up", hello(8, tag(200))),
    ("vm1", unicast(1, 3)), ("vm1", unicast(1, 2)), ("vm1", unicast(1, 9)), ("vm2", unicast(2, 8)),
    ("vm2", unicast(2, 9)), ("up", unicast(9, 1, tag(100))), ("up", unicast(9, 1, tag(200))), ("up", unicast(9, 1)),
    ("up", unicast(8, 2, tag(200, 5))), ("vm1", to_group(1, GROUP)), ("vm1", to_group(1, GROUP6)),
    ("trunk", hello(4, tag(100))), ("trunk", hello(4, tag(200))), ("trunk", hello(4, tag(300))), ("trunk", hello(4)),
    ("trunk", unicast(4, 1, tag(100))), ("trunk", unicast(4, 1, tag(200))), ("vm1", unicast(1, 4)),
    ("untagged", hello(5)), ("untagged", unicast(5, 1)), ("untagged", unicast(5, 2, tag(200))),
    ("untagged", unicast(5, 3, tag(100))), ("up", unicast(9, 5, tag(100))),
    ("tagged", hello(7)), ("tagged", unicast(7, 1)), ("tagged", unicast(7, 1, tag(100))), ("vm1", unicast(1, 7)),
    ("qinq", hello(6)), ("qinq", hello(6, tag(7))), ("qinq", unicast(6, 9, tag(7))), ("qinq", unicast(6, 9)),
    ("up", unicast(9, 6, SERVICE, tag(7))), ("up", unicast(9, 6, SERVICE)), ("up", unicast(9, 6, tag(300), tag(7))),
    ("cvlans", hello(8, tag(7))), ("cvlans", hello(8, tag(9))), ("up", unicast(9, 8, SERVICE, tag(8))),
    ("up", unicast(9, 8, SERVICE, tag(9))), ("oldqinq", hello(10, tag(7))), ("oldqinq", unicast(10, 9)),
    ("up", unicast(9, 10, tag(100), tag(7))), ("prio", hello(11, tag(0, 6))), ("always", hello(12)),
    ("up", unicast(9, 11, tag(200, 6))), ("up", unicast(9, 12, tag(200))), ("vm1", unicast(1, 3, tag(200))),
    ("vm1", unicast(1, 77)),
    *((port, frame) for port in ("vm1", "trunk", "qinq") for frame in FRAGMENTS.values()),
)  # fmt: skip


def bond(mode: str, *, lacp: str = "off", switches: int = 0) -> Setup:
    """Two VMs and an uplink of two members.

    Args:
        lacp: of the Port row; with an upstream switch it has a bond that negotiates too.
        switches: number of upstream switches, named tor1 and tor2; each has a host far1, far2.
    """

    def setup(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
        vm(ovs, bridge, named("vm1"), 1, macs="02:00:00:00:00:01")
        vm(ovs, bridge, named("vm2"), 2)
        vm(ovs, bridge, named("vm3"), 3, "tag=100", macs="02:00:00:00:00:03")
        add_bond(ovs, bridge, named, "bond", ("eth0", "eth1"), mode, lacp)
        if not switches:
            return
        if lacp != "off":
            add_bond(ovs, named("tor1"), named, "lag", ("t0", "t1"), "balance-tcp", "active")
        else:
            vm(ovs, named("tor1"), named("t0"), 1)
            vm(ovs, named(f"tor{switches}"), named("t1"), 2)
        for number in range(1, switches + 1):
            vm(ovs, named(f"tor{number}"), named(f"far{number}"), 8)
        if switches == 2:
            patch(ovs, named("tor1"), named("isl1"), named("tor2"), named("isl2"))
        for member in "01":
            cable(ovs, named(f"eth{member}"), named(f"t{member}"))

    return setup


def add_bond(
    ovs: PrivateOvs, bridge: str, named: Namer, name: str, members: tuple[str, str], mode: str, lacp: str
) -> None:
    names = [named(member) for member in members]
    kinds = [word for name in names for word in ("--", "set", "Interface", name, "type=dummy")]
    ovs.vsctl(
        "add-bond", bridge, named(name), *names, f"bond_mode={mode}", f"lacp={lacp}", "other_config:lacp-time=fast",
        *kinds,
    )  # fmt: skip


BOND_VIEW = merged(eth0="bond", eth1="bond", t0="", t1="")
BOND_FRAMES: tuple[Frame, ...] = (
    ("vm1", hello(1)), ("vm2", hello(2)), ("vm3", hello(3)), ("vm1", unicast(1, 9)), ("vm1", unicast(1, 2)),
    ("vm2", unicast(2, 9)), ("vm1", unicast(1, 77)), ("vm3", unicast(3, 9)), ("vm3", unicast(3, 1)),
    ("vm1", to_group(1, GROUP)), ("vm1", to_group(1, GROUP6)),
    *(("vm1", frame) for frame in FRAGMENTS.values()),
)  # fmt: skip
UPSTREAM_FRAMES: tuple[Frame, ...] = (
    *BOND_FRAMES, ("far1", hello(9)), ("far1", unicast(9, 1)), ("far1", unicast(9, 2)), ("far1", hello(8, tag(100))),
    ("far1", unicast(8, 3, tag(100))), ("vm1", unicast(1, 9)), ("vm3", unicast(3, 8)), ("far1", to_group(9, GROUP)),
    ("far1", unicast(9, 78)),
)  # fmt: skip
SECOND_SWITCH_FRAMES: tuple[Frame, ...] = (
    *UPSTREAM_FRAMES, ("far2", hello(7)), ("far2", unicast(7, 1)), ("vm1", unicast(1, 7)), ("vm2", unicast(2, 7)),
    ("far2", unicast(7, 9)),
)  # fmt: skip


def snooping(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    flat(ovs, bridge, named)
    ovs.vsctl("set", "Bridge", bridge, "mcast_snooping_enable=true")


MEMBERSHIP: tuple[Frame, ...] = (
    *learnt("vm1", "vm2", "vm3", "up"),
    ("vm2", igmp(2, 0x16, GROUP)), ("vm1", to_group(1, GROUP)), ("up", to_group(9, GROUP)),
    ("up", igmp(9, 0x11, bytes(4), bytes((224, 0, 0, 1)))), ("vm3", igmp(3, 0x16, GROUP)), ("vm1", to_group(1, GROUP)),
    ("vm2", mld(2, 131, GROUP6)), ("vm1", to_group(1, GROUP6)), ("up", to_group(9, GROUP6)),
    ("vm1", to_group(1, bytes((239, 9, 9, 9)))), ("vm1", to_group(1, bytes((224, 0, 0, 251)))),
    ("vm3", igmp(3, 0x17, GROUP, bytes((224, 0, 0, 2)))), ("vm1", to_group(1, GROUP)),
    ("vm2", mld(2, 132, GROUP6, b"\xff\2" + bytes(13) + b"\2")), ("vm1", to_group(1, GROUP6)),
)  # fmt: skip


def patched(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """VMs of two VLANs on the integration bridge, and the uplink on the external one."""
    vm(ovs, bridge, named("vm1"), 1, "tag=100", macs="02:00:00:00:00:01")
    vm(ovs, bridge, named("vm2"), 2, "tag=200", macs="02:00:00:00:00:02")
    vm(ovs, bridge, named("vm3"), 3, "tag=100")
    patch(ovs, bridge, named("int-ex"), named("ex"), named("ex-int"))
    uplink(ovs, named("ex"), named("up"), 9)


PATCH_FRAMES: tuple[Frame, ...] = (
    ("vm1", hello(1)), ("vm2", hello(2)), ("vm3", hello(3)), ("up", hello(9, tag(100))), ("up", hello(8, tag(200))),
    ("vm1", unicast(1, 3)), ("vm1", unicast(1, 2)), ("vm1", unicast(1, 9)), ("vm2", unicast(2, 8)),
    ("up", unicast(9, 1, tag(100))), ("up", unicast(9, 1, tag(200))), ("up", unicast(8, 2, tag(200))),
    ("vm1", unicast(1, 77)), ("vm1", to_group(1, GROUP)), ("up", to_group(9, GROUP)),
    ("vm1", ether(BROADCAST, mac(1), 0x8035, arp(1, 1, 3))),
    *(("vm1", frame) for frame in FRAGMENTS.values()),
)  # fmt: skip

SCENARIOS = {
    "kinds of frames": Scenario(
        flat, (*learnt("vm1", "vm2", "up"), *(("vm1", frame) for frame in KINDS.values()))
    ),
    "VLANs": Scenario(vlans, VLAN_FRAMES),
    "bond": Scenario(bond("balance-slb"), BOND_FRAMES, BOND_VIEW),
    "snooping": Scenario(snooping, MEMBERSHIP),
    "two bridges": Scenario(patched, PATCH_FRAMES, others=("ex",)),
}
