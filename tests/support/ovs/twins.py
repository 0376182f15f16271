"""Two equal bridges of one Open vSwitch, one with NORMAL alone and one with Flowlane attached, and what each sends.

Ports are dummy devices that write what they send into capture files, so the judge is the switch. A scenario is a
function that adds ports to a bridge by ``ovs-vsctl``; frames go into both bridges alike, one at a time.
"""

from __future__ import annotations

import itertools
import re
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab.inside.manager import Launched, launched, wait_for
from lab.inside.private_ovs import ALL_VERSIONS, PrivateOvs, running
from support.ovs.frames import BROADCAST, hello

PLAIN, ATTACHED = "plain", "attached"
BRIDGES = (PLAIN, ATTACHED)
LOOPS = 4
"""Turns of the switch's main loop in which a frame that is still on its way is sent by some port."""
TURNS = 1000
"""How often frames may be sent because of one; where they circulate they never end."""
LEARNING = ("rev_mac_learning", "rev_mcast_snooping")
"""Counters of Open vSwitch: how often what it has learnt made it look at its cached flows again."""
REACTION_S = 0.15
"""How long the controller may take to react to copies of packets."""
REVALIDATION_MS = 100
"""How often the switch looks at its cached flows, at least; its smallest value."""
LOCAL = "LOCAL"
"""Name of a bridge's own port."""
NO_CAPTURE = ("patch", "vxlan", "geneve", "gre")
"""Types of interfaces that are no devices of their own."""

Frame = tuple[str, bytes]
"""The port that a frame comes in by, or leaves by, and its bytes."""

FrameFor = tuple[str, Callable[[str], bytes]]
"""The same, with a function that makes the bytes for each of the two bridges."""

Sent = Counter[Frame]
"""What a bridge sent: (port, bytes) -> how often."""

View = Callable[[Sent], Sent]
"""What of it is compared."""

Namer = Callable[[str], str]
"""Gives a port, or another bridge, its name."""

Setup = Callable[[PrivateOvs, str, Namer], None]
"""Adds ports to a bridge: the switch, the bridge, and the function that names the bridge's ports."""

_datapath_ids = itertools.count(0x700)


class Wire(Protocol):
    """How frames come to the ports of a switch, and what the ports send is seen."""

    def watch(self, names: Sequence[str]) -> None:
        """See what these interfaces send; those that are watched already stay so."""

    def inject(self, name: str, data: bytes) -> None:
        """Let an interface receive a frame."""

    def turn(self) -> None:
        """Wait until the switch has forwarded what it has received, and perhaps not what follows from that."""

    def seen(self) -> int:
        """How much has been sent by all interfaces, in any unit."""

    def take(self, name: str) -> list[bytes]:
        """What an interface has sent since the last call."""


class DummyWire:
    """Dummy ports of ovs-vswitchd, which write what they send into capture files."""

    def __init__(self, ovs: PrivateOvs, directory: Path) -> None:
        self._ovs, self._directory = ovs, directory
        self._read: dict[str, int] = {}
        self._files: list[Path] = []

    def watch(self, names: Sequence[str]) -> None:
        settings = ("mtu_request=9000",)
        words = [
            word
            for name in names
            for word in ("--", "set", "Interface", name, f"options:tx_pcap={self._file(name)}", *settings)
        ]
        self._ovs.vsctl(*words)
        self._files = [self._file(name) for name in names]

    def inject(self, name: str, data: bytes) -> None:
        self._ovs.control("netdev-dummy/receive", name, data.hex())

    def turn(self) -> None:
        """Its main loop, which answers here, forwards between answers."""
        for _ in range(LOOPS):
            self._ovs.control("version")

    def seen(self) -> int:
        return sum(path.stat().st_size for path in self._files)

    def take(self, name: str) -> list[bytes]:
        path, frames = self._file(name), []
        data = path.read_bytes() if path.exists() else b""
        at = self._read.get(name, 24)
        while at + 16 <= len(data):
            (length,) = struct.unpack_from("=I", data, at + 8)
            frames.append(data[at + 16 : at + 16 + length])
            at += 16 + length
        self._read[name] = at
        return frames

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.pcap"


@dataclass(frozen=True)
class Stage:
    """An Open vSwitch and a controller, which scenarios share one after another."""

    ovs: PrivateOvs
    manager: Launched
    wire: Callable[[PrivateOvs, Path], Wire] = DummyWire


@contextmanager
def stage(*options: str, tunnels: bool = False) -> Iterator[Stage]:
    """Run both.

    Args:
        options: more options of flowlane-manager.
        tunnels: whether the switch has tunnel ports.
    """
    with running(tunnels=tunnels) as ovs, launched(f"--ovsdb={ovs.database}", *options) as manager:
        ovs.vsctl("set", "Open_vSwitch", ".", f"other_config:max-revalidator={REVALIDATION_MS}")
        yield Stage(ovs, manager)


@dataclass
class Twins:
    """Both bridges. ``ports`` are the names of their ports, without the bridge's prefix."""

    ovs: PrivateOvs
    wire: Wire
    ports: tuple[str, ...]
    view: View
    managed: tuple[str, ...]
    """Names of all bridges that Flowlane is attached to."""
    pace_s: float = 0.0
    """How long after each frame nothing is sent, where packets wait for the controller."""
    _learnt: list[int] = field(default_factory=list)
    sources: set[bytes] = field(default_factory=set)
    """Source addresses of the frames that count: of those that were sent, and of tunnels."""

    def same(self, frames: Iterable[Frame | FrameFor], times: int = 2) -> Sent:
        """Let both bridges receive frames, and assert that both sent the same.

        Args:
            times: how often; the first time flows are new, afterwards the controller has reacted to them.

        Returns:
            What the bridge with Flowlane sent the first time.
        """
        frames, first = list(frames), None
        for number in range(times):
            plain, attached = self.send(frames)
            assert attached == plain, f"round {number + 1}:\n{difference(plain, attached)}"
            first = attached if first is None else first
            self.rest()
        assert first is not None
        return first

    def send(self, frames: Iterable[Frame | FrameFor]) -> tuple[Sent, Sent]:
        """Let both bridges receive frames; return what each sent of frames with these source addresses."""
        for port, given in frames:
            for bridge in BRIDGES:
                data = given if isinstance(given, bytes) else given(bridge)
                self.sources.add(data[6:12])
                self.wire.inject(interface(bridge, port), data)
            if self.pace_s:
                time.sleep(self.pace_s)
            self._settle()
        return self.view(self._take(PLAIN)), self.view(self._take(ATTACHED))

    def each(self, *words: str) -> None:
        """Run ovs-vsctl for both bridges; ``{}`` in a word stands for the bridge's name."""
        for bridge in BRIDGES:
            self.ovs.vsctl(*(word.replace("{}", bridge) for word in words))
        self.forget()

    def command(self, *words: str) -> None:
        """Run a command of ovs-vswitchd for both bridges; ``{}`` in a word stands for the bridge's name."""
        for bridge in BRIDGES:
            self.ovs.control(*(word.replace("{}", bridge) for word in words))
        self.forget()

    def forget(self) -> None:
        """Let the switch act on a change, and forget its cached flows."""
        self.wire.turn()
        self.ovs.control("revalidator/purge")

    def forgotten(self) -> None:
        """Take note that the switch was restarted, and counts anew."""
        self._learnt.clear()
        self._take(PLAIN), self._take(ATTACHED)

    def capture(self) -> None:
        """Let ports that were added write captures too."""
        self.ports = _watch(self.ovs, self.wire)

    def rest(self) -> None:
        """Let the controller react, and the switch act on counters of its cached flows."""
        time.sleep(REACTION_S)
        self.ovs.control("revalidator/wait")

    def warp(self, seconds: int) -> None:
        """Let the switch believe that time passes; slowly enough for the controller to answer its echo requests."""
        for _ in range(seconds):
            self.ovs.control("time/warp", "1000")
            time.sleep(0.02)

    def reconciled(self) -> None:
        """Wait until the controller has programmed its bridges and leaves their tables as they are."""
        for bridge in self.managed:
            wait_for(lambda bridge=bridge: _settled(self.ovs, bridge), 60, f"{bridge} is not programmed")  # type: ignore[misc]

    def _settle(self) -> None:
        """Let the switch do all that a frame leads to.

        What it learns changes its cached flows some ms later, in another thread; here it forgets them at once.
        """
        before = -1
        for _ in range(TURNS):
            if (now := self.wire.seen()) == before:
                break
            before = now
            self.wire.turn()
        else:
            raise AssertionError("the bridges go on sending: frames circulate")
        learnt = [int(self.ovs.control("coverage/read-counter", name)) for name in LEARNING]
        if learnt != self._learnt:
            self._learnt = learnt
            self.ovs.control("revalidator/purge")

    def _take(self, bridge: str) -> Sent:
        """What a bridge has sent since the last call, without what it says by itself (BPDUs, LACP)."""
        return Counter(
            (port, frame)
            for port in self.ports
            for frame in self.wire.take(interface(bridge, port))
            if frame[6:12] in self.sources
        )


def interface(bridge: str, port: str) -> str:
    """The interface's name of a port."""
    return bridge if port == LOCAL else f"{bridge}-{port}"


def difference(plain: Sent, attached: Sent) -> str:
    """Return a line for each (port, frame) that the bridges sent differently often; the first 20."""
    lines = [
        f"{port}: plain {plain[port, data]}, attached {attached[port, data]}: {data[:40].hex(' ', 2)}"
        for port, data in sorted(plain.keys() | attached.keys())
        if plain[port, data] != attached[port, data]
    ]
    return "\n".join([*lines[:20], f"{len(lines)} in all"])


@contextmanager
def twins(
    on: Stage,
    directory: Path,
    setup: Setup,
    *,
    others: tuple[str, ...] = (),
    upstream: tuple[str, ...] = (),
    view: View = lambda sent: sent,
    versions: str = ALL_VERSIONS,
) -> Iterator[Twins]:
    """Set both bridges up, one of them with the stage's controller.

    Args:
        others: names of more bridges that each of the two has; Flowlane is attached to them too.
        upstream: names of more bridges without Flowlane.
        view: what of the frames is compared.
        versions: OpenFlow versions of the bridges.
    """
    ovs = on.ovs
    bridges = [
        f"{bridge}{suffix}"
        for bridge in BRIDGES
        for suffix in ("", *(f"-{name}" for name in (*others, *upstream)))
    ]
    managed = tuple(f"{ATTACHED}{suffix}" for suffix in ("", *(f"-{name}" for name in others)))
    try:
        with ovs.together():
            for bridge in bridges:
                ovs.add_bridge(bridge, (), dpid=next(_datapath_ids), versions=versions)
            for bridge in BRIDGES:
                setup(ovs, bridge, lambda port, bridge=bridge: f"{bridge}-{port}")  # type: ignore[misc]
        wire = on.wire(ovs, directory)
        ports = _watch(ovs, wire)
        for bridge in bridges:
            if bridge not in managed:
                ovs.ofctl("add-flow", bridge, "priority=0,actions=NORMAL")
        both = Twins(ovs, wire, ports, view, managed)
        with ovs.together():
            for bridge in managed:
                ovs.vsctl("set-controller", bridge, f"tcp:127.0.0.1:{on.manager.openflow_port}")
        both.reconciled()
        yield both
    finally:
        ovs.vsctl(*(word for bridge in bridges for word in ("--", "--if-exists", "del-br", bridge)))


def _watch(ovs: PrivateOvs, wire: Wire) -> tuple[str, ...]:
    """Watch all ports of both bridges; return their names."""
    listed = ovs.vsctl(
        *["-f", "csv", "-d", "bare", "--no-heading", "--columns=name,type", "list", "Interface"]
    )
    rows = [line.split(",") for line in listed.split()]
    names = [name for name, kind in rows if kind not in NO_CAPTURE and name.startswith(BRIDGES)]
    wire.watch(names)
    return tuple(
        LOCAL if name == PLAIN else name.removeprefix(f"{PLAIN}-") for name in names if name.startswith(PLAIN)
    )


def _settled(ovs: PrivateOvs, bridge: str) -> bool:
    """Whether entries of a controller are there, and stay the same for a while."""
    before = _entries(ovs, bridge)
    time.sleep(REACTION_S)
    return len(before) > 10 and before == _entries(ovs, bridge)


def _entries(ovs: PrivateOvs, bridge: str) -> list[str]:
    text = ovs.ofctl("dump-flows", bridge, "cookie=0xf10a000000000000/0xffff000000000000")
    return sorted(
        re.sub(r"(duration|n_packets|n_bytes|idle_age)=[^ ]*", "", line) for line in text.splitlines()[1:]
    )


def vm(ovs: PrivateOvs, bridge: str, name: str, number: int, *settings: str, macs: str = "") -> None:
    """Add a VM's port.

    Args:
        settings: columns of its Port row.
        macs: the address that OVSDB states for it.
    """
    ids = [f"external_ids:iface-id={name}", *([f'external_ids:attached-mac="{macs}"'] if macs else [])]
    ovs.vsctl(
        "add-port", bridge, name, *settings,
        "--", "set", "Interface", name, "type=dummy", f"ofport_request={number}", *ids,
    )  # fmt: skip


def uplink(ovs: PrivateOvs, bridge: str, name: str, number: int, *settings: str) -> None:
    """Add an uplink."""
    ovs.vsctl(
        "add-port", bridge, name, *settings,
        "--", "set", "Interface", name, "type=dummy", f"ofport_request={number}", "external_ids:flowlane-port=uplink",
    )  # fmt: skip


def cable(ovs: PrivateOvs, one: str, other: str) -> None:
    """Connect two dummy ports by a socket, as a cable does."""
    path = ovs.directory / f"{one}.cable"
    ovs.vsctl(
        "set", "Interface", one, f"options:pstream=punix:{path}",
        "--", "set", "Interface", other, f"options:stream=unix:{path}",
    )  # fmt: skip
    wait_for(lambda: "connected" in ovs.control("netdev-dummy/conn-state", other), 10, f"no cable at {other}")


def patch(ovs: PrivateOvs, bridge: str, name: str, to: str, peer: str) -> None:
    """Connect two bridges by a pair of patch ports."""
    ovs.vsctl(
        "add-port", bridge, name, "--", "set", "Interface", name, "type=patch", f"options:peer={peer}",
        "--", "add-port", to, peer, "--", "set", "Interface", peer, "type=patch", f"options:peer={name}",
    )  # fmt: skip


def flat(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """Two VMs with and one without a known address, and an uplink."""
    vm(ovs, bridge, named("vm1"), 1, macs="02:00:00:00:00:01")
    vm(ovs, bridge, named("vm2"), 2, macs="02:00:00:00:00:02")
    vm(ovs, bridge, named("vm3"), 3)
    uplink(ovs, bridge, named("up"), 9)


def learnt(*ports: str) -> list[Frame]:
    """Frames by which a bridge learns who is where: VM n at port vmn, 9 behind the uplink."""
    return [(port, hello(9 if port == "up" else int(port[-1]))) for port in ports]


def merged(**places: str) -> View:
    """Count ports as one: name of a port -> name that it counts as; an empty one: it does not count.

    Which member of a bond carries a frame is the bond's choice, by a hash that differs from bridge to bridge.
    """

    def view(sent: Sent) -> Sent:
        together: Sent = Counter()
        for (port, data), count in sent.items():
            if place := places.get(port, port):
                together[place, data] += count
        return together

    return view


def receivers(sent: Sent, frame: bytes) -> dict[str, int]:
    """Port -> how often it sent a frame."""
    return {port: count for (port, data), count in sent.items() if data == frame}


def is_flooded(frame: bytes) -> bool:
    return frame[:6] == BROADCAST
