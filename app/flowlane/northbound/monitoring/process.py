"""Metrics of the process itself, under the names that all clients of Prometheus use, read from /proc (proc(5))."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
_UTIME, _STIME, _STARTTIME, _VSIZE, _RSS = 11, 12, 19, 20, 21
"""Fields of /proc/self/stat, counted from the one behind the program's name in parentheses (proc(5))."""


_BOOTED = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
"""Unix time of the system's start, read once so that it does not waver; a hardened service has no /proc/stat
(systemd.exec(5), ProcSubset)."""


class Process(NamedTuple):
    """What the process takes. Times are seconds, sizes bytes; ``started`` is Unix time."""

    cpu: float
    resident: float
    virtual: float
    started: float
    open_files: float
    max_files: float


def read_process() -> Process:
    """Read what this process takes now."""
    fields = (_PROC / "self/stat").read_text().rpartition(")")[2].split()
    return Process(
        cpu=(int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS,
        resident=int(fields[_RSS]) * _PAGE,
        virtual=int(fields[_VSIZE]),
        started=_BOOTED + int(fields[_STARTTIME]) / _TICKS,
        open_files=sum(1 for _ in (_PROC / "self/fd").iterdir()) - 1,
        max_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )
