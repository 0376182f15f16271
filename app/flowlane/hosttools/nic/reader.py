"""What a NIC of this host has, read from sysfs, the SIOCETHTOOL ioctl, ``ip`` and ``tc``.

The transmit queues that exist are the ``queues/tx-*`` directories once the link has been up. Before that the
kernel shows what was allocated. ``ethtool -l`` counts receive queues too, so it may show 2 where 1 transmit
queue exists (igb with virtual functions). Source: Documentation/ABI/testing/sysfs-class-net-queues,
sysfs-bus-pci and sysfs-class-net of Linux.

Channels (``ethtool -l``) are read by the ioctl, whose structure is a stable interface of the kernel
(linux/ethtool.h, struct ethtool_channels): ethtool 6.1 has no JSON for them.

The limits of virtual functions (``ip link set NIC vf N max_tx_rate MBIT``) are the NIC's own. They hold for
frames that no switch on the host forwards, and beside a meter of the controller. Source: ip-link(8),
IFLA_VFINFO_LIST.
"""

from __future__ import annotations

import array
import fcntl
import json
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowlane.errors import FlowlaneError
from flowlane.hosttools.nic.consistency import NicState
from flowlane.hosttools.nic.tc import read_classes, read_filters, read_qdiscs

if TYPE_CHECKING:
    from flowlane.hosttools.nic.tc import Filter, Qdisc, QueueClass

_SIOCETHTOOL = 0x8946
_ETHTOOL_GCHANNELS = 0x3C
_CHANNELS = struct.Struct("=9I")
_IFREQ = struct.Struct("=16sQ16x" if struct.calcsize("P") == 8 else "=16sI12x")


class Channels(NamedTuple):
    """The most channels that the device can have, and how many it has."""

    max_rx: int
    max_tx: int
    max_other: int
    max_combined: int
    rx: int
    tx: int
    other: int
    combined: int

    @property
    def most_tx(self) -> int:
        """The most transmit queues that ``ethtool -L`` can give."""
        return self.max_tx + self.max_combined


def read_channels(name: str) -> Channels | None:
    """Read the channels; None when there is no such device or its driver has none."""
    raw = name.encode()
    if len(raw) > 15:
        return None
    answer = array.array("B", _CHANNELS.pack(_ETHTOOL_GCHANNELS, *[0] * 8))
    request = _IFREQ.pack(raw, answer.buffer_info()[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
    except OSError:
        return None
    return Channels(*_CHANNELS.unpack(answer.tobytes())[1:])


_MBIT = 10**6


class VfLimit(NamedTuple):
    """The limits of one virtual function: most and least bit/s (None: no limit), and its VLAN (0: none)."""

    number: int
    max_tx: int | None
    min_tx: int | None
    vlan: int


def parse_limits(text: str) -> tuple[VfLimit, ...]:
    """Read the output of ``ip -j -d link show dev X``."""
    return tuple(
        VfLimit(
            row["vf"],
            _rate(row.get("rate", {}).get("max_tx") or row.get("tx_rate")),
            _rate(row.get("rate", {}).get("min_tx")),
            next((entry.get("vlan", 0) for entry in row.get("vlan_list", ())), 0),
        )
        for link in json.loads(text or "[]")
        for row in link.get("vfinfo_list", ())
    )


def read_limits(device: str) -> tuple[VfLimit, ...]:
    """Read the limits of all virtual functions; none when ``ip`` is missing or fails."""
    tool = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
    if tool is None:
        return ()
    command = [tool, "-j", "-d", "link", "show", "dev", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    return parse_limits(done.stdout) if done.returncode == 0 else ()


def _rate(mbit: int | None) -> int | None:
    return mbit * _MBIT if mbit else None


SYSFS = Path("/sys/class/net")
_IFF_UP = 1


class Vf(NamedTuple):
    """A virtual function of a physical one: its PCI address, and its network device where the host has it."""

    number: int
    pci: str
    netdev: str


class Nic(NamedTuple):
    """A network device. ``speed`` is bit/s, None when the link is down or virtual.

    ``tx_queues`` is the real number only when ``up``. ``total_vfs`` is 0 for a device without SR-IOV. ``vf``:
    whether the device is itself a virtual function. ``switch_id``: the switchdev switch that it is a port of,
    mostly empty. ``hardware`` is False for veth, tap, bridges and the like.
    """

    name: str
    driver: str = ""
    hardware: bool = False
    up: bool = False
    speed: int | None = None
    tx_queues: int = 0
    rx_queues: int = 0
    num_vfs: int = 0
    total_vfs: int = 0
    vfs: tuple[Vf, ...] = ()
    vf: bool = False
    switch_id: str = ""
    port_name: str = ""


def read_nic(name: str, sysfs: Path = SYSFS) -> Nic | None:
    """Read a device; None when this host (or network namespace) has none of that name."""
    base = sysfs / name
    if not name or "/" in name or not (base / "queues").is_dir():
        return None
    device = base / "device"
    speed = _number(base / "speed")
    return Nic(
        name=name,
        driver=_link(device / "driver"),
        hardware=device.exists(),
        up=bool(_number(base / "flags") & _IFF_UP),
        speed=speed * _MBIT if speed > 0 else None,
        tx_queues=_count(base, "tx"),
        rx_queues=_count(base, "rx"),
        num_vfs=_number(device / "sriov_numvfs"),
        total_vfs=_number(device / "sriov_totalvfs"),
        vfs=tuple(_vfs(device)),
        vf=(device / "physfn").exists(),
        switch_id=_text(base / "phys_switch_id"),
        port_name=_text(base / "phys_port_name"),
    )


def kernel_datapath(modules: Path = Path("/sys/module"), sysfs: Path = SYSFS) -> bool:
    """Return whether this kernel has Open vSwitch's datapath: its module, or its device when built in."""
    return (modules / "openvswitch").exists() or (sysfs / "ovs-system").exists()


def _count(base: Path, kind: str) -> int:
    return sum(1 for _ in (base / "queues").glob(f"{kind}-*"))


def _vfs(device: Path) -> list[Vf]:
    functions = []
    for link in device.glob("virtfn*"):
        names = sorted(path.name for path in (link / "net").glob("*"))
        functions.append(Vf(int(link.name.removeprefix("virtfn")), _link(link), names[0] if names else ""))
    return sorted(functions)


def _text(path: Path) -> str:
    """Return a file's content; empty when it is missing or the driver refuses (EINVAL, EOPNOTSUPP)."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    try:
        return int(_text(path), 0)
    except ValueError:
        return 0


def _link(path: Path) -> str:
    return path.resolve().name if path.is_symlink() else ""


def read_state(name: str) -> NicState | None:
    """Read the state of an interface; None when this host has none of that name.

    Without ``tc`` there are no qdiscs, filters and classes in it.
    """
    nic = read_nic(name)
    if nic is None:
        return None
    qdiscs: tuple[Qdisc, ...] = ()
    filters: tuple[Filter, ...] = ()
    classes: tuple[QueueClass, ...] = ()
    try:
        qdiscs = read_qdiscs(name)
        classes = read_classes(name, qdiscs)
        filters = read_filters(name, qdiscs)
    except FlowlaneError:
        pass
    limits = read_limits(name) if nic.num_vfs else ()
    return NicState(nic, read_channels(name), qdiscs, filters, limits, classes)
