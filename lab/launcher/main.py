"""``run lab``: from the command line to the exit status."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from lab.launcher.accel import choose
from lab.launcher.cache import cache_folder, run_folder
from lab.launcher.errors import EXIT_LOST, LabError
from lab.launcher.guest import NeverStartedError, boot, fill_control_folder, say_always
from lab.launcher.memory import check_memory
from lab.launcher.options import Options, parse
from lab.launcher.software import Software, prepare

SCRIPTS = Path(__file__).parents[1] / "guest"
ATTEMPTS = 3
"""QEMU under TCG with several CPUs sometimes aborts in early boot (iotlb_to_section); the next boot works."""

LOGS = ("console.log", "setup.log", "qemu.log", "ovsdb-server.log", "ovs-vswitchd.log")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the lab and return the exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        return _run(options, say_always if options.verbose else _hush)
    except LabError as error:
        say_always(str(error))
        return EXIT_LOST
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(options: Options, say: Callable[[str], None]) -> int:
    if options.interactive and not sys.stdin.isatty():
        raise LabError("a shell needs a terminal; give a command: run lab -- COMMAND")
    check_memory(options.memory)
    cache = cache_folder()
    software = prepare(cache, SCRIPTS, refresh=options.refresh, say=say_always)
    accel = choose(options.accel, software, cache)
    say(f"{options.layout} layout, {accel}, kernel {software.kernel.release}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    with run_folder(cache) as control:
        fill_control_folder(control, SCRIPTS, software, options)
        try:
            return _boot_patiently(software, options, accel, control, say)
        finally:
            _keep_logs(control, options.out)


def _boot_patiently(
    software: Software, options: Options, accel: str, control: Path, say: Callable[[str], None]
) -> int:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return boot(software, options, accel, control, say)
        except NeverStartedError as error:
            say_always(
                f"attempt {attempt} of {ATTEMPTS}: the guest did not get as far as the command\n{error}"
            )
    return EXIT_LOST


def _keep_logs(control: Path, out: Path | None) -> None:
    """Leave the guest's logs beside the command's own files."""
    if out is None:
        return
    kept = out / "lab-logs"
    kept.mkdir(exist_ok=True)
    for name in LOGS:
        if (control / name).exists():
            shutil.copy(control / name, kept)


def _leave(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature is signal's
    raise SystemExit(128 + signum)


def _hush(text: str) -> None:
    """Say nothing."""
