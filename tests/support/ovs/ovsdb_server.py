"""A private ovsdb-server with the real schema: without ovs-vswitchd, root, or the host's database."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


class Server:
    """An ovsdb-server on a Unix socket in its own directory."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Create the database.

        Args:
            options: further options of ovsdb-server.
        """
        self.folder = folder
        self.options = options
        self.socket = folder / "db.sock"
        self.remote = f"unix:{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None
        for tool in ("ovsdb-server", "ovsdb-tool", "ovs-vsctl"):
            assert shutil.which(tool), f"{tool} is missing: apt-get install openvswitch-switch"
        subprocess.run(["ovsdb-tool", "create", folder / "conf.db", SCHEMA], check=True)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                "ovsdb-server",
                str(self.folder / "conf.db"),
                f"--remote=p{self.remote}",
                f"--unixctl={self.folder}/ctl",
                "--no-chdir",
                "-vconsole:off",
                *self.options,
            ]
        )
        deadline = time.monotonic() + 10
        while not self.socket.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.vsctl("init")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None
            self.socket.unlink(missing_ok=True)

    def vsctl(self, *words: str) -> str:
        command = ["ovs-vsctl", f"--db={self.remote}", "--no-wait", "--timeout=10", *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def bridge(self, name: str, dpid: int, *ports: str) -> None:
        """Add a bridge as ovs-vswitchd would: with a datapath id, and port numbers from 1."""
        words = ["add-br", name, "--", "set", "bridge", name, f'datapath_id="{dpid:016x}"']
        words += ["--", "set", "interface", name, "ofport=65534"]
        for number, port in enumerate(ports, 1):
            words += ["--", "add-port", name, port, "--", "set", "interface", port, f"ofport={number}"]
        self.vsctl(*words)

    def rows(self, table: str, *columns: str) -> list[list[str]]:
        """Return the rows of a table as ovs-vsctl prints them, sorted."""
        text = self.vsctl(
            "--bare", "-f", "csv", "--no-headings", f"--columns={','.join(columns)}", "list", table
        )
        return sorted(line.split(",") for line in text.splitlines())
