"""What a NIC lets each of its virtual functions do, as ``ip`` shows it: the limits that work past the switch.

A limit set there (``ip link set NIC vf N max_tx_rate MBIT``) is the card's own: it holds for frames that no switch
on the host ever sees, and beside whatever meter the controller sets. Source: ip-link(8), IFLA_VFINFO_LIST.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import NamedTuple

_MBIT = 10**6


class VfLimit(NamedTuple):
    """Of one virtual function: bit/s at most and at least (None: no limit), and its VLAN (0: none)."""

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
    """Ask the kernel; nothing when ``ip`` is missing or refuses."""
    tool = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
    if tool is None:
        return ()
    command = [tool, "-j", "-d", "link", "show", "dev", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    return parse_limits(done.stdout) if done.returncode == 0 else ()


def _rate(mbit: int | None) -> int | None:
    return mbit * _MBIT if mbit else None
