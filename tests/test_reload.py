"""SIGHUP: the policy, the configuration and the level of the log are read again; what is broken changes nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside.manager import Launched, launched, wait_for

FIRST = "version: 1\nclasses: {small: {}}\ndefault: small\n"
SECOND = "version: 1\nclasses: {small: {}, bulk: {}}\ndefault: bulk\n"


class Running:
    """A manager with a policy and a configuration of its own, and what systemd receives from it."""

    def __init__(self, manager: Launched, folder: Path, states: socket.socket) -> None:
        self.manager = manager
        self.policy = folder / "policy.yaml"
        self.configuration = folder / "flowlane.conf"
        self._states = states

    def reload(self) -> str:
        """Send SIGHUP; return what was logged until all was read."""
        begin = len(self.manager.log)
        self.manager.process.send_signal(signal.SIGHUP)
        assert self._states.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert self._states.recv(1000).startswith(b"READY=1\n")
        return self.manager.log[begin:]

    @property
    def in_force(self) -> str:
        return str(self.manager.rest("/v1/policy")["text"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("reload")
    (folder / "policy.yaml").write_text(FIRST)
    (folder / "flowlane.conf").write_text(f"[DEFAULT]\npolicy = {folder}/policy.yaml\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as states:
        states.bind(str(folder / "notify"))
        states.settimeout(30)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
            with launched("--config-file", str(folder / "flowlane.conf")) as manager:
                assert states.recv(1000) == b"READY=1\nSTATUS=running: flowlane.app"
                yield Running(manager, folder, states)
                manager.stop()
                assert states.recv(1000) == b"STOPPING=1"


def test_the_policy_is_read_again(running: Running) -> None:
    running.policy.write_text(FIRST)
    running.reload()
    assert "has not changed" in running.reload()
    running.policy.write_text(SECOND)
    assert f"policy in force: file {running.policy} " in running.reload()
    assert running.in_force == SECOND


def test_a_broken_policy_leaves_the_old_one(running: Running) -> None:
    running.policy.write_text(FIRST)
    running.reload()
    running.policy.write_text("version: 1\nclases: {}\n")
    log = running.reload()
    assert "the policy in force stays, as the new one is refused" in log
    assert f"{running.policy}:2: " in log
    assert running.in_force == FIRST
    running.policy.unlink()
    assert "cannot be read" in running.reload()
    assert running.in_force == FIRST


def test_the_level_of_the_log_changes_and_other_options_need_a_restart(running: Running) -> None:
    text = f"[DEFAULT]\npolicy = {running.policy}\n"
    running.policy.write_text(FIRST)
    running.configuration.write_text(f"{text}verbose = true\nwsapi_port = 8099\nforget_after = 5\n")
    log = running.reload()
    assert "the option forget_after has changed; restart flowlane-manager to use its value" in log
    running.manager.rest("/v1/status")
    wait_for(lambda: " DEBUG " in running.manager.log)
    running.configuration.write_text("[DEFAULT]\nforget_after = soon\n")
    assert "every option keeps its value" in running.reload()
    running.configuration.write_text(f"{text}start_table = 9999\npolicyy = x\n[other]\na = b\n")
    log = running.reload()
    assert "app Flowlane was not reloaded: --start-table 9999: give N or DPID=N" in log
    assert "Traceback" not in log
    assert f"{running.configuration}: 'policyy' is no option; did you mean policy?" in log
    assert f"{running.configuration}: section 'other' is not read; options stand in [DEFAULT]" in log
    running.configuration.write_text(text)
    running.reload()


def test_the_journal_gets_priorities_instead_of_times(tmp_path: Path) -> None:
    """Standard error is the journal where its device and inode are those of $JOURNAL_STREAM."""
    log = tmp_path / "journal"
    log.touch()
    state = log.stat()
    code = (
        "from flowlane import hub; hub.prepare(patch=False)\n"
        "import logging; from flowlane import launch, options; options.parse([]); launch.set_up_log()\n"
        "logging.getLogger('some').warning('two\\nlines')\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.getLogger('some').exception('fault')"
    )
    with log.open("w") as file:
        environment = {**os.environ, "JOURNAL_STREAM": f"{state.st_dev}:{state.st_ino}"}
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, stderr=file, check=True)
    first, *trace = log.read_text().splitlines()
    assert first == "<4>WARNING some: two\\nlines"
    assert trace[0] == "<3>ERROR some: fault"
    assert trace[-1].endswith("ZeroDivisionError: division by zero")
    assert [line for line in trace if not line.startswith("<3>")] == []
