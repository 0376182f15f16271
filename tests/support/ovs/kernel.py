"""The Open vSwitch of the lab's guest for comparisons of bridges: ports are veth pairs, frames go through the kernel.

Scenarios name ports as for a private Open vSwitch and make them dummy devices; here each becomes one end of a veth
pair, whose other end sends and receives frames by packet sockets.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lab.inside.private_ovs import PrivateOvs

QUIET_S = 0.03
"""How long nothing more may come before a frame is forwarded; each upcall takes an emulated CPU some ms."""
SHORT = {"attached-": "a-", "plain-": "p-"}
"""Interface names have 15 characters at most (Linux, IFNAMSIZ)."""
SOL_PACKET, AUXDATA = 263, 8
"""Option of packet sockets (linux/if_packet.h) that tells the VLAN tag, which the kernel takes out of a frame."""
VLAN_VALID, TPID_VALID = 0x10, 0x40
"""TP_STATUS_VLAN_VALID and TP_STATUS_VLAN_TPID_VALID (linux/if_packet.h)."""
ALL_PROTOCOLS = 3
SHORTEST = 68
"""Bytes of the shortest frame on a wire, with two VLAN tags."""


class KernelOvs(PrivateOvs):
    """The guest's Open vSwitch: its database and its sockets, which :class:`PrivateOvs` also has."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, system=True)
        self.datapath = "system"
        self.pairs: list[str] = []

    @property
    def control_socket(self) -> Path:
        return next(self.directory.glob("ovs-vswitchd.*.ctl"))

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl with short names; a dummy device becomes a veth pair."""
        words = [short(word) for word in arguments]
        for at, word in enumerate(words):
            if word == "type=dummy":
                self._make_pair(words[at - 1])
                words[at] = "type=system"
        return long(super().vsctl(*words))

    def ofctl(self, command: str, bridge: str, *arguments: str, version: str = "OpenFlow13") -> str:
        return super().ofctl(command, short(bridge), *arguments, version=version)

    def control(self, command: str, *arguments: str) -> str:
        return super().control(command, *(short(word) for word in arguments))

    def remove_pairs(self) -> None:
        for name in self.pairs:
            subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
        self.pairs.clear()

    def _make_pair(self, name: str) -> None:
        """Make both ends, which send nothing by themselves."""
        ends = (name, far(name))
        ip("link", "add", name, "type", "veth", "peer", "name", far(name))
        for end in ends:
            Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
            ip("link", "set", end, "up", "promisc", "on")
        self.pairs.append(name)


class VethWire:
    """The far ends of the veth pairs."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._frames: dict[str, list[bytes]] = {}
        self._seen = 0

    def watch(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._sockets and Path(f"/sys/class/net/{far(short(name))}").exists():
                self._sockets[name] = listening(far(short(name)))

    def inject(self, name: str, data: bytes) -> None:
        self._sockets[name].send(data)

    def turn(self) -> None:
        quiet = time.monotonic()
        while time.monotonic() - quiet < QUIET_S:
            if self._receive():
                quiet = time.monotonic()
            else:
                time.sleep(0.002)

    def seen(self) -> int:
        return self._seen

    def take(self, name: str) -> list[bytes]:
        return self._frames.pop(name, [])

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def _receive(self) -> int:
        frames = [(name, frame) for name, sock in self._sockets.items() for frame in waiting(sock)]
        for name, frame in frames:
            self._frames.setdefault(name, []).append(frame)
        self._seen += len(frames)
        return len(frames)


def listening(name: str) -> socket.socket:
    """A packet socket that gives whole frames with their tags, and does not wait."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    sock.setsockopt(SOL_PACKET, AUXDATA, 1)
    sock.bind((name, ALL_PROTOCOLS))
    sock.setblocking(False)
    return sock


def waiting(sock: socket.socket) -> list[bytes]:
    """The frames that have come in, without those that this end has sent."""
    frames: list[bytes] = []
    while True:
        try:
            data, auxiliary, _, address = sock.recvmsg(1 << 16, 64)
        except BlockingIOError:
            return frames
        if address[2] != socket.PACKET_OUTGOING:
            frames.append(with_tag(data, auxiliary))


def with_tag(data: bytes, auxiliary: Sequence[tuple[int, int, bytes]]) -> bytes:
    """The frame as it was on the wire: struct tpacket_auxdata has the tag."""
    for _, kind, value in auxiliary:
        if kind == AUXDATA:
            status, *_, tci, tpid = struct.unpack("=IIIHHHH", value[:20])
            if status & VLAN_VALID:
                tpid = tpid if status & TPID_VALID else 0x8100
                return data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
    return data


def unpadded(sent: Counter[tuple[str, bytes]]) -> Counter[tuple[str, bytes]]:
    """Frames without padding: the kernel's tracker cuts it off (skb_network_trim), and NICs add it again."""
    bare: Counter[tuple[str, bytes]] = Counter()
    for (port, data), count in sent.items():
        bare[port, data if len(data) > SHORTEST else data.rstrip(b"\0")] += count
    return bare


def far(name: str) -> str:
    return f"{name}~"


def short(word: str) -> str:
    for prefix, brief in SHORT.items():
        word = word.replace(prefix, brief)
    return word


def long(text: str) -> str:
    """Names of interfaces at the beginning of lines, as they were given."""
    lines = text.split("\n")
    for prefix, brief in SHORT.items():
        lines = [prefix + line.removeprefix(brief) if line.startswith(brief) else line for line in lines]
    return "\n".join(lines)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
