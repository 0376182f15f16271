"""What a second controller process adds: copies and reactive answers a second with one process, and with two.

The processes share a database of Flowlane's own; each switch is connected to all of them, as Open vSwitch is to its
controller targets, and each process leads its share. The first packets of new flows are made before the clock runs, in
bunches with an echo request behind each. A switch has some bunches under way: it sends the next one when the echo reply
of one has come, or the flow-mods for as many reactive flows. So the generator costs next to nothing while the
controllers work, and two processes have nearly all of two processors. The clock stops when the last bunch is done.

    .venv/bin/python -m bench.controller.several_processes --rounds 5
"""

from __future__ import annotations

import argparse
import json
import selectors
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from bench.controller import recording
from bench.controller.packet_ins import ADOPTION_TIME, PATIENCE, REACTIVE
from bench.controller.processes import spawned
from bench.controller.recording import ECHO_REQUEST, HEADER, ROLE_REPLY, ROLE_REQUEST, Recording
from bench.controller.switches import Switch, Templates
from bench.controller.waits import processor_seconds
from lab.inside.database_servers import database
from lab.inside.manager import Launched, launched, wait_for

from flowlane.southbound.openflow.wire.constants import OPENFLOW_13

SWITCHES = 4
WAYS = ("copies", "reactive")
PROCESSES = (1, 2)
BUNCHES = {"copies": 120, "reactive": 40}
"""Bunches of each switch."""

BUNCH = 250
"""Flows of a bunch."""

UNDER_WAY = {"copies": 16, "reactive": 4}
"""Bunches that a switch has under way."""

PRIMARY = 2
"""OFPCR_ROLE_MASTER (OpenFlow 1.3.5 section 7.3.9)."""

_CHUNK = 1 << 18
_ECHO = HEADER.pack(OPENFLOW_13, ECHO_REQUEST, HEADER.size, 7)


class Seen(NamedTuple):
    """What came of a load; ``used``: processor time of the generator, ``answers``: flow-mods, where they count."""

    seconds: float
    used: float
    answers: int


class Link(Switch):
    """A connection of a switch to one of its controllers."""

    def __init__(self, templates: Templates, index: int, port: int) -> None:
        super().__init__(templates, index)
        self.sock = self.connected(port)
        self.outbox = bytearray()
        self.is_primary = False
        self.bunches: deque[tuple[bytes, list[bytes]]] = deque()
        """Packet-ins of flows that have not begun, and the ends of their learned entries."""
        self.begun = self.count = self.window = self.before = 0
        """Bunches that have begun, of how many, how many may be under way; flow-mods before the first."""
        self.is_reactive = False

    def make_bunches(self, count: int, way: str) -> None:
        """Make bunches."""
        self.is_reactive, self.window, self.count = way == "reactive", UNDER_WAY[way], count
        self.bunches.clear()
        for _ in range(count):
            flows = self.prepare(BUNCH)
            packets = b"".join(packet for packet, _ in flows)
            self.bunches.append((packets + _ECHO, [] if self.is_reactive else [row for _, row in flows]))
        self.begun = self.echoes = 0
        self.before = self.mods

    @property
    def done(self) -> int:
        """Bunches that were taken in, and answered."""
        return min(self.echoes, self.answers // BUNCH) if self.is_reactive else self.echoes

    @property
    def answers(self) -> int:
        """Flow-mods for reactive flows."""
        return self.mods - self.before if self.is_reactive else 0

    def begin_bunches(self) -> None:
        """Send as many bunches as may be under way."""
        while self.bunches and self.begun - self.done < self.window:
            packets, rows = self.bunches.popleft()
            if rows:
                self.list_entries(rows, time.monotonic())
            self.outbox += packets
            self.begun += 1
        self.flush()

    def receive(self) -> None:
        """Take what has come and send the replies."""
        data = self.sock.recv(_CHUNK)
        if not data:
            raise ConnectionResetError("the controller ended a connection")
        self.outbox += self.take(data, time.monotonic())
        self.begin_bunches() if self.begun else self.flush()

    def flush(self) -> None:
        """Send what waits."""
        sent = 0
        with suppress(BlockingIOError), memoryview(self.outbox) as view:
            while sent < len(view):
                sent += self.sock.send(view[sent : sent + _CHUNK])
        del self.outbox[:sent]

    def take_flow_mod(self, data: bytes, at: int, end: int) -> None:
        """Count a flow-mod, which is read only until the switch is programmed."""
        if self.is_reactive:
            self.mods += 1
        else:
            super().take_flow_mod(data, at, end)

    def _reply(self, message: bytes, now: float) -> bytes:
        if message[1] != ROLE_REQUEST:
            return super()._reply(message, now)
        self.is_primary = int.from_bytes(message[8:12]) == PRIMARY
        return message[:1] + bytes((ROLE_REPLY,)) + message[2:]


class Generator:
    """The event loop of all connections."""

    def __init__(self, recording: Recording, ports: Sequence[int]) -> None:
        templates = Templates(recording)
        self._links = [[Link(templates, index, port) for port in ports] for index in range(SWITCHES)]
        self._selector = selectors.EpollSelector()
        for links in self._links:
            for link in links:
                self._selector.register(link.sock, selectors.EVENT_READ, link)

    def is_ready(self) -> bool:
        """Whether each switch has one primary controller, which has programmed it, and each of these its share."""
        shares = [
            sum(links[number].is_primary for links in self._links) for number in range(len(self._links[0]))
        ]
        return (
            sum(shares) == SWITCHES
            and len(set(shares)) == 1
            and all(link.is_programmed for link in self._led())
        )

    def _led(self) -> list[Link]:
        return [link for links in self._links for link in links if link.is_primary]

    def serve(self, seconds: float) -> None:
        """Take what comes and send what waits, until the first bytes or the end of a time."""
        for key, _mask in self._selector.select(seconds):
            link = key.data
            if link.outbox:
                link.flush()
            with suppress(BlockingIOError):
                link.receive()
            waits = selectors.EVENT_WRITE if link.outbox else 0
            self._selector.modify(link.sock, selectors.EVENT_READ | waits, link)

    def prepare(self, count: int, way: str) -> None:
        """Make so many bunches for each switch."""
        for link in self._led():
            link.make_bunches(count, way)
            self.serve(0.0)  # A silent switch would be given up.

    def run(self) -> Seen:
        """Send the bunches; return what came of them."""
        links = self._led()
        used, began = time.process_time(), time.monotonic()
        for link in links:
            link.begin_bunches()
            waits = selectors.EVENT_WRITE if link.outbox else 0
            self._selector.modify(link.sock, selectors.EVENT_READ | waits, link)
        while any(link.done < link.count for link in links) and time.monotonic() - began < PATIENCE:
            self.serve(0.1)
        seconds = time.monotonic() - began
        return Seen(seconds, time.process_time() - used, sum(link.answers for link in links))


def _serve(recording: Recording, ports: Sequence[int], commands: Connection) -> None:
    generator = Generator(recording, ports)
    commands.send(None)
    while True:
        generator.serve(0.02)
        if not commands.poll():
            continue
        name, *values = commands.recv()
        if name == "stop":
            return
        commands.send(getattr(generator, name)(*values))


class Row(NamedTuple):
    """Figures of a way with a number of processes.

    ``known``: the new flows of which REST has lists afterwards. ``busy_us``: processor time of all controllers for each
    flow; ``generator_us``: that of the generator.
    """

    way: str
    processes: int
    flows: int
    per_s: float
    busy_us: float
    generator_us: float
    answers: int
    known: int


@lru_cache
def _recording(policy: str) -> Recording:
    return recording.record(policy)


@contextmanager
def _controllers(count: int, policy: str) -> Iterator[list[Launched]]:
    with ExitStack() as stack:
        servers = stack.enter_context(database())
        managers = [
            stack.enter_context(launched(f"--database={servers.target}", f"--member=node{number}"))
            for number in range(count)
        ]
        if policy:
            managers[0].rest("/v1/policy")  # Nobody is admitted before it has the tokens of the database.
            managers[0].put("/v1/policy", policy.encode(), "application/yaml")
        text = managers[0].rest("/v1/policy")["text"]
        wait_for(lambda: all(manager.rest("/v1/policy")["text"] == text for manager in managers), PATIENCE)
        yield managers


def _known(managers: Sequence[Launched]) -> int:
    devices = [device for manager in managers for device in manager.rest("/v1/devices")["items"]]
    return sum(device["flows"] for device in devices if device["connected"])


def measure(way: str, processes: int, bunches: int, adoption_time: float = ADOPTION_TIME) -> Row:
    """Send one load to so many controllers."""
    policy = REACTIVE if way == "reactive" else ""
    with _controllers(processes, policy) as managers:
        ports = [manager.openflow_port for manager in managers]
        with spawned(_serve, _recording(policy), ports, stop=("stop",)) as commands:
            commands.recv()

            def ask(*command: object) -> Any:
                commands.send(command)
                return commands.recv()

            wait_for(lambda: bool(ask("is_ready")), PATIENCE, "each controller leads its share")
            time.sleep(adoption_time)
            ask("prepare", bunches, way)
            before, used = _known(managers), [processor_seconds(one.process.pid) for one in managers]
            seen: Seen = ask("run")
            busy = sum(processor_seconds(one.process.pid) for one in managers) - sum(used)
            total = SWITCHES * bunches * BUNCH
            time.sleep(0.5)  # News of new flows are worked off within this time.
            return Row(
                way,
                processes,
                total,
                round(total / seen.seconds),
                round(1e6 * busy / total, 1),
                round(1e6 * seen.used / total, 1),
                seen.answers,
                _known(managers) - before,
            )


HEAD = (
    "| way | processes | flows | a second | controllers, us each | generator, us each | answers | in REST |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


def line(row: Row) -> str:
    """Return a row of the table."""
    return (
        f"| {row.way} | {row.processes} | {row.flows:,} | {row.per_s:,.0f} | {row.busy_us} | {row.generator_us} "
        f"| {row.answers:,.0f} | {row.known:,.0f} |"
    )


def _median(rows: Sequence[Row]) -> Row:
    columns = zip(*(row[2:] for row in rows), strict=True)
    return Row(rows[0].way, rows[0].processes, *(statistics.median(column) for column in columns))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ways", nargs="*", choices=[*WAYS, []], help="which; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="each with all; medians are printed at the end")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="see that all of it runs, in half a minute")
    arguments = parser.parse_args(argv)
    rows: dict[tuple[str, int], list[Row]] = {}
    print(HEAD, flush=True)
    for _ in range(1 if arguments.quick else arguments.rounds):
        for way in arguments.ways or WAYS:
            for processes in PROCESSES:
                bunches, adoption_time = (1, 0.0) if arguments.quick else (BUNCHES[way], ADOPTION_TIME)
                row = measure(way, processes, bunches, adoption_time)
                rows.setdefault((way, processes), []).append(row)
                print(line(row), flush=True)
    medians = {key: _median(of) for key, of in rows.items()}
    print("\nMedians:\n" + HEAD + "\n" + "\n".join(line(row) for row in medians.values()))
    for way in arguments.ways or WAYS:
        one, two = (medians[way, processes] for processes in PROCESSES)
        by_time = PROCESSES[1] * one.busy_us / two.busy_us
        print(
            f"{way}: two processes take {two.per_s / one.per_s:.2f} times as many a second as one; by processor time, "
            f"each with a processor of its own, {by_time:.2f} times as many"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps([row._asdict() for row in medians.values()], indent=2) + "\n")


if __name__ == "__main__":
    main()
