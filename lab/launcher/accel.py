"""KVM or not: a /dev/kvm may exist and its guests still die, so one small trial boot decides."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lab.launcher.software import Software

TRIAL_S = 20.0
SIGN = b"flowlane: trial boot"


def choose(wanted: str, software: Software, cache: Path) -> str:
    """Return ``kvm`` or ``tcg``; the trial's result is remembered for this boot of the host."""
    if wanted != "auto":
        return wanted
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    note = cache / "kvm-trial"
    known = note.read_text().split() if note.exists() else []
    if known[:1] != [boot_id]:
        known = [boot_id, "kvm" if _trial(software) else "tcg"]
        note.write_text(" ".join(known))
    return known[1]


def _trial(software: Software) -> bool:
    """Boot the kernel as far as its init under KVM, with two CPUs, as the lab does."""
    command = [
        software.qemu.program, *software.qemu.options, "-M", "q35", "-accel", "kvm", "-cpu", "max", "-smp", "2",
        "-m", "512M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
        "-kernel", str(software.kernel.image), "-initrd", str(software.initramfs),
        "-append", "console=ttyS0 panic=-1 lab.trial",
    ]  # fmt: skip
    environment = {**os.environ, **software.qemu.environment}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_S,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        return False
    return SIGN in done.stdout
