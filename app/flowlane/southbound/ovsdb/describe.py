"""From a snapshot of the database to the events of the engine; pure functions, tested without a database."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.device.roles import ROLE_KEY
from flowlane.core.events import DeviceDescribed
from flowlane.core.model import PortFacts, QueueFacts, QueueKind
from flowlane.southbound.openflow.wire.constants import LOCAL_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from flowlane.southbound.ovsdb.rows import BridgeRow, InterfaceRow, PortRow, QosRow, QueueRow, Snapshot

ROLE = "flowlane-role"
KIND = "flowlane-kind"

OVSDB_LOCAL = 65534
"""The ofport of a bridge's own port: OVSDB numbers it as OpenFlow 1.0 did, in 16 bits."""

_DPID = re.compile(r"[0-9a-fA-F]{1,16}\Z")
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\Z")
_NUMBER = re.compile(r"[0-9]{1,19}\Z")
_KINDS = {kind.word: kind for kind in (QueueKind.PHYSICAL, QueueKind.SOFTWARE)}
_RATES = ("min-rate", "max-rate")


class Defect(NamedTuple):
    """A value in the database that Open vSwitch or Flowlane ignores: where it is, what is wrong, and the remedy."""

    where: str
    what: str
    remedy: str


class Description(NamedTuple):
    """All bridges by UUID; None for a bridge to which ovs-vswitchd has not given a datapath id yet."""

    devices: Mapping[UUID, DeviceDescribed | None]
    defects: tuple[Defect, ...]


def describe(snapshot: Snapshot) -> Description:
    """Describe every bridge, and list what was ignored."""
    devices: dict[UUID, DeviceDescribed | None] = {}
    defects: list[Defect] = []
    taken: dict[int, str] = {}
    for uuid, bridge in sorted(snapshot.bridges.items(), key=lambda item: item[1].name):
        device = _device(bridge, snapshot, defects)
        if device is not None and taken.setdefault(device.dpid, bridge.name) != bridge.name:
            other = taken[device.dpid]
            what = f"has the datapath id of bridge {other}; ignored"
            remedy = (
                f"give it one of its own: ovs-vsctl set bridge {bridge.name} other-config:datapath-id=DPID"
            )
            defects.append(Defect(f"bridge {bridge.name}", what, remedy))
            continue
        devices[uuid] = device
    return Description(devices, tuple(dict.fromkeys(defects)))


def described_after(
    before: Mapping[UUID, DeviceDescribed], now: Mapping[UUID, DeviceDescribed | None]
) -> dict[UUID, DeviceDescribed]:
    """Return the devices after a new description of the bridges.

    A bridge without a datapath id keeps its last description: ``datapath_id`` is an ephemeral column, so
    after a restart of ovsdb-server every bridge is without it for a moment.
    """
    after = {uuid: before.get(uuid) if device is None else device for uuid, device in now.items()}
    return {uuid: device for uuid, device in after.items() if device is not None}


def rate(config: Mapping[str, str], key: str) -> int | None:
    """Read a rate in bit/s, or a priority, as Open vSwitch does: a whole number; None when it counts as unset.

    Open vSwitch reads anything else as 0, so 0 and malformed text mean the same here.
    """
    text = config.get(key, "")
    return (int(text) or None) if _NUMBER.match(text) else None


def kind_of(external_ids: Mapping[str, str]) -> QueueKind | None:
    """Read a queue's kind; None when it is missing or unknown."""
    return _KINDS.get(external_ids.get(KIND, ""))


class _Machine(NamedTuple):
    """The machine of a database, as :class:`DeviceDescribed` has it."""

    host: str = ""
    host_name: str = ""
    tunnel_addresses: tuple[str, ...] = ()


def _machine(snapshot: Snapshot) -> _Machine:
    """Read which machine the database is of (ovs-vswitchd.conf.db(5), table Open_vSwitch; ovn-controller(8))."""
    for uuid, root in snapshot.roots.items():
        ids = root.external_ids
        system = ids.get("system-id", "")
        addresses = tuple(part.strip() for part in ids.get("ovn-encap-ip", "").split(",") if part.strip())
        return _Machine(system or str(uuid), ids.get("hostname") or system, addresses)
    return _Machine()


def _device(bridge: BridgeRow, snapshot: Snapshot, defects: list[Defect]) -> DeviceDescribed | None:
    if not _DPID.match(bridge.datapath_id):
        return None
    ports: dict[int, PortFacts] = {}
    for port in (snapshot.ports[uuid] for uuid in bridge.ports if uuid in snapshot.ports):
        interfaces = _interfaces(port, snapshot)
        members = tuple(sorted(interfaces)) if len(port.interfaces) > 1 else ()
        qos = snapshot.qos.get(port.qos) if port.qos else None
        for number, interface in interfaces.items():
            ports[number] = _port(port, interface, members, qos, snapshot.queues, defects)
    return DeviceDescribed(
        dpid=int(bridge.datapath_id, 16),
        name=bridge.name,
        role=bridge.external_ids.get(ROLE),
        external_ids=bridge.external_ids,
        datapath_type=bridge.datapath_type or "system",
        ports=MappingProxyType(dict(sorted(ports.items()))),
        spanning_tree="rstp" if bridge.rstp_enable else "stp" if bridge.stp_enable else "",
        **_machine(snapshot)._asdict(),
    )


def _interfaces(port: PortRow, snapshot: Snapshot) -> dict[int, InterfaceRow]:
    """Map port numbers to a port's interfaces that have one; the interfaces of a bond are ports of their own."""
    rows = (snapshot.interfaces[uuid] for uuid in port.interfaces if uuid in snapshot.interfaces)
    numbered = {row.ofport: row for row in rows if row.ofport is not None and row.ofport > 0}
    return {LOCAL_PORT if number == OVSDB_LOCAL else number: row for number, row in numbered.items()}


_OTHER_NAMES = {"vm-id": "vm-uuid", "attached_mac": "attached-mac"}
"""External ids of an Interface as libvirt (virnetdevopenvswitch.c) and OVN-Kubernetes (pkg/cni) name them -> as Open
vSwitch (ovs-vswitchd.conf.db(5), "Virtual Machine Identifiers") and everybody else does."""


def _external_ids(port: PortRow, interface: InterfaceRow) -> Mapping[str, str]:
    """Return the interface's external ids; the port's role may stand in the Port row, once for a whole bond."""
    added = {} if (role := port.external_ids.get(ROLE_KEY)) is None else {ROLE_KEY: role}
    for key, standard in _OTHER_NAMES.items():
        if key in interface.external_ids:
            added[standard] = interface.external_ids[key]
    if added.keys() <= interface.external_ids.keys():
        return interface.external_ids
    return MappingProxyType({**added, **interface.external_ids})


def _port(
    port: PortRow,
    interface: InterfaceRow,
    members: tuple[int, ...],
    qos: QosRow | None,
    queues: Mapping[UUID, QueueRow],
    defects: list[Defect],
) -> PortFacts:
    mac = interface.mac_in_use
    return PortFacts(
        name=interface.name,
        external_ids=_external_ids(port, interface),
        mac=int(mac.replace(":", ""), 16) if _MAC.match(mac) else 0,
        interface_type=interface.type,
        options=interface.options,
        port=port.name,
        members=members,
        bond_mode=port.bond_mode if members else "",
        tag=port.tag,
        trunks=tuple(sorted(port.trunks)),
        vlan_mode=port.vlan_mode,
        link_speed=interface.link_speed or None,
        driver=interface.status.get("driver_name", ""),
        qos_type=qos.type if qos else "",
        qos_max_rate=_checked(qos.other_config, ("max-rate",), f"QoS of port {port.name}", defects)[0]
        if qos
        else None,
        queues=MappingProxyType(_queues(port.name, qos.queues, queues, defects) if qos else {}),
    )


def _queues(
    port: str, ids: Mapping[int, UUID], rows: Mapping[UUID, QueueRow], defects: list[Defect]
) -> dict[int, QueueFacts]:
    facts = {}
    for queue_id, uuid in sorted(ids.items()):
        row = rows.get(uuid)
        if row is None:
            continue
        where = f"queue {queue_id} of port {port}"
        low, high = _checked(row.other_config, _RATES, where, defects)
        facts[queue_id] = QueueFacts(
            _kind(row, where, defects), low, high, rate(row.other_config, "priority")
        )
    return facts


def _checked(
    config: Mapping[str, str], keys: Iterable[str], where: str, defects: list[Defect]
) -> list[int | None]:
    for key in keys:
        text = config.get(key)
        if text is not None and not _NUMBER.match(text):
            what = f"other_config:{key}={text} is not a whole number of bit/s, so Open vSwitch ignores it"
            defects.append(Defect(where, what, "set a whole number of bit/s"))
    return [rate(config, key) for key in keys]


def _kind(row: QueueRow, where: str, defects: list[Defect]) -> QueueKind | None:
    word = row.external_ids.get(KIND)
    if word is not None and word not in _KINDS:
        what = f"external_ids:{KIND}={word} is neither physical nor software; ignored"
        defects.append(Defect(where, what, f"set external_ids:{KIND} to physical or software, or remove it"))
    return kind_of(row.external_ids)
