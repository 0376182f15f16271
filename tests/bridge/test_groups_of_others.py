"""Groups of an operator with the very ids that Flowlane would take: they stay, and Flowlane's groups get others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside import private_ovs
from lab.inside.manager import launched
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import unicast
from support.ovs.hosts import Host, host

pytestmark = pytest.mark.ovs

BRIDGE, DPID, VM, UPLINK = "flg-br", 0x95, "flg-vm1", "flg-up"
POLICY = "version: 1\nlearn-after: 0\n"
ENTRY = "cookie=0x77,priority=900,udp,tp_dst=77,actions=group:{}"


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


def groups(taps: PrivateOvs) -> dict[int, str]:
    text = taps.ofctl("dump-groups", BRIDGE)
    return {int(number): rest for number, rest in re.findall(r"group_id=(\d+),(.*)", text)}


def used_by_ours(taps: PrivateOvs) -> set[int]:
    text = taps.ofctl("dump-flows", BRIDGE, "cookie=0xf10a000000000000/0xffff000000000000")
    return {int(number) for number in re.findall(r"group:(\d+)", text)}


def bridged(taps: PrivateOvs, running: Host) -> None:
    """A VM, and an uplink with four queues among which the switch chooses by a group."""
    words = f"add-port {BRIDGE} {VM} -- set Interface {VM} type=internal ofport_request=7"
    words += " external_ids:iface-id=vm1"
    words += f" -- add-port {BRIDGE} {UPLINK} -- set Interface {UPLINK} type=internal ofport_request=8"
    running.bridge(BRIDGE, DPID, *words.split(), "external_ids:flowlane-port=uplink")
    running.up(VM, UPLINK)
    taps.set_queues(UPLINK, {number: {} for number in range(4)})
    running.programmed()
    running.wait(lambda: used_by_ours(taps), "no entry of ours uses a group")


def test_an_id_that_an_operator_has_taken_is_left_to_the_operator(taps: PrivateOvs, tmp_path: Path) -> None:
    with host(taps, tmp_path, POLICY) as running:
        bridged(taps, running)
        ids = sorted(groups(taps))
        assert used_by_ours(taps) == set(ids)
        running.manager.stop()
        taps.ofctl("del-flows", BRIDGE)
        taps.ofctl("del-groups", BRIDGE)
        for group_id in ids:
            taps.ofctl("add-group", BRIDGE, f"group_id={group_id},type=all,bucket=output:7,bucket=output:8")
        taps.ofctl("add-flow", BRIDGE, ENTRY.format(ids[0]))
        before = groups(taps)
        with launched(*running.options, f"--ofp-tcp-listen-port={running.port}") as running.manager:
            running.wait(lambda: used_by_ours(taps), "no entry of ours uses a group")
            assert used_by_ours(taps).isdisjoint(ids)
            assert {number: text for number, text in groups(taps).items() if number in before} == before
            running.send(VM, unicast(1, 9))
            running.wait(lambda: running.flows(dst="10.0.0.9"), "the flow is not listed")
            (flow,) = running.flows(dst="10.0.0.9")
            (place,) = flow["assignments"]
            assert place["port"] == UPLINK
            assert running.queue(BRIDGE, VM, unicast(1, 9)) == (place["queue_id"] or None)
        assert f"group:{ids[0]}" in taps.ofctl("dump-flows", BRIDGE, "cookie=0x77/-1")
        assert {number: text for number, text in groups(taps).items() if number in before} == before
