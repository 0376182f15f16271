"""Every packet of a VM counts: each kind of frame has a class, a queue, a limit and a line in the list.

On tap devices of a private Open vSwitch with queues and meters, with real packets; judged by its counters, its trace
and what arrives at the uplink.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from lab.inside import tap_host
from lab.inside.manager import wait_for
from support.ovs.frames import mac
from support.ovs.kinds import KINDS

from flowlane.core.flowkey import flow_text

pytestmark = pytest.mark.mininet

VMS = 6
HEAD = "version: 1\ndefault: rest\n"
PLAIN = "classes:\n  rest: {}\n"
LIMITED = "classes:\n  rest: {limit: 1Mbit/s, burst: 64kB, limit-scope: %s}\n"
"""The burst of half a second evens out that a busy machine lets the senders wait; it is used up before measuring."""
RATE = 1_000_000
PAYLOAD = bytes(940)
WARM_UP_S, MEASURED_S = 2.0, 3.0
ATTEMPTS = 3
HEAVY = ("multicast", "broadcast", "ARP request", "UDP fragments", "IPv6 fragments", "unknown ethertype")
"""The kinds whose limits are measured, one for each VM."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tap_host.TapHost]:
    with tap_host.running(tmp_path_factory.mktemp("host"), HEAD + PLAIN, vms=VMS) as running:
        yield running


def listed(host: tap_host.TapHost) -> dict[str, dict[str, object]]:
    """The assignments by how Flowlane calls their flows."""
    items = host.manager.rest("/v1/assignments?limit=1000")["items"]
    return {flow_text(bytes.fromhex(item["flow"])): item for item in items}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_frame_is_a_flow_with_a_queue(host: tap_host.TapHost, kind: str) -> None:
    text, make = KINDS[kind]
    for frame in make(1, bytes(60)):
        host.send_frame(1, frame)
    name = text.format(vm=1)
    wait_for(lambda: name in listed(host), 5, f"{name} is not in {sorted(listed(host))}")
    flow = listed(host)[name]
    assert (flow["class"], flow["port"]) == ("rest", tap_host.UPLINK)
    assert flow["queue_id"] in (0, 1, 2, 3)
    lines = host.ovs.trace(tap_host.BRIDGE, "in_port=1", make(1, bytes(60))[-1])
    queues = set(re.findall(r"\bset_queue:(\d+)", lines))
    assert queues in ({str(flow["queue_id"])}, set()), "the list shows what the switch does"
    assert queues or "recirc" in lines, "without a queue only before the tracker"


def test_fragments_make_no_other_flows(host: tap_host.TapHost) -> None:
    for kind in ("UDP fragments", "TCP fragments", "ICMP fragments", "IPv6 fragments"):
        for frame in KINDS[kind].make(2, bytes(60)):
            host.send_frame(2, frame)
    wait_for(lambda: len(of_vm(host, 2)) == 4, 5)
    time.sleep(2.5)  # the counters of learned entries have been read
    assert len(of_vm(host, 2)) == 4
    entries = [entry for entry in host.entries(tap_host.LEARNED) if entry.match.get("in_port") == "2"]
    assert len(entries) == 4


def of_vm(host: tap_host.TapHost, vm: int) -> list[str]:
    return [text for text in listed(host) if f"10.9.0.{vm} " in text or f"fd00::{vm} " in text]


class Load(threading.Thread):
    """Sends frames of one kind from one VM at twice the limit."""

    def __init__(self, host: tap_host.TapHost, vm: int, kind: str) -> None:
        super().__init__(daemon=True)
        self._host, self._vm = host, vm
        self._frames = KINDS[kind].make(vm, PAYLOAD)
        self.ended = threading.Event()

    def run(self) -> None:
        number, begin = 0, time.monotonic()
        while not self.ended.is_set():
            frame = self._frames[number % len(self._frames)]
            self._host.send_frame(self._vm, frame)
            number += 1
            time.sleep(max(0.0, begin + number * len(frame) * 8 / (2 * RATE) - time.monotonic()))


def arrived(host: tap_host.TapHost) -> Counter[int]:
    """Send all heavy kinds at once; bit/s that arrive at the uplink after the burst, by VM."""
    loads = [Load(host, vm, kind) for vm, kind in enumerate(HEAVY, start=1)]
    octets: Counter[int] = Counter()
    for load in loads:
        load.start()
    time.sleep(WARM_UP_S)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as uplink:
        uplink.bind((tap_host.UPLINK, 0))
        uplink.settimeout(1)
        deadline = time.monotonic() + MEASURED_S
        while time.monotonic() < deadline:
            data = uplink.recv(2048)
            if data[6:11] == mac(0)[:5]:
                octets[data[11]] += len(data)
    for load in loads:
        load.ended.set()
        load.join()
    return Counter({vm: round(count * 8 / MEASURED_S) for vm, count in octets.items()})


@pytest.mark.parametrize("scope", ["vm", "flow", "class"])
def test_a_limit_holds_for_each_kind(host: tap_host.TapHost, scope: str) -> None:
    """A machine that stands still lets less pass, never more: what is less is measured again."""
    host.put_policy(HEAD + LIMITED % scope)
    measured: list[Counter[str]] = []
    try:
        while len(measured) < ATTEMPTS and (not measured or least(measured) < 0.95 * RATE):
            rates = arrived(host)
            named = {HEAVY[vm - 1]: rates[vm] for vm in rates}
            measured.append(Counter({"all": sum(rates.values())} if scope == "class" else named))
    finally:
        host.put_policy(HEAD + PLAIN)
    assert all(len(found) == (1 if scope == "class" else len(HEAVY)) for found in measured)
    assert max(max(found.values()) for found in measured) <= 1.05 * RATE, measured
    assert least(measured) >= 0.95 * RATE, measured


def least(measured: list[Counter[str]]) -> int:
    """The rate of the kind that was never measured as fast as the others."""
    return min(max(found[kind] for found in measured) for kind in measured[0])
