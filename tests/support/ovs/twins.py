"""Two equal bridges of one Open vSwitch, one with NORMAL alone and one with Flowlane attached, and what each sends.

Ports are dummy devices that write what they send into capture files, so the judge is the switch. A scenario is a
function that adds ports to a bridge by ``ovs-vsctl``; frames go into both bridges alike, one at a time.
"""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.inside.manager import Launched, launched, wait_for
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import hello

PLAIN, ATTACHED = "plain", "attached"
BRIDGES = (PLAIN, ATTACHED)
SETTLED_S = 0.3
"""How long nothing more may be sent before a bridge has done with a frame."""

Frame = tuple[str, bytes]
"""The port that a frame comes in by, and its bytes."""

Namer = Callable[[str], str]
"""Gives a port its name on a bridge."""

Setup = Callable[[PrivateOvs, str, Namer], None]
"""Adds ports to a bridge: the switch, the bridge, and the function that names the bridge's ports."""


@dataclass
class Twins:
    """Both bridges. ``ports`` are the names of their ports, without the bridge's prefix."""

    ovs: PrivateOvs
    directory: Path
    ports: tuple[str, ...]
    manager: Launched
    _read: dict[str, int] = field(default_factory=dict)

    def send(self, frames: Iterable[Frame]) -> tuple[Counter[Frame], Counter[Frame]]:
        """Let both bridges receive frames; return what each sent: (port, bytes) -> how often."""
        for port, data in frames:
            for bridge in BRIDGES:
                self.ovs.receive(f"{bridge}-{port}", data.hex())
            self._settle()
        return self._take(PLAIN), self._take(ATTACHED)

    def _sizes(self) -> list[int]:
        return [path.stat().st_size for path in sorted(self.directory.glob("*.pcap"))]

    def _settle(self) -> None:
        before, since = self._sizes(), time.monotonic()
        while time.monotonic() - since < SETTLED_S:
            time.sleep(0.02)
            if (now := self._sizes()) != before:
                before, since = now, time.monotonic()

    def _take(self, bridge: str) -> Counter[Frame]:
        """What a bridge has sent since the last call."""
        sent: Counter[Frame] = Counter()
        for port in self.ports:
            path = capture(self.directory, f"{bridge}-{port}")
            data = path.read_bytes() if path.exists() else b""
            at = self._read.get(path.name, 24)
            while at + 16 <= len(data):
                (length,) = struct.unpack_from("=I", data, at + 8)
                sent[port, data[at + 16 : at + 16 + length]] += 1
                at += 16 + length
            self._read[path.name] = at
        return sent


def capture(directory: Path, interface: str) -> Path:
    """The file into which an interface writes what it sends."""
    return directory / f"{interface}.pcap"


@contextmanager
def twins(
    ovs: PrivateOvs, directory: Path, setup: Setup, *options: str, others: tuple[str, ...] = ()
) -> Iterator[Twins]:
    """Set both bridges up, one of them with a controller of its own.

    Args:
        others: names of more bridges that the set-up adds for each of the two, without the prefix.
    """
    with launched(f"--ovsdb={ovs.database}", *options) as manager:
        for number, bridge in enumerate(BRIDGES):
            ovs.add_bridge(bridge, (), dpid=0x700 + number)
            setup(ovs, bridge, lambda port, bridge=bridge: f"{bridge}-{port}")  # type: ignore[misc]
        names = ovs.vsctl("--bare", "--columns=name", "list", "Interface").split()
        ports = tuple(name.removeprefix(f"{PLAIN}-") for name in names if name.startswith(f"{PLAIN}-"))
        for name in names:
            if name.startswith(tuple(f"{bridge}-" for bridge in BRIDGES)):
                ovs.vsctl("set", "Interface", name, f"options:tx_pcap={capture(directory, name)}")
        ovs.ofctl("add-flow", PLAIN, "priority=0,actions=NORMAL")
        ovs.vsctl("set-controller", ATTACHED, f"tcp:127.0.0.1:{manager.openflow_port}")
        try:
            wait_for(
                lambda: "table=8" in ovs.ofctl("dump-flows", ATTACHED), 15, "the bridge was not programmed"
            )
            time.sleep(SETTLED_S)
            yield Twins(ovs, directory, ports, manager)
        finally:
            for bridge in (*BRIDGES, *(f"{bridge}-{other}" for bridge in BRIDGES for other in others)):
                ovs.vsctl("--if-exists", "del-br", bridge)


def vm(ovs: PrivateOvs, bridge: str, name: str, number: int, *settings: str, macs: str = "") -> None:
    ids = [f"external_ids:iface-id={name}", *([f'external_ids:attached-mac="{macs}"'] if macs else [])]
    ovs.vsctl(
        "add-port", bridge, name, *settings,
        "--", "set", "Interface", name, "type=dummy", f"ofport_request={number}", *ids,
    )  # fmt: skip


def flat(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """Two VMs with and one without a known address, and an uplink."""
    vm(ovs, bridge, named("vm1"), 1, macs="02:00:00:00:00:01")
    vm(ovs, bridge, named("vm2"), 2, macs="02:00:00:00:00:02")
    vm(ovs, bridge, named("vm3"), 3)
    uplink(ovs, bridge, named("up"), 9)


def uplink(ovs: PrivateOvs, bridge: str, name: str, number: int, *settings: str) -> None:
    ovs.vsctl(
        "add-port", bridge, name, *settings,
        "--", "set", "Interface", name, "type=dummy", f"ofport_request={number}", "external_ids:flowlane-port=uplink",
    )  # fmt: skip


def learnt(*ports: str) -> list[Frame]:
    """Frames by which a bridge learns who is where: VM n at port vmn, 9 behind the uplink."""
    return [(port, hello(9 if port == "up" else int(port[-1]))) for port in ports]
