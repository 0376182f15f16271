"""A bond stays one port, with one and with two upstream switches, and fails over as it did."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.inside.manager import wait_for
from support.ovs.frames import unicast
from support.ovs.scenarios import BOND_FRAMES, BOND_VIEW, SECOND_SWITCH_FRAMES, UPSTREAM_FRAMES, bond
from support.ovs.twins import BRIDGES, Stage, Twins, merged, twins

pytestmark = pytest.mark.ovs

MODES = ("active-backup", "balance-slb", "balance-tcp")


@pytest.mark.parametrize("mode", MODES)
def test_a_bond_stays_one_port(on: Stage, tmp_path: Path, mode: str) -> None:
    with twins(on, tmp_path, bond(mode), view=BOND_VIEW) as both:
        attached = both.same(BOND_FRAMES)
        assert max(attached.values()) == 1, "one broadcast is one"


def fail(both: Twins, member: str) -> None:
    """Cut a member's cable: both of its ends go down."""
    turn(both, member, "down")
    for bridge in BRIDGES:
        wait_for(lambda bridge=bridge: "disabled" in both.ovs.control("bond/show", f"{bridge}-bond"))  # type: ignore[misc]
    both.rest()


def turn(both: Twins, member: str, state: str) -> None:
    for end in ("eth", "t"):
        both.command("netdev-dummy/set-admin-state", f"{{}}-{end}{member[-1]}", state)


@pytest.mark.parametrize("mode", ["active-backup", "balance-slb"])
def test_one_upstream_switch_without_lacp(on: Stage, tmp_path: Path, mode: str) -> None:
    with twins(on, tmp_path, bond(mode, switches=1), upstream=("tor1",), view=BOND_VIEW) as both:
        attached = both.same(UPSTREAM_FRAMES)
        assert attached["far1", unicast(1, 9)] == 2, "once before its address is known, once after"
        for member in ("eth0", "eth1"):
            fail(both, member)
            both.same(UPSTREAM_FRAMES)
            turn(both, member, "up")
            both.rest()


@pytest.mark.parametrize("mode", ["active-backup", "balance-slb"])
def test_two_upstream_switches(on: Stage, tmp_path: Path, mode: str) -> None:
    with twins(on, tmp_path, bond(mode, switches=2), upstream=("tor1", "tor2"), view=BOND_VIEW) as both:
        attached = both.same(SECOND_SWITCH_FRAMES)
        assert {port for port, _ in attached} >= {"vm1", "vm2", "vm3", "far1", "far2"}
        fail(both, "eth0")
        both.same(SECOND_SWITCH_FRAMES)


@pytest.mark.parametrize("mode", MODES)
def test_a_bond_that_negotiates_by_lacp(on: Stage, tmp_path: Path, mode: str) -> None:
    setup = bond(mode, lacp="active", switches=1)
    with twins(on, tmp_path, setup, upstream=("tor1",), view=BOND_VIEW) as both:
        for bridge in BRIDGES:
            wait_for(lambda bridge=bridge: negotiated(both, f"{bridge}-bond"), 15, f"no LACP at {bridge}")  # type: ignore[misc]
        both.rest()
        both.same(UPSTREAM_FRAMES)
        fail(both, "eth1")
        both.same(UPSTREAM_FRAMES)


def negotiated(both: Twins, port: str) -> bool:
    shown = both.ovs.control("lacp/show", port)
    return shown.count("collecting distributing") == 4 and "expired" not in shown


def test_a_bond_without_lacp_partner_sends_nothing(on: Stage, tmp_path: Path) -> None:
    """lacp=active, and nobody answers: the bond is down, with Flowlane as without."""
    with twins(on, tmp_path, bond("balance-tcp", lacp="active"), view=BOND_VIEW) as both:
        attached = both.same(BOND_FRAMES)
        assert "bond" not in {port for port, _ in attached}


def test_a_member_that_is_added_and_one_that_is_removed(on: Stage, tmp_path: Path) -> None:
    view = merged(eth0="bond", eth1="bond", eth2="bond")
    with twins(on, tmp_path, bond("balance-slb"), view=view) as both:
        both.same(BOND_FRAMES)
        new = ("--id=@eth", "create", "Interface", "name={}-eth2", "type=dummy")
        both.each(*new, "--", "add", "Port", "{}-bond", "interfaces", "@eth")
        both.capture()
        both.reconciled()
        both.same(BOND_FRAMES)
        for bridge in BRIDGES:
            gone = both.ovs.vsctl("get", "Interface", f"{bridge}-eth0", "_uuid").strip()
            both.ovs.vsctl("remove", "Port", f"{bridge}-bond", "interfaces", gone)
        both.reconciled()
        attached = both.same(BOND_FRAMES)
        assert max(attached.values()) == 1
