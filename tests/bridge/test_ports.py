"""Ports that come, go, are renamed or moved, and what operators set on them."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import hello, unicast
from support.ovs.protocols import KINDS
from support.ovs.twins import BRIDGES, Frame, Namer, Stage, Twins, flat, learnt, receivers, twins, vm

pytestmark = pytest.mark.ovs

FRAMES: list[Frame] = [*learnt("vm1", "vm2", "up"), ("vm1", unicast(1, 2)), ("vm1", unicast(1, 9)),
                       ("vm2", unicast(2, 1)), ("up", unicast(9, 1)), ("vm1", unicast(1, 77)),
                       ("up", unicast(9, 78))]  # fmt: skip


def renew(both: Twins) -> None:
    both.capture()
    both.reconciled()
    both.rest()


def add(both: Twins, name: str, number: int, macs: str = "", *, to: str = "") -> None:
    for bridge in BRIDGES:
        vm(both.ovs, f"{bridge}{to}", f"{bridge}-{name}", number, macs=macs)


def test_a_port_is_removed_and_added_again(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, flat) as both:
        both.same(FRAMES)
        both.each("del-port", "{}", "{}-vm1")
        both.same([frame for frame in FRAMES if frame[0] != "vm1"])
        add(both, "vm1", 1, "02:00:00:00:00:01")
        renew(both)
        both.same(FRAMES)
        both.each("del-port", "{}", "{}-vm1", "--", "del-port", "{}", "{}-vm2")
        add(both, "vm2", 1, "02:00:00:00:00:02")
        add(both, "vm1", 2, "02:00:00:00:00:01")
        renew(both)
        attached = both.same(FRAMES)
        assert receivers(attached, unicast(2, 1)) == {"vm1": 1}, "the two have changed their numbers"


def test_a_port_is_renamed(on: Stage, tmp_path: Path) -> None:
    """Another name at the same number: one change of the database removes and adds it."""
    with twins(on, tmp_path, flat) as both:
        both.same(FRAMES)
        for bridge in BRIDGES:
            both.ovs.vsctl(
                "del-port", bridge, f"{bridge}-vm2",
                "--", "add-port", bridge, f"{bridge}-new2",
                "--", "set", "Interface", f"{bridge}-new2", "type=dummy", "ofport_request=2", "external_ids:iface-id=x",
            )  # fmt: skip
        renew(both)
        frames = [("new2" if port == "vm2" else port, data) for port, data in FRAMES]
        attached = both.same(frames)
        assert receivers(attached, unicast(1, 2)) == {"new2": 1}


def test_a_port_changes_its_number(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, flat) as both:
        both.same(FRAMES)
        both.each("set", "Interface", "{}-vm1", "ofport_request=33")
        both.reconciled()
        both.same(FRAMES)


def second(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    flat(ovs, bridge, named)
    vm(ovs, named("two"), named("other"), 7, macs="02:00:00:00:00:07")


@pytest.mark.parametrize("attached_too", [True, False], ids=["to one with Flowlane", "to one without"])
def test_a_port_moves_to_another_bridge(on: Stage, tmp_path: Path, attached_too: bool) -> None:
    others, upstream = (("two",), ()) if attached_too else ((), ("two",))
    with twins(on, tmp_path, second, others=others, upstream=upstream) as both:
        frames = [*FRAMES, ("other", hello(7)), ("other", unicast(7, 1)), ("vm1", unicast(1, 7))]
        both.same(frames)
        both.each("del-port", "{}", "{}-vm1")
        add(both, "vm1", 1, "02:00:00:00:00:01", to="-two")
        renew(both)
        attached = both.same(frames)
        assert receivers(attached, unicast(7, 1)) == {"vm1": 1}
        both.each("del-port", "{}-two", "{}-vm1")
        add(both, "vm1", 1, "02:00:00:00:00:01")
        renew(both)
        both.same(frames)


@pytest.mark.parametrize("setting", ["no-flood", "no-forward", "no-receive", "no-packet-in", "down"])
def test_what_is_set_by_openflow(on: Stage, tmp_path: Path, setting: str) -> None:
    with twins(on, tmp_path, flat) as both:
        for port in ("vm2", "up"):
            for bridge in BRIDGES:
                both.ovs.ofctl("mod-port", bridge, f"{bridge}-{port}", setting)
            both.rest()
            both.same(
                [
                    *FRAMES,
                    *(("vm1", KINDS[kind]) for kind in ("multicast", "IPv6 multicast", "unknown unicast")),
                ]
            )


def test_protected_ports(on: Stage, tmp_path: Path) -> None:
    """Protected ports do not reach each other."""
    with twins(on, tmp_path, flat) as both:
        both.each("set", "Port", "{}-vm1", "protected=true", "--", "set", "Port", "{}-vm2", "protected=true")
        attached = both.same(FRAMES)
        assert receivers(attached, unicast(1, 2)) == {}
        both.each("set", "Port", "{}-vm2", "protected=false")
        attached = both.same(FRAMES)
        assert receivers(attached, unicast(1, 2)) == {"vm2": 1}


def test_a_link_goes_down_and_up(on: Stage, tmp_path: Path) -> None:
    with twins(on, tmp_path, flat) as both:
        for port in ("vm2", "up"):
            for state in ("down", "up"):
                both.command("netdev-dummy/set-admin-state", "{}-" + port, state)
                both.rest()
                both.same(FRAMES)


def test_other_datapath_settings(on: Stage, tmp_path: Path) -> None:
    """Settings of the bridge that Flowlane has no part in."""
    with twins(on, tmp_path, flat) as both:
        for setting in (
            "other_config:forward-bpdu=true",
            "other_config:hwaddr=02:00:00:00:0a:0b",
            "fail_mode=standalone",
        ):
            both.each("set", "Bridge", "{}", setting)
            both.same(FRAMES)
