"""A running Mininet network, its controller and its traffic, for tests with real hosts and packets.

It works only in the private namespaces of ``mininet/private``, which ``./run test mininet`` uses. Mininet
runs on the system's Python, the controller on the project's. They share the topology file and Open vSwitch.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest
import requests

from flowlane import topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
MININET_PYTHON = "/usr/bin/python3"
TRAFFIC = ROOT / "mininet" / "traffic.py"
URL = "http://127.0.0.1:8080"
FLOWLANE = Path(sys.executable).parent
Result = TypeVar("Result")


def eventually(what: str, attempt: Callable[[], Result], limit: float) -> Result:
    """Return the first true result within ``limit`` s; otherwise the test fails with what did not happen."""
    end = time.monotonic() + limit
    while True:
        result = attempt()
        if result:
            return result
        if time.monotonic() > end:
            pytest.fail(f"not within {limit} s: {what} (last: {result!r})")
        time.sleep(0.1)


class Flow(NamedTuple):
    """A flow as its sender reports it."""

    protocol: str
    src: str
    src_port: int
    dst: str
    dst_port: int


class RunningTraffic:
    """A running ``traffic.py flows``: its flows and, at the end, the replies to its requests."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"no traffic: {process.stderr.read() if process.stderr else ''}"
        self.flows = {Flow(*flow) for flow in json.loads(line)}

    def stop(self) -> dict[str, float]:
        """End the traffic; return the numbers of requests and replies, and times in ms."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=20)
        summary: dict[str, float] = json.loads(out.splitlines()[-1])
        return summary


class Network:
    """Hosts and bridge of a topology file."""

    def __init__(self, name: str, folder: Path, protocols: str, *options: str) -> None:
        self.file = ROOT / "topologies" / name
        self.data = topology.load(self.file)
        self.folder = folder
        self.bridge = next(iter(self.data["bridges"]))
        self.processes: list[subprocess.Popen[Any]] = []
        self.control = folder / "lab.sock"
        description = folder / "network.json"
        description.write_text(json.dumps(self.data))
        lab = [MININET_PYTHON, ROOT / "mininet/lab.py", description, "--control", self.control]
        lab += ["--controller", "tcp:127.0.0.1:6653", "--protocols", protocols, *options]
        with (folder / "lab.log").open("w") as log:
            self.lab = self._start(lab, stdout=subprocess.PIPE, stderr=log)
        line = self.lab.stdout.readline() if self.lab.stdout else ""
        assert line, (folder / "lab.log").read_text()
        hello = json.loads(line)
        self.datapath, self.hosts = hello["datapath"], hello["hosts"]

    def _start(self, command: list[Any], **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, text=True, **options
        )
        self.processes.append(process)
        return process

    def change_hosts(self, **request: str) -> None:
        """Let the lab add or remove a host."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.control))
            with connection.makefile("rw") as stream:
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                answer = json.loads(stream.readline() or "null")
        assert answer is not None, (self.folder / "lab.log").read_text()
        self.hosts = answer.get("hosts", {})

    def inside(self, host: str, *command: object) -> list[object]:
        """Return the command line that runs a command in a host's network namespace."""
        return ["nsenter", "--target", self.hosts[host]["pid"], "--net", *command]

    def start(self, host: str, *command: object) -> subprocess.Popen[str]:
        """Start a program in a host."""
        return self._start(self.inside(host, *command), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, host: str, *command: object, limit: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program in a host to its end."""
        line = [str(word) for word in self.inside(host, *command)]
        return subprocess.run(line, check=False, capture_output=True, text=True, timeout=limit)

    def serve(self, ports: str = "7000") -> None:
        """Start a server at the far end that replies to requests."""
        server = self.start("remote", MININET_PYTHON, TRAFFIC, "serve", "--ports", ports)
        assert server.stdout is not None
        assert server.stdout.readline() == "serving\n"

    def start_requests(self, host: str, **options: object) -> RunningTraffic:
        """Start small flows from a host to the far end; ``options`` are those of ``traffic.py flows``."""
        options = {"to": "10.0.0.100", "seconds": 600, **options}
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        return RunningTraffic(self.start(host, MININET_PYTHON, TRAFFIC, "flows", *words))

    def start_frames(self, host: str, kind: str, **options: object) -> subprocess.Popen[str]:
        """Start frames of a kind from a host to the far end."""
        mine, remote = self.hosts[host], self.hosts["remote"]
        options = {"seconds": 600, "to": "10.0.0.100", "to_mac": remote["mac"], **options}
        options |= {"interface": mine["interface"], "source": mine["ip"].partition("/")[0]}
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        return self.start(host, MININET_PYTHON, TRAFFIC, "frames", "--kind", kind, *words)

    def make_queues(self, ids: tuple[int, ...], place: str | None = None) -> None:
        """Give a port exactly these queues with ovs-vsctl, as an operator's tools would."""
        place = place or next(iter(self.data["queues"]))
        port = place.partition("/")[2]
        command = [
            "ovs-vsctl",
            "--",
            "--if-exists",
            "clear",
            "port",
            port,
            "qos",
            "--",
            "set",
            "port",
            port,
            "qos=@qos",
        ]
        named = [f"queues:{number}=@q{number}" for number in ids]
        command += [
            "--",
            "--id=@qos",
            "create",
            "qos",
            "type=linux-htb",
            "other-config:max-rate=100000000",
            *named,
        ]
        for number in ids:
            command += ["--", f"--id=@q{number}", "create", "queue", "other-config:min-rate=5000000"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def remove_queues(self, *ids: int, port: str = "pf0") -> None:
        """Remove queues from a port's QoS row."""
        qos = subprocess.run(
            ["ovs-vsctl", "get", "port", port, "qos"], check=True, capture_output=True, text=True
        )
        command = ["ovs-vsctl", "remove", "qos", qos.stdout.strip(), "queues", *map(str, ids)]
        subprocess.run(command, check=True)

    def add_queues(self, *ids: int, port: str = "pf0") -> None:
        """Add queues to a port's QoS row."""
        qos = subprocess.run(
            ["ovs-vsctl", "get", "port", port, "qos"], check=True, capture_output=True, text=True
        )
        command = [
            "ovs-vsctl",
            "set",
            "qos",
            qos.stdout.strip(),
            *(f"queues:{number}=@q{number}" for number in ids),
        ]
        for number in ids:
            command += ["--", f"--id=@q{number}", "create", "queue", "other-config:min-rate=5000000"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def close(self) -> None:
        """End what was started, last first; Mininet removes its network itself."""
        for process in reversed(self.processes[1:]):
            process.kill()
            process.communicate()
        with contextlib.suppress(OSError, AssertionError):
            self.change_hosts(do="stop")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.lab.wait(20)
        self.lab.kill()
        self.lab.communicate()


class Controller:
    """A flowlane-manager, asked over REST."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.log = folder / "controller.log"
        command = [str(FLOWLANE / "flowlane-manager"), *options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self.session = requests.Session()

    def get(self, path: str) -> Any:
        """Return the JSON of a GET."""
        answer = self.session.get(URL + path, timeout=10)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def all(self, path: str) -> list[dict[str, Any]]:
        """Return the items of all pages of a list."""
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(path + cursor)
            items += page["items"]
            if not page["next"]:
                return items
            cursor = f"{'&' if '?' in path else '?'}cursor={page['next']}"

    def has_device(self) -> bool:
        """Return whether a switch is connected."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return bool(self.get("/v1/status")["devices"]["connected"])
        except requests.ConnectionError:
            return False

    def close(self) -> None:
        """Stop it by SIGTERM, as a service manager would."""
        self.session.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def running(
    folder: Path, name: str, queues: tuple[int, ...], protocols: str, *options: str
) -> Iterator[tuple[Network, Controller]]:
    """Run a network with its controller, ready for traffic."""
    if "FLOWLANE_PRIVATE" not in os.environ:
        pytest.fail("these tests need namespaces of their own: run them with ./run test mininet")
    network = Network(name, folder, protocols)
    try:
        network.make_queues(queues)
        controller = Controller(folder, *options)
        try:
            eventually("a device is connected", controller.has_device, 20)
            yield network, controller
        finally:
            controller.close()
    finally:
        network.close()
