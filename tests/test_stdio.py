"""Output whose reader went away, as in ``flowlane flows | head -1``, and output that cannot be written.

Python flushes standard output when it ends, and prints a traceback of its own when that fails; so these are
real processes, with and without PYTHONUNBUFFERED.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.rest.server import running

import flowlane

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICIES = Path(__file__).parents[1] / "docs" / "policies"
POLICY, FLOWS = str(POLICIES / "m06-two-on-one-queue.yaml"), str(POLICIES / "flows.csv")

PRINTING = [
    ["--help"],
    ["--version"],
    ["flows", "--help"],
    ["qos", "apply", "--help"],
    ["policy", "schema"],
    ["policy", "reference"],
    ["policy", "show", "--built-in"],
    ["check", POLICY],
    ["check", POLICY, "--json"],
    ["plan", POLICY, "--flows", FLOWS],
    ["plan", POLICY, "--flows", FLOWS, "--json"],
    ["simulate", "--count", "5", "--seconds", "2", "--vms", "1"],
    ["simulate", "--count", "5", "--seconds", "2", "--vms", "1", "--json"],
    *([name] for name in ("status", "devices", "queues", "vms", "flows", "assignments")),
    ["status", "--json"],
    ["flows", "--json"],
    ["flows", "--watch", "0.1"],
    ["flows", "--watch", "0.1", "--json"],
    ["explain", "10.0.0.1:1234-192.0.2.1:80"],
    ["hint", "show", "web"],
    ["policy", "show"],
    ["policy", "show", "--json"],
]
"""Commands that print something."""

FORKING = """
import os, sys
from pkgutil import resolve_name
from flowlane.cli.main import COMMANDS, main
for place, _ in COMMANDS.values():
    resolve_name(place)
for words in {commands!r}:
    if os.fork() == 0:
        os.dup2({descriptor}, 1)
        sys.exit(main(words))
    code = os.waitstatus_to_exitcode(os.wait()[1])
    os.write(2, f"{{code}} {{' '.join(words)}}\\n".encode())
"""
"""Runs each command in a child that ends as an interpreter ends; a new process for each takes far longer."""


@pytest.fixture(params=[True, False], ids=["unbuffered", "buffered"])
def env(request: pytest.FixtureRequest) -> dict[str, str]:
    names = os.environ.keys() - {"PYTHONUNBUFFERED", "FLOWLANE_URL"}
    kept = {name: os.environ[name] for name in names}
    path = str(Path(flowlane.__file__).parent.parent)
    return {**kept, "PYTHONPATH": path, **({"PYTHONUNBUFFERED": "1"} if request.param else {})}


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def test_every_command_ends_quietly_when_nobody_reads(env: dict[str, str], unread: int) -> None:
    script = FORKING.format(commands=PRINTING, descriptor=unread)
    with running() as server:
        done = subprocess.run(
            [sys.executable, "-c", script],
            stderr=subprocess.PIPE,
            text=True,
            env={**env, "FLOWLANE_URL": server.url},
            pass_fds=[unread],
            timeout=100,
            check=False,
        )
    lines = done.stderr.splitlines()
    assert [line.partition(" ")[2] for line in lines] == [" ".join(words) for words in PRINTING]
    assert {line[0] for line in lines} <= {"0", "1"}, (
        "argparse ends with 0 after help that it could not write"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["flowlane.cli.main", "policy", "schema"],
        ["flowlane.cli.main", "policy", "show", "--built-in"],
        ["flowlane.manager", "--help"],
        ["flowlane.manager", "--version"],
    ],
    ids=" ".join,
)
def test_a_program_ends_quietly_when_nobody_reads(env: dict[str, str], unread: int, words: list[str]) -> None:
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, stdout=unread, stderr=subprocess.PIPE, env=env, timeout=60, check=False)
    assert done.stderr == b""
    assert done.returncode in {0, 1}
    both = subprocess.run(command, stdout=unread, stderr=unread, env=env, timeout=60, check=False)
    assert both.returncode == done.returncode


def test_an_error_that_nobody_reads(env: dict[str, str], unread: int) -> None:
    command = [sys.executable, "-m", "flowlane.cli.main", "check", "/no/such/file"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=unread, env=env, timeout=60, check=False)
    assert done.stdout == b""
    assert done.returncode == 1


@pytest.mark.parametrize("module", ["flowlane.cli.main", "flowlane.manager"])
def test_a_full_disk_is_said_in_one_line(env: dict[str, str], module: str) -> None:
    words = ["policy", "schema"] if module == "flowlane.cli.main" else ["--help"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            timeout=60,
            check=False,
        )
    program = "flowlane" if module == "flowlane.cli.main" else "flowlane-manager"
    if (done.returncode, done.stderr) == (0, ""):
        assert "PYTHONUNBUFFERED" in env and words == ["--help"], "argparse of Python 3.13 ignores the error"
        return
    assert done.returncode == 1
    assert done.stderr.startswith(f"{program}: ")
    assert done.stderr.endswith("No space left on device\n")
    assert done.stderr.count("\n") == 1


def test_standard_output_that_is_closed(env: dict[str, str]) -> None:
    for words in ("policy schema", "policy show --built-in"):
        command = f"exec {sys.executable} -m flowlane.cli.main {words} >&-"
        done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, env=env, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
