"""The changes of database rows that give a port the queues that it should have; pure functions.

Rules of ownership:

- A row with ``external_ids:flowlane=PORT`` is Flowlane's to change.
- A QoS row without the mark is another program's, and is replaced only on request.
- A row that another port or QoS row also uses is never changed or deleted.
- QoS and Queue rows are root rows, which Open vSwitch never garbage-collects (ovs-vswitchd.conf.db(5)). So
  rows that this port no longer uses are deleted here.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flowlane.core.model import QueueKind
from flowlane.errors import NotFoundError, RequestError
from flowlane.southbound.ovsdb.describe import KIND
from flowlane.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from flowlane.southbound.ovsdb.rows import QosRow, QueueRow, Snapshot

MARK = "flowlane"
LEAF = "flowlane-leaf"
"""The key of a QoS row's external_ids that records which leaf its queues should have: ``fq_codel`` or ``none``."""

MAX_PRIO = 7
"""The kernel's HTB has priorities 0 to 7, and takes a higher one for 7 (TC_HTB_NUMPRIO, net/sched/sch_htb.c)."""


class DesiredQueue(NamedTuple):
    """A queue that a port should have. Rates are bit/s; ``min_rate`` None: not set.

    ``priority``: HTB's prio, 0 is served first; None: what the row has, stays.
    """

    queue_id: int
    kind: QueueKind
    min_rate: int | None
    max_rate: int
    priority: int | None = None


class DesiredQos(NamedTuple):
    """The QoS row that a port should have. ``max_rate`` is that of the whole port in bit/s.

    ``leaf``: the qdisc under each queue, ``fq_codel`` or ``none``.
    """

    port: str
    type: str
    max_rate: int
    queues: tuple[DesiredQueue, ...]
    leaf: str = "none"


class RowChange(NamedTuple):
    """One change of one row. ``row`` is a UUID, or for an inserted row a name that other changes use.

    The columns of an update are whole values, not differences. A change of table Port sets ``Port.qos``.
    """

    action: Literal["insert", "update", "delete"]
    table: Literal["Port", "QoS", "Queue"]
    row: UUID | str
    columns: Mapping[str, Any] = {}


def even_queues(
    physical: int, software: int, max_rate: int, min_rate: int | None
) -> tuple[DesiredQueue, ...]:
    """Return ``physical`` queues from id 0 on, then ``software`` ones, all with the same rates (bit/s).

    HTB divides the link in proportion to the guarantees. A queue without one gets Open vSwitch's minimum of
    one MTU per second, and a small flow in it waits for the heavy ones.

    Args:
        min_rate: guarantee of each queue; None: an even part of the port's rate, so that all together never
            exceed it.

    Raises:
        RequestError: the guarantees together exceed the rate, or there is no queue.
    """
    number = physical + software
    if physical < 0 or software < 0 or not 0 < number <= 61440:
        raise RequestError("queues: give 1 to 61440 in all (Open vSwitch's limit for linux-htb)")
    low = max_rate // number if min_rate is None else min_rate
    if low * number > max_rate:
        raise RequestError(
            f"min-rate: {low} bit/s for each of {counted(number, 'queue')} exceed the port's rate of {max_rate} bit/s"
        )
    kinds = [QueueKind.PHYSICAL] * physical + [QueueKind.SOFTWARE] * software
    return tuple(DesiredQueue(index, kind, low or None, max_rate) for index, kind in enumerate(kinds))


def plan_qos(desired: DesiredQos, present: Snapshot, *, replace: bool = False) -> list[RowChange]:
    """Return the changes that give the port its desired rows; empty when it has them already.

    Raises:
        NotFoundError: there is no such port.
        RequestError: the port has another program's QoS row, and ``replace`` is not set.
    """
    port, old = _port(present, desired.port)
    qos = present.qos.get(old) if old else None
    uses = _qos_uses(present)
    if qos is not None and not _ours(qos.external_ids, desired.port) and not replace:
        raise RequestError(
            f"port {desired.port} has a QoS row that Flowlane did not make (type {qos.type}, "
            f"{counted(len(qos.queues), 'queue')}); --replace replaces it"
        )
    kept = old if qos is not None and _ours(qos.external_ids, desired.port) and uses[old] == 1 else None
    changes, queues = _queues(desired, present, qos if kept else None)
    columns = _qos_columns(desired, queues, qos if kept else None)
    if kept is None:
        changes += [
            RowChange("insert", "QoS", "qos", columns),
            RowChange("update", "Port", port, {"qos": "qos"}),
        ]
    elif qos is not None and any(getattr(qos, name) != value for name, value in columns.items()):
        changes.append(RowChange("update", "QoS", kept, columns))
    in_use: dict[UUID | str, Mapping[int, UUID | str]] = {"qos" if kept is None else kept: queues}
    return changes + list(_leftovers(desired.port, present, in_use, old))


def plan_clear(port_name: str, present: Snapshot, *, replace: bool = False) -> list[RowChange]:
    """Return the changes that remove the port's QoS and Flowlane's rows for it; empty when there is none.

    Raises:
        NotFoundError: there is no such port.
        RequestError: the QoS row is another program's, and ``replace`` is not set.
    """
    port, old = _port(present, port_name)
    qos = present.qos.get(old) if old else None
    if qos is not None and not _ours(qos.external_ids, port_name) and not replace:
        raise RequestError(f"port {port_name} has a QoS row that Flowlane did not make; --replace removes it")
    changes = [RowChange("update", "Port", port, {"qos": None})] if qos is not None else []
    return changes + list(_leftovers(port_name, present, {}, old))


def orphans(present: Snapshot) -> tuple[list[UUID], list[UUID]]:
    """Return the QoS rows that no port uses, and the Queue rows that no QoS row uses."""
    used = {port.qos for port in present.ports.values()}
    queues = {uuid for qos in present.qos.values() for uuid in qos.queues.values()}
    return [u for u in present.qos if u not in used], [u for u in present.queues if u not in queues]


def _port(present: Snapshot, name: str) -> tuple[UUID, UUID | None]:
    for uuid, port in present.ports.items():
        if port.name == name:
            return uuid, port.qos
    raise NotFoundError(f"no bridge of this Open vSwitch has a port {name}")


def _ours(external_ids: Mapping[str, str], port: str) -> bool:
    return external_ids.get(MARK) == port


def _qos_uses(present: Snapshot) -> Counter[UUID | None]:
    return Counter(port.qos for port in present.ports.values())


def _queue_uses(present: Snapshot) -> Counter[UUID]:
    return Counter(uuid for qos in present.qos.values() for uuid in qos.queues.values())


def _queues(
    desired: DesiredQos, present: Snapshot, qos: QosRow | None
) -> tuple[list[RowChange], dict[int, UUID | str]]:
    """Return the changes of Queue rows, and the row of each queue id after them."""
    changes: list[RowChange] = []
    queues: dict[int, UUID | str] = {}
    uses = _queue_uses(present)
    for queue in desired.queues:
        uuid = qos.queues.get(queue.queue_id) if qos else None
        row = present.queues[uuid] if uuid is not None and uses[uuid] == 1 else None
        columns = _queue_columns(desired.port, queue, row)
        if uuid is None or row is None:
            queues[queue.queue_id] = name = f"queue{queue.queue_id}"
            changes.append(RowChange("insert", "Queue", name, columns))
            continue
        queues[queue.queue_id] = uuid
        if (row.other_config, row.external_ids) != (columns["other_config"], columns["external_ids"]):
            changes.append(RowChange("update", "Queue", uuid, columns))
    return changes, queues


def _queue_columns(port: str, queue: DesiredQueue, row: QueueRow | None) -> dict[str, Any]:
    """Return the columns with Flowlane's keys and those that the operator has added, such as ``burst``."""
    config = dict(row.other_config) if row else {}
    config["max-rate"] = str(queue.max_rate)
    config.pop("min-rate", None)
    if queue.min_rate is not None:
        config["min-rate"] = str(queue.min_rate)
    if queue.priority is not None:
        config.pop("priority", None)
    if queue.priority:
        config["priority"] = str(queue.priority)
    ids = {**(row.external_ids if row else {}), MARK: port, KIND: queue.kind.word}
    return {"other_config": config, "external_ids": ids}


def _qos_columns(desired: DesiredQos, queues: Mapping[int, UUID | str], row: QosRow | None) -> dict[str, Any]:
    return {
        "type": desired.type,
        "queues": dict(queues),
        "other_config": {**(row.other_config if row else {}), "max-rate": str(desired.max_rate)},
        "external_ids": {**(row.external_ids if row else {}), MARK: desired.port, LEAF: desired.leaf},
    }


def _leftovers(
    port: str,
    present: Snapshot,
    kept: Mapping[UUID | str, Mapping[int, UUID | str]],
    old: UUID | None,
) -> Iterator[RowChange]:
    """Yield the deletion of the port's former QoS row, and of rows marked for this port that nothing uses any more.

    The queues of the former row are deleted too, marked or not, unless another QoS row uses them.
    """
    used = {row.qos for row in present.ports.values() if row.name != port}
    unused = {
        uuid
        for uuid, row in present.qos.items()
        if uuid not in used and uuid not in kept and (uuid == old or _ours(row.external_ids, port))
    }
    yield from (RowChange("delete", "QoS", uuid) for uuid in sorted(unused))
    deleted = {uuid for uuid in (old, *unused) if uuid is not None and uuid not in used}
    candidates = {uuid for row in deleted for uuid in present.qos[row].queues.values()}
    candidates |= {uuid for uuid, row in present.queues.items() if _ours(row.external_ids, port)}
    in_use = {uuid for qos, row in present.qos.items() if qos not in deleted for uuid in row.queues.values()}
    in_use |= {uuid for queues in kept.values() for uuid in queues.values() if not isinstance(uuid, str)}
    yield from (RowChange("delete", "Queue", uuid) for uuid in sorted(candidates - in_use))
