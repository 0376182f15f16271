"""Two uplinks to one switch: the spanning tree blocks one of them, with Flowlane as without."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import hello, unicast
from support.ovs.twins import BRIDGES, Frame, Namer, Stage, Twins, cable, receivers, twins, uplink, vm

pytestmark = pytest.mark.ovs

FRAMES: tuple[Frame, ...] = (
    ("vm1", hello(1)), ("vm2", hello(2)), ("far", hello(9)), ("vm1", unicast(1, 9)), ("vm1", unicast(1, 2)),
    ("far", unicast(9, 1)), ("vm1", unicast(1, 77)), ("far", unicast(9, 78)),
)  # fmt: skip


def two_uplinks(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """The switch upstream is the root, since its priority is lower; the first uplink is the cheaper path."""
    vm(ovs, bridge, named("vm1"), 1, macs="02:00:00:00:00:01")
    vm(ovs, bridge, named("vm2"), 2)
    vm(ovs, named("tor"), named("far"), 8)
    for number in (1, 2):
        uplink(ovs, bridge, named(f"up{number}"), 8 + number)
        vm(ovs, named("tor"), named(f"t{number}"), number)
        cost = 100 * number
        ovs.vsctl(
            "set",
            "Port",
            named(f"up{number}"),
            f"other_config:rstp-path-cost={cost}",
            f"other_config:stp-path-cost={cost}",
        )


def rapid(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    two_uplinks(ovs, bridge, named)
    ovs.vsctl("set", "Bridge", named("tor"), "rstp_enable=true", "other_config:rstp-priority=4096")
    ovs.vsctl("set", "Bridge", bridge, "rstp_enable=true", "other_config:rstp-priority=32768")
    for number in (1, 2):
        cable(ovs, named(f"up{number}"), named(f"t{number}"))


def old(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    two_uplinks(ovs, bridge, named)
    ovs.vsctl("set", "Bridge", named("tor"), "stp_enable=true", "other_config:stp-priority=4096")
    ovs.vsctl("set", "Bridge", bridge, "stp_enable=true", "other_config:stp-priority=32768")
    for number in (1, 2):
        cable(ovs, named(f"up{number}"), named(f"t{number}"))


def forwards(both: Twins, protocol: str) -> None:
    """Wait until each bridge blocks one uplink and forwards by all other ports."""
    for _ in range(40):
        both.warp(1)
        shown = [both.ovs.control(f"{protocol}/show", bridge) for bridge in BRIDGES]
        ready = [text.lower().count("forwarding") >= 3 and not waits(text) for text in shown]
        if all(ready):
            return
    raise AssertionError("\n".join(shown))


def waits(shown: str) -> bool:
    return "learning" in shown.lower() or "listening" in shown.lower()


@pytest.mark.parametrize("protocol", ["rstp", "stp"])
def test_one_of_two_uplinks_is_blocked(on: Stage, tmp_path: Path, protocol: str) -> None:
    with twins(on, tmp_path, rapid if protocol == "rstp" else old, upstream=("tor",)) as both:
        forwards(both, protocol)
        both.rest()
        attached = both.same(FRAMES)
        assert receivers(attached, hello(1)).get("far") == 1, "no loop: one broadcast arrives once"
        assert "up1" in {port for port, _ in attached}
        assert "up2" not in {port for port, _ in attached}
        both.command("netdev-dummy/set-admin-state", "{}-up1", "down")
        both.command("netdev-dummy/set-admin-state", "{}-t1", "down")
        forwards(both, protocol)
        both.rest()
        attached = both.same(FRAMES)
        assert "up2" in {port for port, _ in attached}
