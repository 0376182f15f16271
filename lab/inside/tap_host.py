"""A host made of tap devices: VMs and an uplink with queues on a private Open vSwitch, with its controller.

The queues are those of the uplink's QoS row, packets are real, and the switch's tables are read by ovs-ofctl.
Needs root; the devices are in the network namespace of the process.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from flowlane.core.flowkey import IPV4, UDP
from flowlane.simulation.flowspec import FlowSpec, frame_of
from lab.inside import compare, private_ovs, proxy
from lab.inside.dump_flows import Entry, read_entry
from lab.inside.manager import Launched, launched, wait_for

BRIDGE, UPLINK = "flt-br", "flt-up"
DPID = 9
FAR = bytes((10, 9, 255, 254))
_RCVBUFFORCE = 33
"""SO_RCVBUFFORCE of socket(7), which Python does not name."""

PIN, LEARNED, STANDING = 3, 4, 2
"""Kinds of entries, in the bits 44 to 47 of their cookies (docs/engineers/pipeline.md)."""


def vm_port(number: int) -> str:
    return f"flt-vm{number}"


def frame(number: int, src_port: int, dst_port: int = 80, payload: bytes = b"", protocol: int = UDP) -> bytes:
    """Make a frame of a VM's flow; ``payload`` follows the UDP header."""
    spec = FlowSpec(vm_port(number), IPV4, protocol, bytes((10, 9, 0, number)), FAR, src_port, dst_port, 0.0)
    data = bytearray(frame_of(spec, number))
    if payload:
        data[16:18] = struct.pack("!H", 28 + len(payload))
        data[38:40] = struct.pack("!H", 8 + len(payload))
        data[42:] = payload
    data[24:26] = struct.pack("!H", _checksum(bytes(data[14:24] + bytes(2) + data[26:34])))
    return bytes(data)


def _checksum(header: bytes) -> int:
    """Return the internet checksum (RFC 1071), which a switch that tracks connections verifies."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@dataclass
class TapHost:
    """A running host; ``proxy`` is between its switch and its controller, ``manager``."""

    ovs: private_ovs.PrivateOvs
    manager: Launched
    proxy: proxy.Proxy
    version: str
    _senders: dict[int, socket.socket]

    def send(self, number: int, src_port: int, dst_port: int = 80, payload: bytes = b"") -> None:
        """Send one UDP packet from a VM's interface."""
        self._senders[number].send(frame(number, src_port, dst_port, payload))

    def send_frame(self, number: int, data: bytes) -> None:
        """Send one frame from a VM's interface."""
        self._senders[number].send(data)

    def reopen(self) -> None:
        """Send by the interfaces of the time: a switch that was restarted has made new ones."""
        set_up(UPLINK)
        for number, sender in self._senders.items():
            set_up(vm_port(number))
            sender.close()
            self._senders[number] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self._senders[number].bind((vm_port(number), 0))

    def close(self) -> None:
        """Close the senders of the time."""
        for sender in self._senders.values():
            sender.close()

    def dump(self, *what: str) -> list[str]:
        """Return the lines of ovs-ofctl dump-flows."""
        text = self.ovs.ofctl("dump-flows", BRIDGE, *what, version=self.version)
        return [line.strip() for line in text.splitlines() if " actions=" in line]

    def entries(self, kind: int | None = None) -> list[Entry]:
        """Return the switch's entries, or those of one kind."""
        entries = [read_entry(line) for line in self.dump()]
        return [entry for entry in entries if kind is None or entry.cookie >> 44 & 0xF == kind]

    def groups(self) -> list[str]:
        text = self.ovs.ofctl("dump-groups", BRIDGE, version=self.version)
        return [line.strip() for line in text.splitlines() if "group_id=" in line]

    def meters(self) -> str:
        return self.ovs.ofctl("dump-meters", BRIDGE, version=self.version)

    def device(self) -> Any:
        return self.manager.rest(f"/v1/devices/{DPID:016x}")

    def assignments(self) -> list[dict[str, Any]]:
        """Return REST's assignments of flows that a test sent; the host's kernel sends packets here, too."""
        return list(assignments(self.manager))

    def put_policy(self, text: str) -> None:
        url = f"http://127.0.0.1:{self.manager.rest_port}/v1/policy"
        answer = requests.put(url, data=text, headers={"Content-Type": "application/yaml"}, timeout=10)
        assert answer.status_code == 200, answer.text

    def differences(self, count: int) -> list[str]:
        """List where switch and REST differ about the flows that a test sent; empty when they agree."""
        rest = compare.placements_in_rest(self.assignments())
        switch = {
            key: placement
            for key, placement in compare.placements_in_switch(self.entries()).items()
            if key.src.startswith("10.9.")
        }
        missing = [] if len(rest) == count else [f"REST has {len(rest)} flows of {count}"]
        return missing + compare.differences(switch, rest)

    def wait_until_consistent(self, count: int, seconds: float = 20) -> None:
        """Wait until switch and REST have the same placements of so many flows."""
        deadline = time.monotonic() + seconds
        while differences := self.differences(count):
            assert time.monotonic() < deadline, "\n".join([*differences[:5], self.manager.log[-2000:]])
            time.sleep(0.1)


def assignments(manager: Launched) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = manager.rest(f"/v1/assignments?limit=1000{cursor}")
        yield from (item for item in page["items"] if item["src"].startswith("10.9."))
        if not page["next"]:
            return
        cursor = f"&cursor={page['next']}"


@contextmanager
def running(
    folder: Path,
    policy: str,
    *options: str,
    refuse: proxy.Refuse = proxy.refuse_nothing,
    vms: int = 1,
    queues: int = 4,
    rate: int = 10**9,
    version: str = "OpenFlow15",
    limits: dict[int, int] | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[TapHost]:
    """Run a host, and yield it when its controller has programmed the switch.

    Args:
        refuse: what the proxy refuses, see :mod:`lab.inside.proxy`.
        rate: bit/s of the uplink's QoS row.
        environment: variables of the controller.
        limits: table -> entries that the switch accepts there (Flow_Table flow_limit).
    """
    (folder / "policy.yaml").write_text(policy)
    with ExitStack() as stack:
        ovs = stack.enter_context(private_ovs.running(system=True))
        words = (f"--ovsdb={ovs.database}", f"--policy={folder / 'policy.yaml'}", *options)
        manager = stack.enter_context(launched(*words, environment=environment))
        proxied = stack.enter_context(proxy.running(manager.openflow_port, refuse))
        names = [vm_port(number) for number in range(1, vms + 1)]
        ovs.add_bridge(BRIDGE, (*names, UPLINK), dpid=DPID, versions=version)
        for name in names:
            ovs.vsctl("set", "Interface", name, f"external_ids:iface-id={name}")
        ovs.vsctl("set", "Interface", UPLINK, "external_ids:flowlane-port=uplink")
        ovs.set_queues(UPLINK, {number: {} for number in range(queues)}, max_rate=rate)
        for name in (*names, UPLINK):
            set_up(name)
        for table, limit in (limits or {}).items():
            limit_table(ovs, table, limit)
        senders = {}
        for number, name in enumerate(names, start=1):
            senders[number] = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            senders[number].bind((name, 0))
        ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{proxied.port}")
        ovs.vsctl("set", "Controller", BRIDGE, "max_backoff=1000")
        host = TapHost(ovs, manager, proxied, version, senders)
        stack.callback(host.close)
        wait_for(lambda: is_up(host), 20, manager.log)
        wait_for(lambda: is_quiet(host), 20, manager.log)
        yield host


def set_up(name: str) -> None:
    """Let an interface send and receive, nothing by itself."""
    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    subprocess.run(["ip", "link", "set", name, "up"], check=True)


def is_up(host: TapHost) -> bool:
    items = host.manager.rest("/v1/devices")["items"]
    ports = [port for item in items if item["connected"] for port in item["ports"]]
    return any(port["name"] == UPLINK and port["queues"] and port["role"] == "uplink" for port in ports)


def is_quiet(host: TapHost) -> bool:
    """Return whether the controller has sent no change for a while."""
    names = ("flow-mod", "group-mod", "meter-mod")
    before = host.proxy.count(*names)
    time.sleep(1.5)
    return before == host.proxy.count(*names)


def limit_table(ovs: private_ovs.PrivateOvs, table: int, limit: int) -> None:
    """Let the switch accept so many entries in a table and refuse more (ovs-vswitchd.conf.db(5), Flow_Table)."""
    make = ["--", "--id=@t", "create", "Flow_Table", f"flow_limit={limit}", f"name=table-{table}"]
    ovs.vsctl(*make, "--", "set", "Bridge", BRIDGE, f"flow_tables:{table}=@t")


class Capture:
    """A capture at the uplink: packets of the tests' flows, by source port and payload."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[int, bytes]] = Counter()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 25)
        self._socket.bind((UPLINK, 0))
        self._socket.settimeout(0.1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._capture, daemon=True)
        self._thread.start()

    def _capture(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                data = self._socket.recv(2048)
                if data[23:24] == bytes((UDP,)) and data[26:28] == b"\x0a\x09":
                    length = int.from_bytes(data[38:40], "big") - 8
                    self.seen[int.from_bytes(data[34:36], "big"), data[42 : 42 + length]] += 1

    def wait_for(self, count: int, seconds: float = 10) -> Counter[tuple[int, bytes]]:
        """Wait for so many packets, at most so many seconds; return the packets so far."""
        deadline = time.monotonic() + seconds
        while sum(self.seen.values()) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return Counter(self.seen)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()


@contextmanager
def capturing() -> Iterator[Capture]:
    """Capture what the switch sends at the uplink."""
    capture = Capture()
    try:
        yield capture
    finally:
        capture.close()
