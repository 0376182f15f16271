"""The database of a controller that is alone: an ovsdb-server of its own, in the state directory."""

from __future__ import annotations

import logging
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from flowlane import hub
from flowlane.cluster import schema
from flowlane.errors import ConfigError
from flowlane.logs import Repeats

if TYPE_CHECKING:
    from pathlib import Path

_REPEATS = Repeats(logging.getLogger(__name__))

EMBEDDED = "embedded"
"""The value of ``--database``."""

FILE_NAME, SOCKET_NAME = "flowlane.db", "flowlane.sock"
"""Names of the file of the database, and of the server's socket, in the state directory."""

LOOK = 0.5
"""Seconds between two looks at whether the server runs, after which it is started again."""

_OPTION = "--database embedded: "
_TOOL_WITHIN, _STOP_WITHIN = 10.0, 1.0
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"


def is_installed() -> bool:
    """Whether ovsdb-server and ovsdb-tool are there; both come with Open vSwitch."""
    return all(_tool(name) for name in ("ovsdb-server", "ovsdb-tool"))


def _tool(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=_PATH)


class EmbeddedServer:
    """An ovsdb-server that runs while the controller does, and is started again when it ends.

    Args:
        directory: the state directory.

    Raises:
        ConfigError: ovsdb-server is not installed.
    """

    def __init__(self, directory: Path) -> None:
        if not is_installed():
            raise ConfigError(
                "--database embedded needs ovsdb-server and ovsdb-tool; install openvswitch-common"
            )
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: hub.Task | None = None

    @property
    def target(self) -> str:
        """Where the database is."""
        return f"unix:{self._directory / SOCKET_NAME}"

    def start(self) -> None:
        """Make the database where there is none, and run the server.

        Raises:
            ConfigError: the database cannot be made or used.
        """
        file, new_schema = self._directory / FILE_NAME, self._directory / "flowlane.ovsschema"
        try:
            new_schema.write_text(schema.text())
        except OSError as error:
            raise ConfigError(f"--database embedded: {new_schema}: {error.strerror or error}") from error
        if not file.exists() or (file.is_file() and not file.stat().st_size):
            _create(file, new_schema)
        elif _is_older(file, new_schema):
            _run("convert", str(file), str(new_schema))
        self._spawn()
        self._watch = hub.spawn(self._keep_running)

    def stop(self) -> None:
        """End the server; what it has committed is in the file."""
        if self._watch is not None:
            self._watch.kill()
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_WITHIN)

    def _spawn(self) -> None:
        command = [
            _tool("ovsdb-server") or "ovsdb-server",
            str(self._directory / FILE_NAME),
            f"--remote=p{self.target}",
            f"--unixctl={self._directory / 'flowlane.ctl'}",
            "--no-chdir",
            "-vconsole:off",
            "-vsyslog:off",
        ]
        if (setpriv := _tool("setpriv")) and _works([setpriv, "--pdeathsig", "TERM", "true"]):
            # It ends with the controller, even if that is killed (setpriv(1)).
            command = [setpriv, "--pdeathsig", "TERM", *command]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603

    def _keep_running(self) -> None:
        while True:
            hub.sleep(LOOK)
            if self._process is not None and (code := self._process.poll()) is not None:
                text = "ovsdb-server has ended (exit code %d), and is started again; does another controller run in %s?"
                _REPEATS.warning(code, text, code, self._directory)
                self._spawn()


def _create(file: Path, schema_file: Path) -> None:
    """Make the database; where that fails nothing stays, such as the empty file that a full disk leaves.

    Raises:
        ConfigError: it cannot be made.
    """
    file.unlink(missing_ok=True)
    try:
        _run("create", str(file), str(schema_file))
    except ConfigError:
        file.unlink(missing_ok=True)
        raise


def _is_older(file: Path, schema_file: Path) -> bool:
    """Return whether the database has an earlier schema.

    Raises:
        ConfigError: it cannot be read, or is damaged.
    """
    try:
        with file.open("r+b"):
            pass
    except OSError as error:
        raise ConfigError(f"--database embedded: {file}: {error.strerror or error}") from error
    try:
        return _run("needs-conversion", str(file), str(schema_file)).strip() == "yes"
    except ToolError as error:
        what = str(error).removeprefix(_OPTION)
        raise ConfigError(
            f"{_OPTION}{file} is damaged, or no database ({what}); put a backup in its place, or move it away: "
            f"mv {file} {file}.damaged. Without it the controller makes a new one: the policy of REST stays "
            "(policy.json), hints, pins by hand, cordons and roles have to be given again "
            "(docs/operators/several-controllers.md, A damaged database)"
        ) from error


class ToolError(ConfigError):
    """What ovsdb-tool reports."""


def _run(*words: str) -> str:
    command = [_tool("ovsdb-tool") or "ovsdb-tool", *words]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=_TOOL_WITHIN
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"--database embedded: {error}") from error
    if done.returncode:
        raise ToolError(f"{_OPTION}{' '.join((done.stderr or done.stdout).split())}")
    return done.stdout


def _works(command: list[str]) -> bool:
    """Return whether a command succeeds: setpriv calls capset(2), which the filter of the service's unit refuses."""
    done = subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0
