"""A flowlane-manager in the lab's guest, a client for its REST, and the command ``flowlane``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from flowlane.cli.main import main
from lab.inside.counters import BRIDGE, UPLINK_PORT, run, wait_until

URL = "http://127.0.0.1:8080"
DPID = "0000000000000001"
START_S = 120
"""Seconds that a program may take to start: importing it is slow on an emulated CPU."""


class Controller:
    """A flowlane-manager with the lab's bridge as its device.

    Args:
        policy: None is the built-in one.
    """

    def __init__(self, policy: Path | None, log: Path) -> None:
        run("ovs-vsctl", "set-controller", BRIDGE, "tcp:127.0.0.1:6653")
        run("ovs-vsctl", "set", "controller", BRIDGE, "max_backoff=1000")
        self.log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "flowlane-manager"),
                    "--nolldp-probes",  # Packets are counted one by one here.
                    *(("--policy", str(policy)) if policy else ()),
                ],
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            )  # fmt: skip
        assert wait_until(self._is_up, START_S), f"no device within {START_S} s:\n{log.read_text()}"

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return any(device["connected"] for device in self.items("/v1/devices"))
        except OSError:
            return False

    def get(self, path: str) -> Any:
        return self._request("GET", path)

    def put(self, path: str, body: object) -> Any:
        return self._request("PUT", path, json.dumps(body).encode(), "application/json")

    def put_policy(self, text: str) -> Any:
        return self._request("PUT", "/v1/policy", text.encode(), "application/yaml")

    def items(self, path: str) -> list[dict[str, Any]]:
        """Return the items of all pages of a list."""
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(path + cursor)
            items += page["items"]
            if not page["next"]:
                return items
            cursor = f"{'&' if '?' in path else '?'}cursor={page['next']}"

    def queues(self) -> dict[int, str]:
        """Return the kind of each queue of the uplink in REST."""
        rows = self.items(f"/v1/devices/{DPID}/queues")
        return {row["queue_id"]: row["kind"] for row in rows if row["port_no"] == UPLINK_PORT}

    def assignments(self, dst_port: int | range) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the assignments of UDP and TCP flows to these ports, by source address and port."""
        dst_ports = dst_port if isinstance(dst_port, range) else (dst_port,)
        rows = self.items("/v1/assignments")
        return {
            (row["src"], row["src_port"]): row
            for row in rows
            if row["protocol"] in ("udp", "tcp") and row["dst_port"] in dst_ports
        }

    def wait_for_queues(self, kinds: dict[int, str], seconds: float = 60) -> None:
        assert wait_until(lambda: self.queues() == kinds, seconds), f"{self.queues()} instead of {kinds}"

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
        run("ovs-vsctl", "del-controller", BRIDGE)
        run("ovs-ofctl", "-O", "OpenFlow13", "del-flows", BRIDGE)

    def _request(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Any:
        request = urllib.request.Request(
            URL + path, body, {"Content-Type": kind} if kind else {}, method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")


def physical(count: int, software: int = 0) -> dict[int, str]:
    """Return what ``Controller.queues`` returns for a port with so many queues of each kind."""
    kinds = ["physical"] * count + ["software"] * software
    return dict(enumerate(kinds))


def flowlane(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command ``flowlane`` in this process, since an emulated CPU takes ten seconds to import it."""
    out, errors = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        status = main(words)
    return subprocess.CompletedProcess(words, status, out.getvalue(), errors.getvalue())
