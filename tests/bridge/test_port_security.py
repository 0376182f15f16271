"""Source addresses that are not a VM's own: reported, or dropped; and which uplink an address is behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.inside.manager import Launched, wait_for
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import BROADCAST, arp, ether, ipv4, mac, udp, unicast
from support.ovs.twins import Namer, Stage, flat, learnt, receivers, stage, twins, uplink, vm

pytestmark = pytest.mark.ovs

VRRP = b"\x00\x00\x5e\x00\x01\x05"
ADVERTISEMENT = ether(b"\x01\x00\x5e\x00\x00\x12", VRRP, 0x800, ipv4(1, 18, 112, bytes(16)))
NESTED = ether(mac(9), mac(55), 0x800, ipv4(55, 9, 17, udp(1, 2)))
FOREIGN_ARP = ether(BROADCAST, mac(55), 0x806, arp(55, 1))
STRICT = """version: 1
port-security: strict
extra-addresses:
  - {vm: "*-vm1", mac: "00:00:5e:00:01:05"}
"""


@pytest.fixture(scope="module")
def on() -> Iterator[Stage]:
    """A controller that no other test has sent frames to."""
    with stage() as running:
        yield running


def vm1(manager: Launched) -> Any:
    return manager.rest("/v1/vms/attached-vm1")


def test_by_default_other_addresses_are_the_vms_and_reported_once(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, flat) as both:
        both.same(learnt("vm1", "vm2", "up"))
        for frame in (ADVERTISEMENT, NESTED, FOREIGN_ARP):
            assert both.same([("vm1", frame)]), "nobody is cut off"
        wait_for(lambda: len(vm1(on.manager)["other_macs"]) == 2)
        assert set(vm1(on.manager)["other_macs"]) == {"00:00:5e:00:01:05", "02:00:00:00:00:37"}
        assert vm1(on.manager)["flows"] >= 4, "they are the VM's flows, and under its limits"
        assert on.manager.log.count("sends with source address 02:00:00:00:00:37") == 1


def test_a_strict_policy_drops_them_but_for_extra_addresses(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(STRICT)
    with stage(f"--policy={tmp_path / 'policy.yaml'}") as on, twins(on, tmp_path, flat) as both:
        both.same([*learnt("vm1", "vm2", "up"), ("vm1", ADVERTISEMENT), ("vm3", unicast(3, 9))])
        plain, attached = both.send([("vm1", NESTED), ("vm1", FOREIGN_ARP), ("vm1", unicast(2, 9))])
        assert plain
        assert not attached
        wait_for(lambda: len(vm1(on.manager)["other_macs"]) == 2)
        assert "such frames are dropped (port-security: strict)" in on.manager.log
        plain, attached = both.send([("vm1", unicast(1, 9)), ("up", unicast(9, 2))])
        assert receivers(plain, unicast(9, 2)) == {"vm1": 1}
        assert receivers(attached, unicast(9, 2)) == {"vm2": 1}, "nobody has taken its address"


def two_uplinks(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    vm(ovs, bridge, named("vm1"), 1, macs="02:00:00:00:00:01")
    uplink(ovs, bridge, named("up1"), 8)
    uplink(ovs, bridge, named("up2"), 9)


def test_of_two_uplinks_the_one_is_predicted_behind_which_the_destination_is(
    on: Stage, tmp_path: Path
) -> None:
    """Known from data packets, as the bridge knows it."""
    with twins(on, tmp_path, two_uplinks) as both:
        both.same([("vm1", unicast(1, 77)), ("up1", unicast(8, 1)), ("up2", unicast(9, 1))])
        both.reconciled()
        attached = both.same([("vm1", unicast(1, 8)), ("vm1", unicast(1, 9))])
        assert receivers(attached, unicast(1, 9)) == {"up2": 1}
        wait_for(lambda: len(egress_ports(on.manager)) == 3)
        assert egress_ports(on.manager) == {
            "10.0.0.8": "attached-up1",
            "10.0.0.9": "attached-up2",
            "10.0.0.77": "",
        }
        learning = both.ovs.ofctl("dump-flows", "attached", "table=0,dl_src=02:00:00:00:00:09")
        assert "CONTROLLER" not in learning
        assert "goto_table" in learning, "what is known is not copied again"


def egress_ports(manager: Launched) -> dict[str, str]:
    flows = manager.rest("/v1/assignments?vm=attached-vm1")["items"]
    return {flow["dst"]: flow["port"] for flow in flows if flow["src"] == "10.0.0.1"}
