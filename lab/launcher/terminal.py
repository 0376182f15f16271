"""The operator's terminal, joined to the guest's: what is typed goes there as it is, also Ctrl-C."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEAVE_S = 60.0
"""Seconds that the guest may take to end when its shell has ended; on a busy machine it hung there once."""


def shell_command() -> str:
    """Return the command of the guest's shell, with the size of the operator's window and a prompt with the folder."""
    size = shutil.get_terminal_size()
    term = os.environ.get("TERM", "linux")
    setup = f"stty rows {size.lines} cols {size.columns}; TERM={term} PS1='lab:\\w# '"
    return shlex.join(("sh", "-c", f"{setup} exec bash --norc -i"))


def attach(control: Path, process: subprocess.Popen[bytes]) -> None:
    """Copy between our terminal and QEMU's socket in the ``control`` folder until the guest is gone.

    The guest's shell waits for the file ``attached``: what it writes while nobody is there would be lost. When it has
    ended, there is the file ``status``; a guest that does not end :data:`LEAVE_S` after that is left.
    """
    leave_at = None
    with socket.socket(socket.AF_UNIX) as guest, _raw(sys.stdin.fileno()):
        guest.connect(str(control / "terminal"))
        (control / "attached").touch()
        keyboard = sys.stdin.fileno()
        sources: list[int | socket.socket] = [guest, keyboard]
        while process.poll() is None:
            if leave_at is None and (control / "status").exists():
                leave_at = time.monotonic() + LEAVE_S
            if leave_at is not None and time.monotonic() > leave_at:
                return
            ready, _, _ = select.select(sources, [], [], 0.2)
            if guest in ready and not _show(guest):
                return
            if keyboard in ready and not _send(keyboard, guest):
                sources.remove(keyboard)


def _show(guest: socket.socket) -> bool:
    data = guest.recv(65536)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return bool(data)


def _send(keyboard: int, guest: socket.socket) -> bool:
    """Pass typed characters on; the end of input becomes Ctrl-D, so that a script's shell ends too."""
    data = os.read(keyboard, 4096)
    guest.sendall(data or b"\x04")
    return bool(data)


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
