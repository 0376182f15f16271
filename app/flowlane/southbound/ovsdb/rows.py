"""Rows of the Open vSwitch database as plain values, apart from the IDL's live objects.

Events, QoS changes and the doctor's checks are derived from a :class:`Snapshot` by pure functions. The controller
makes the rows of JSON (:mod:`flowlane.southbound.ovsdb.tables`), the host tools of the IDL's rows.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

_NO_TEXT: Mapping[str, str] = MappingProxyType({})


class RootRow(NamedTuple):
    """The only row of table Open_vSwitch."""

    bridges: tuple[UUID, ...] = ()
    ovs_version: str = ""
    external_ids: Mapping[str, str] = _NO_TEXT
    other_config: Mapping[str, str] = _NO_TEXT
    next_cfg: int = 0
    cur_cfg: int = 0


class BridgeRow(NamedTuple):
    """A bridge. ``datapath_id`` is empty until ovs-vswitchd has made the bridge."""

    name: str
    ports: tuple[UUID, ...] = ()
    datapath_id: str = ""
    datapath_type: str = ""
    external_ids: Mapping[str, str] = _NO_TEXT
    fail_mode: str = ""
    protocols: tuple[str, ...] = ()
    controller: tuple[UUID, ...] = ()
    other_config: Mapping[str, str] = _NO_TEXT
    stp_enable: bool = False
    rstp_enable: bool = False


class PortRow(NamedTuple):
    """A port of a bridge: one interface, or several when it is a bond."""

    name: str
    interfaces: tuple[UUID, ...] = ()
    qos: UUID | None = None
    external_ids: Mapping[str, str] = _NO_TEXT
    tag: int | None = None
    trunks: tuple[int, ...] = ()
    vlan_mode: str = ""
    bond_mode: str = ""


class InterfaceRow(NamedTuple):
    """An interface. ``ofport`` None or -1: ovs-vswitchd has not, or could not, make it. Speed in bit/s."""

    name: str
    type: str = ""
    ofport: int | None = None
    external_ids: Mapping[str, str] = _NO_TEXT
    mac_in_use: str = ""
    link_speed: int | None = None
    status: Mapping[str, str] = _NO_TEXT
    error: str = ""
    options: Mapping[str, str] = _NO_TEXT


class QosRow(NamedTuple):
    """A QoS row; ``queues`` is by queue id."""

    type: str
    queues: Mapping[int, UUID] = MappingProxyType({})
    other_config: Mapping[str, str] = _NO_TEXT
    external_ids: Mapping[str, str] = _NO_TEXT


class QueueRow(NamedTuple):
    """A Queue row; its id is the key under which a QoS row refers to it."""

    other_config: Mapping[str, str] = _NO_TEXT
    external_ids: Mapping[str, str] = _NO_TEXT


class ControllerRow(NamedTuple):
    """A bridge's OpenFlow controller. An empty ``connection_mode`` means in-band to Open vSwitch."""

    target: str
    is_connected: bool = False
    connection_mode: str = ""


class Snapshot(NamedTuple):
    """The database at one moment, by table and row UUID."""

    roots: Mapping[UUID, RootRow]
    bridges: Mapping[UUID, BridgeRow]
    ports: Mapping[UUID, PortRow]
    interfaces: Mapping[UUID, InterfaceRow]
    qos: Mapping[UUID, QosRow]
    queues: Mapping[UUID, QueueRow]
    controllers: Mapping[UUID, ControllerRow]


RECORDS: Mapping[str, type[Any]] = {
    "Open_vSwitch": RootRow,
    "Bridge": BridgeRow,
    "Port": PortRow,
    "Interface": InterfaceRow,
    "QoS": QosRow,
    "Queue": QueueRow,
    "Controller": ControllerRow,
}
"""Table name -> record, in the order of the fields of :class:`Snapshot`."""

OPTIONAL: Mapping[str, object] = {
    "connection_mode": "",
    "datapath_id": "",
    "fail_mode": "",
    "ovs_version": "",
    "mac_in_use": "",
    "error": "",
    "vlan_mode": "",
    "bond_mode": "",
    "tag": None,
    "ofport": None,
    "link_speed": None,
    "qos": None,
}
"""Columns of at most one value -> value of the field when there is none."""


def make_snapshot(read: Callable[[str], Mapping[UUID, Any]]) -> Snapshot:
    """Make a snapshot.

    Args:
        read: returns the records of a table.
    """
    return Snapshot(*(read(table) for table in RECORDS))


def dangling(snapshot: Snapshot) -> list[str]:
    """List the references to rows that do not exist: a consistent database has none (RFC 7047 section 3.2).

    Events of a copy that is not consistent would look like bridges and queues that disappear. An empty list means
    that the snapshot is consistent.
    """
    references = [] if len(snapshot.roots) == 1 else [f"{len(snapshot.roots)} rows in table Open_vSwitch"]
    for root in snapshot.roots.values():
        references += [f"bridge {uuid}" for uuid in root.bridges if uuid not in snapshot.bridges]
    for bridge in snapshot.bridges.values():
        references += [f"port {uuid} of {bridge.name}" for uuid in bridge.ports if uuid not in snapshot.ports]
    for port in snapshot.ports.values():
        references += [
            f"interface {u} of {port.name}" for u in port.interfaces if u not in snapshot.interfaces
        ]
        references += [f"QoS {port.qos} of {port.name}"] if port.qos and port.qos not in snapshot.qos else []
    for qos in snapshot.qos.values():
        references += [f"queue {uuid}" for uuid in qos.queues.values() if uuid not in snapshot.queues]
    return references
