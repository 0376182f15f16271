"""A controller with an ovsdb-server of its own: what REST changed survives a crash, and the server ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from lab.inside.manager import Launched, launched, refused, wait_for

from flowlane import options
from flowlane.cluster import embedded
from flowlane.cluster.database import PROBE_AFTER
from flowlane.cluster.embedded import EmbeddedServer
from flowlane.errors import ConfigError
from flowlane.southbound.ovsdb.jsonrpc import ECHO_WITHIN

POLICY = b"version: 1\nclasses: {default: {}, bulk: {priority: 2}}\n"


def servers(directory: Path) -> list[str]:
    """The ovsdb-servers that run in a directory."""
    found = subprocess.run(
        ["pgrep", "-f", f"ovsdb-server {directory}/"], capture_output=True, text=True, check=False
    )
    return found.stdout.split()


def test_what_rest_changed_survives_kill_9_and_the_end_of_the_server(tmp_path: Path) -> None:
    arguments = ("--database=embedded", f"--state-dir={tmp_path}")
    with launched(*arguments) as manager:
        assert manager.put("/v1/policy", POLICY, "application/yaml")["kept"]
        checks = {check["name"]: check["problem"] for check in manager.rest("/v1/status")["checks"]}
        assert checks["database"] == ""
        assert manager.rest("/v1/members")["items"] == []
        (server,) = servers(tmp_path)
        os.kill(int(server), 9)
        wait_for(lambda: servers(tmp_path) not in ([], [server]), 5, "ovsdb-server is started again")
        manager.process.kill()
        manager.process.wait()
    wait_for(lambda: servers(tmp_path) == [], 5, "ovsdb-server ends with the controller")
    (tmp_path / "policy.json").unlink()
    with launched(*arguments) as manager:
        wait_for(lambda: len(manager.rest("/v1/policy")["classes"]) == 2)
    assert servers(tmp_path) == []


def test_a_server_that_does_not_reply_is_said_within_seconds_and_loses_nothing(tmp_path: Path) -> None:
    arguments = ("--database=embedded", f"--state-dir={tmp_path}")

    def problem(manager: Launched) -> str:
        checks = {check["name"]: check["problem"] for check in manager.rest("/v1/status")["checks"]}
        return str(checks["database"])

    with launched(*arguments) as manager:
        wait_for(lambda: problem(manager) == "")
        (server,) = servers(tmp_path)
        os.kill(int(server), signal.SIGSTOP)
        try:
            stopped = time.monotonic()
            wait_for(
                lambda: problem(manager) != "",
                3 * (PROBE_AFTER + ECHO_WITHIN),
                "the silent server is noticed",
            )
            assert time.monotonic() - stopped > ECHO_WITHIN, "not a server that is busy for a moment"
            assert problem(manager) == "Flowlane's database: connected, but the database does not reply"
            manager.put("/v1/policy", POLICY, "application/yaml")
        finally:
            os.kill(int(server), signal.SIGCONT)
        wait_for(lambda: problem(manager) == "", 5, "it replies again")
        assert manager.log.count("synchronized, by") == 1, "the session goes on"
        assert servers(tmp_path) == [server]
    (tmp_path / "policy.json").unlink()
    with launched(*arguments) as manager:
        wait_for(lambda: len(manager.rest("/v1/policy")["classes"]) == 2, 10, "the policy was written")


def test_it_needs_a_directory_and_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines = refused("--database=embedded", "--ovsdb=none")
    assert (code, lines) == (
        1,
        ["flowlane-manager: --database embedded needs --state-dir, where the database is"],
    )
    monkeypatch.setattr(embedded, "_tool", lambda _name: None)
    with pytest.raises(ConfigError, match="install openvswitch"):
        EmbeddedServer(tmp_path)
    monkeypatch.setenv(options.DATABASE_VARIABLE, "embedded")
    assert options._default_database() is None, "without ovsdb-server the service keeps files, as before"


@pytest.mark.parametrize("damage", ["cut", "other bytes", "no database"])
def test_a_damaged_database_is_named_with_what_helps(tmp_path: Path, damage: str) -> None:
    file = tmp_path / embedded.FILE_NAME
    arguments = ("--database=embedded", f"--state-dir={tmp_path}")
    with launched(*arguments) as manager:
        assert manager.put("/v1/policy", POLICY, "application/yaml")["kept"]
        backup = subprocess.run(
            ["ovsdb-client", "backup", f"unix:{tmp_path}/{embedded.SOCKET_NAME}", "Flowlane"],
            capture_output=True, check=True,
        ).stdout  # fmt: skip
    whole = file.read_bytes()
    damaged = {
        "cut": whole[: len(whole) // 2],
        "other bytes": whole[:300] + b"##" + whole[302:],
        "no database": b"nonsense",
    }
    file.write_bytes(damaged[damage])
    code, lines = refused(*arguments)
    assert code == 1
    assert f"{file} is damaged, or no database (ovsdb-tool: " in lines[-1]
    assert f"move it away: mv {file} {file}.damaged" in lines[-1]
    assert file.read_bytes() == damaged[damage], "it is left as it is"
    file.rename(f"{file}.damaged")
    with launched(*arguments) as manager:
        assert len(manager.rest("/v1/policy")["classes"]) == 2, "policy.json has it"
    file.write_bytes(backup)
    (tmp_path / "policy.json").unlink()
    with launched(*arguments) as manager:
        wait_for(lambda: len(manager.rest("/v1/policy")["classes"]) == 2, 10, "the backup has it")


def test_a_database_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / embedded.FILE_NAME).mkdir()
    with pytest.raises(ConfigError, match=r"flowlane\.db: Is a directory$"):
        EmbeddedServer(tmp_path).start()


def test_a_disk_that_was_full_at_the_first_start_leaves_nothing_that_hinders_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / embedded.FILE_NAME

    def full(*_words: str) -> str:
        file.touch()
        raise ConfigError("--database embedded: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(embedded, "_run", full)
        with pytest.raises(ConfigError, match="No space"):
            EmbeddedServer(tmp_path).start()
    assert not file.exists()
    file.touch()  # What a controller leaves that is killed meanwhile.
    server = EmbeddedServer(tmp_path)
    server.start()
    try:
        assert file.stat().st_size
    finally:
        server.stop()


def test_the_variable_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(options.DATABASE_VARIABLE, raising=False)
    assert options._default_database() is None
    monkeypatch.setenv(options.DATABASE_VARIABLE, "embedded")
    assert options._default_database() == "embedded"
