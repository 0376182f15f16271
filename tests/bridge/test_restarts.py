"""Restarts of the controller and of Open vSwitch, and a controller that is gone: frames go where they went."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab.inside.manager import Launched, launched
from lab.inside.private_ovs import running
from support.ovs.frames import hello, unicast
from support.ovs.scenarios import VLAN_FRAMES, vlans
from support.ovs.twins import Stage, Twins, receivers, twins

pytestmark = pytest.mark.ovs

FRAMES = VLAN_FRAMES[:24]


@contextmanager
def alone() -> Iterator[Stage]:
    """A switch and a controller that the test may end."""
    with running() as ovs, launched(f"--ovsdb={ovs.database}") as manager:
        yield Stage(ovs, manager)


@contextmanager
def new_manager(both: Twins) -> Iterator[Launched]:
    """Run another controller in the place of the one that has ended."""
    with launched(f"--ovsdb={both.ovs.database}") as manager:
        for bridge in both.managed:
            both.ovs.vsctl("set-controller", bridge, f"tcp:127.0.0.1:{manager.openflow_port}")
        both.reconciled()
        yield manager


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_controller_ends_and_another_one_begins(tmp_path: Path, how: signal.Signals) -> None:
    with alone() as on, twins(on, tmp_path, vlans) as both:
        both.same(FRAMES)
        on.manager.stop(how)
        both.same(FRAMES, times=1)
        both.warp(15)  # Pins and learned entries expire.
        both.rest()
        attached = both.same(FRAMES, times=1)
        assert receivers(attached, unicast(1, 3)) == {"vm3": 1}
        with new_manager(both):
            both.same(FRAMES)


@pytest.mark.parametrize("controller", ["there", "gone"])
def test_open_vswitch_is_restarted(tmp_path: Path, controller: str) -> None:
    """A bridge in secure mode without a controller has no entries then, and forwards nothing: detach it before."""
    with alone() as on, twins(on, tmp_path, vlans) as both:
        both.same(FRAMES)
        if controller == "gone":
            on.manager.stop(signal.SIGKILL)
        restart(both)
        if controller == "gone":
            attached = both.send(FRAMES)[1]
            assert not attached
            with new_manager(both):
                both.command("fdb/flush", "{}")
                both.same(FRAMES)
        else:
            both.reconciled()
            both.forget()
            both.same(FRAMES)


def restart(both: Twins) -> None:
    """Restart ovs-vswitchd; the operator's own entry of the bridge without Flowlane is not kept either."""
    both.ovs.restart_vswitchd()
    both.ovs.ofctl("add-flow", "plain", "priority=0,actions=NORMAL")
    both.forgotten()


def test_standalone_bridges_forward_by_themselves_without_a_controller(tmp_path: Path) -> None:
    """fail_mode=standalone: Open vSwitch takes over when the controller is gone, and gives way when one is back."""
    with alone() as on, twins(on, tmp_path, vlans) as both:
        both.each("set-fail-mode", "{}", "standalone")
        both.same(FRAMES)
        on.manager.stop(signal.SIGKILL)
        both.warp(40)
        both.rest()
        attached = both.same(FRAMES)
        assert ("vm3", hello(1)) in attached
        with new_manager(both):
            both.same(FRAMES)
