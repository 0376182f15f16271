"""Multicast goes where the bridge sends it, with and without snooping; mirrors copy what they copied."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import hello, tag, tagged, to_group, unicast
from support.ovs.protocols import GROUP
from support.ovs.scenarios import MEMBERSHIP, VLAN_FRAMES, snooping, vlans
from support.ovs.twins import Namer, Setup, Stage, flat, learnt, twins, vm

pytestmark = pytest.mark.ovs


def test_snooping_sends_a_group_to_its_members_only(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, snooping) as both:
        attached = both.same(MEMBERSHIP[:6])
        assert ("vm2", to_group(1, GROUP)) in attached
        assert ("vm3", to_group(1, GROUP)) not in attached
        both.same(MEMBERSHIP)
        both.command("mdb/flush", "{}")
        both.same(MEMBERSHIP)


def test_the_same_without_snooping(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, flat) as both:
        attached = both.same(MEMBERSHIP)
        assert ("vm3", to_group(1, GROUP)) in attached
        both.each("set", "Bridge", "{}", "mcast_snooping_enable=true")
        both.same(MEMBERSHIP)


@pytest.mark.parametrize(
    "settings",
    [
        ("Bridge", "{}", "other_config:mcast-snooping-disable-flood-unregistered=true"),
        ("Port", "{}-vm3", "other_config:mcast-snooping-flood=true"),
        ("Port", "{}-up", "other_config:mcast-snooping-flood-reports=true"),
    ],
    ids=["unregistered groups nowhere", "a port that gets all", "a port that gets reports"],
)
def test_options_of_snooping(on: Stage, tmp_path: Path, settings: tuple[str, ...]) -> None:
    with twins(on, tmp_path, snooping) as both:
        both.each("set", *settings)
        both.same(MEMBERSHIP)


def test_groups_expire(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, snooping) as both:
        both.each("set", "Bridge", "{}", "other_config:mcast-snooping-aging-time=15")
        both.same(MEMBERSHIP[:6], times=1)
        both.warp(17)
        both.rest()
        attached = both.same([("vm1", to_group(1, GROUP))])
        assert ("vm3", to_group(1, GROUP)) in attached


def mirror(ovs: PrivateOvs, bridge: str, named: Namer, *settings: str) -> None:
    """Add a mirror: its columns, in which @vm1 and @spy are ports."""
    refs = [
        word for name in ("spy", "vm1", "up") for word in ("--", f"--id=@{name}", "get", "Port", named(name))
    ]
    ovs.vsctl(
        *refs,
        "--",
        "--id=@m",
        "create",
        "Mirror",
        "name=m",
        *settings,
        "--",
        "set",
        "Bridge",
        bridge,
        "mirrors=@m",
    )


def mirrored(*settings: str, base: Setup = flat) -> Setup:
    def setup(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
        base(ovs, bridge, named)
        vm(ovs, bridge, named("spy"), 20)
        mirror(ovs, bridge, named, *settings)

    return setup


@pytest.mark.parametrize(
    "settings",
    [
        ("select-all=true", "output-port=@spy"),
        ("select-src-port=@vm1", "output-port=@spy"),
        ("select-dst-port=@vm1", "output-port=@spy"),
        ("select-src-port=@vm1", "select-dst-port=@vm1", "output-port=@spy"),
        ("select-dst-port=@up", "output-port=@spy"),
        ("select-all=true", "output-port=@spy", "snaplen=40"),
    ],
    ids=["all", "source", "destination", "both", "uplink", "snaplen"],
)
def test_mirrors(on: Stage, tmp_path: Path, settings: tuple[str, ...]) -> None:
    frames = [*learnt("vm1", "vm2", "up"), ("vm1", unicast(1, 2)), ("vm1", unicast(1, 9)), ("up", unicast(9, 1)),
              ("vm2", unicast(2, 9)), ("vm1", to_group(1, GROUP)), ("vm1", unicast(1, 9, tag(0, 3)))]  # fmt: skip
    with twins(on, tmp_path, mirrored(*settings)) as both:
        attached = both.same(frames)
        assert "spy" in {port for port, _ in attached}


@pytest.mark.parametrize(
    "settings",
    [
        ("select-all=true", "select-vlan=100", "output-port=@spy"),
        ("select-all=true", "output-vlan=999"),
        ("select-all=true", "select-vlan=200", "output-vlan=999"),
    ],
    ids=["of a VLAN", "into a VLAN", "of a VLAN into a VLAN"],
)
def test_mirrors_and_vlans(on: Stage, tmp_path: Path, settings: tuple[str, ...]) -> None:
    with twins(on, tmp_path, mirrored(*settings, base=vlans)) as both:
        attached = both.same(VLAN_FRAMES)
        if "output-vlan=999" in settings:
            assert ("up", tagged(hello(2), tag(999))) in attached


def test_a_mirror_that_is_added_and_removed(on: Stage, tmp_path: Path) -> None:
    frames = [*learnt("vm1", "vm2", "up"), ("vm1", unicast(1, 2)), ("vm1", unicast(1, 9))]
    with twins(on, tmp_path, mirrored("select-all=true", "output-port=@spy")) as both:
        both.same(frames)
        both.each("clear", "Bridge", "{}", "mirrors")
        attached = both.same(frames)
        assert ("spy", unicast(1, 2)) not in attached
