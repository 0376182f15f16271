"""The guest as a QEMU command line: a PC with 82576 NICs on virtual wires, the host's root over 9p, no disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lab.launcher.options import Options
from lab.launcher.software import Software

MANAGEMENT = ("52:54:00:f1:00:01", "mgmt")
"""MAC and name of the NIC on QEMU's user network."""


class Nic(NamedTuple):
    """An emulated Intel 82576 (``igb``: 8 queues, SR-IOV with 7 VFs); NICs on one ``wire`` are connected."""

    name: str
    mac: str
    wire: int


UPLINK = (Nic("pf0", "52:54:00:f1:01:00", 0), Nic("wire0", "52:54:00:f1:02:00", 0))
FAR_NETWORK = "net=10.0.0.0/24,host=10.0.0.254,dns=10.0.0.253,dhcpstart=10.0.0.240,ipv6=off"
"""QEMU's user network as the far end: it takes every frame for its own, so nothing else may be on that wire."""

VF_NIC = (Nic("sr0", "52:54:00:f1:03:00", 1), Nic("vepa0", "52:54:00:f1:04:00", 1))
ACCELERATORS = {"kvm": "kvm", "tcg": "tcg,thread=multi", "icount": "tcg,thread=single"}
ICOUNT = ("-icount", "shift=1,sleep=off")
"""The guest's clock counts instructions, 2 ns each, and jumps to the next timer while the CPU is idle (qemu(1))."""


def nics(layout: str, far: str = "guest") -> tuple[Nic, ...]:
    """Return the NICs that a layout needs; the last of the uplink's wire only where the guest is the far end."""
    wire = UPLINK if far == "guest" else UPLINK[:1]
    return wire + VF_NIC if layout == "sriov" else wire


def names_by_mac(layout: str, far: str = "guest") -> str:
    """Return the lines from which the guest names its NICs."""
    named = [MANAGEMENT, *((nic.mac, nic.name) for nic in nics(layout, far))]
    return "".join(f"{mac} {name}\n" for mac, name in named)


def command_line(
    software: Software, options: Options, accel: str, control: Path, outputs: Mapping[str, int]
) -> list[str]:
    """Return the command that boots the guest.

    ``outputs`` maps the guest's virtio ports (``lab.stdout``, ...) to descriptors that QEMU inherits: its own stdio
    character device stops the guest's writes when stdin is at its end.
    """
    shares = {"host": (Path("/"), True), "control": (control, False)}
    if software.layer:
        shares["tools"] = (software.layer, True)
    if options.out:
        shares["out"] = (options.out.absolute(), False)
    return [
        *_processor(software, options, accel),
        *_kernel(software, list(shares)),
        *_console(control / "console.log"),
        *(word for name, descriptor in outputs.items() for word in _output(name, descriptor)),
        *(word for tag, (folder, frozen) in shares.items() for word in _share(tag, folder, read_only=frozen)),
        *_user_network(options.hostfwd),
        *(
            word
            for slot, nic in enumerate(nics(options.layout, options.far), start=1)
            for word in _nic(nic, slot)
        ),
        *(_far_network() if options.far == "host" else ()),
        *(_terminal(control / "terminal") if options.interactive else ()),
    ]


def _processor(software: Software, options: Options, accel: str) -> list[str]:
    return [
        software.qemu.program, *software.qemu.options,
        "-M", "q35,usb=off,vmport=off", "-accel", ACCELERATORS[accel], "-cpu", "max",
        *(ICOUNT if accel == "icount" else ()),
        "-smp", str(options.cpus), "-m", f"{options.memory}M",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-device", "virtio-serial-pci",
    ]  # fmt: skip


def _kernel(software: Software, shares: list[str]) -> list[str]:
    # Nothing secret is in the guest: the mitigations would only cost emulated time.
    words = "console=ttyS0 loglevel=4 panic=-1 mitigations=off nokaslr audit=0 random.trust_cpu=on"
    layers = " ".join(f"lab.{tag}" for tag in shares)
    return [
        "-kernel",
        str(software.kernel.image),
        "-initrd",
        str(software.initramfs),
        "-append",
        f"{words} {layers}",
    ]


def _console(log: Path) -> list[str]:
    return ["-chardev", f"file,id=console,path={_quoted(log)}", "-serial", "chardev:console"]


def _output(name: str, descriptor: int) -> list[str]:
    return [
        "-chardev", f"file,id={name},path=/proc/self/fd/{descriptor}",
        "-device", f"virtserialport,chardev={name},name={name}",
    ]  # fmt: skip


def _terminal(socket: Path) -> list[str]:
    return [
        "-chardev", f"socket,id=terminal,path={_quoted(socket)},server=on,wait=off",
        "-device", "virtconsole,chardev=terminal",
    ]  # fmt: skip


def _share(tag: str, folder: Path, *, read_only: bool) -> list[str]:
    access = "readonly=on" if read_only else "readonly=off"
    return [
        "-fsdev", f"local,id={tag},path={_quoted(folder)},security_model=none,multidevs=remap,{access}",
        "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]  # fmt: skip


def _user_network(forwards: tuple[str, ...]) -> list[str]:
    rules = "".join(f",hostfwd={rule}" for rule in forwards)
    nic = f"virtio-net-pci,netdev=user,mac={MANAGEMENT[0]},romfile="
    return ["-netdev", f"user,id=user{rules}", "-device", nic]


def _far_network() -> list[str]:
    return [
        "-netdev", f"user,id=far,{FAR_NETWORK}",
        "-netdev", f"hubport,id=far0,hubid={UPLINK[0].wire},netdev=far",
    ]  # fmt: skip


def _nic(nic: Nic, slot: int) -> list[str]:
    """Make an igb behind a PCIe root port of its own, which SR-IOV needs."""
    return [
        "-device", f"pcie-root-port,id=port{slot},slot={slot}",
        "-netdev", f"hubport,id={nic.name},hubid={nic.wire}",
        "-device", f"igb,bus=port{slot},netdev={nic.name},mac={nic.mac},romfile=",
    ]  # fmt: skip


def _quoted(path: Path) -> str:
    """Double the commas, as QEMU's option syntax wants it."""
    return str(path).replace(",", ",,")
