"""Green threads, sockets and signals: what Flowlane uses of eventlet, but for the WSGI server (:mod:`flowlane.wsgi`).

No other module imports eventlet, so another hub can take its place here. All green threads run in one native
thread, and one gives way to another only where it waits; so no code needs locks.

os-ken chooses its own hub by the environment variable ``OSKEN_HUB_TYPE`` when it is imported. Its default is
native threads, on which an exception in a handler ends an app's event loop without a log line (``TaskExit``
is ``Exception`` there). So :func:`prepare` must run before anything imports os-ken.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn, ParamSpec

with warnings.catch_warnings():
    # eventlet warns at every import that new projects should choose another library.
    warnings.simplefilter("ignore")
    import eventlet
    import eventlet.green.socket

HUB_TYPE = "eventlet"
"""The value of ``OSKEN_HUB_TYPE``."""

_LOG = logging.getLogger(__name__)
_select: Any = eventlet.patcher.original("select")
"""The standard library's module: eventlet removes ``poll`` from its own version, since it could block."""
_socket: Any = eventlet.patcher.original("socket")
_os: Any = eventlet.patcher.original("os")
_threading: Any = eventlet.patcher.original("threading")
_P = ParamSpec("_P")

SLICE = 0.0005
"""Seconds that a piece of work takes at most before others are served."""

CHILD_NICE = 10
"""How much less the processor is for a copy of the process than for the process itself (nice(2))."""

LIGHT_TURNS = 8
"""Green threads with little to do that have a turn in each round of the event loop."""

MOST_ROUNDS, IDLE_ROUND = 8, 0.0001
"""Rounds of the event loop that others get at most, and seconds within which a round without work is over."""


class Task:
    """A running green thread, or one that is to begin later.

    One that is stopped is freed at once. eventlet keeps the traceback of the exception that stops it, whose frames
    refer to it: so :func:`_logged` ends that exception, and one that has not begun is never made.
    """

    def __init__(self, function: Callable[..., object], *arguments: Any) -> None:
        self._work: tuple[Any, ...] = function, *arguments
        self._thread: eventlet.greenthread.GreenThread | None = None
        self._timer: Any = None

    def begin(self) -> None:
        """Begin now."""
        work, self._work, self._timer = self._work, (), None
        self._thread = eventlet.spawn(_logged, *work)

    def begin_after(self, seconds: float) -> None:
        """Begin after so many seconds."""
        self._timer = eventlet.hubs.get_hub().schedule_call_global(seconds, self.begin)

    def kill(self) -> None:
        """Stop the green thread where it waits; do nothing when it has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._work = None, ()
        if self._thread is not None:
            self._thread.kill()


def prepare(*, patch: bool = True) -> None:
    """Choose eventlet as os-ken's hub, and patch the standard library's blocking calls to give way.

    Args:
        patch: whether to patch. os-ken apps that run beside Flowlane need it, for they call ``time.sleep`` or
            ``requests`` in their handlers, and Ryu's launcher patched too.

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
    task = Task(function, args, kwargs)
    task.begin()
    return task


def spawn_after(seconds: float, function: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> Task:
    """Run a function in a green thread after so many seconds; what it raises is logged."""
    task = Task(function, args, kwargs)
    task.begin_after(seconds)
    return task


def _logged(function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    try:
        function(*args, **kwargs)
    except eventlet.greenlet.GreenletExit:
        return
    except Exception:
        _LOG.exception("a green thread ended by an exception")


def sleep(seconds: float = 0) -> None:
    """Let other green threads run, for so many seconds at least."""
    eventlet.sleep(seconds)


def give_way() -> None:
    """Let the others run that can, before this green thread goes on.

    One round of the event loop is not enough: a packet-in takes several from its socket to the entry that is sent.
    So rounds are made until one had nothing to do.
    """
    for _ in range(MOST_ROUNDS):
        began = time.perf_counter()
        eventlet.sleep(0)
        if time.perf_counter() - began < IDLE_ROUND:
            return


class TimeSlice:
    """The time that a long piece of work may take before others are served; begins when it is made."""

    def __init__(self, seconds: float = SLICE) -> None:
        self._seconds = seconds
        self._end = time.perf_counter() + seconds

    def check(self) -> None:
        """Let others run where the slice is used up; the next one then begins."""
        if time.perf_counter() >= self._end:
            give_way()
            self._end = time.perf_counter() + self._seconds


def current() -> object:
    """Return the green thread that runs."""
    return eventlet.getcurrent()


def listen(
    host: str, port: int, backlog: int, receive_buffer: int | None = None, segment: int | None = None
) -> socket.socket:
    """Open a listening TCP socket; ``host`` is an IPv4 or IPv6 address.

    Args:
        receive_buffer: bytes that the kernel keeps for each connection at most; None: as many as it likes.
        segment: bytes of a segment that peers send at most (TCP_MAXSEG, tcp(7)); None: as the path allows.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without SO_REUSEPORT, with which a second controller would get every other connection and no error.
    server: socket.socket = eventlet.listen((host, port), family=family, backlog=backlog, reuse_port=False)
    if receive_buffer is not None:  # Connections inherit it, and TCP's window with it (tcp(7)).
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if segment is not None:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
    return server


def send_some(sock: Any, data: bytes) -> int:
    """Send what a connection takes without waiting; return how many bytes that is.

    Raises:
        OSError: the connection has ended.
    """
    try:
        sent: int = sock.fd.send(data)
    except BlockingIOError:
        return 0
    return sent


def readable(sock: Any) -> bool:
    """Return whether a socket has bytes to read, or its end; never wait.

    Over TLS the bytes are those behind the record that was read last.
    """
    poll = _select.poll()
    poll.register(sock.fileno(), _select.POLLIN)
    return bool(poll.poll(0))


class _WaitedError(Exception):
    """The time that a green thread waits for a descriptor is over."""


def wait_readable(descriptor: int, seconds: float | None = None) -> bool:
    """Wait until a descriptor can be read; return False when it cannot be within so many seconds (None: no limit).

    One green thread at a time may wait for a descriptor.
    """
    try:
        eventlet.hubs.trampoline(descriptor, read=True, timeout=seconds, timeout_exc=_WaitedError)
    except _WaitedError:
        return False
    return True


def wait_writable(descriptor: int, seconds: float) -> bool:
    """Wait until a descriptor can be written; return False when it cannot be within so many seconds."""
    try:
        eventlet.hubs.trampoline(descriptor, write=True, timeout=seconds, timeout_exc=_WaitedError)
    except _WaitedError:
        return False
    return True


def bare_socket(family: int) -> socket.socket:
    """Open a stream socket of the standard library that never blocks; its user waits for its descriptor."""
    made: socket.socket = _socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    return made


def bare_listener(host: str, port: int, backlog: int) -> socket.socket:
    """Open a listening TCP socket of the standard library that never blocks.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    made = bare_socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(backlog)
    except BaseException:
        made.close()
        raise
    return made


def resolve(host: str, port: int) -> list[tuple[int, Any]]:
    """Return the (address family, socket address) of a host's name or IP address; others run meanwhile.

    Raises:
        OSError: the name has no address.
    """
    try:
        found = _socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = eventlet.green.socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    return [(int(family), address) for family, _, _, _, address in found]


def within(seconds: float, function: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> bool:
    """Run a function for at most so many seconds; return whether it returned by itself.

    A function that takes longer is interrupted where it waits.
    """
    with eventlet.Timeout(seconds, False):
        function(*args, **kwargs)
        return True
    return False


def in_child(function: Callable[[], bytes], seconds: float) -> bytes:
    """Run a function in a copy of this process, and return what it returns; others run here meanwhile.

    The copy (fork(2)) has the state of this moment. What the function changes there is gone with it. It must wait for
    nothing: there is no event loop in the copy, and no file of this process is open there.

    Raises:
        OSError: no process can be made.
        TimeoutError: the function takes longer than so many seconds.
        RuntimeError: it raised; standard error has the traceback.
    """
    reader, writer = _os.pipe()
    try:
        pid = _os.fork()
    except OSError:
        _os.close(reader)
        _os.close(writer)
        raise
    if pid == 0:
        _run_in_child(function, writer)
    _os.close(writer)
    received, deadline = bytearray(), time.monotonic() + seconds
    try:
        while True:
            if not wait_readable(reader, max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"a copy of the process took longer than {seconds:g} s")
            if not (data := _os.read(reader, 1 << 16)):
                break
            received += data
    finally:
        _os.close(reader)
        _os.kill(pid, signal.SIGKILL)  # it has ended, or is not wanted any more
        _reap(pid)
    if not received:
        raise RuntimeError("a copy of the process failed; standard error has the reason")
    return bytes(received)


def _run_in_child(function: Callable[[], bytes], writer: int) -> NoReturn:
    """Run a function, write what it returns, and end the process, whatever happens."""
    try:
        _os.nice(CHILD_NICE)
        gc.disable()  # it would write to all objects, and so copy their memory
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # A connection that this process closes has to end, although a copy of it is open here.
        _os.closerange(3, writer)
        _os.closerange(writer + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        rest = memoryview(function())
        while rest:
            rest = rest[_os.write(writer, rest) :]
    except BaseException:
        _os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(0)


def _reap(pid: int) -> None:
    while _os.waitpid(pid, _os.WNOHANG)[0] == 0:
        sleep(0.005)


def in_thread(function: Callable[[], object]) -> None:
    """Run a function that blocks (on a disk, say) in a native thread; others run here meanwhile.

    It must not touch anything that other code of this process uses. What it raises is raised here.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = _threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        sleep(_NEXT_LOOK)
    if raised:
        raise raised[0]


_NEXT_LOOK = 0.002
"""Seconds between two looks at whether a native thread has ended."""


class Turn:
    """A context in which one green thread is at a time."""

    def __init__(self) -> None:
        self._semaphore = eventlet.semaphore.Semaphore()

    def __enter__(self) -> None:
        self._semaphore.acquire()

    def __exit__(self, *_: object) -> None:
        self._semaphore.release()


class Flag:
    """A flag that one green thread waits for and clears, and others set."""

    def __init__(self) -> None:
        self._event = eventlet.event.Event()

    def set(self) -> None:
        """Wake the green thread that waits, or will wait next; idempotent."""
        if not self._event.ready():
            self._event.send()

    def wait(self) -> None:
        """Wait until it is set, and clear it."""
        self._event.wait()
        self._event = eventlet.event.Event()


class Condition:
    """A condition of which any number of green threads are notified, again and again."""

    def __init__(self) -> None:
        self._event = eventlet.event.Event()

    def notify_all(self) -> None:
        """Wake every green thread that waits now."""
        event, self._event = self._event, eventlet.event.Event()
        event.send()

    def wait(self, seconds: float) -> bool:
        """Wait for the next notification, for at most so many seconds; return whether it came."""
        return within(seconds, self._event.wait)


def event_loop() -> Any:
    """Return the event loop of this thread: a hub of eventlet."""
    return eventlet.hubs.get_hub()


class Turns:
    """Lets green threads work one in each round of the event loop, in the order in which they came.

    The event loop runs every green thread whose descriptor is ready before it looks at its timers: a thousand sockets
    that become readable together would otherwise keep all else waiting until the last one is served.

    Those with little to do do not wait for those with much: so many of them (:data:`LIGHT_TURNS`) have a turn in each
    round as well.
    """

    def __init__(self) -> None:
        self._light: deque[eventlet.event.Event] = deque()
        self._waiting: deque[eventlet.event.Event] = deque()
        self._taken = False

    def wait(self, *, light: bool = False) -> None:
        """Wait for a turn; it lasts until the green thread waits for something.

        Args:
            light: whether it has little to do.
        """
        if self._taken:
            event = eventlet.event.Event()
            (self._light if light else self._waiting).append(event)
            event.wait()
        else:
            self._taken = True
            eventlet.hubs.get_hub().schedule_call_global(0, self._next)

    def _next(self) -> None:
        turns = [self._light.popleft() for _ in range(min(LIGHT_TURNS, len(self._light)))]
        if self._waiting:
            turns.append(self._waiting.popleft())
        if turns:
            for event in turns:
                event.send()
            eventlet.hubs.get_hub().schedule_call_global(0, self._next)
        else:
            self._taken = False


class Signals:
    """Process signals that a green thread can wait for.

    Python runs a signal's handler inside the hub's own wait, where it could wake no green thread. The
    signal's number in a socket pair does.
    """

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = {number: signal.signal(number, _ignore) for number in numbers}
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def wait(self) -> signal.Signals:
        """Wait for the next of the signals, and return it."""
        eventlet.hubs.trampoline(self._reader.fileno(), read=True)
        return signal.Signals(self._reader.recv(1)[0])

    def restore(self) -> None:
        """Restore the former handlers: a second Ctrl-C then ends the process at once."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            with suppress(TypeError, ValueError):
                signal.signal(number, handler)
        self._reader.close()
        self._writer.close()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the signal's number has been written to the wake-up descriptor already."""
