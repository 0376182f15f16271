"""One boot of the guest: start QEMU, wait for the command, pass its output on, return how it ended."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lab.launcher import terminal
from lab.launcher.errors import EXIT_LOST, EXIT_TIMEOUT
from lab.launcher.machine import command_line, names_by_mac
from lab.launcher.options import Options
from lab.launcher.software import Software

POLL_S = 0.05
PROGRAMS = Path(__file__).parents[2] / ".venv/bin"
"""Flowlane's own commands, found in the guest after all others."""

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class NeverStartedError(Exception):
    """The guest died or hung before the command was started, so that trying again repeats nothing."""


def fill_control_folder(folder: Path, scripts: Path, software: Software, options: Options) -> None:
    """Put in ``folder`` what the guest reads: its scripts, its settings, the names of its NICs and the command."""
    for script in scripts.iterdir():
        shutil.copy(script, folder)
    settings = {
        "FLOWLANE_LAB": "1",
        "LAB_MODULES": software.kernel.root / "usr/lib/modules",
        "LAB_LAYOUT": options.layout,
        "LAB_FAR": options.far,
        "LAB_VMS": options.vms,
        "LAB_QUEUES": options.queues,
        "LAB_RATE": options.rate,
        "LAB_MIN_RATE": options.min_rate,
        "LAB_PROGRAMS": PROGRAMS,
        "LAB_TERMINAL": "1" if options.interactive else "",
    }
    lines = [f"export {name}={shlex.quote(str(value))}\n" for name, value in settings.items()]
    lines += [f"export {shlex.quote(word)}\n" for word in options.environment]
    (folder / "settings").write_text("".join(lines))
    (folder / "nics").write_text(names_by_mac(options.layout, options.far))
    job = shlex.join(options.command) if options.command else terminal.shell_command()
    (folder / "job").write_text(f"cd {shlex.quote(str(Path.cwd()))} && exec {job}\n")


def boot(software: Software, options: Options, accel: str, control: Path, say: Callable[[str], None]) -> int:
    """Boot once and return the command's exit status, or 124 or 125 (see errors).

    Raises:
        NeverStartedError: the command did not run at all.
    """
    for old in ("started", "attached", "status", "setup.log"):
        (control / old).unlink(missing_ok=True)
    began = time.monotonic()
    with _qemu(software, options, accel, control) as (process, copiers):
        if not _wait_for_start(process, control, began + options.boot_timeout):
            raise NeverStartedError(_last_words(control, process.poll()))
        say(f"ready after {time.monotonic() - began:.1f} s")
        if options.interactive:
            say_always("a shell in the guest; leave it with `exit`")
            terminal.attach(control, process)
        ended = options.interactive and (control / "status").exists()
        try:
            process.wait(terminal.LEAVE_S if ended else options.timeout)
        except subprocess.TimeoutExpired:
            if ended:
                return int((control / "status").read_text())
            say_always(f"the command was not done after {options.timeout:g} s")
            return EXIT_TIMEOUT
        for copier in copiers:
            copier.join(5)
    say(f"the guest lived {time.monotonic() - began:.1f} s")
    status = control / "status"
    if not status.exists():
        say_always(f"the guest was lost while the command ran\n{_last_words(control, process.poll())}")
        return EXIT_LOST
    return int(status.read_text())


def say_always(text: str) -> None:
    """Print a message to the operator on stderr."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextmanager
def _qemu(
    software: Software, options: Options, accel: str, control: Path
) -> Iterator[tuple[subprocess.Popen[bytes], list[threading.Thread]]]:
    """Run QEMU; whatever happens, it is gone when this ends."""
    pipes = {"lab.stdout": os.pipe(), "lab.stderr": os.pipe()}
    writers = {name: writer for name, (_, writer) in pipes.items()}
    command = command_line(software, options, accel, control, writers)
    with (control / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **software.qemu.environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            pass_fds=list(writers.values()), preexec_fn=_die_with_parent,  # noqa: PLW1509  # no other thread runs yet
        )  # fmt: skip
    for writer in writers.values():
        os.close(writer)
    targets = {"lab.stdout": sys.stdout.buffer, "lab.stderr": sys.stderr.buffer}
    copiers = [
        threading.Thread(target=_copy, args=(pipes[name][0], to), daemon=True) for name, to in targets.items()
    ]
    for copier in copiers:
        copier.start()
    try:
        yield process, copiers
    finally:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    """Have the kernel end QEMU with us, even when we are killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _copy(source: int, target: BinaryIO) -> None:
    """Pass on what the guest writes, as it comes."""
    with os.fdopen(source, "rb", buffering=0) as reader:
        while chunk := reader.read(65536):
            target.write(chunk)
            target.flush()


def _wait_for_start(process: subprocess.Popen[bytes], control: Path, deadline: float) -> bool:
    while not (control / "started").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            return (control / "started").exists()
        time.sleep(POLL_S)
    return True


def _last_words(control: Path, status: int | None) -> str:
    """Return what the guest's set-up, its console and QEMU said last, and how QEMU ended if it did (None: it runs)."""
    parts = []
    if status is not None and status < 0:
        parts.append(f"QEMU was ended by signal {-status}; is the memory of this machine used up?")
    for name in ("setup.log", "console.log", "qemu.log"):
        path = control / name
        lines = path.read_text(errors="replace").splitlines()[-15:] if path.exists() else []
        parts += [f"--- end of {name}", *lines] if lines else []
    return "\n".join(parts)
