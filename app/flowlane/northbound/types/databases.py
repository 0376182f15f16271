"""Types of the JSON objects of ``/v1/databases``; see :mod:`flowlane.northbound.types`."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from flowlane.northbound.types import Seconds
from flowlane.northbound.types.forms import Dpid, Moment

DatabaseState = Literal["synchronized", "silent", "waiting", "connecting", "stopped", "listening", "refused"]


class DatabaseConflict(TypedDict):
    """A device that two databases describe."""

    device: Dpid
    described_by: Annotated[str, "name of the database that described it first, and whose description counts"]


class DatabaseView(TypedDict):
    """An Open vSwitch database that is followed, or a port where hosts connect."""

    name: str
    target: Annotated[
        str, "its remote, as ovs-vsctl's --db has it; cluster:A,B,C; empty where a file names none"
    ]
    source: Annotated[
        str, "option, rest, the directory of its file, or the port where the host has connected"
    ]
    state: Annotated[
        DatabaseState,
        "synchronized: its copy is complete; silent: likewise, and the server does not reply to a probe; "
        "waiting: connected, no complete copy yet; connecting: no connection; "
        "listening: a port where hosts connect; refused: a file that names no target",
    ]
    since: Annotated[Moment, "when it entered this state"]
    problem: Annotated[str, "what is wrong; empty for nothing"]
    system_id: Annotated[str, "the host's external_ids:system-id"]
    hostname: Annotated[str, "the host's external_ids:hostname"]
    ovs_version: str
    cluster: Annotated[str, "id of the cluster that it is a member of; empty for none"]
    bridges: Annotated[int, "those of a lost connection included"]
    devices: Annotated[list[Dpid], "the devices whose description is this database's"]
    conflicts: list[DatabaseConflict]
    age: Annotated[Seconds | None, "time since its copy was last known to be complete; null: never"]
    sessions: Annotated[int, "connections that gave a complete copy, since the controller's start"]
    ignored: Annotated[list[str], "values in the database that Open vSwitch or Flowlane ignores, and why"]


class DatabaseTls(TypedDict):
    """Files on the controller's host, PEM."""

    private_key: str
    certificate: str
    ca_certificate: str


class DatabaseInput(TypedDict):
    """A database to follow."""

    target: Annotated[str, "unix:FILE, tcp:HOST:PORT, ssl:HOST:PORT, or cluster:A,B,C"]
    tls: NotRequired[Annotated[DatabaseTls, "for ssl; without it, the files of the controller's options"]]
