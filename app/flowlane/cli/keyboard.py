"""Single keys from a terminal, and news of its size, for programs that fill the screen."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

RESIZED = "resized"
WOKEN = "woken"
"""What :meth:`Keyboard.wait` returns beside keys: the terminal has another size; :meth:`Keyboard.wake` was called."""

QUIT, ENDED = "q", "ended"
"""The key that ends a program by custom; what stands for a key where the input has ended."""

_KEY = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])?|[^\x1b]", re.DOTALL)
"""A key: a control sequence (ECMA-48, as xterm and the Linux console send them), or a character."""

_NAMES = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "page up", "\x1b[6~": "page down",
}  # fmt: skip
"""Names of keys that have no character of their own."""


class Keyboard:
    """The keys of a terminal in cbreak mode; use :func:`opened`."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._resized = False
        self._keys: deque[str] = deque()

    def wake(self) -> None:
        """End the present or the next :meth:`wait`; other threads may call this."""
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def note_size(self, _number: int, _frame: FrameType | None) -> None:
        """Take SIGWINCH."""
        self._resized = True
        self.wake()

    def wait(self, seconds: float) -> str:
        """Wait for a key, a size or :meth:`wake`, for at most so many seconds; return it, or an empty text."""
        watched = [self._reader] if self._descriptor is None else [self._reader, self._descriptor]
        deadline = time.monotonic() + seconds
        while True:
            if self._keys:
                return self._keys.popleft()
            ready = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))[0]
            if self._reader in ready:
                os.read(self._reader, 4096)
                resized, self._resized = self._resized, False
                return RESIZED if resized else WOKEN
            if not ready:
                return ""
            assert self._descriptor is not None
            data = os.read(self._descriptor, 1024)
            if not data:
                return ENDED
            keys = _KEY.findall(data.decode("utf-8", "replace"))
            self._keys += [_NAMES.get(key, key) for key in keys if key in _NAMES or len(key) == 1]

    def close(self) -> None:
        """Close the pipe that wakes."""
        os.close(self._reader)
        os.close(self._writer)


@contextmanager
def opened() -> Iterator[Keyboard]:
    """Take keys one by one and without echo from standard input, where it is a terminal, and follow its size.

    The terminal is as it was afterwards, also when SIGTERM or SIGHUP ends the program. Ctrl-C stays SIGINT; Ctrl-Z
    does nothing, since a shell would find the screen as the program has it.
    """
    descriptor = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    keyboard = Keyboard(descriptor)
    handlers = {signal.SIGTERM: _end, signal.SIGHUP: _end, signal.SIGWINCH: keyboard.note_size}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    saved = None
    try:
        if descriptor is not None:
            saved = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor)
            mode = termios.tcgetattr(descriptor)
            mode[6][termios.VSUSP] = b"\0"  # _POSIX_VDISABLE (termios(3))
            termios.tcsetattr(descriptor, termios.TCSANOW, mode)
        yield keyboard
    finally:
        if descriptor is not None and saved is not None:
            with suppress(termios.error):  # the terminal may be gone
                termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)
        for number, handler in before.items():
            signal.signal(number, handler)
        keyboard.close()


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
