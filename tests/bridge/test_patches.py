"""Bridges that are connected by patch ports forward as they did, whichever of them Flowlane is attached to."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import hello, tag, tagged, unicast
from support.ovs.scenarios import PATCH_FRAMES, patched
from support.ovs.twins import Namer, Stage, patch, receivers, twins, uplink, vm

pytestmark = pytest.mark.ovs


@pytest.mark.parametrize("attached_too", [True, False], ids=["both", "only the VMs' bridge"])
def test_integration_and_external_bridge(on: Stage, tmp_path: Path, attached_too: bool) -> None:
    others, upstream = (("ex",), ()) if attached_too else ((), ("ex",))
    with twins(on, tmp_path, patched, others=others, upstream=upstream) as both:
        attached = both.same(PATCH_FRAMES)
        assert receivers(attached, tagged(hello(1), tag(100)))["up"] == 1


def only_external(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """The uplink on the bridge with Flowlane, the VMs on the other."""
    uplink(ovs, bridge, named("up"), 9)
    vm(ovs, named("int"), named("vm1"), 1, "tag=100", macs="02:00:00:00:00:01")
    vm(ovs, named("int"), named("vm2"), 2, "tag=200", macs="02:00:00:00:00:02")
    vm(ovs, named("int"), named("vm3"), 3, "tag=100")
    patch(ovs, named("int"), named("int-ex"), bridge, named("ex-int"))


def test_only_the_uplinks_bridge(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, only_external, upstream=("int",)) as both:
        both.same(PATCH_FRAMES)


def three(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """VMs - integration - VLAN bridge - external bridge, as OpenStack's hosts have them, and one more VM at the end."""
    patched(ovs, bridge, named)
    patch(ovs, named("ex"), named("ex-far"), named("far"), named("far-ex"))
    vm(ovs, named("far"), named("vm4"), 4, "tag=100", macs="02:00:00:00:00:04")


def test_three_bridges_in_a_row(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, three, others=("ex", "far")) as both:
        frames = [
            *PATCH_FRAMES,
            ("vm4", hello(4)),
            ("vm4", unicast(4, 1)),
            ("vm1", unicast(1, 4)),
            ("vm2", unicast(2, 4)),
        ]
        attached = both.same(frames)
        assert receivers(attached, unicast(1, 4)) == {"vm4": 1}


def two_pairs(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """Two pairs of patch ports to the same bridge, each for a VLAN of its own."""
    vm(ovs, bridge, named("vm1"), 1, "tag=100", macs="02:00:00:00:00:01")
    vm(ovs, bridge, named("vm2"), 2, "tag=200", macs="02:00:00:00:00:02")
    uplink(ovs, named("ex"), named("up"), 9)
    for vlan in (100, 200):
        patch(ovs, bridge, named(f"int{vlan}"), named("ex"), named(f"ex{vlan}"))
        ovs.vsctl(
            "set",
            "Port",
            named(f"int{vlan}"),
            f"trunks={vlan}",
            "--",
            "set",
            "Port",
            named(f"ex{vlan}"),
            f"trunks={vlan}",
        )


def test_two_pairs_of_patch_ports(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, two_pairs, others=("ex",)) as both:
        both.same([frame for frame in PATCH_FRAMES if frame[0] != "vm3"])
