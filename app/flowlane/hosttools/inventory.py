"""Ports and their queues, read from a snapshot of the database; pure functions for commands and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.errors import NotFoundError
from flowlane.hosttools.qos_plan import LEAF, MARK
from flowlane.southbound.ovsdb.describe import kind_of, rate

if TYPE_CHECKING:
    from uuid import UUID

    from flowlane.core.model import QueueKind
    from flowlane.southbound.ovsdb.rows import BridgeRow, InterfaceRow, Snapshot


class QueueEntry(NamedTuple):
    """A queue as the database has it. Rates are bit/s; None where unset or unreadable.

    ``priority``: 0, the default, is served first.
    """

    queue_id: int
    kind: QueueKind | None
    min_rate: int | None
    max_rate: int | None
    priority: int = 0


class PortEntry(NamedTuple):
    """A port, its interfaces (several for a bond) and its queues. ``qos_type`` is empty without a QoS row.

    ``leaf``: the leaf that Flowlane's QoS row records, empty when it records none.
    """

    name: str
    bridge: str
    datapath: str
    interfaces: tuple[InterfaceRow, ...]
    qos_type: str = ""
    max_rate: int | None = None
    ours: bool = False
    queues: tuple[QueueEntry, ...] = ()
    leaf: str = ""

    @property
    def link_speed(self) -> int | None:
        """The slowest interface's speed in bit/s, None when unknown."""
        return min((row.link_speed for row in self.interfaces if row.link_speed), default=None)


def ports_of(snapshot: Snapshot) -> list[PortEntry]:
    """Return every port of every bridge, by bridge and name."""
    bridges = sorted(snapshot.bridges.values(), key=lambda row: row.name)
    return [entry for bridge in bridges for entry in _ports(bridge, snapshot)]


def port_of(snapshot: Snapshot, name: str) -> PortEntry:
    """Return the port of that name.

    Raises:
        NotFoundError: no bridge has it.
    """
    for entry in ports_of(snapshot):
        if entry.name == name:
            return entry
    raise NotFoundError(f"no bridge of this Open vSwitch has a port {name}")


def _ports(bridge: BridgeRow, snapshot: Snapshot) -> list[PortEntry]:
    entries = []
    for port in sorted((snapshot.ports[uuid] for uuid in bridge.ports), key=lambda row: row.name):
        interfaces = tuple(snapshot.interfaces[uuid] for uuid in port.interfaces)
        entry = PortEntry(port.name, bridge.name, bridge.datapath_type or "system", interfaces)
        qos = snapshot.qos[port.qos] if port.qos else None
        if qos is not None:
            entry = entry._replace(
                qos_type=qos.type,
                max_rate=rate(qos.other_config, "max-rate"),
                ours=qos.external_ids.get(MARK) == port.name,
                leaf=qos.external_ids.get(LEAF, ""),
                queues=tuple(_queue(key, uuid, snapshot) for key, uuid in sorted(qos.queues.items())),
            )
        entries.append(entry)
    return entries


def _queue(queue_id: int, uuid: UUID, snapshot: Snapshot) -> QueueEntry:
    row = snapshot.queues[uuid]
    low, high = rate(row.other_config, "min-rate"), rate(row.other_config, "max-rate")
    return QueueEntry(queue_id, kind_of(row.external_ids), low, high, rate(row.other_config, "priority") or 0)
