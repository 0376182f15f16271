"""The lab's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "app"))  # the lab runs before the package is installed

from flowlane.errors import UnitError
from flowlane.units import parse_rate

MAX_VMS = 7
"""VFs of an 82576, of which the layouts with VFs need one for each VM."""

MAX_QUEUES = 8
"""Transmit queues of an 82576 while it has no VFs."""

LAYOUTS = {
    "veth": "VM i = a veth pair, its other end pf0vf<i> is the bridge's port i; the uplink pf0 has --queues queues",
    "sriov": "VM i = a real VF of the NIC sr0; sr0vf<i> stands for it on the bridge; the uplink is a second NIC, pf0",
    "bare": "only the NICs, named: no VMs, no switch",
    "direct": "VM i = a real VF of the uplink pf0 itself: its packets pass the switch by, and pf0 keeps one queue",
}

FAR_ENDS = {
    "guest": "namespace `wire` in the guest, behind a NIC of its own",
    "host": "this machine's 127.0.0.1, so that the emulated CPU carries the VMs and the switch only",
}


class Options(NamedTuple):
    """What the operator asked for; rates in bit/s, times in seconds, memory in MiB."""

    layout: str
    far: str
    vms: int
    queues: int
    rate: int
    min_rate: int
    cpus: int
    memory: int
    accel: str
    timeout: float
    boot_timeout: float
    out: Path | None
    hostfwd: tuple[str, ...]
    environment: tuple[str, ...]
    refresh: bool
    verbose: bool
    command: tuple[str, ...]

    @property
    def interactive(self) -> bool:
        """Whether a shell on the terminal was asked for."""
        return not self.command


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; everything after ``--`` is the command. Exits with 2 on a wrong one."""
    own, command = list(arguments), []
    if "--" in own:
        cut = own.index("--")
        own, command = own[:cut], own[cut + 1 :]
    read = _parser().parse_args(own)
    layout = "direct" if read.layout == "sriov" and read.nics == "one" else read.layout
    min_rate = read.min_rate if read.min_rate is not None else read.rate // 10
    return Options(
        layout=layout,
        far=read.far,
        vms=read.vms,
        queues=1 if layout == "direct" else read.queues,
        rate=read.rate,
        min_rate=min(min_rate, read.rate // read.queues),
        cpus=read.cpus,
        memory=read.memory,
        accel=read.accel,
        timeout=read.timeout,
        boot_timeout=read.boot_timeout,
        out=read.out,
        hostfwd=tuple(read.hostfwd),
        environment=tuple(read.env),
        refresh=read.refresh,
        verbose=read.verbose,
        command=tuple(command),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run lab",
        usage="%(prog)s [options] [-- COMMAND [ARGUMENT ...]]",
        description="Boot a throw-away guest with SR-IOV NICs, physical queues and Open vSwitch's kernel datapath, "
        "run COMMAND in it (the same files, the same folder) and return its output and exit status. Without a "
        "COMMAND: a shell.",
        epilog="Exit status: the command's; 124 time-out; 125 the lab could not start or the guest was lost.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--layout", choices=LAYOUTS, default="veth", help="; ".join(f"{k}: {v}" for k, v in LAYOUTS.items()))
    add(
        "--nics",
        choices=("one", "two"),
        default="two",
        help="sriov: VFs and uplink on one NIC (= direct) or on two",
    )
    add(
        "--far",
        choices=FAR_ENDS,
        default="guest",
        help="what 10.0.0.254 is: " + "; ".join(f"{k}: {v}" for k, v in FAR_ENDS.items()),
    )
    add("--vms", type=_within(1, MAX_VMS), default=4, help="number of VMs")
    add("--queues", type=_within(1, MAX_QUEUES), default=4, help="transmit queues of the uplink")
    add("--rate", type=_rate, default="1Gbit/s", metavar="RATE", help="limit of the uplink, such as 20Mbit/s")
    add("--min-rate", type=_rate, metavar="RATE", help="guarantee of each queue (default: a tenth of --rate)")
    add(
        "--cpus",
        type=_within(1, 16),
        default=1,
        help="the guest's CPUs; more than one are no faster without KVM, and boot less surely",
    )
    add("--memory", type=_within(512, 65536), default=1536, metavar="MiB", help="the guest's memory")
    add(
        "--accel",
        choices=("auto", "tcg", "kvm", "icount"),
        default="auto",
        help="auto: KVM if a trial boot works, else TCG; icount: TCG whose clock counts instructions, so that times "
        "do not depend on what else this machine does",
    )
    add(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="for the command, from when it starts"
    )
    add("--boot-timeout", type=float, default=180.0, metavar="SECONDS", help="for the guest's set-up")
    add("--out", type=Path, metavar="FOLDER", help="$LAB_OUT in the guest: the only folder it can write to")
    add(
        "--hostfwd",
        action="append",
        default=[],
        metavar="SPEC",
        help="as tcp:127.0.0.1:8080-:8080; repeatable",
    )
    add(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable for the command; repeatable",
    )
    add("--refresh", action="store_true", help="fetch QEMU, the kernel and tools again")
    add("--verbose", action="store_true", help="say what is done and how long it takes")
    return parser


def _rate(text: str) -> int:
    try:
        return parse_rate(text)
    except UnitError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class _within:  # noqa: N801  # an argparse type: its name appears in messages
    """A whole number from ``low`` to ``high``."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __call__(self, text: str) -> int:
        if not text.isdecimal() or not self.low <= int(text) <= self.high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {self.low} to {self.high}")
        return int(text)
