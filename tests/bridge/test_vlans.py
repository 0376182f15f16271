"""VLANs isolate, and frames are tagged as the ports say, with Flowlane as without."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.ovs.frames import hello, mac, unicast
from support.ovs.scenarios import VLAN_FRAMES, vlans
from support.ovs.twins import Stage, twins

pytestmark = pytest.mark.ovs


@pytest.mark.parametrize("version", ["OpenFlow13", "OpenFlow15"])
def test_vlans_isolate_and_are_tagged_as_configured(on: Stage, tmp_path: Path, version: str) -> None:
    with twins(on, tmp_path, vlans, versions=version) as both:
        attached = both.same(VLAN_FRAMES)
        crossed = [port for port, data in attached if port == "vm2" and data[6:12] in (mac(1), mac(3))]
        assert crossed == [], "what VLAN 100 sends never reaches VLAN 200"
        assert {port for port, _ in attached} >= {
            "vm1",
            "vm2",
            "trunk",
            "untagged",
            "tagged",
            "qinq",
            "cvlans",
            "prio",
            "up",
        }


def test_two_tags_are_looked_at_where_the_switch_is_told_so(on: Stage, tmp_path: Path) -> None:
    """other_config:vlan-limit makes it look at inner tags."""
    on.ovs.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=2")
    try:
        with twins(on, tmp_path, vlans) as both:
            both.same(VLAN_FRAMES)
    finally:
        on.ovs.vsctl("remove", "Open_vSwitch", ".", "other_config", "vlan-limit")


def test_a_port_changes_its_vlan(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, vlans) as both:
        frames = [
            ("vm1", hello(1)),
            ("vm3", hello(3)),
            ("vm2", hello(2)),
            ("vm1", unicast(1, 3)),
            ("vm1", unicast(1, 2)),
        ]
        assert ("vm3", unicast(1, 3)) in both.same(frames)
        both.each("set", "Port", "{}-vm1", "tag=200")
        attached = both.same(frames)
        assert ("vm2", unicast(1, 2)) in attached
        assert ("vm3", hello(1)) not in attached
        both.each("set", "Port", "{}-vm1", "vlan_mode=trunk", "tag=[]", "trunks=[]")
        both.same(frames)


def test_vlans_that_learn_no_addresses(on: Stage, tmp_path: Path) -> None:
    """flood_vlans of a bridge: their frames always go to all ports."""
    with twins(on, tmp_path, vlans) as both:
        both.each("set", "Bridge", "{}", "flood_vlans=100")
        attached = both.same(VLAN_FRAMES)
        assert ("vm3", unicast(1, 9)) in attached
