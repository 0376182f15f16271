"""VMs with one MAC address in two VLANs are two hosts: on one bridge, and one on each of two bridges.

Judged by the switch's trace: the queue of the port by which a frame leaves, which follows from the prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import ether, ipv4, mac, tag, udp
from support.ovs.hosts import Host, host

pytestmark = pytest.mark.ovs

POLICY = "version: 1\nlearn-after: 0\n"
INT, EX, UPLINK = "flq-int", "flq-ex", "flq-up"
DPIDS = {INT: f"{0x91:016x}", EX: f"{0x93:016x}"}
TWIN = 1
"""The number in the address that two VMs have."""

QUEUES = {"flq-a": 1, "flq-b": 2}
"""The only queue that the port of each of the two has, beside queue 0."""


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


def vm(bridge: str, name: str, number: int, vlan: int) -> list[str]:
    attached = f'external_ids:attached-mac="{mac(number).hex(":")}"'
    ids = ["type=internal", f"external_ids:iface-id={name}", attached]
    return ["add-port", bridge, name, f"tag={vlan}", "--", "set", "Interface", name, *ids, "--"]


def to_the_twin(number: int, *tags: int) -> bytes:
    packet = ipv4(number, TWIN, 17, udp(1000 + number, 2000))
    return ether(mac(TWIN), mac(number), 0x800, packet, *tags)


def port_of(running: Host, bridge: str, number: int) -> str | None:
    """The port by which a VM's flow to the twins leaves the bridge, as Flowlane lists it."""
    for flow in running.flows(src=f"10.0.0.{number}", dst=f"10.0.0.{TWIN}"):
        for place in flow["assignments"]:
            if place["device"] == DPIDS[bridge]:
                return str(place["port"])
    return None


def predicted(running: Host, bridge: str, number: int, port: str, to: str) -> bool:
    running.send(port, to_the_twin(number))
    return port_of(running, bridge, number) == to


def test_two_vms_with_one_address_on_one_bridge(taps: PrivateOvs, tmp_path: Path) -> None:
    with host(taps, tmp_path, POLICY) as running:
        words = vm(INT, "flq-a", TWIN, 100) + vm(INT, "flq-b", TWIN, 200)
        words += vm(INT, "flq-c", 3, 100) + vm(INT, "flq-d", 4, 200)
        words += ["add-port", INT, UPLINK, "--", "set", "Interface", UPLINK, "type=internal"]
        running.bridge(INT, 0x91, *words, "external_ids:flowlane-port=uplink")
        running.up("flq-a", "flq-b", "flq-c", "flq-d", UPLINK)
        running.programmed()
        for number, port, to in ((3, "flq-c", "flq-a"), (4, "flq-d", "flq-b")):
            running.wait(partial(predicted, running, INT, number, port, to), f"{port} to {to}")
        # What comes in by the uplink is predicted by its tag; the switch itself sends it to the same port.
        numbers = {name: int(taps.vsctl("get", "Interface", name, "ofport")) for name in QUEUES}
        for vlan, to in ((100, "flq-a"), (200, "flq-b")):
            trace = running.trace(INT, UPLINK, to_the_twin(9, tag(vlan)))
            assert f"metadata=0x{numbers[to]:x}" in trace.replace("metadata:", "metadata="), trace


def test_one_vm_on_each_of_two_bridges_with_one_address(taps: PrivateOvs, tmp_path: Path) -> None:
    with host(taps, tmp_path, POLICY) as running:
        taps.add_bridge(EX, (), dpid=0x93)
        taps.add_bridge(INT, (), dpid=0x91)
        running.bridges += [INT, EX]
        words = vm(INT, "flq-a", TWIN, 100) + vm(EX, "flq-b", TWIN, 200)
        words += vm(EX, "flq-c", 3, 100) + vm(EX, "flq-d", 4, 200)
        for bridge, name, peer in ((INT, "flq-i", "flq-e"), (EX, "flq-e", "flq-i")):
            words += ["add-port", bridge, name, "--", "set", "Interface", name, "type=patch"]
            words += [f"options:peer={peer}", "--"]
        words += ["add-port", EX, UPLINK, "--", "set", "Interface", UPLINK, "type=internal"]
        taps.vsctl(*words, "external_ids:flowlane-port=uplink")
        running.up("flq-a", "flq-b", "flq-c", "flq-d", UPLINK)
        for bridge in (INT, EX):
            taps.vsctl("set-controller", bridge, f"tcp:127.0.0.1:{running.port}")
        running.programmed()
        for number, port, to in ((3, "flq-c", "flq-e"), (4, "flq-d", "flq-b")):
            running.wait(partial(predicted, running, EX, number, port, to), f"{port} to {to}")
        vms = {}

        def places(vm: str) -> list[list[str]]:
            flows = running.flows(vm=vm, dst="10.0.0.9")
            return [sorted(place["device"] for place in flow["assignments"]) for flow in flows]

        def is_on(vm: str, bridge: str) -> bool:
            return any(DPIDS[bridge] in devices for devices in places(vm))

        for name, bridge in (("flq-a", INT), ("flq-b", EX)):
            running.send(name, ether(mac(9), mac(TWIN), 0x800, ipv4(TWIN, 9, 17, udp(5, 6))))
            running.wait(partial(is_on, name, bridge), f"{name} has no flow on {bridge}")
            vms[name] = places(name)
        assert [len(flows) for flows in vms.values()] == [1, 1], "two hosts, and a flow of each"
