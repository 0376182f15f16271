"""Queues chosen by mark on a real switch: what leaves by the uplink has the DSCP or PCP of its flow's queue.

The judge is a capture at the uplink: each frame with its mark, and everything else of it as it was sent.
"""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab.inside import private_ovs
from lab.inside.manager import launched
from lab.inside.namespaces import network_of_its_own
from support.ovs.frames import BROADCAST, arp, checksum, ether, ipv4, ipv6, mac, tag, tagged, udp
from support.ovs.hosts import Host, host
from support.ovs.kernel import listening, waiting

pytestmark = pytest.mark.ovs

BRIDGE, UPLINK, DPID = "flk-br", "flk-up", 0x91
PORTS = {"flk-1": "tag=100", "flk-2": "", "flk-3": "tag=200"}
"""The VMs' ports: an access port, a trunk, and an access port of another VLAN."""
HEAD = """
version: 1
learn-after: {young}
track-above: 0
classes: {{gold: {{max-queues: 1}}}}
rules: [{{name: gold, match: {{dst-port: 7000-7999}}, class: gold}}]
devices:
"""
BY_DSCP = HEAD + "  - {{queues-by: dscp, marks: {{0: 0, 8: 1, cs2: 2, 26: 3}}, keep-marks: [ef]}}\n"
BY_PCP = HEAD + "  - {{queues-by: pcp, marks: {{1: 0, 2: 1, 4: 2, 6: 3}}, keep-marks: 7}}\n"
BY_QUEUE = HEAD + "  - {{queues-by: set-queue}}\n"
DSCP_OF = {0: 0, 1: 8, 2: 16, 3: 26}
PCP_OF = {0: 1, 1: 2, 2: 4, 3: 6}
EF, ECN = 46, 1


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("marks")
    with (
        network_of_its_own(),
        private_ovs.running(system=True) as taps,
        host(taps, folder, BY_DSCP.format(young=0)) as on,
    ):
        words: list[str] = []
        for number, (name, vlan) in enumerate(PORTS.items(), start=1):
            words += ["--", "add-port", BRIDGE, name, *filter(None, [vlan])]
            words += ["--", "set", "Interface", name, "type=internal", f"ofport_request={number}"]
            words += [
                f"external_ids:iface-id=vm{number}",
                f'external_ids:attached-mac="{mac(number).hex(":")}"',
            ]
        words += ["--", "add-port", BRIDGE, UPLINK, "--", "set", "Interface", UPLINK, "type=internal"]
        words += ["ofport_request=9", "external_ids:flowlane-port=uplink"]
        on.bridge(BRIDGE, DPID, *words[1:])
        taps.set_queues(UPLINK, {number: {} for number in (0, 1, 2, 3, 9)})
        on.up(UPLINK, *PORTS)
        on.programmed()
        on.wait(lambda: len(on.rest(f"/v1/devices/{DPID:016x}/queues")["items"]) == 4, "no queues")
        yield on


def datagram(vm: int, dst_port: int, dscp: int = 0) -> bytes:
    """An IPv4 datagram from port 1000 with an ECN mark."""
    packet = bytearray(ipv4(vm, 9, 17, udp(1000, dst_port)))
    packet[1], packet[10:12] = dscp << 2 | ECN, bytes(2)
    packet[10:12] = struct.pack("!H", checksum(bytes(packet[:20])))
    return ether(mac(9), mac(vm), 0x800, bytes(packet))


def datagram6(vm: int, dst_port: int) -> bytes:
    return ether(mac(9), mac(vm), 0x86DD, ipv6(vm, 9, 17, udp(1000, dst_port)))


def dscp_of(frame: bytes) -> int:
    eth_type, at = untagged(frame)
    return frame[at + 1] >> 2 if eth_type == 0x800 else (frame[at] << 8 | frame[at + 1]) >> 6 & 0x3F


def untagged(frame: bytes) -> tuple[int, int]:
    """The ethertype after a tag, and where the packet begins."""
    at = 16 if frame[12:14] == b"\x81\x00" else 12
    return int.from_bytes(frame[at : at + 2]), at + 2


def marked(frame: bytes, dscp: int) -> bytes:
    """The frame with another DSCP, and the checksum of its IPv4 header for that."""
    eth_type, at = untagged(frame)
    changed = bytearray(frame)
    if eth_type == 0x800:
        changed[at + 1] = dscp << 2 | frame[at + 1] & 3
        changed[at + 10 : at + 12] = bytes(2)
        changed[at + 10 : at + 12] = struct.pack("!H", checksum(bytes(changed[at : at + 20])))
    elif eth_type == 0x86DD:
        first = int.from_bytes(frame[at : at + 4]) & ~(0x3F << 22) | dscp << 22
        changed[at : at + 4] = first.to_bytes(4)
    return bytes(changed)


def leaves(running: Host, port: str, frame: bytes) -> bytes:
    """The frame as it leaves by the uplink."""
    with listening(UPLINK) as uplink:
        waiting(uplink)
        running.send(port, frame)
        found: list[bytes] = []

        def has_come() -> bool:
            found.extend(data for data in waiting(uplink) if data[6:12] == frame[6:12])
            return bool(found)

        running.wait(has_come, "the frame did not leave")
        return found[0]


def flow(running: Host, vm: int, dst_port: int, version: int = 4) -> dict[str, Any] | None:
    items = running.rest("/v1/assignments?limit=1000")["items"]
    src = f"10.0.0.{vm}" if version == 4 else f"fd00::{vm}"
    return next((item for item in items if (item["src"], item["dst_port"]) == (src, dst_port)), None)


def queue_of(running: Host, vm: int, dst_port: int, version: int = 4) -> int:
    """The queue of a flow once it is settled: with its learned entry or its pin."""
    running.wait(lambda: flow(running, vm, dst_port, version), f"no flow to {dst_port}")
    found = flow(running, vm, dst_port, version)
    assert found is not None
    return int(found["queue_id"])


def use(running: Host, policy: str, young: int = 0) -> None:
    running.put_policy(policy.format(young=young))
    settled(running)


def settled(running: Host) -> None:
    """Wait until the tables stay the same: the plan of the policy is in the device."""
    seen: list[str] = []

    def stays() -> bool:
        text = running.ovs.ofctl("dump-flows", BRIDGE, "--no-stats")
        seen.append(text)
        return len(seen) > 3 and len(set(seen[-3:])) == 1

    running.wait(stays, "the tables do not settle")


def has_mark_of_queue(running: Host, frame: bytes, dst_port: int, version: int) -> bool:
    out = leaves(running, "flk-1", frame)
    return out == marked(tagged(frame, tag(100)), DSCP_OF[queue_of(running, 1, dst_port, version)])


@pytest.mark.parametrize("young", [0, 3])
def test_every_packet_has_the_dscp_of_its_flows_queue(running: Host, young: int) -> None:
    use(running, BY_DSCP, young)
    queues = set()
    first = 6000 + 100 * young
    for dst_port in (*range(first, first + 12), 7000 + young, 7010 + young):
        for version, frame in ((4, datagram(1, dst_port)), (6, datagram6(1, dst_port))):
            ways = [marked(tagged(frame, tag(100)), dscp) for dscp in DSCP_OF.values()]
            for _ in range(young + 2):
                assert leaves(running, "flk-1", frame) in ways, "never without a mark, and otherwise as sent"
            has_mark = partial(has_mark_of_queue, running, frame, dst_port, version)
            running.wait(has_mark, f"the mark of {dst_port} is another than that of its queue")
            queues.add(queue_of(running, 1, dst_port, version))
    assert queues == {0, 1, 2, 3}
    assert len({queue_of(running, 1, 7000 + young, version) for version in (4, 6)}) == 1, "one queue for gold"
    assert "set_queue" not in running.ovs.ofctl("dump-flows", BRIDGE) + running.ovs.ofctl(
        "dump-groups", BRIDGE
    )


def test_what_has_no_dscp_is_as_it_was_sent(running: Host) -> None:
    use(running, BY_DSCP)
    for frame in (
        ether(BROADCAST, mac(1), 0x806, arp(1, 9)),
        ether(mac(9), mac(1), 0x88B5, bytes(50)),
    ):
        assert leaves(running, "flk-1", frame) == tagged(frame, tag(100))


def test_a_mark_that_is_kept_stays_and_explain_says_so(running: Host) -> None:
    use(running, BY_DSCP)
    frame = datagram(1, 6500, EF)
    for _ in range(3):
        assert dscp_of(leaves(running, "flk-1", frame)) == EF
    running.wait(lambda: flow(running, 1, 6500), "no flow")
    shown = flow(running, 1, 6500)
    assert shown is not None
    assert shown["queue_id"] is None
    (explanation,) = running.rest(f"/v1/flows/{shown['flow']}/explain")["devices"]
    assert "keeps its own mark" in explanation["reason"]
    other = datagram(1, 6500, 10)
    assert dscp_of(leaves(running, "flk-1", other)) in DSCP_OF.values(), "only the mark that is kept stays"


def test_queues_without_a_mark_are_left_out(running: Host) -> None:
    use(running, BY_DSCP)
    (device,) = running.rest("/v1/devices")["items"]
    left = [item for item in device["left_out"] if "queue 9" in item["what"]]
    assert left
    assert "DSCP" in json.dumps(left)
    assert device["queues_by"] == "dscp"


def test_every_frame_has_the_pcp_of_its_flows_queue_in_the_tag_that_it_has_anyway(running: Host) -> None:
    use(running, BY_PCP)
    queues = set()
    for dst_port in range(8000, 8008):
        frame = datagram(1, dst_port)
        for _ in range(2):
            out = leaves(running, "flk-1", frame)
            queues.add(queue_of(running, 1, dst_port))
        assert out == tagged(frame, tag(100, PCP_OF[queue_of(running, 1, dst_port)])), "access port, trunk"
        own_tag, without = tagged(datagram(2, dst_port), tag(300)), datagram(2, dst_port + 100)
        for _ in range(2):
            out, plain = leaves(running, "flk-2", own_tag), leaves(running, "flk-2", without)
        assert out == tagged(datagram(2, dst_port), tag(300, PCP_OF[queue_of(running, 2, dst_port)]))
        assert plain == without, "a trunk sends a frame of no VLAN without a tag"
        kept = tagged(datagram(2, dst_port + 200), tag(300, 7))
        assert leaves(running, "flk-2", kept) == kept
    assert len(queues) > 1


@pytest.mark.parametrize("policy", [BY_DSCP, BY_PCP], ids=["dscp", "pcp"])
def test_marks_change_nothing_between_vms(running: Host, policy: str) -> None:
    """A frame reaches a VM of its VLAN as it was sent, and none of another VLAN; also where PCPs are written."""
    use(running, policy)
    with listening("flk-1") as own, listening("flk-3") as other:
        frame = tagged(ether(mac(1), mac(2), 0x800, ipv4(2, 1, 17, udp(1000, 8900))), tag(100))
        came: list[bytes] = []
        waiting(own), waiting(other)

        def arrived() -> bool:
            running.send("flk-2", frame)
            came.extend(data for data in waiting(own) if data[6:12] == mac(2))
            return bool(came)

        running.wait(arrived, "the frame did not arrive")
        assert came[0] == frame[:12] + frame[16:]
        assert not [data for data in waiting(other) if data[6:12] == mac(2)]


def test_a_device_that_is_told_set_queue_again_gets_no_marks(running: Host) -> None:
    use(running, BY_DSCP)
    frame = datagram(1, 7500)
    running.wait(
        lambda: dscp_of(leaves(running, "flk-1", frame)) == DSCP_OF[queue_of(running, 1, 7500)], "no mark"
    )
    use(running, BY_QUEUE)
    running.wait(lambda: dscp_of(leaves(running, "flk-1", frame)) == 0, "the mark stays")
    running.wait(
        lambda: running.queue(BRIDGE, "1", frame) == (queue_of(running, 1, 7500) or None), "no set_queue"
    )
    assert "ip_dscp" not in running.ovs.ofctl("dump-flows", BRIDGE, "table=8")


def entries(running: Host) -> dict[str, float]:
    """How long each entry of table output has been there, in s."""
    lines = running.ovs.ofctl("dump-flows", BRIDGE, "table=8").splitlines()
    found = (re.search(r"duration=([0-9.]+)s.*?(priority=.*)", line) for line in lines)
    return {match[2]: float(match[1]) for match in found if match}


def test_a_restart_of_the_controller_sends_no_entry_again(running: Host) -> None:
    """The last test: it ends the controller that the others use."""
    path = next(Path(word.split("=")[1]) for word in running.options if word.startswith("--policy"))
    use(running, BY_DSCP)
    before = entries(running)
    for policy, following in ((BY_DSCP, BY_PCP), (BY_PCP, BY_PCP)):
        path.write_text(policy.format(young=0))
        began = time.monotonic()
        running.manager.stop()
        again = launched(*running.options, f"--ofp-tcp-listen-port={running.port}")
        with again as running.manager:
            running.wait(
                lambda: [item for item in running.rest("/v1/devices")["items"] if item["connected"]], "none"
            )
            settled(running)
            after = entries(running)
            assert after.keys() == before.keys()
            passed = time.monotonic() - began
            grown = min(after[entry] - before[entry] for entry in before)
            assert grown > passed / 2, "an entry that is added anew begins at 0"
            use(running, following)
            before = entries(running)
