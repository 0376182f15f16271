"""A check, before a guest is started, that this machine has the memory for it."""

from __future__ import annotations

from pathlib import Path

from lab.launcher.errors import LabError

LEAST_MIB = 512
"""With less the guest's own root and Open vSwitch do not fit."""


def check_memory(wanted: int, meminfo: Path = Path("/proc/meminfo")) -> None:
    """Refuse a guest of ``wanted`` MiB that this machine cannot hold.

    Linux would start it all the same, and end it, or something else, once the memory is really used.

    Raises:
        LabError: less is available; the text names how much, and what to do.
    """
    available = _available(meminfo)
    if wanted <= available:
        return
    most = available // 64 * 64
    remedy = f"give it less (--memory {most})" if most >= LEAST_MIB else "end something else"
    raise LabError(
        f"the guest is to have {wanted} MiB of memory, and this machine has {available} left; {remedy}"
    )


def _available(meminfo: Path) -> int:
    """MemAvailable (proc_meminfo(5)) in MiB."""
    rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) // 1024
