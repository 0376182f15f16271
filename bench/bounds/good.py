"""A good switch in a process of its own: how long its packets wait in the controller while another switch is at fault.

Every few milliseconds it sends a packet that waits (reactive mode), and takes the time until the packet-out by which
the controller sends that packet on. On a machine with other work a wait also has what that took; so the processor time
that the controller used within each wait is taken as well: that is what its own work on others has cost the packet.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import NamedTuple

from bench.bounds.switch import PACKET_OUT, Switch, frame, packet_in
from bench.controller.processes import spawned
from bench.controller.waits import processor_seconds

EVERY = 0.005
"""Seconds between two packets."""

FLOWS = 64
"""Flows of the good switch; a packet of each of them comes again and again."""

TIMEOUT = 60.0
DPID = 0x600D


class Waits(NamedTuple):
    """Waits of packets since the last look, in ms; ``busy``: processor time of the controller within them.

    ``served``: whether the connection stands and the last packet was answered.
    """

    p99_ms: float
    longest_ms: float
    busy_p99_ms: float
    busy_ms: float
    asked: int
    served: bool


def _quantile(values: list[float], part: float) -> float:
    return 1000 * sorted(values)[int(part * (len(values) - 1))] if values else 0.0


def _answered(switch: Switch, data: bytes) -> bool:
    """Send a packet; return whether its packet-out has come in time."""
    deadline = time.monotonic() + TIMEOUT
    if not switch.send(data):
        return False
    own = data[-54:]
    while time.monotonic() < deadline and not switch.is_closed:
        switch.sock.settimeout(1.0)
        for received in switch.read():
            if received[1] == PACKET_OUT and received.endswith(own):
                return True
    return False


def _run(port: int, pid: int, commands: Connection) -> None:
    switch = Switch(port, DPID).connect()
    waits: list[float] = []
    busy: list[float] = []
    served = True
    commands.send(None)
    number = 0
    while True:
        if commands.poll(0):
            if not commands.recv():
                return
            commands.send(
                Waits(
                    _quantile(waits, 0.99),
                    _quantile(waits, 1.0),
                    _quantile(busy, 0.99),
                    _quantile(busy, 1.0),
                    len(waits),
                    served,
                )
            )
            waits.clear()
            busy.clear()
        if not served:
            time.sleep(EVERY)
            continue
        begin, used = time.monotonic(), processor_seconds(pid)
        served = _answered(switch, packet_in(number, frame(number % FLOWS)))
        waits.append(time.monotonic() - begin)
        with suppress(OSError):
            busy.append(processor_seconds(pid) - used)
        number += 1
        time.sleep(EVERY)


class Good:
    """The good switch, from outside its process."""

    def __init__(self, commands: Connection) -> None:
        self._commands = commands

    def look(self) -> Waits:
        """Return the waits since the last call."""
        self._commands.send(True)
        if not self._commands.poll(2 * TIMEOUT):
            raise TimeoutError("the good switch's process does not answer")
        answer: Waits = self._commands.recv()
        return answer


@contextmanager
def beside(port: int, pid: int) -> Iterator[Good]:
    """Run a good switch for the duration of the block."""
    with spawned(_run, port, pid, stop=False) as commands:
        if not commands.poll(TIMEOUT):
            raise TimeoutError("the good switch was not connected in time")
        commands.recv()
        yield Good(commands)
