"""The one place that chooses the hub: eventlet, single-threaded, so that nothing here needs locks.

os-ken reads ``OSKEN_HUB_TYPE`` when it is imported, and its default is native threads, on which an
exception in a handler ends an app's event loop without a word (its ``TaskExit`` is ``Exception`` there). So
:func:`prepare` must run before anything imports os-ken. Another hub takes eventlet's place by giving these
names another meaning.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any, ParamSpec

with warnings.catch_warnings():
    # It tells whoever starts us to choose another library, at every start; we know.
    warnings.simplefilter("ignore")
    import eventlet

HUB_TYPE = "eventlet"
"""The value of ``OSKEN_HUB_TYPE``."""

_LOG = logging.getLogger(__name__)
_select: Any = eventlet.patcher.original("select")
"""The library's own: eventlet takes ``poll`` out of the patched one, for it could wait."""
_P = ParamSpec("_P")


class Task:
    """A running green thread."""

    def __init__(self, thread: eventlet.greenthread.GreenThread) -> None:
        self._thread = thread

    def kill(self) -> None:
        """Stop it where it waits; nothing happens when it has ended."""
        self._thread.kill()


def prepare(*, patch: bool = True) -> None:
    """Choose the hub for os-ken and, with ``patch``, make the standard library's waiting calls give way.

    The patch is for os-ken apps that run beside Flowlane: Ryu's launcher did it too, and apps call
    ``time.sleep`` or ``requests`` in their handlers.

    Raises:
        RuntimeError: os-ken was imported before, on another hub.
    """
    os.environ["OSKEN_HUB_TYPE"] = HUB_TYPE
    loaded = sys.modules.get("os_ken.lib.hub")
    if loaded is not None and loaded.HUB_TYPE != HUB_TYPE:
        raise RuntimeError("os_ken.lib.hub was imported before flowlane.hub.prepare()")
    if patch:
        eventlet.monkey_patch()


def spawn(function: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> Task:
    """Run a function in a green thread; what it raises is logged."""
    return Task(eventlet.spawn(_logged, function, args, kwargs))


def spawn_after(seconds: float, function: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> Task:
    """Run a function in a green thread after a while; what it raises is logged."""
    return Task(eventlet.spawn_after(seconds, _logged, function, args, kwargs))


def _logged(function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    try:
        function(*args, **kwargs)
    except Exception:
        _LOG.exception("a green thread ended by an exception")


def sleep(seconds: float = 0) -> None:
    """Let others run, for so many seconds at least."""
    eventlet.sleep(seconds)


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """Open a listening TCP socket; ``host`` is an IPv4 or IPv6 address.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server: socket.socket = eventlet.listen((host, port), family=family, backlog=backlog)
    return server


def connect(host: str, port: int) -> socket.socket:
    """Connect to a TCP port.

    Raises:
        OSError: nobody listens there.
    """
    sock: socket.socket = eventlet.connect((host, port))
    return sock


def readable(sock: Any) -> bool:
    """Return whether something, or its end, has come for a socket (over TLS: beyond the record that was read last)."""
    poll = _select.poll()
    poll.register(sock.fileno(), _select.POLLIN)
    return bool(poll.poll(0))


def within(seconds: float, function: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> bool:
    """Run a function, but give it up after so many seconds; return whether it came to its end."""
    with eventlet.Timeout(seconds, False):
        function(*args, **kwargs)
        return True
    return False


class Flag:
    """Something to wait for, which happens once or again and again."""

    def __init__(self) -> None:
        self._event = eventlet.event.Event()

    def set(self) -> None:
        """Wake who waits, or who will wait next; twice is the same as once."""
        if not self._event.ready():
            self._event.send()

    def wait(self) -> None:
        """Wait until it is set, and clear it."""
        self._event.wait()
        self._event = eventlet.event.Event()


class Signals:
    """Process signals as something to wait for.

    A handler of Python's runs inside the hub's own wait and could not wake anybody; a byte in a socket does.
    """

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = {number: signal.signal(number, _ignore) for number in numbers}
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def wait(self) -> signal.Signals:
        """Wait for the next of the signals."""
        eventlet.hubs.trampoline(self._reader.fileno(), read=True)
        return signal.Signals(self._reader.recv(1)[0])

    def restore(self) -> None:
        """Give the signals back their former meaning: a second Ctrl-C then ends the process at once."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            with suppress(TypeError, ValueError):
                signal.signal(number, handler)
        self._reader.close()
        self._writer.close()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Stand in for a handler: the wake-up descriptor has carried the number already."""
