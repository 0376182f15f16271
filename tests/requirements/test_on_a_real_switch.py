"""Requirements that reach a switch, on a real Open vSwitch with four queues: M1, M2, M5 to M7, M10 and M12.

Judged by ``ovs-ofctl``: what the switch holds of each flow, which meters it has, and whether REST says the same.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import openvswitch
import pytest
import requests
import sides
from dumpflows import Entry, read_entry
from launched import Launched, launched, wait_for

from flowlane.core.flowkey import IPV4, TCP
from flowlane.simulation.flowspec import FlowSpec, frame_of

BRIDGE, UPLINK = "flr-br", "flr-up"
VMS = {1: "trusted", 2: "doubted"}
VERSION = "OpenFlow13"
EF = 46

POLICY = """
version: 1
default: small
classes:
  small: {queues: shared}
  voice: {priority: 5, min-queues: 1, max-queues: 1}
  backup: {limit: 4Mbit/s, alike: [rate-limit], max-queues: 1}
  names: {limit: 800kbit/s, burst: 40kB, limit-scope: class}
rules:
  - {name: backup, match: {protocol: tcp, dst-port: 873}, class: backup}
  - {name: names, match: {protocol: tcp, dst-port: 53}, class: names}
  - {name: marked voice, match: {hint: voice}, class: voice}
trust:
  - {vm: trusted, sources: [dscp], classes: voice, dscp: {ef: voice}}
"""

ALTERED = (
    POLICY
    + """
devices:
  - {match: {name: "flr-*"}, change: {backup: {limit: 2Mbit/s}}}
"""
)

Host = tuple[openvswitch.PrivateOvs, Launched]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(POLICY)
    with (
        openvswitch.running(system=True) as ovs,
        launched(f"--ovsdb={ovs.database}", f"--policy={policy}") as manager,
    ):
        names = [f"flr-vm{number}" for number in VMS]
        ovs.add_bridge(
            BRIDGE,
            (*names, UPLINK),
            dpid=7,
            controller=f"tcp:127.0.0.1:{manager.openflow_port}",
            versions=VERSION,
        )
        for number, vm in VMS.items():
            ovs.vsctl("set", "Interface", f"flr-vm{number}", f"external_ids:iface-id={vm}")
        ovs.vsctl("set", "Interface", UPLINK, "external_ids:flowlane-port=uplink")
        ovs.set_queues(UPLINK, {number: {} for number in range(4)})
        for name in (*names, UPLINK):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        wait_for(lambda: "set_queue:3" in ovs.ofctl("dump-flows", BRIDGE, version=VERSION), 20, manager.log)
        try:
            yield ovs, manager
        finally:
            ovs.vsctl("del-br", BRIDGE)


def send(
    number: int, src_port: int, dst_port: int = 80, dscp: int = 0, packets: int = 1, length: int = 0
) -> None:
    """Packets of a flow, of at least ``length`` bytes, out of the VM's own interface."""
    addresses = bytes((10, 9, 0, number)), bytes((10, 9, 0, 254))
    spec = FlowSpec(VMS[number], IPV4, TCP, *addresses, src_port, dst_port, 0.0, dscp=dscp)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((f"flr-vm{number}", 0))
        for _ in range(packets):
            out.send(frame_of(spec, number).ljust(length, b"\0"))


def entries(ovs: openvswitch.PrivateOvs) -> list[Entry]:
    text = ovs.ofctl("dump-flows", BRIDGE, version=VERSION)
    return [read_entry(line.strip()) for line in text.splitlines() if " actions=" in line]


def assignments(manager: Launched) -> list[dict[str, Any]]:
    """Those of the flows that a test sent: the host's own kernel speaks on these interfaces, too."""
    found = manager.rest("/v1/assignments?limit=1000")["items"]
    return [item for item in found if item["src"].startswith("10.9.")]


def disagreement(ovs: openvswitch.PrivateOvs, manager: Launched, count: int) -> list[str]:
    """What the switch and REST hold otherwise of the flows that a test sent; empty when they agree."""
    rest = sides.in_rest(assignments(manager))
    switch = {key: where for key, where in sides.in_switch(entries(ovs)).items() if key in rest}
    missing = [] if len(rest) == count else [f"{len(rest)} flows of {count}"]
    return missing + sides.differences(switch, rest)


def meter_rates(ovs: openvswitch.PrivateOvs) -> list[int]:
    """Rates in kbit/s of the meters that limit flows; the one with packets/s limits copies."""
    text = ovs.ofctl("dump-meters", BRIDGE, version=VERSION)
    found = re.findall(r"meter=(\S+ [^\n]*)\n\s*type=drop rate=(\d+)", text)
    return sorted(int(rate) for head, rate in found if "kbps" in head)


@pytest.mark.mininet
def test_what_the_switch_holds_is_what_the_requirements_ask(host: Host) -> None:
    ovs, manager = host
    for number in VMS:
        for flow in range(12):
            send(number, 2000 + flow)
        send(number, 3000, dst_port=873)
        send(number, 4000, dscp=EF)
    wait_for(lambda: disagreement(ovs, manager, 28) == [], 15, str(disagreement(ovs, manager, 28)))
    found = assignments(manager)
    # M1: the VMs are known by their identities.
    assert {item["vm"] for item in found} == set(VMS.values())
    # M5, M6, M7: 28 flows on four physical queues, several on each.
    assert {item["kind"] for item in found} == {"physical"}
    assert {item["queue_id"] for item in found} <= {0, 1, 2, 3}
    # M10: each limited flow has a meter of its own in the switch, and they share a queue.
    limited = [item for item in found if item["class"] == "backup"]
    assert len({item["meter"]["id"] for item in limited}) == len(VMS)
    assert len({item["queue_id"] for item in limited}) == 1
    assert meter_rates(ovs) == [800, 4000, 4000]
    # M12: the mark counts from the VM that is trusted, and not from the other.
    marked = {item["vm"]: item["class"] for item in found if item["src_port"] == 4000}
    assert marked == {"trusted": "voice", "doubted": "small"}


@pytest.mark.mininet
def test_a_device_gets_the_rules_as_the_operator_changed_them_for_it(host: Host) -> None:
    ovs, manager = host
    for number in VMS:
        send(number, 3000, dst_port=873)
    wait_for(lambda: meter_rates(ovs) == [800, 4000, 4000], 15, manager.log)
    url = f"http://127.0.0.1:{manager.rest_port}/v1/policy"
    answer = requests.put(url, data=ALTERED, headers={"Content-Type": "application/yaml"}, timeout=10)
    assert answer.status_code == 200, answer.text
    wait_for(lambda: meter_rates(ovs) == [800, 2000, 2000], 10, manager.log)
    refused = requests.put(url, data="version: 2", headers={"Content-Type": "application/yaml"}, timeout=10)
    assert refused.status_code == 422
    assert meter_rates(ovs) == [800, 2000, 2000]


@pytest.mark.mininet
def test_a_limit_of_a_class_holds_flows_that_have_no_entry_of_their_own(host: Host) -> None:
    """M10: by the meter's and the port's own counters; what the switch lets through is bounded by time."""
    ovs, manager = host
    (meter_id,) = [number for number, rate in class_meters(ovs) if rate == 800]
    begin, counted = time.monotonic(), meter_counts(ovs, meter_id)
    for flow in range(20):
        send(1, 5000 + flow, dst_port=53, packets=30, length=1000)
    wait_for(lambda: meter_counts(ovs, meter_id)[0] - counted[0] == 600, 15, ovs_text(ovs))
    seconds = time.monotonic() - begin
    passed = 600 - (meter_counts(ovs, meter_id)[1] - counted[1])
    # The burst is 40 kB, and 100 kB more pass each second.
    assert passed * 1000 <= 40_000 + 100_000 * seconds + 1000
    assert passed >= 40

    def without_pin() -> bool:
        """A flow of which no packet has passed may be unknown; one that was moved to another queue has an entry."""
        flows = [item for item in assignments(manager) if item["class"] == "names"]
        pinned = [entry for entry in entries(ovs) if entry.table == 2 and entry.match.get("tp_dst") == "53"]
        limited = [item["meter"] and item["meter"]["id"] for item in flows]
        return len(flows) > 10 > len(pinned) and set(limited) == {meter_id} and agree(ovs, manager)

    wait_for(without_pin, 15, manager.log)


def agree(ovs: openvswitch.PrivateOvs, manager: Launched) -> bool:
    return disagreement(ovs, manager, len(assignments(manager))) == []


def ovs_text(ovs: openvswitch.PrivateOvs) -> str:
    return ovs.ofctl("dump-flows", BRIDGE, version=VERSION) + ovs.ofctl(
        "meter-stats", BRIDGE, version=VERSION
    )


def class_meters(ovs: openvswitch.PrivateOvs) -> list[tuple[int, int]]:
    """(number, rate in kbit/s) of meters that standing rules use."""
    used = {entry.meter for entry in entries(ovs) if entry.table == sides.SPREAD_TABLE}
    text = ovs.ofctl("dump-meters", BRIDGE, version=VERSION)
    found = re.findall(r"meter=(\d+) [^\n]*\n\s*type=drop rate=(\d+)", text)
    return [(int(number), int(rate)) for number, rate in found if int(number) in used]


def meter_counts(ovs: openvswitch.PrivateOvs, meter_id: int) -> tuple[int, int]:
    """Packets that came to a meter, and those that it dropped."""
    text = ovs.ofctl("meter-stats", BRIDGE, f"meter={meter_id}", version=VERSION)
    came = re.search(r"packet_in_count:(\d+)", text)
    dropped = re.search(r"bands:\s*0: packet_count:(\d+)", text)
    assert came is not None, text
    assert dropped is not None, text
    return int(came[1]), int(dropped[1])
