"""What a NIC of this host really has, read from sysfs.

The transmit queues that exist are the ``queues/tx-*`` directories once the link has been up: before that the
kernel shows what was allocated, and ``ethtool -l`` counts receive queues too, so it may say 2 where 1 packet
queue exists (igb with virtual functions on). Source: Documentation/ABI/testing/sysfs-class-net-queues,
sysfs-bus-pci, sysfs-class-net of the Linux kernel.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

SYSFS = Path("/sys/class/net")
_IFF_UP = 1
_MBIT = 10**6


class Vf(NamedTuple):
    """A virtual function of a physical one: its PCI address, and its network device where the host has it."""

    number: int
    pci: str
    netdev: str


class Nic(NamedTuple):
    """A network device. ``speed`` is bit/s, None when the link is down or virtual.

    ``tx_queues`` counts real ones only when ``up``. ``total_vfs`` is 0 for what is not SR-IOV capable;
    ``vf`` says that the device is itself a virtual function; ``switch_id`` is the switchdev switch that it
    is a port of, empty for most; ``hardware`` is False for veth, tap, bridges and the like.
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
    """Whether the kernel of this host has Open vSwitch's datapath: its module, or its device when built in."""
    return (modules / "openvswitch").exists() or (sysfs / "ovs-system").exists()


def _count(base: Path, kind: str) -> int:
    return sum(1 for _ in (base / "queues").glob(f"{kind}-*"))


def _vfs(device: Path) -> list[Vf]:
    found = []
    for link in device.glob("virtfn*"):
        names = sorted(path.name for path in (link / "net").glob("*"))
        found.append(Vf(int(link.name.removeprefix("virtfn")), _link(link), names[0] if names else ""))
    return sorted(found)


def _text(path: Path) -> str:
    """A file's content, empty when it is absent or when the driver refuses (EINVAL, EOPNOTSUPP)."""
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
