"""A flowlane-manager process on free ports of the loopback interface."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_TIME = 30.0
STOP_TIME = 2.0
COMMAND = (sys.executable, "-m", "flowlane.manager")


class Launched:
    """A running flowlane-manager."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def openflow_port(self) -> int:
        return self._port(r"listening for switches on \S+ port (\d+)")

    @property
    def rest_port(self) -> int:
        return self._port(r"REST on https?://[^/]*:(\d+)/")

    def _port(self, pattern: str) -> int:
        found = re.search(pattern, self.log)
        assert found is not None, self.log
        return int(found[1])

    def rest(self, path: str) -> Any:
        """Get JSON; what is not known yet at the start (503 with Retry-After) is waited for."""
        deadline = time.monotonic() + START_TIME
        while True:
            try:
                return self._get(path)
            except urllib.error.HTTPError as error:
                if not error.headers.get("Retry-After") or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest_port}{path}", timeout=10) as answer:
            return json.load(answer)

    def text(self, path: str) -> str:
        """Get what is not JSON, such as the metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest_port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def put(self, path: str, body: bytes, content_type: str) -> Any:
        """Send a PUT request; return the answer."""
        url, headers = f"http://127.0.0.1:{self.rest_port}{path}", {"Content-Type": content_type}
        request = urllib.request.Request(url, body, headers, method="PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """End it; return its exit code and the seconds that took."""
        begin = time.monotonic()
        self.process.send_signal(number)
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        return code, time.monotonic() - begin


@contextmanager
def launched(
    *arguments: str,
    ready: str = "running: ",
    command: Sequence[str] = COMMAND,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Launched]:
    """Run a manager for the duration of the block; it must stop by SIGTERM with exit code 0.

    Args:
        ready: text of the log after which the block begins.
        command: what runs a manager with these arguments.
        environment: variables beside those of this process.
    """
    variables = {**os.environ, **(environment or {})}
    with tempfile.TemporaryDirectory(prefix="fl-manager-") as directory:
        log = Path(directory) / "log"
        options = ["--ofp-listen-host=127.0.0.1", "--ofp-tcp-listen-port=0", "--wsapi-port=0"]
        if not any(argument.startswith("--ovsdb") for argument in arguments):
            options.append("--ovsdb=none")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *options, *arguments], stdout=output, stderr=output, env=variables
            )
        manager = Launched(process, log)
        try:
            wait_for(lambda: ready in manager.log or process.poll() is not None, START_TIME)
            assert process.poll() is None, manager.log
            yield manager
            if process.poll() is None:
                assert manager.stop()[0] == 0, manager.log
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def refused(*arguments: str, within: float = START_TIME) -> tuple[int, list[str]]:
    """Run a manager that cannot start; return its exit code and the lines that are not log lines."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=within, check=False)
    return done.returncode, _not_logged(done.stderr + done.stdout)


FORKING = """
import os, sys
from flowlane import hub
hub.prepare()
import flowlane.launch, flowlane.manager
for words in {runs!r}:
    if os.fork() == 0:
        output = os.open(words.pop(0), os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.exit(flowlane.manager.main(words))
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
"""Runs a manager in a child for each list of words; a new process for each would import everything again."""


def all_refused(runs: Sequence[tuple[str, ...]]) -> list[tuple[int, list[str]]]:
    """Run managers that cannot start one after another; return of each what :func:`refused` returns."""
    with tempfile.TemporaryDirectory(prefix="fl-refused-") as directory:
        outputs = [Path(directory) / str(number) for number in range(len(runs))]
        words = [[str(output), *arguments] for output, arguments in zip(outputs, runs, strict=True)]
        command = [sys.executable, "-c", FORKING.format(runs=words)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
        codes = map(int, done.stdout.split())
        return [(code, _not_logged(output.read_text())) for code, output in zip(codes, outputs, strict=True)]


def _not_logged(text: str) -> list[str]:
    return [line for line in text.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line)]


def wait_for(condition: Callable[[], bool], seconds: float = 10.0, what: str = "") -> None:
    """Wait until a condition holds; raise TimeoutError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what or "the condition did not hold in time")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
