"""Real ovsdb-servers with Flowlane's own schema: one alone, or three that are a cluster (RAFT)."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flowlane.cluster import schema

ELECTION_MS = 300
"""Milliseconds without the leader after which another server is elected (ovsdb-tool(1))."""


class DatabaseServers:
    """Servers of one database; each has a unix socket and, in a cluster, a TCP address for the others."""

    def __init__(
        self, folder: Path, addresses: tuple[str, ...] = ("",), options: tuple[str, ...] = ()
    ) -> None:
        self.folder, self._options = folder, options
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._addresses = addresses
        file = folder / "flowlane.ovsschema"
        file.write_text(schema.text())
        files = [str(self.file(number)) for number in range(len(addresses))]
        if len(addresses) == 1:
            subprocess.run(["ovsdb-tool", "create", files[0], str(file)], check=True)
            return
        first, *others = addresses
        timer = f"--election-timer={ELECTION_MS}"
        subprocess.run(["ovsdb-tool", timer, "create-cluster", files[0], str(file), first], check=True)
        for number, address in enumerate(others, 1):
            join = ["ovsdb-tool", "join-cluster", files[number], schema.DATABASE, address, first]
            subprocess.run(join, check=True)

    def file(self, number: int) -> Path:
        return self.folder / f"{number}.db"

    def remote(self, number: int) -> str:
        return f"unix:{self.folder}/{number}.sock"

    @property
    def target(self) -> str:
        """The database as ``--database`` names it."""
        remotes = [self.remote(number) for number in range(len(self._addresses))]
        return remotes[0] if len(remotes) == 1 else f"cluster:{','.join(remotes)}"

    def start(self, number: int, *options: str, run: Callable[..., list[str]] = list) -> None:
        command = [
            "ovsdb-server",
            str(self.file(number)),
            f"--remote=p{self.remote(number)}",
            f"--unixctl={self.folder}/{number}.ctl",
            f"--log-file={self.folder}/{number}.log",
            "--no-chdir",
            "-vconsole:off",
            *self._options,
            *options,
        ]
        self.processes[number] = subprocess.Popen(run(command))

    def start_all(self) -> None:
        for number in range(len(self._addresses)):
            self.start(number)
        self.wait_for_all()

    def wait_for_all(self) -> None:
        """Wait until every server has the database."""
        for number in self.processes:
            self.wait_for(number)

    def wait_for(self, number: int, seconds: float = 20.0) -> None:
        command = ["ovsdb-client", f"--timeout={seconds:.0f}", "wait", self.remote(number)]
        deadline = time.monotonic() + seconds
        while not (self.folder / f"{number}.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        subprocess.run([*command, schema.DATABASE, "connected"], check=True)

    def kill(self, number: int) -> None:
        """End a server as a loss of power would."""
        process = self.processes.pop(number)
        process.kill()
        process.wait()
        (self.folder / f"{number}.sock").unlink(missing_ok=True)

    def leader(self) -> int:
        """Return the number of the server that leads the cluster."""
        for number in self.processes:
            command = ["ovs-appctl", "-t", f"{self.folder}/{number}.ctl", "cluster/status", schema.DATABASE]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if "Role: leader" in done.stdout:
                return number
        raise AssertionError("no server leads")

    def dump(self, table: str, *columns: str) -> str:
        """Return rows as ovsdb-client prints them, from a server that runs."""
        remote = self.remote(next(iter(self.processes)))
        command = ["ovsdb-client", "--timeout=10", "-f", "csv", "--no-headings", "dump", remote]
        done = subprocess.run(
            [*command, schema.DATABASE, table, *columns], capture_output=True, text=True, check=True
        )
        return done.stdout

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(10)
        self.processes.clear()


@contextmanager
def database(addresses: tuple[str, ...] = ("",), options: tuple[str, ...] = ()) -> Iterator[DatabaseServers]:
    """Run servers for the block: one, or a cluster with an address for each, as ``tcp:127.0.0.1:7001``.

    Args:
        options: of each server, such as its files of TLS.
    """
    with tempfile.TemporaryDirectory(prefix="fl-db-") as folder:
        servers = DatabaseServers(Path(folder), addresses, options)
        try:
            servers.start_all()
            yield servers
        finally:
            servers.stop()
