"""A passive switch behind a real bridge, by the policy of the documentation.

A capture at the uplink is the judge of the mark, the switch's own trace of the queue before it.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.inside import private_ovs
from lab.inside.manager import launched
from lab.inside.namespaces import network_of_its_own
from support.ovs.frames import checksum, ether, ipv4, mac, tcp, udp
from support.ovs.hosts import Host, host
from support.ovs.kernel import listening, waiting

from flowlane.core.flowkey import TCP, UDP

pytestmark = pytest.mark.ovs

POLICY = (Path(__file__).parents[2] / "docs/policies/passive-switch.yaml").read_text()
SPREAD = POLICY.replace("port: [80, 443]", "port: [80, 443, 7000-7999]")
ONE_QUEUE = SPREAD + "\ndevices:\n  - {match: {name: tor-1}, change: {web: {max-queues: 1}}}\n"
BRIDGE, UPLINK, DPID, VMS = "br-nic", "pf0", 0x95, 2
SWITCH = "tor-1"
EF = 46


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("passive")
    with (
        network_of_its_own(),
        private_ovs.running(system=True) as taps,
        host(taps, folder, ONE_QUEUE) as on,
    ):
        words: list[str] = []
        for number in range(1, VMS + 1):
            words += ["--", "add-port", BRIDGE, f"flp-{number}"]
            words += ["--", "set", "Interface", f"flp-{number}", "type=internal", f"ofport_request={number}"]
            words += [f"external_ids:iface-id=vm{number}"]
        words += ["--", "add-port", BRIDGE, UPLINK, "--", "set", "Interface", UPLINK, "type=internal"]
        words += ["ofport_request=9", "external_ids:flowlane-port=uplink"]
        on.bridge(BRIDGE, DPID, *words[1:])
        taps.set_queues(UPLINK, {number: {} for number in range(3)})
        on.up(UPLINK, *(f"flp-{number}" for number in range(1, VMS + 1)))
        on.programmed()
        on.wait(lambda: len(on.rest(f"/v1/devices/{DPID:016x}/queues")["items"]) == 3, "no queues")
        on.wait(lambda: "ip_dscp" in on.ovs.ofctl("dump-flows", BRIDGE, "table=8"), "no marks")
        yield on


def frame_of(vm: int, dst_port: int, dscp: int = 0, protocol: int = UDP) -> bytes:
    payload = tcp(1000, dst_port, 0x10) if protocol == TCP else udp(1000, dst_port)
    packet = bytearray(ipv4(vm, 9, protocol, payload))
    packet[1], packet[10:12] = dscp << 2, bytes(2)
    packet[10:12] = struct.pack("!H", checksum(bytes(packet[:20])))
    return ether(mac(9), mac(vm), 0x800, bytes(packet))


def dscp_at_uplink(running: Host, vm: int, frame: bytes) -> int:
    with listening(UPLINK) as uplink:
        waiting(uplink)
        running.send(f"flp-{vm}", frame)
        found: list[bytes] = []

        def has_come() -> bool:
            found.extend(
                data for data in waiting(uplink) if data[6:12] == frame[6:12] and data[12:14] == b"\x08\x00"
            )
            return bool(found)

        running.wait(has_come, "the frame did not leave")
        return found[0][15] >> 2


def places(running: Host, vm: int, dst_port: int) -> dict[str, dict[str, Any]]:
    """The assignments of a flow by device."""
    items = running.rest("/v1/assignments?limit=1000")["items"]
    names = {device["dpid"]: device["name"] for device in running.rest("/v1/devices")["items"]}
    of_flow = (item for item in items if (item["src"], item["dst_port"]) == (f"10.0.0.{vm}", dst_port))
    return {names[item["device"]]: item for item in of_flow}


def agrees(running: Host, vm: int, dst_port: int, protocol: int = UDP) -> bool:
    """Whether a flow's packets leave with the mark, and by the queue, that REST has for the two devices."""
    frame = frame_of(vm, dst_port, protocol=protocol)
    mark, queue_id = dscp_at_uplink(running, vm, frame), running.queue(BRIDGE, str(vm), frame)
    found = places(running, vm, dst_port)
    if len(found) != 2:
        return False
    return (8 * found[SWITCH]["queue_id"], found[BRIDGE]["queue_id"] or None) == (mark, queue_id)


def test_it_is_listed_with_its_queues(running: Host) -> None:
    (switch,) = [item for item in running.rest("/v1/devices")["items"] if item["name"] == SWITCH]
    assert (switch["role"], switch["declared"], switch["connected"]) == ("switch", True, False)
    queues = running.rest(f"/v1/devices/{switch['dpid']}/queues")["items"]
    assert [(item["port"], item["queue_id"], item["mark"]) for item in queues] == [
        ("uplink", queue_id, 8 * queue_id) for queue_id in range(4)
    ]


def test_each_packet_has_the_queue_of_one_and_the_mark_of_the_other(running: Host) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    for dst_port in range(6000, 6016):
        running.wait(lambda port=dst_port: agrees(running, 1, port), f"port {dst_port}")  # type: ignore[misc]
        found = places(running, 1, dst_port)
        seen[found[BRIDGE]["queue_id"], found[SWITCH]["queue_id"]] += 1
    assert ({own for own, _ in seen}, {there for _, there in seen}) == ({0, 1, 2}, {0, 1, 2, 3})


def test_a_flow_whose_queue_there_is_another_than_the_bridge_chose_gets_a_pin(running: Host) -> None:
    """By another policy the bridge spreads them over the queues there; then they are to have one again."""
    ports = range(7000, 7008)

    def queues_there() -> set[int]:
        found = [places(running, 2, port) for port in ports if agrees(running, 2, port, TCP)]
        return {place[SWITCH]["queue_id"] for place in found} if len(found) == len(ports) else set()

    running.put_policy(SPREAD)
    running.wait(lambda: len(queues_there()) > 1, "the flows are not on several queues")
    running.put_policy(ONE_QUEUE)
    running.wait(lambda: len(queues_there()) == 1, "the flows are not on one queue")
    entries = running.ovs.ofctl("dump-flows", BRIDGE, "table=4")
    assert entries.count("tp_dst=70") >= 2, "pins of those that the bridge had put elsewhere"


def test_marks_of_the_vm_that_are_kept(running: Host) -> None:
    for _ in range(3):
        assert dscp_at_uplink(running, 1, frame_of(1, 6100, EF)) == EF
    running.wait(lambda: len(places(running, 1, 6100)) == 2, "no flow")
    found = places(running, 1, 6100)
    assert (found[SWITCH]["queue_id"], found[SWITCH]["kind"]) == (None, "none")
    shown = running.rest(f"/v1/flows/{found[SWITCH]['flow']}/explain")["devices"]
    reasons = {item["device"]: item["reason"] for item in shown}
    assert any("keeps its own mark" in reason for reason in reasons.values()), reasons


def test_after_a_restart_flows_have_the_queues_and_pins_that_they_had(running: Host) -> None:
    """The last test: it ends the controller that the others use."""
    ports = (*range(6000, 6008), *range(7000, 7004))

    to = re.compile(rf"tp_dst=({'|'.join(map(str, ports))}) ")

    def queues() -> dict[int, dict[str, int]]:
        found: dict[int, dict[str, int]] = {}
        for dst_port in ports:
            vm = 2 if dst_port >= 7000 else 1
            running.send(f"flp-{vm}", frame_of(vm, dst_port, protocol=TCP if vm == 2 else UDP))
            found[dst_port] = {name: item["queue_id"] for name, item in places(running, vm, dst_port).items()}
        return found

    def pins() -> set[str]:
        lines = running.ovs.ofctl("dump-flows", BRIDGE, "table=4").splitlines()
        of_flows = (line for line in lines if "cookie=0xf10a3" in line)
        return {re.sub(r".*(priority=)", r"\1", line) for line in of_flows if to.search(line)}

    running.wait(lambda: all(len(item) == 2 for item in queues().values()), "not all flows are listed")
    before = queues(), pins()
    running.manager.stop()
    with launched(*running.options, f"--ofp-tcp-listen-port={running.port}") as running.manager:
        running.wait(lambda: all(len(item) == 2 for item in queues().values()), "not all flows are listed")
        after = queues(), pins()
        assert after[0] == before[0]
        assert before[1] <= after[1]
