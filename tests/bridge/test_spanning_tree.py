"""Two uplinks to one switch: the spanning tree blocks one of them, with Flowlane as without."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import hello, unicast
from support.ovs.twins import BRIDGES, Frame, Namer, Setup, Stage, Twins, cable, receivers, twins, uplink, vm

pytestmark = pytest.mark.ovs

FRAMES: tuple[Frame, ...] = (
    ("vm1", hello(1)), ("vm2", hello(2)), ("far", hello(9)), ("vm1", unicast(1, 9)), ("vm1", unicast(1, 2)),
    ("far", unicast(9, 1)), ("vm1", unicast(1, 77)), ("far", unicast(9, 78)),
)  # fmt: skip


def two_uplinks(protocol: str) -> Setup:
    """Make a set-up whose upstream switch is the root, since its priority is lower; the first uplink is cheaper."""

    def setup(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
        vm(ovs, bridge, named("vm1"), 1, macs="02:00:00:00:00:01")
        vm(ovs, bridge, named("vm2"), 2)
        vm(ovs, named("tor"), named("far"), 8)
        for number in (1, 2):
            uplink(ovs, bridge, named(f"up{number}"), 8 + number)
            vm(ovs, named("tor"), named(f"t{number}"), number)
            ovs.vsctl(
                "set", "Port", named(f"up{number}"), f"other_config:{protocol}-path-cost={100 * number}"
            )
        for name, priority in ((named("tor"), 4096), (bridge, 32768)):
            ovs.vsctl(
                "set",
                "Bridge",
                name,
                f"{protocol}_enable=true",
                f"other_config:{protocol}-priority={priority}",
            )
        for number in (1, 2):
            cable(ovs, named(f"up{number}"), named(f"t{number}"))

    return setup


def forwards(both: Twins, protocol: str) -> None:
    """Wait until each bridge and its upstream switch forward by all ports but those that the tree blocks."""
    names = [name for bridge in BRIDGES for name in (bridge, f"{bridge}-tor")]
    for _ in range(40):
        both.warp(1)
        shown = [both.ovs.control(f"{protocol}/show", name) for name in names]
        ready = [text.lower().count("forwarding") >= 2 and not waits(text) for text in shown]
        if all(ready) and all(text.lower().count("forwarding") >= 3 for text in shown[::2]):
            return
    raise AssertionError("\n".join(shown))


def waits(shown: str) -> bool:
    """Whether a port is on its way: a root or designated port that does not forward."""
    ports = [line for line in shown.lower().splitlines() if " root " in line or " designated " in line]
    return not all("forwarding" in line for line in ports)


@pytest.mark.parametrize("protocol", ["rstp", "stp"])
def test_one_of_two_uplinks_is_blocked(on: Stage, tmp_path: Path, protocol: str) -> None:
    with twins(on, tmp_path, two_uplinks(protocol), upstream=("tor",)) as both:
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
