"""The guides and the tutorial, as a reader walks through them: commands print what the pages show."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.hosts.network import FLOWLANE, ROOT, Controller, Network, eventually
from support.shown import Shown, agrees, commands

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELL = re.compile(r"^    \./run topo (\S+)$", re.MULTILINE)
ELSEWHERE = {"tls.md"}
"""Guides without a network of topologies/: tests/southbound/openflow/osken/test_tls.py does what it says."""

GUIDES = sorted(path for path in (ROOT / "docs/guides").glob("*.md") if path.name not in ELSEWHERE)
PROMPT = "mininet> "
PATIENCE = 25.0
"""Seconds within which a list of Flowlane shows what the page has: a reader would look again, too."""


class Shell:
    """What a reader types in the shell of ``./run topo``: ``sh COMMAND`` on the machine, ``HOST COMMAND`` in a host."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.output = folder / "output"
        self.groups: list[int] = []
        """Process groups of the commands, of which some go on in the background."""
        self.environment = {**os.environ, "PATH": f"{os.environ['PATH']}:{FLOWLANE}", "COLUMNS": "160"}

    def run(self, command: str) -> str:
        host, _, rest = command.partition(" ")
        line = ["sh", "-c", rest]
        if host != "sh":
            line = [str(word) for word in self.network.inside(host, *line)]
        with self.output.open("w") as output:
            process = subprocess.Popen(
                line,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.groups.append(process.pid)
            process.wait(60)
        return self.output.read_text()

    def close(self) -> None:
        """End what still runs in the background."""
        for group in self.groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def follow(run: Shell | Terminal, page: list[Shown]) -> None:
    """Run a page's commands in turn; one that reads Flowlane's state is repeated until it shows what it should."""
    for shown in page:
        end = time.monotonic() + PATIENCE
        while not agrees(shown, printed := run.run(shown.command)):
            looks = re.search(
                r"(^| )flowlane (status|queues|ports|vms|flows|assignments|explain|hint show) ",
                f"{shown.command} ",
            )
            assert looks and time.monotonic() < end, f"{shown.command}\n{printed}"
            time.sleep(0.5)


@pytest.fixture
def shell(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shell]:
    text = Path(request.getfixturevalue("guide")).read_text()
    name = SHELL.search(text)
    assert name, "the guide does not say which network it uses"
    network = Network(f"{name[1]}.yaml", tmp_path, "OpenFlow13,OpenFlow14,OpenFlow15", "--queues")
    try:
        controller = Controller(tmp_path)
        try:
            eventually("a device is connected", controller.has_device, 20)
            shell = Shell(network, tmp_path)
            yield shell
            shell.close()
        finally:
            controller.close()
    finally:
        network.close()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_guide(guide: Path, shell: Shell) -> None:
    page = commands(guide.read_text(), PROMPT)
    assert len(page) >= 5
    follow(shell, page)


class Terminal:
    """A terminal in the repository's folder, with the environment of ``.venv``."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.output = folder / "output"

    def run(self, command: str) -> str:
        with self.output.open("w") as output:
            subprocess.run(
                ["bash", "-c", f". .venv/bin/activate 2>/dev/null; {command}"],
                cwd=ROOT,
                env={**os.environ, "COLUMNS": "160"} | ({"FLOWLANE_URL": self.url} if self.url else {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=200,
            )
        printed = self.output.read_text()
        if address := re.search(r"http://127\.0\.0\.1:\d+", printed):
            self.url = self.url or address[0]
        return printed


@pytest.mark.usefixtures("no_other_demo")
def test_tutorial(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    page = commands((ROOT / "docs/tutorial.md").read_text(), "$ ")
    assert page[0].command == "./run demo --keep"
    assert page[-1].command == "./run demo --stop"
    try:
        follow(terminal, page)
    finally:
        terminal.run("./run demo --stop")
