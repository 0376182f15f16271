"""A limit of scope ``vm`` holds from the first packet of each flow on, also for a VM that opens one flow after another.

On tap devices of a private Open vSwitch; judged by what arrives at the uplink, and by the counters of the meters.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab.inside import tap_host
from lab.inside.manager import wait_for
from lab.inside.namespaces import network_of_its_own
from support.ovs.frames import ether, ipv4, mac, udp

pytestmark = pytest.mark.ovs

RATE = 1_000_000
TIMES = 4
"""How often the limit each VM sends."""

PACKETS = 3
"""Packets of each flow."""

POLICY = f"""
version: 1
default: rest
track-above: %s
classes:
  rest: {{limit: {RATE // 1000}kbit/s, burst: 30kB, limit-scope: vm}}
"""
DATA = bytes(900)
WARM_UP_S, MEASURED_S = 1.5, 6.0
"""A bucket that fills while the machine stands still is 4 % of what passes in the time measured."""


def to_one_host(vm: int, flow: int) -> list[bytes]:
    return [tap_host.frame(vm, 1024 + flow % 60000, payload=DATA)] * PACKETS


def to_groups(vm: int, flow: int) -> list[bytes]:
    """Multicast, each flow to another group."""
    address = bytes((239, 1, flow >> 8 & 0xFF, flow & 0xFF))
    packet = bytearray(ipv4(vm, 9, 17, udp(1000, 2000, DATA)))
    packet[16:20] = address
    packet[10:12] = bytes(2)
    packet[10:12] = _checksum(bytes(packet[:20]))
    packet[26:28] = bytes(2)
    return [ether(b"\x01\x00\x5e\x01" + address[2:], mac(vm), 0x800, bytes(packet))] * PACKETS


def to_all(vm: int, flow: int) -> list[bytes]:
    """Broadcast, each flow by another ethertype."""
    return [ether(b"\xff" * 6, mac(vm), 0x9000 + flow % 0x1000, DATA)] * PACKETS


def in_fragments(vm: int, flow: int) -> list[bytes]:
    """Fragments of IPv4, each flow by another protocol and destination; the last bits: more, and an offset."""
    return [
        ether(mac(9), mac(vm), 0x800, ipv4(vm, flow % 250 + 1, 100 + flow // 250 % 100, DATA[:800], part))
        for part in (0x2000, 0x2064, 0x00C8)
    ]


def _checksum(header: bytes) -> bytes:
    total = sum(int.from_bytes(header[at : at + 2]) for at in range(0, len(header), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2)


KINDS: tuple[Callable[[int, int], list[bytes]], ...] = (to_one_host, to_groups, to_all, in_fragments)
"""VM 1 sends the first kind, and so on."""


@contextmanager
def host(folder: Path, policy: str, *options: str, version: str = "OpenFlow15") -> Iterator[tap_host.TapHost]:
    with (
        network_of_its_own(),
        tap_host.running(folder, policy, *options, vms=len(KINDS), version=version) as running,
    ):
        yield running


class Flows(threading.Thread):
    """Opens one flow after another from a VM, at ``TIMES`` its limit in sum."""

    def __init__(self, running: tap_host.TapHost, vm: int) -> None:
        super().__init__(daemon=True)
        self._running, self._vm = running, vm
        self.ended = threading.Event()
        self.opened = 0

    def run(self) -> None:
        octets, begin = 0, time.monotonic()
        while not self.ended.is_set():
            for frame in KINDS[self._vm - 1](self._vm, self.opened):
                self._running.send_frame(self._vm, frame)
                octets += len(frame)
                time.sleep(max(0.0, begin + octets * 8 / (TIMES * RATE) - time.monotonic()))
            self.opened += 1


def metered(running: tap_host.TapHost) -> dict[str, int]:
    """Bytes that came to each meter."""
    text = running.ovs.ofctl("meter-stats", tap_host.BRIDGE, version=running.version)
    return {
        meter: int(octets)
        for meter, octets in re.findall(r"meter[:=](\d+) .*?byte_in_count:(\d+)", text, re.S)
    }


def arrived(running: tap_host.TapHost) -> dict[int, int]:
    """Let all VMs send; bit/s that arrive at the uplink after the burst, by VM."""
    senders = [Flows(running, vm) for vm in range(1, len(KINDS) + 1)]
    octets: Counter[int] = Counter()
    for sender in senders:
        sender.start()
    time.sleep(WARM_UP_S)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as uplink:
        uplink.bind((tap_host.UPLINK, 0))
        uplink.settimeout(1)
        deadline = time.monotonic() + MEASURED_S
        while time.monotonic() < deadline:
            data = uplink.recv(2048)
            if len(data) > 500 and data[6:11] == mac(0)[:5]:
                octets[data[11]] += len(data)
    for sender in senders:
        sender.ended.set()
        sender.join()
    assert min(sender.opened for sender in senders) > 20, "one flow after another"
    return {vm: round(octets[vm] * 8 / MEASURED_S) for vm in range(1, len(KINDS) + 1)}


def holds(running: tap_host.TapHost) -> None:
    rates = arrived(running)
    assert rates == {vm: pytest.approx(RATE, rel=0.05) for vm in rates}


@pytest.mark.parametrize("track_above", [200, 0], ids=["an entry from the first packet on", "young flows"])
def test_a_limit_of_a_vm_holds_for_flow_after_flow(tmp_path: Path, track_above: int) -> None:
    """Without a pin for any of them."""
    with host(tmp_path, POLICY % track_above + "pins: {budget: 0}\n") as running:
        wait_for(lambda: running.meters().count("meter=") > len(KINDS), 10, "each VM has its meter")
        before = metered(running)
        holds(running)
        after = metered(running)
        used = [meter for meter in after if after[meter] > before.get(meter, 0)]
        assert len(used) == len(KINDS), "one meter for each VM, and no other"
        assert not [entry for entry in running.entries(tap_host.PIN) if "10.9." in str(entry.match)]


@pytest.mark.parametrize("version", ["OpenFlow13", "OpenFlow15"])
def test_a_limit_of_a_vm_holds_where_the_switch_does_not_learn(tmp_path: Path, version: str) -> None:
    with host(tmp_path, POLICY % 200, "--nolearn", version=version) as running:
        wait_for(lambda: running.meters().count("meter=") > len(KINDS), 10, "each VM has its meter")
        holds(running)


def test_a_limit_of_a_vm_in_a_class_of_some_flows_leaves_the_others_alone(tmp_path: Path) -> None:
    policy = """
version: 1
track-above: 0
classes:
  slow: {limit: 1Mbit/s, burst: 30kB, limit-scope: vm}
rules:
  - match: {vm: flt-vm1, protocol: udp, dst-port: 80}
    class: slow
"""
    with host(tmp_path, policy) as running:
        wait_for(lambda: running.meters().count("meter=") > 1, 10, "the VM has its meter")
        assert running.meters().count("meter=") == 2, "the other VMs need none: no rule gives them the class"
        rates = arrived(running)
        assert rates[1] == pytest.approx(RATE, rel=0.05)
        assert all(rate > 0.8 * TIMES * RATE for vm, rate in rates.items() if vm != 1), rates
