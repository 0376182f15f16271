"""Who is where: learnt, moved, aged and fixed addresses count as they do for the bridge alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import BROADCAST, arp, ether, hello, mac, tag, unicast
from support.ovs.scenarios import vlans
from support.ovs.twins import Frame, Namer, Stage, flat, learnt, receivers, twins, vm

pytestmark = pytest.mark.ovs

ANNOUNCED = {
    "RARP": ether(BROADCAST, mac(3), 0x8035, arp(3, 3, 3)),
    "gratuitous ARP": ether(BROADCAST, mac(3), 0x806, arp(3, 3)),
    "gratuitous ARP reply": ether(BROADCAST, mac(3), 0x806, arp(3, 3, 2)),
    "data": unicast(3, 9),
}


def test_nobody_overhears_unicast_and_the_host_gets_no_copy(on: Stage, tmp_path: Path) -> None:
    """The far side's address is known to the bridge, and to Flowlane only from data packets."""
    with twins(on, tmp_path, flat) as both:
        attached = both.same([("up", unicast(9, 1)), *[("vm1", unicast(1, 9))] * 3])
        assert {port for port, data in attached if data[:6] == mac(9)} == {"up"}


@pytest.mark.parametrize("how", ANNOUNCED)
def test_live_migration(on: Stage, tmp_path: Path, how: str) -> None:
    """VM 3 was behind the uplink, comes to this host, and goes again."""
    with twins(on, tmp_path, flat) as both:
        both.same(
            [*learnt("vm1", "vm2", "up"), ("up", hello(3)), ("vm1", unicast(1, 3)), ("vm2", unicast(2, 3))]
        )
        attached = both.same([("vm3", ANNOUNCED[how]), ("vm1", unicast(1, 3)), ("vm2", unicast(2, 3))])
        assert receivers(attached, unicast(1, 3)) == {"vm3": 1}
        attached = both.same([("up", ANNOUNCED[how]), ("vm1", unicast(1, 3)), ("vm2", unicast(2, 3))])
        assert receivers(attached, unicast(1, 3)) == {"up": 1}


def test_a_vm_moves_to_another_port_of_the_bridge(on: Stage, tmp_path: Path) -> None:
    """With the address that OVSDB states for its first port."""
    with twins(on, tmp_path, flat) as both:
        both.same([*learnt("vm1", "vm2", "up"), ("up", unicast(9, 1))])
        attached = both.same(
            [("vm3", hello(1)), ("up", unicast(9, 1)), ("vm3", unicast(1, 9)), ("vm2", unicast(2, 1))]
        )
        assert receivers(attached, unicast(9, 1)) == {"vm3": 1}


def test_the_same_address_in_two_vlans(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, vlans) as both:
        frames = [("vm3", hello(5)), ("vm2", hello(5)), ("vm1", hello(1)), ("vm1", unicast(1, 5)),
                  ("up", unicast(9, 5, tag(100))), ("up", unicast(9, 5, tag(200)))]  # fmt: skip
        attached = both.same(frames)
        assert receivers(attached, unicast(1, 5)) == {"vm3": 1}


KNOWN: list[Frame] = [
    ("vm1", unicast(1, 9)),
    ("vm1", unicast(1, 2)),
    ("up", unicast(9, 1)),
    ("vm3", unicast(3, 2)),
]


def test_the_table_is_flushed(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, flat) as both:
        both.same([*learnt("vm1", "vm2", "up"), *KNOWN])
        both.command("fdb/flush", "{}")
        attached = both.same([("vm1", unicast(1, 9))])
        assert len(receivers(attached, unicast(1, 9))) > 2, "unknown again, until somebody sends from there"
        both.same([*KNOWN, *learnt("vm1", "vm2", "up"), *KNOWN])


def test_addresses_age(on: Stage, tmp_path: Path) -> None:
    """mac-aging-time; Flowlane goes on to predict the port, the bridge floods."""
    with twins(on, tmp_path, flat) as both:
        both.each("set", "Bridge", "{}", "other_config:mac-aging-time=15")
        both.same([*learnt("vm1", "vm2", "up"), *KNOWN])
        both.warp(17)
        both.rest()
        attached = both.same([("vm1", unicast(1, 9)), ("vm1", unicast(1, 2))])
        assert len(receivers(attached, unicast(1, 2))) > 2
        both.same([*learnt("vm1", "vm2", "up"), *KNOWN])


def test_the_table_is_full(on: Stage, tmp_path: Path) -> None:
    """mac-table-size: the port with the most addresses loses one of them."""
    with twins(on, tmp_path, flat) as both:
        both.each("set", "Bridge", "{}", "other_config:mac-table-size=10")
        both.same(
            [*learnt("vm1", "vm2", "up"), *(("vm3", hello(number)) for number in range(20, 40))], times=1
        )
        both.same([("vm1", unicast(1, number)) for number in (2, 9, *range(20, 40))])


def test_a_fixed_address(on: Stage, tmp_path: Path) -> None:
    """fdb/add: frames from elsewhere do not move it."""
    with twins(on, tmp_path, flat) as both:
        both.command("fdb/add", "{}", "{}-vm3", "0", mac(9).hex(":"))
        attached = both.same([*learnt("vm1", "vm2", "up"), *KNOWN])
        assert receivers(attached, unicast(1, 9)) == {"vm3": 1}
        both.command("fdb/del", "{}", "0", mac(9).hex(":"))
        attached = both.same([*learnt("vm1", "vm2", "up"), *KNOWN])
        assert receivers(attached, unicast(1, 9)) == {"up": 1}


def many(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    flat(ovs, bridge, named)
    vm(ovs, bridge, named("vm4"), 4, macs="02:00:00:00:00:04 02:00:00:00:00:05")


def test_several_and_other_addresses_behind_a_port(on: Stage, tmp_path: Path) -> None:
    """VRRP's virtual router, nested VMs: addresses that OVSDB does not state for the port."""
    with twins(on, tmp_path, many) as both:
        virtual = bytes.fromhex("00005e000105")
        frames = [
            *learnt("vm1", "vm2", "up"),
            *(("vm4", hello(number)) for number in (4, 5, 6)),
            ("vm1", ether(BROADCAST, virtual, 0x806, arp(5, 5))),
            ("vm1", ether(mac(9), virtual, 0x800, unicast(1, 9)[14:])),
            ("up", ether(virtual, mac(9), 0x800, unicast(9, 1)[14:])),
            *((("up", unicast(9, number))) for number in (4, 5, 6)),
            *((("vm4", unicast(number, 9))) for number in (4, 5, 6)),
        ]
        attached = both.same(frames)
        assert receivers(attached, unicast(6, 9)) == {"up": 1}
        assert receivers(attached, frames[8][1]) == {"vm1": 1}
