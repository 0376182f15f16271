"""A small network for the page: a host with an integration bridge and an uplink bridge, a switch above, and traffic.

The switch is a private Open vSwitch with the userspace datapath, ports are tap devices and a veth pair with real
queues, and the controller is a flowlane-manager of its own. Needs root and :func:`network_of_its_own`.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import requests
from lab.inside import private_ovs
from lab.inside.manager import Launched, launched, wait_for
from support.ovs.frames import ether, ipv4, mac, udp

INT, EX, TOR = "br-int", "br-ex", "tor1"
DPIDS = {INT: 0x1, EX: 0x2, TOR: 0x3}
UPLINK, DOWNLINK = "uplink", "host1"
FAR = 9
"""Number of the machine behind the switch."""

POLICY = """\
# The classes of this host, the first rule that matches counts.
version: 1

default: small

classes:
  small:
    queues: shared
  heavy:
    queues: exclusive
  backup:
    limit: 1500kbit/s
    alike: [rate-limit]
    max-queues: 1
  voice:
    priority: 5
    max-queues: 1

rules:
  - {name: backup, match: {protocol: udp, dst-port: 873}, class: backup}
  - {name: marked voice, match: {hint: voice}, class: voice}
  - {name: heavy for a while, match: {rate: ">= 500kbit/s for 2s until below 150kbit/s"}, class: heavy}

trust:
  - {vm: "*", sources: [rest], classes: [voice, heavy]}
"""

PLAIN = {"web-1": "web-1", "web-2": "web-2", "db-1": "db-1", "mail": "mail", "build-7": "build-7"}
"""Name of a VM -> its id."""

HOSTILE = {
    "<script>alert(1)</script>": "<img src=x onerror=alert(2)>",
    "\x1b[31mred\x07": "esc\x1b]0;title",
    "abc\u202edcba": "rtl\u202e\u2066id",
    "long-" + "x" * 300: "id-" + "y" * 300,
    "\"; DROP & <b> '": "a/b?c=d#e%20&f",
}
"""Names as somebody may choose them who wants the page to do something else -> ids of the same kind."""

TICK = 0.05
"""Seconds from one burst of packets to the next."""

SIZE = 1200
"""Bytes of a packet's payload."""


class Stream(NamedTuple):
    """Packets of one flow: the VM's number, ports, and bit/s."""

    vm: int
    src_port: int
    dst_port: int
    rate: float


@dataclass
class Traffic:
    """Sends streams in a thread until it is stopped; ``streams`` may be changed meanwhile."""

    sockets: dict[int, socket.socket]
    streams: list[Stream] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._send, daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        self._ended.set()

    def _send(self) -> None:
        due: dict[Stream, float] = {}
        last = time.monotonic()
        while not self._ended.wait(TICK):
            # A machine that is busy wakes it late: it sends what is due by the clock, up to a second of it.
            now = time.monotonic()
            elapsed, last = min(1.0, now - last), now
            for stream in list(self.streams):
                payload = udp(stream.src_port, stream.dst_port, bytes(SIZE))
                packet = ether(mac(FAR), mac(stream.vm), 0x800, ipv4(stream.vm, FAR, 17, payload))
                due[stream] = due.get(stream, 1.0) + stream.rate * elapsed / (8 * len(packet))
                while due[stream] >= 1:
                    due[stream] -= 1
                    self.sockets[stream.vm].send(packet)


@dataclass
class Network:
    """The running network."""

    ovs: private_ovs.PrivateOvs
    manager: Launched
    traffic: Traffic
    vms: dict[str, int]
    """Name of a VM -> its number."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.manager.rest_port}"

    def rest(self, path: str) -> Any:
        return self.manager.rest(path)

    def items(self, path: str) -> list[dict[str, Any]]:
        """Return the items of a list that has one page."""
        page = self.rest(path)
        assert page["next"] is None, path
        return list(page["items"])

    def queues(self) -> dict[int, dict[str, Any]]:
        """Return the uplink's queues, by id."""
        return {queue["queue_id"]: queue for queue in self.items(f"/v1/devices/{DPIDS[EX]:016x}/queues")}

    def put_policy(self, text: str) -> None:
        headers = {"Content-Type": "application/yaml"}
        answer = requests.put(f"{self.url}/v1/policy", data=text.encode(), headers=headers, timeout=20)
        assert answer.status_code == 200, answer.text

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
        try:
            wait_for(condition, seconds, what)
        except TimeoutError as error:
            raise AssertionError(f"{what}\n{self.queues()}\n{self.manager.log[-3000:]}") from error


def usual(vms: dict[str, int]) -> list[Stream]:
    """The streams of an ordinary day: some heavy ones, backups, and many small ones."""
    web, other, db, mail, build = (vms[name] for name in PLAIN)
    heavy = [Stream(build, 40000 + place, 443, 1e6 * rate) for place, rate in enumerate((3.2, 2.1, 1.6))]
    backups = [Stream(db, 50000 + place, 873, 1.1e6) for place in range(2)]
    small = [
        Stream(vm, 20000 + 10 * vm + place, (80, 443, 25)[place % 3], 30_000 + 9_000 * place)
        for vm in (web, other, mail)
        for place in range(8)
    ]
    odd = [Stream(vm, 30000 + vm, 8080, 20_000) for name, vm in vms.items() if name in HOSTILE]
    return [*heavy, *backups, *small, *odd]


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Network]:
    """Run the network, and yield it when the controller has programmed its bridges and its flows are seen."""
    (folder / "policy.yaml").write_text(POLICY)
    with ExitStack() as stack:
        ovs = stack.enter_context(private_ovs.running(system=True))
        words = (f"--ovsdb={ovs.database}", f"--policy={folder / 'policy.yaml'}", *options)
        manager = stack.enter_context(launched(*words))
        vms = _add_ports(ovs)
        sockets = {number: stack.enter_context(_raw_socket(f"tap{number}")) for number in vms.values()}
        sockets[FAR] = stack.enter_context(_raw_socket("far"))
        network = Network(ovs, manager, Traffic(sockets), vms)
        with ovs.together():
            for bridge in DPIDS:
                ovs.vsctl("set-controller", bridge, f"tcp:127.0.0.1:{manager.openflow_port}")
                ovs.vsctl("set", "Controller", bridge, "max_backoff=1000")
        network.wait(lambda: _is_up(network), "the bridges are not programmed")
        thread = network.traffic.start()
        stack.callback(thread.join)
        stack.callback(network.traffic.stop)
        network.traffic.streams = [Stream(FAR, 1, 2, 5000), *usual(vms)]
        network.wait(lambda: _is_busy(network), "the flows did not find their queues", 90)
        yield network


def _raw_socket(name: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    made.bind((name, 0))
    return made


def _add_ports(ovs: private_ovs.PrivateOvs) -> dict[str, int]:
    """Make the bridges and their ports; return the numbers of the VMs."""
    names = {**PLAIN, **HOSTILE}
    vms = {name: number for number, name in enumerate(names, start=11)}
    subprocess.run(["ip", "link", "add", UPLINK, "type", "veth", "peer", "name", DOWNLINK], check=True)
    with ovs.together():
        for bridge, dpid in DPIDS.items():
            ovs.add_bridge(bridge, (), dpid=dpid)
            ovs.vsctl("set", "Bridge", bridge, "fail_mode=standalone")
        for name, number in vms.items():
            ids = {"iface-id": names[name], "vm-name": name, "attached-mac": f"02:00:00:00:00:{number:02x}"}
            words = [f"external_ids:{key}={_quoted(value)}" for key, value in ids.items()]
            _add(ovs, INT, f"tap{number}", number, "type=internal", *words)
        _add(ovs, INT, "int-ex", 50, "type=patch", "options:peer=ex-int")
        _add(ovs, EX, "ex-int", 51, "type=patch", "options:peer=int-ex")
        _add(ovs, EX, UPLINK, 52, "external_ids:flowlane-port=uplink")
        _add(ovs, TOR, DOWNLINK, 53, "external_ids:flowlane-port=link")
        _add(ovs, TOR, "far", 54, "type=internal", "external_ids:flowlane-port=host")
        ovs.vsctl("set", "Bridge", INT, "external_ids:flowlane-role=vswitch")
        ovs.vsctl("set", "Bridge", EX, "external_ids:flowlane-role=nic")
        ovs.vsctl("set", "Bridge", TOR, "external_ids:flowlane-role=switch")
        ovs.vsctl(
            "set", "Open_vSwitch", ".", "external_ids:system-id=5f0c1a4e", "external_ids:hostname=compute1"
        )
    rates = {"max-rate": "5000000"}
    ovs.set_queues(UPLINK, dict.fromkeys(range(8), rates), max_rate=20_000_000, software=(6, 7))
    for name in (*(f"tap{number}" for number in vms.values()), "far", UPLINK, DOWNLINK):
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    return vms


def _add(ovs: private_ovs.PrivateOvs, bridge: str, port: str, number: int, *settings: str) -> None:
    ovs.vsctl("add-port", bridge, port, "--", "set", "Interface", port, f"ofport_request={number}", *settings)


def _quoted(text: str) -> str:
    """A string as ovs-vsctl reads it (RFC 7047, 5.1)."""
    marks = {'"': '\\"', "\\": "\\\\"}
    return (
        '"'
        + "".join(marks.get(char, char if char.isprintable() else f"\\u{ord(char):04x}") for char in text)
        + '"'
    )


def _is_up(network: Network) -> bool:
    devices = network.items("/v1/devices")
    return (
        len(devices) == len(DPIDS)
        and all(device["connected"] for device in devices)
        and len(network.queues()) == 8
    )


def _is_busy(network: Network) -> bool:
    """Whether a heavy flow is exclusive, and the backups limited."""
    queues = network.queues().values()
    is_backup = any(queue["class"] == "backup" and queue["load"] > 3e5 for queue in queues)
    return is_backup and any(queue["exclusive"] and queue["load"] > 1e6 for queue in queues)
