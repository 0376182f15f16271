"""What clients of REST cost a switch: how long a packet-in waits for its answer, with and without them, in one run.

``python -m bench.controller.rest_load [CLIENT ...] [--flows 100000] [--switches 10] [--seconds 4] [--rounds 4]``

The switches are those of :mod:`bench.controller.switches`; a private Open vSwitch is recorded first (no root). Ten more
switches send 200 copies of new flows' first packets a second; the flows are of a class with a limit, so the answer is
their pin. The time is from the copy to the flow-mod. Copies of one switch that come within 20 ms are read together
(decision 0007); as there are ten, none waits for that here. "Busy" is the processor time that the controller used
within such a time: on a machine with other work the rest is not the controller's.

Each client asks as fast as it can, over one connection. Windows with it and without it follow each other.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from bench.controller import recording, switches
from bench.controller.processes import spawned
from bench.controller.recording import FLOW_MOD, VMS, Recording, read_packet_in
from bench.controller.switches import Switch, Templates
from bench.controller.waits import processor_seconds
from lab.inside.manager import Launched, launched, wait_for

EVERY = 0.005
"""Seconds between two copies of the probing switches: 200 a second."""

PROBING = 10
"""Switches that probe."""

PATIENCE = 600.0
PROBE_PORT = 9
_TCP_SRC = bytes.fromhex("80001a02")
"""Header of the match field TCP source port (OpenFlow 1.3.5, 7.2.3.7)."""

POLICY = f"""version: 1
classes:
  small: {{}}
  probe: {{limit: 50Mbit/s}}
rules:
  - {{name: probe, match: {{protocol: tcp, dst-port: {PROBE_PORT}}}, class: probe}}
default: small
pins: {{budget: 60000}}
"""

OTHER_POLICY = POLICY.replace("default: small", "default: rest").replace(
    "  small: {}", "  small: {}\n  rest: {priority: 2}"
)
"""Every flow of the other switches has another class by it."""


class Wait(NamedTuple):
    """How long a packet-in waited, and the controller's processor time within that; seconds."""

    seconds: float
    busy: float


class _Probing:
    """The connection of a probing switch."""

    def __init__(self, record: Recording, index: int, port: int) -> None:
        self.switch = Switch(Templates(record), index)
        self.sock = socket.create_connection(("127.0.0.1", port), 60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(self.switch.connect())
        self.sent: dict[int, tuple[float, float]] = {}
        """TCP source port of a flow -> when its copy was sent, and the controller's processor time then."""
        self._inbox = b""

    def read(self, pid: int) -> list[Wait]:
        """Take what has come; return the waits that are over."""
        data = self.sock.recv(1 << 18)
        if not data:
            raise ConnectionResetError
        now, used = time.monotonic(), processor_seconds(pid)
        waits = []
        for source in self._pinned(data):
            if source in self.sent:
                then, used_then = self.sent.pop(source)
                waits.append(Wait(now - then, used - used_then))
        self.sock.sendall(self.switch.take(data, now))
        return waits

    def _pinned(self, data: bytes) -> Iterator[int]:
        """Yield the TCP source port of every flow-mod that has one."""
        data = self._inbox + data
        at = 0
        while at + 8 <= len(data) and at + (length := data[at + 2] << 8 | data[at + 3]) <= len(data):
            if data[at + 1] == FLOW_MOD:
                place = data.find(_TCP_SRC, at + 48, at + length)
                if place > 0:
                    yield int.from_bytes(data[place + 4 : place + 6])
            at += length
        self._inbox = data[at:]


class _Prober:
    """The probing switches, each of which sends so seldom that its copies are read one by one."""

    def __init__(self, record: Recording, first: int, port: int, pid: int) -> None:
        self._probing = [_Probing(record, first + number, port) for number in range(PROBING)]
        self._by_socket = {probing.sock: probing for probing in self._probing}
        self._packet_in, self._of = record.packet_in, read_packet_in(record.packet_in)
        self._pid = pid
        self._number = 0
        self.waits: list[Wait] = []

    @property
    def is_programmed(self) -> bool:
        """Whether all have their entries."""
        return all(probing.switch.is_programmed for probing in self._probing)

    @property
    def unanswered(self) -> int:
        """Number of copies that were not answered."""
        return sum(len(probing.sent) for probing in self._probing)

    def serve(self, until: float) -> None:
        """Take what comes, until a moment or the first bytes."""
        for sock in select.select([*self._by_socket], [], [], max(0.0, until - time.monotonic()))[0]:
            self.waits += self._by_socket[sock].read(self._pid)

    def send(self) -> None:
        """Send the copy of a new flow's first packet, by the switches in turn."""
        number, self._number = self._number, self._number + 1
        probing, number = self._probing[number % PROBING], number // PROBING
        vm, src_port = number % VMS, 1024 + number % 60_000
        copy, (places, frame) = bytearray(self._packet_in), self._of
        metadata = probing.switch.vm_number(vm).to_bytes(4) + recording.UPLINK.to_bytes(4)
        in_port = (vm + 1).to_bytes(4)
        for name, value in (("in_port", in_port), ("metadata", metadata), ("reg1", (1).to_bytes(4))):
            copy[places[name].start : places[name].end] = value
        copy[frame + 6 : frame + 12] = (0x02_01 << 32 | probing.switch.index << 8 | vm).to_bytes(6)
        ends = (11 << 24 | vm + 1).to_bytes(4) + (0xAC11 << 16 | number // 60_000).to_bytes(4)
        copy[frame + 26 : frame + 38] = ends + src_port.to_bytes(2) + PROBE_PORT.to_bytes(2)
        probing.sent[src_port] = time.monotonic(), processor_seconds(self._pid)
        probing.sock.sendall(copy)

    def measure(self, seconds: float) -> tuple[list[Wait], int]:
        """Send for so many seconds; return the waits, and the number of copies that were not answered."""
        self.waits = []
        for probing in self._probing:
            probing.sent.clear()
        begin = time.monotonic()
        for number in range(int(seconds / EVERY)):
            at = begin + number * EVERY
            while time.monotonic() < at:
                self.serve(at)
            self.send()
        end = time.monotonic() + 1.0
        while self.unanswered and time.monotonic() < end:
            self.serve(end)
        return self.waits, self.unanswered


def _probe(record: Recording, first: int, port: int, pid: int, commands: Connection) -> None:
    prober = _Prober(record, first, port, pid)
    while not prober.is_programmed:
        prober.serve(time.monotonic() + 1.0)
    commands.send(None)
    while True:
        prober.serve(time.monotonic() + 0.02)
        if commands.poll():
            seconds = commands.recv()
            if seconds is None:
                return
            commands.send(prober.measure(seconds))


class Client(NamedTuple):
    """A client: ``ask`` sends its next request and takes the answer."""

    about: str
    ask: Callable[[HTTPConnection, dict[str, Any]], None]


def _get(connection: HTTPConnection, path: str) -> bytes:
    connection.request("GET", path, headers={"Accept": "application/json"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise ConnectionError(f"GET {path}: {answer.status} {body[:200]!r}")
    return body


def _list(path: str) -> Callable[[HTTPConnection, dict[str, Any]], None]:
    """Follow a list from page to page, and begin again."""

    def ask(connection: HTTPConnection, memory: dict[str, Any]) -> None:
        cursor = memory.get("cursor")
        body = _get(connection, f"{path}&cursor={cursor}" if cursor else path)
        # The cursor is at the end of the answer: a client that parses it all asks less often.
        memory["cursor"] = json.loads("{" + body[body.rindex(b'"next"') :].decode())["next"]

    return ask


def _fixed(path: str) -> Callable[[HTTPConnection, dict[str, Any]], None]:
    def ask(connection: HTTPConnection, _: dict[str, Any]) -> None:
        _get(connection, path)

    return ask


def _send_policy(method: str, path: str) -> Callable[[HTTPConnection, dict[str, Any]], None]:
    def ask(connection: HTTPConnection, memory: dict[str, Any]) -> None:
        memory["turn"] = not memory.get("turn", False)
        text = OTHER_POLICY if memory["turn"] else POLICY
        connection.request(method, path, text, {"Content-Type": "application/yaml"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ConnectionError(f"{method} {path}: {answer.status} {body[:200]!r}")

    return ask


CLIENTS = {
    "page": Client("GET /v1/assignments?limit=100", _fixed("/v1/assignments?limit=100")),
    "assignments": Client("GET /v1/assignments?limit=1000, all pages", _list("/v1/assignments?limit=1000")),
    "flows": Client("GET /v1/flows?limit=1000, all pages", _list("/v1/flows?limit=1000")),
    "search": Client("GET /v1/flows?dst_port=1, all pages", _list("/v1/flows?limit=100&dst_port=1")),
    "queues": Client(
        "GET /v1/devices/{dpid}/queues",
        _fixed(f"/v1/devices/{switches.FIRST_DPID:016x}/queues"),
    ),
    "vms": Client("GET /v1/vms?limit=1000", _fixed("/v1/vms?limit=1000")),
    "status": Client("GET /v1/status", _fixed("/v1/status")),
    "metrics": Client("GET /metrics", lambda connection, _: _text(connection, "/metrics")),
    "check": Client("POST /v1/policy/check", _send_policy("POST", "/v1/policy/check")),
    "put": Client("PUT /v1/policy, all flows reclassified", _send_policy("PUT", "/v1/policy")),
}


def _text(connection: HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    connection.getresponse().read()


def _client(name: str, port: int, commands: Connection) -> None:
    """Ask as fast as possible for as many seconds as each command says; return the times of the answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    memory: dict[str, Any] = {}
    ask = CLIENTS[name].ask
    while (seconds := commands.recv()) is not None:
        times, end = [], time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            ask(connection, memory)
            times.append(time.monotonic() - now)
        commands.send(times)


class Row(NamedTuple):
    """One client's figures, times in ms: of its answers, and of the answers to packet-ins."""

    client: str
    requests_per_s: float
    answer_ms: float
    answer_p99_ms: float
    without_ms: float
    without_p99_ms: float
    without_busy_p99_ms: float
    with_ms: float
    with_p99_ms: float
    with_busy_p99_ms: float
    unanswered: int


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))] if values else float("nan")


def _figures(waits: list[Wait]) -> tuple[float, float, float]:
    """Return median, p99, and p99 of the processor time, in ms."""
    seconds, busy = [wait.seconds for wait in waits], [wait.busy for wait in waits]
    figures = statistics.median(seconds), _p99(seconds), _p99(busy)
    return tuple(round(1000 * value, 1) for value in figures)  # type: ignore[return-value]


def measure(name: str, rest_port: int, prober: Connection, seconds: float, rounds: int) -> Row:
    """Measure windows without a client and with it in turn."""
    waits: dict[bool, list[Wait]] = {False: [], True: []}
    answers: list[float] = []
    unanswered = 0
    with spawned(_client, name, rest_port, stop=None) as client:
        for _ in range(rounds):
            for is_loaded in (False, True):
                if is_loaded:
                    client.send(seconds + 0.5)
                    time.sleep(0.2)
                prober.send(seconds)
                found, lost = prober.recv()
                unanswered += lost
                waits[is_loaded] += found
                if is_loaded:
                    answers += client.recv()
    return Row(
        CLIENTS[name].about,
        round(len(answers) / (rounds * (seconds + 0.5)), 1),
        round(1000 * statistics.median(answers), 2),
        round(1000 * _p99(answers), 1),
        *_figures(waits[False]),
        *_figures(waits[True]),
        unanswered,
    )


def table_of_all(rest_port: int, limit: int = 0) -> str:
    """Print all assignments by the command line into nowhere; return its time and memory."""
    command = (sys.executable, "-m", "flowlane.cli.main", "assignments", f"--limit={limit}")
    begin = time.monotonic()
    with subprocess.Popen(
        [*command, f"--url=http://127.0.0.1:{rest_port}"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        lines = sum(1 for _ in process.stdout)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - begin
    return (
        f"flowlane assignments --limit 0: {lines:,} lines in {seconds:.1f} s, {usage.ru_maxrss / 1000:.0f} MB, "
        f"exit code {process.returncode}"
    )


HEAD = (
    "| client | requests/s | its answer, ms | p99 | packet-in without, ms | p99 | busy p99 | with, ms | p99 | busy p99 "
    "| added to p99 | to busy p99 | lost |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def line(row: Row) -> str:
    """Return a row of the table."""
    return (
        f"| {row.client} | {row.requests_per_s} | {row.answer_ms} | {row.answer_p99_ms} | {row.without_ms} "
        f"| {row.without_p99_ms} | {row.without_busy_p99_ms} | {row.with_ms} | {row.with_p99_ms} "
        f"| {row.with_busy_p99_ms} | {row.with_p99_ms - row.without_p99_ms:+.1f} "
        f"| {row.with_busy_p99_ms - row.without_busy_p99_ms:+.1f} | {row.unanswered} |"
    )


def _load(manager: Launched, generator: switches.Running, count: int, flows: int) -> int:
    """Begin the flows; return how many the controller lists."""
    generator.command("join", 50.0)
    wait_for(lambda: generator.status().programmed >= count, PATIENCE)
    generator.command("load", flows // count)

    def is_read() -> bool:
        status = generator.status()
        return status.flows >= flows // count * count and not status.unread

    wait_for(is_read, PATIENCE)
    return sum(item["flows"] for item in manager.rest("/v1/devices?limit=1000")["items"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clients", nargs="*", choices=[*CLIENTS, "cli", []], help="which; all by default")
    parser.add_argument("--flows", type=int, default=100_000)
    parser.add_argument("--switches", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a window")
    parser.add_argument("--rounds", type=int, default=4, help="windows with a client, and without it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    chosen = arguments.clients or [*CLIENTS, "cli"]
    record, count = recording.record(), arguments.switches
    rows = []
    with launched() as manager, switches.started(record, count, manager.openflow_port) as generator:
        manager.put("/v1/policy", POLICY.encode(), "application/yaml")
        known = _load(manager, generator, count, arguments.flows)
        print(f"{known:,} flows on {count} switches", flush=True)
        with spawned(_probe, record, count, manager.openflow_port, manager.process.pid, stop=None) as prober:
            prober.recv()
            time.sleep(6.0)  # Flows are adopted for 5 s after a connection.
            print(HEAD, flush=True)
            for name in chosen:
                if name != "cli":
                    rows.append(measure(name, manager.rest_port, prober, arguments.seconds, arguments.rounds))
                    print(line(rows[-1]), flush=True)
        if "cli" in chosen:
            print(table_of_all(manager.rest_port), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([row._asdict() for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
