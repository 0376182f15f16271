"""A second controller and the operator have entries, groups and meters of their own: they keep doing what they did."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lab.inside.manager import wait_for
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import arp, ether, hello, ipv4, mac, tcp, udp, unicast
from support.ovs.twins import BRIDGES, Frame, Namer, Stage, Twins, flat, learnt, receivers, twins

pytestmark = pytest.mark.ovs

TELNET = ether(mac(9), mac(1), 0x800, ipv4(1, 9, 6, tcp(40000, 23, 2)))
SSH = ether(mac(9), mac(1), 0x800, ipv4(1, 9, 6, tcp(40000, 22, 2)))
DNS = ether(mac(9), mac(1), 0x800, ipv4(1, 9, 17, udp(40000, 53)))
NTP = ether(mac(9), mac(1), 0x800, ipv4(1, 9, 17, udp(40000, 123)))
FRAMES: list[Frame] = [*learnt("vm1", "vm2", "up"), ("vm1", TELNET), ("vm1", SSH), ("vm1", DNS), ("vm1", NTP),
                       ("vm2", unicast(2, 1)), ("up", unicast(9, 1)),
                       ("vm1", ether(mac(9), mac(1), 0x806, arp(1, 9, 2)))]  # fmt: skip
"""What the entries below are about, and what they are not about."""
OTHER = "tcp:127.0.0.1:1"
"""Target of the other controller; nobody is there, which is enough for the bridge to have one."""
ENTRIES = (
    "cookie=0x5ec0,priority=40000,tcp,tp_dst=23,actions=drop",
    "cookie=0x5ec1,priority=41000,in_port=1,tcp,tp_dst=22,actions=output:3",
    "cookie=0x5ec2,priority=42000,udp,tp_dst=53,actions=meter:1,group:1",
    "cookie=0x5ec3,priority=43000,in_port=2,dl_dst=02:00:00:00:00:01,actions=resubmit(,200)",
    "cookie=0x5ec4,table=200,priority=10,ip,actions=set_field:8->ip_dscp,NORMAL",
)


def controlled(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """A bridge that has a controller already: Open vSwitch deletes all entries when the first one is set."""
    flat(ovs, bridge, named)
    ovs.vsctl("set-controller", bridge, OTHER)


def foreign(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    controlled(ovs, bridge, named)
    add_entries(ovs, bridge)


def add_entries(ovs: PrivateOvs, bridge: str) -> None:
    ovs.ofctl("add-meter", bridge, "meter=1,kbps,band=type=drop,rate=1000000")
    ovs.ofctl("add-group", bridge, "group_id=1,type=all,bucket=output:2,bucket=output:9")
    for entry in ENTRIES:
        ovs.ofctl("add-flow", bridge, entry)


def theirs(both: Twins, bridge: str) -> str:
    """The operator's entries, group and meter as the switch shows them, without counters."""
    flows = [line for line in both.ovs.ofctl("dump-flows", bridge).splitlines() if "cookie=0x5ec" in line]
    shown = [re.sub(r"(duration|n_packets|n_bytes|idle_age)=[^ ]*", "", line) for line in sorted(flows)]
    groups = [line for line in both.ovs.ofctl("dump-groups", bridge).splitlines() if "group_id=1," in line]
    return "\n".join([*shown, *groups, both.ovs.ofctl("dump-meter", bridge, "meter=1").split("\n", 1)[1]])


def test_entries_that_were_there_before(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, foreign) as both:
        attached = both.same(FRAMES)
        assert receivers(attached, TELNET) == {}
        assert receivers(attached, SSH) == {"vm3": 1}
        assert receivers(attached, DNS) == {"vm2": 1, "up": 1}
        assert receivers(attached, NTP) == {"up": 1}
        assert theirs(both, "attached") == theirs(both, "plain")
        assert theirs(both, "plain").count("cookie") == len(ENTRIES)


def test_entries_that_come_afterwards(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, flat) as both:
        both.same(FRAMES)
        for bridge in BRIDGES:
            add_entries(both.ovs, bridge)
        both.forget()
        attached = both.same(FRAMES)
        assert receivers(attached, SSH) == {"vm3": 1}
        assert theirs(both, "attached") == theirs(both, "plain")


def test_a_second_controller_beside(on: Stage, tmp_path: Path) -> None:
    """Another connection, with entries of its own; it goes and comes, and Flowlane goes and comes."""
    ours = f"tcp:127.0.0.1:{on.manager.openflow_port}"
    with twins(on, tmp_path, foreign) as both:
        before = theirs(both, "plain")
        for targets in ((ours, OTHER), (OTHER,), (OTHER, ours)):
            both.ovs.vsctl("set-controller", "attached", *targets)
            both.reconciled()
            both.forget()
            both.same(FRAMES)
            assert theirs(both, "attached") == before


def test_a_low_priority_drop_rule(on: Stage, tmp_path: Path) -> None:
    """Flowlane stands below other entries of the start table, whatever their priority."""

    def drop(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
        controlled(ovs, bridge, named)
        ovs.ofctl("add-flow", bridge, "cookie=0x5ec5,priority=500,tcp,tp_dst=23,actions=drop")

    with twins(on, tmp_path, drop) as both:
        attached = both.same(FRAMES)
        assert receivers(attached, TELNET) == {}


def test_only_its_own_tables(on: Stage, tmp_path: Path) -> None:
    """Tables that others use, in the middle of those that Flowlane would use."""

    def tables(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
        controlled(ovs, bridge, named)
        ovs.ofctl("add-flow", bridge, "cookie=0x5ec6,priority=45000,tcp,actions=resubmit(,3)")
        ovs.ofctl("add-flow", bridge, "cookie=0x5ec7,table=3,priority=1,tcp,tp_dst=23,actions=drop")
        ovs.ofctl("add-flow", bridge, "cookie=0x5ec8,table=3,priority=0,actions=NORMAL")

    with twins(on, tmp_path, tables) as both:
        attached = both.same(FRAMES)
        assert receivers(attached, TELNET) == {}
        assert receivers(attached, SSH) == {"up": 1}
        both.warp(11)
        wait_for(lambda: "cookie=0x5ec8" in both.ovs.ofctl("dump-flows", "attached"))
        both.same([("vm1", hello(1)), *FRAMES])
