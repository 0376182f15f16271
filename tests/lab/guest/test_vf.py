"""The layout with real VFs: what a VM sends by its VF is seen, assigned and counted, packet for packet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lab.inside.counters import run
from lab.inside.packet_counts import udp_flows

from flowlane.hosttools.nic.reader import read_state

from .test_assignment import judge, place, spread

if TYPE_CHECKING:
    from lab.inside.controller import Controller

    from .conftest import Lab

PORT = 7500


def vf_sent(vm: str) -> int:
    """Packets that the VF's own driver has sent."""
    shown = run("ip", "netns", "exec", vm, "cat", "/proc/net/dev")
    row = re.search(r"eth0:\s*(.*)", shown)
    assert row is not None
    return int(row[1].split()[9])


def test_vms_have_real_vfs(lab: Lab) -> None:
    for vm in lab.vms:
        assert "driver: igbvf" in run("ip", "netns", "exec", vm, "ethtool", "-i", "eth0")


def test_the_functions_and_their_limits_are_found(lab: Lab) -> None:
    """The emulated card takes a limit and shows it; that it does not keep it is its own affair."""
    run("ip", "link", "set", "sr0", "vf", "1", "max_tx_rate", "50")
    found = read_state("sr0")
    run("ip", "link", "set", "sr0", "vf", "1", "max_tx_rate", "0")
    assert found is not None
    assert [vf.number for vf in found.nic.vfs] == list(range(len(lab.vms)))
    assert [limit.max_tx for limit in found.limits] == [None, 50_000_000, *[None] * (len(lab.vms) - 2)]
    assert [limit.vlan for limit in found.limits] == [101 + number for number in range(len(lab.vms))]


def test_vf_traffic_is_seen_assigned_and_counted(lab: Lab, controller: Controller) -> None:
    before = {vm: vf_sent(vm) for vm in lab.vms}
    with udp_flows(lab.vms, 2, PORT) as flows:
        place(controller, flows)
        spread(controller, flows, 4)
        judge(controller, flows, {0, 1, 2, 3})
        placed = controller.assignments(PORT)
        assert {row["vm"] for row in placed.values()} == set(lab.vms)
    # Each VM sent 2 packets a flow to be known, and then at least 5 and a few.
    assert all(vf_sent(vm) - before[vm] >= 2 * (2 + 5) for vm in lab.vms)
