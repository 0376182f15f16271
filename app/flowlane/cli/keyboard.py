"""Single keys from a terminal, and news of its size, for programs that fill the screen."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
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

_ESCAPE = "\x1b"
_ARROWS = {"\x1b[A": "up", "\x1b[B": "down", "\x1b[5~": "page up", "\x1b[6~": "page down"}
"""What keys send that have no character of their own (ECMA-48, as xterm and the Linux console do)."""

_IGNORED = ""


class Keyboard:
    """The keys of a terminal in cbreak mode; use :func:`opened`."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._resized = False

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
            ready = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))[0]
            if self._reader in ready:
                os.read(self._reader, 4096)
                resized, self._resized = self._resized, False
                return RESIZED if resized else WOKEN
            if not ready:
                return ""
            assert self._descriptor is not None
            data = os.read(self._descriptor, 32)
            key = _key_of(data.decode("utf-8", "replace")) if data else ENDED
            if key != _IGNORED:
                return key

    def close(self) -> None:
        """Close the pipe that wakes."""
        os.close(self._reader)
        os.close(self._writer)


def _key_of(text: str) -> str:
    """Return the key of what a terminal sent at once: the last one where several were pressed."""
    for sequence, name in _ARROWS.items():
        if text.endswith(sequence):
            return name
    return _IGNORED if _ESCAPE in text else text[-1]


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
