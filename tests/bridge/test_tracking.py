"""The connection tracker is on the way only where a port begins many flows, as the switch's own trace shows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import ether, ipv4, mac, udp
from support.ovs.hosts import Host, host

pytestmark = pytest.mark.ovs

BRIDGE, DPID, VM, UPLINK = "flk-br", 0x91, "flk-vm1", "flk-up"
POLICY = "version: 1\nclasses: {any: {}}\npins: {idle-timeout: 60s}\n"
ABOVE = 50
VM_PORT = 7
LONG = 12
"""Packets after which a flow is old, also where its first ones are counted."""


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


def bridged(taps: PrivateOvs, running: Host) -> None:
    """A VM, and an uplink with four queues."""
    words = f"add-port {BRIDGE} {VM} -- set Interface {VM} type=internal ofport_request={VM_PORT}"
    words += " external_ids:iface-id=vm1"
    words += (
        f" -- add-port {BRIDGE} {UPLINK} -- set Interface {UPLINK} type=internal ofport_request={VM_PORT + 1}"
    )
    running.bridge(BRIDGE, DPID, *words.split(), "external_ids:flowlane-port=uplink")
    running.up(VM, UPLINK)
    taps.set_queues(UPLINK, {number: {} for number in range(4)})
    running.programmed()
    queues = f"/v1/devices/{DPID:016x}/queues"
    running.wait(lambda: len(running.rest(queues)["items"]) == 4, "the uplink has no queues")


def packet(port: int) -> bytes:
    return ether(mac(9), mac(1), 0x800, ipv4(1, 9, 17, udp(port, 53)))


def age(running: Host, port: int) -> None:
    """Send a flow until it is old, and wait until the switch has an entry for it."""
    for _ in range(LONG):
        running.send(VM, packet(port))
        time.sleep(0.01)
    running.wait(
        lambda: f"tp_src={port}," in running.ovs.ofctl("dump-flows", BRIDGE), "the flow has no entry"
    )


def datapath_actions(running: Host, port: int) -> list[str]:
    """What the datapath does with a packet: one list of actions for each time that it passes."""
    lines = running.trace(BRIDGE, VM, packet(port)).splitlines()
    return [line.removeprefix("Datapath actions: ") for line in lines if line.startswith("Datapath actions")]


def tracked_ports(running: Host) -> int:
    return running.ovs.ofctl("dump-flows", BRIDGE, "table=2").count(f"udp,in_port={VM_PORT},")


def test_an_old_flow_passes_the_datapath_once_as_with_set_queue_by_hand(
    taps: PrivateOvs, tmp_path: Path
) -> None:
    with host(taps, tmp_path, POLICY) as running:
        bridged(taps, running)
        age(running, 2000)
        (actions,) = datapath_actions(running, 2000)
        (place,) = running.flows(src_port=2000)[0]["assignments"]
        set_queue = [f"set(skb_priority({place['queue_id']:#x}))"] if place["queue_id"] else []
        outputs = [action for action in actions.split(",") if action.isdigit()]
        assert actions.split(",") == [*set_queue, *outputs]


def test_where_all_ports_are_tracked_it_passes_twice(taps: PrivateOvs, tmp_path: Path) -> None:
    with host(taps, tmp_path, POLICY + "track-above: 0\n") as running:
        bridged(taps, running)
        age(running, 2000)
        first, *_ = datapath_actions(running, 2000)
        assert first.startswith("ct(commit")


def test_a_storm_of_new_flows_has_the_port_tracked_and_an_old_flow_keeps_its_queue(
    taps: PrivateOvs, tmp_path: Path
) -> None:
    with host(taps, tmp_path, POLICY + f"track-above: {ABOVE}\n") as running:
        bridged(taps, running)
        age(running, 2000)
        (before,) = running.flows(src_port=2000)[0]["assignments"]
        assert not tracked_ports(running)
        for second in range(8):
            for port in range(3 * ABOVE):
                running.send(VM, packet(3000 + 1000 * second + port))
                time.sleep(0.5 / (3 * ABOVE))
            if tracked_ports(running):
                break
        running.wait(lambda: tracked_ports(running), "the port is not tracked")
        for _ in range(LONG):
            running.send(VM, packet(2000))
        time.sleep(3)
        (after,) = running.flows(src_port=2000)[0]["assignments"]
        assert after["queue_id"] == before["queue_id"]
        _, behind = datapath_actions(running, 2000)[:2]
        assert "ct(" not in behind, "it is old still: its entry is found behind the tracker"
