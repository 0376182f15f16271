"""How long a controller serves nobody else: waits for ``GET /healthz``, and of a quiet switch for its echo replies.

Both ask every 10 ms, in a process of their own. A controller is one thread, so the longest wait is what any other
switch would have waited. On a machine with other work a wait also has what that took; so the processor time that the
controller used within each wait is taken as well. The longest of those is the longest piece of work of its own.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from typing import NamedTuple

from bench.controller.processes import spawned
from bench.controller.recording import ECHO_REQUEST, HEADER, Recording
from bench.controller.switches import Switch, Templates

from flowlane.southbound.openflow.wire.constants import OPENFLOW_13

EVERY = 0.01
"""Seconds between two questions."""

SEEN_ALIVE = 3.0
"""Seconds between two questions in a pause, so that the controller does not give the connections up."""

TIMEOUT = 120.0
LOOK, PAUSE, GO_ON, STOP = "look", "pause", "go on", ""
_ECHO = HEADER.pack(OPENFLOW_13, ECHO_REQUEST, 8, 9)


class Waits(NamedTuple):
    """Waits since the last look, in ms.

    ``busy_ms``: the most processor time of the controller within one wait.
    """

    longest_ms: float
    p99_ms: float
    busy_ms: float
    asked: int


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far; its clock is that of clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


class _Asker:
    """Asks again and again in a thread, and notes (wait, processor time of the controller within it) in seconds."""

    def __init__(self, ask: Callable[[], None], pid: int) -> None:
        self._ask, self._pid = ask, pid
        self.waits: list[tuple[float, float]] = []
        self.is_over = self.is_paused = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asked = time.monotonic()
        while not self.is_over:
            is_paused = self.is_paused
            if is_paused and time.monotonic() - asked < SEEN_ALIVE:
                time.sleep(EVERY)
                continue
            asked = time.monotonic()
            begin, used = time.monotonic(), processor_seconds(self._pid)
            try:
                self._ask()
            except OSError:
                self.is_over = True
                return
            if is_paused:
                continue
            self.waits.append((time.monotonic() - begin, processor_seconds(self._pid) - used))
            time.sleep(EVERY)


def _quiet_switch(recording: Recording, index: int, port: int) -> Callable[[], None]:
    """Connect a switch without flows; return a function that sends an echo request and waits for the reply."""
    switch = Switch(Templates(recording), index)
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    sock.sendall(switch.connect())

    def ask() -> None:
        before = switch.echoes
        sock.sendall(_ECHO)
        while switch.echoes == before:
            data = sock.recv(1 << 18)
            if not data:
                raise ConnectionResetError
            sock.sendall(switch.take(data, time.monotonic()))

    while not switch.is_programmed:
        sock.sendall(switch.take(sock.recv(1 << 18), time.monotonic()))
    return ask


def _health(port: int) -> Callable[[], None]:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)

    def ask() -> None:
        connection.request("GET", "/healthz")
        connection.getresponse().read()

    return ask


def _run(recording: Recording, index: int, ports: tuple[int, int], pid: int, commands: Connection) -> None:
    askers = [_Asker(_quiet_switch(recording, index, ports[0]), pid), _Asker(_health(ports[1]), pid)]
    while command := commands.recv():
        if command != LOOK:
            for asker in askers:
                asker.is_paused = command == PAUSE
            continue
        measured: list[tuple[float, float]] = []
        for asker in askers:
            waits, asker.waits = asker.waits, []
            measured += waits
        if any(asker.is_over for asker in askers):
            commands.send(None)
            return
        measured = sorted(measured) or [(0.0, 0.0)]
        longest, p99 = measured[-1][0], measured[int(0.99 * (len(measured) - 1))][0]
        busy = max(used for _, used in measured)
        commands.send(Waits(1000 * longest, 1000 * p99, 1000 * busy, len(measured)))
    for asker in askers:
        asker.is_over = True


class Asking:
    """The two clients, in a process of their own."""

    def __init__(self, commands: Connection) -> None:
        self._commands = commands
        self.seen: list[Waits] = []
        """What the calls of :meth:`look` have returned; for its user to clear."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Ask nothing for the duration of the block: to answer 200 questions a second is work, too."""
        self._commands.send(PAUSE)
        yield
        self._commands.send(GO_ON)

    def look(self) -> Waits:
        """Return the waits since the last call.

        Raises:
            ConnectionError: the controller has ended one of the connections.
        """
        self._commands.send(LOOK)
        answer: Waits | None = self._commands.recv()
        if answer is None:
            raise ConnectionError("the controller has closed a quiet connection")
        self.seen.append(answer)
        return answer


@contextmanager
def asking(recording: Recording, index: int, ports: tuple[int, int], pid: int) -> Iterator[Asking]:
    """Ask a controller for the duration of the block.

    Args:
        index: of the quiet switch, which no other one has.
        ports: the controller's for switches and for REST.
        pid: the controller's process.
    """
    with spawned(_run, recording, index, ports, pid, stop=STOP) as commands:
        yield Asking(commands)
