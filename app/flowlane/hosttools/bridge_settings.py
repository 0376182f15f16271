"""A bridge's row and its controllers as ovs-vsctl prints them, and the tools that read and change a bridge."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.errors import DatabaseError, NotFoundError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSIONS = ("OpenFlow13", "OpenFlow14", "OpenFlow15")
"""The versions of OpenFlow that Flowlane speaks, the best last."""

_ALL_VERSIONS = ("OpenFlow10", "OpenFlow11", "OpenFlow12", *VERSIONS)
_PASSIVE = ("ptcp:", "pssl:", "punix:")
_BRIDGE = "name,datapath_id,datapath_type,fail_mode,protocols,controller,external_ids"
_CONTROLLER = "_uuid,target,type,connection_mode,is_connected"


class ControllerSettings(NamedTuple):
    """A controller of a bridge; ``primary``: its type, of which fail mode and deletion of all entries depend."""

    uuid: str
    target: str
    primary: bool
    connection_mode: str = ""
    connected: bool = False


class BridgeSettings(NamedTuple):
    """What the database has about a bridge; ``protocols`` is empty where all versions are enabled."""

    name: str
    datapath_id: str
    datapath_type: str
    fail_mode: str
    protocols: tuple[str, ...]
    controllers: tuple[ControllerSettings, ...]
    external_ids: Mapping[str, str]

    @property
    def version(self) -> str:
        """The best version of OpenFlow that the bridge has enabled."""
        return max(self.protocols or _ALL_VERSIONS)


class Step(NamedTuple):
    """A command of Open vSwitch that changes something, with its standard input, and what it is for."""

    why: str
    command: tuple[str, ...]
    text: str = ""


class Tools(NamedTuple):
    """ovs-vsctl and ovs-ofctl for one Open vSwitch.

    Args:
        remote: the database.
        tls: options of ovs-vsctl for ``ssl:HOST:PORT``.
        timeout: seconds that a command may take.
    """

    remote: str
    tls: tuple[str, ...] = ()
    timeout: float = 5.0

    @property
    def rundir(self) -> Path | None:
        """The directory of the bridges' management sockets; None when the database is another host's."""
        return Path(self.remote.removeprefix("unix:")).parent if self.remote.startswith("unix:") else None

    def run(self, step: Step) -> str:
        """Run a command, and return what it prints.

        Raises:
            DatabaseError: it failed.
        """
        with self.start(step) as process:
            output, errors = process.communicate(step.text)
        return checked(step, process.returncode, output, errors)

    def start(self, step: Step) -> subprocess.Popen[str]:
        """Start a command; its standard input is still open."""
        name, *words = step.command
        path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin")
        if path is None:
            raise DatabaseError(f"{name} is not installed; install Open vSwitch's tools (openvswitch-switch)")
        options = [f"--timeout={max(1, round(self.timeout))}"]
        if name == "ovs-vsctl":
            options += [f"--db={self.remote}", *self.tls]
        environment = {**os.environ, **({"OVS_RUNDIR": str(self.rundir)} if self.rundir else {})}
        return subprocess.Popen(  # noqa: S603
            [path, *options, *words],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read(self, *command: str) -> str:
        """Run a command that only reads."""
        return self.run(Step("", command))


def checked(step: Step, status: int, output: str, errors: str) -> str:
    """Return what a command has printed.

    Raises:
        DatabaseError: it failed.
    """
    if status:
        reason = errors.strip() or f"exit code {status}"
        raise DatabaseError(f"{step.why or ' '.join(step.command)}: {reason}")
    return output


def read_bridge(tools: Tools, name: str) -> BridgeSettings:
    """Read a bridge's settings.

    Raises:
        NotFoundError: there is no bridge of that name.
        RequestError: ovs-vswitchd has not created it.
        DatabaseError: the database cannot be read.
    """
    columns = ("--format=json", "--if-exists", f"--columns={_BRIDGE}")
    found = rows(tools.read("ovs-vsctl", *columns, "list", "Bridge", name))
    if not found:
        known = tools.read("ovs-vsctl", "list-br").split()
        raise NotFoundError(f"there is no bridge {name}; bridges are {', '.join(known) or 'none'}")
    row = found[0]
    if not _optional(row["datapath_id"]):
        raise RequestError(
            f"bridge {name}: ovs-vswitchd has not created it (no datapath id); read ovs-vswitchd's log"
        )
    uuids = set(items(row["controller"]))
    controllers = [
        _controller(entry)
        for entry in rows(
            tools.read("ovs-vsctl", "--format=json", f"--columns={_CONTROLLER}", "list", "Controller")
        )
        if entry["_uuid"][1] in uuids
    ]
    return BridgeSettings(
        row["name"],
        _optional(row["datapath_id"]),
        row["datapath_type"],
        _optional(row["fail_mode"]),
        tuple(sorted(items(row["protocols"]))),
        tuple(sorted(controllers, key=lambda entry: entry.target)),
        dict(row["external_ids"][1]),
    )


def _controller(row: Mapping[str, Any]) -> ControllerSettings:
    target, kind = row["target"], _optional(row["type"])
    primary = kind == "primary" if kind else not target.startswith(_PASSIVE)
    return ControllerSettings(
        row["_uuid"][1], target, primary, _optional(row["connection_mode"]), bool(row["is_connected"])
    )


def rows(text: str) -> list[dict[str, Any]]:
    """Read the output of ``ovs-vsctl --format=json list``: empty when there is no row."""
    if not text.strip():
        return []
    table = json.loads(text)
    return [dict(zip(table["headings"], row, strict=True)) for row in table["data"]]


def items(value: Any) -> list[str]:
    """Return the members of a set in OVSDB's JSON (RFC 7047 section 5.1), in which a set of one is a plain value."""
    members = value[1] if isinstance(value, list) and value[0] == "set" else [value]
    return [member[1] if isinstance(member, list) else member for member in members]


def _optional(value: Any) -> str:
    return next(iter(items(value)), "")
