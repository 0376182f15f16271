"""The transaction that writes row changes into the database, and detects concurrent changes of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowlane.hosttools.client import Database
    from flowlane.hosttools.qos_plan import RowChange
    from flowlane.southbound.ovsdb.rows import Snapshot


def apply_plan(
    database: Database, plan: Callable[[Snapshot], list[RowChange]], timeout: float = 5.0
) -> tuple[list[RowChange], bool]:
    """Plan changes for the present state and commit them; plan again when another client changed it meanwhile.

    Args:
        plan: returns the changes that a snapshot needs.
        timeout: seconds to wait for ovs-vswitchd.

    Returns:
        The changes, and whether ovs-vswitchd has applied them in time. It counts what it has applied in
        ``Open_vSwitch:cur_cfg``, for which ``ovs-vsctl`` waits too.

    Raises:
        DatabaseError: the server refused the transaction, or the connection was lost; nothing was changed.
        FlowlaneError: what ``plan`` raises.
    """
    changes: list[RowChange] = []

    def compose(transaction: Any, tables: Any) -> None:
        changes[:] = plan(database.snapshot())
        if changes:
            _write(changes, transaction, tables)
            next(iter(tables["Open_vSwitch"].rows.values())).increment("next_cfg")

    database.transact(compose)
    return changes, not changes or _wait_until_applied(database, timeout)


def _wait_until_applied(database: Database, timeout: float) -> bool:
    def is_applied() -> bool:
        return all(root.cur_cfg >= root.next_cfg for root in database.snapshot().roots.values())

    return database.wait_for(is_applied, "", required=False, timeout=timeout)


def _write(changes: list[RowChange], transaction: Any, tables: Any) -> None:
    """Write the changes; the commit fails if a value that they replace has changed meanwhile."""
    inserted: dict[str, Any] = {}
    _verify_ports(changes, tables["Port"].rows)
    for change in changes:
        if change.action == "insert":
            row = inserted[str(change.row)] = transaction.insert(tables[change.table])
        else:
            row = tables[change.table].rows[change.row]
        if change.action == "delete":
            row.delete()
            continue
        for name, value in change.columns.items():
            if change.action == "update":
                row.verify(name)
            setattr(row, name, _resolve(name, value, inserted))


def _verify_ports(changes: list[RowChange], ports: Any) -> None:
    """Make the commit fail if a port has begun or ceased to use a QoS row that is changed here.

    The Python IDL verifies only rows that are written, so the unchanged value is written.
    """
    touched = {change.row for change in changes if change.table == "QoS"}
    for row in ports.values():
        if touched.intersection(row.qos):
            row.verify("qos")
            row.qos = row.qos


def _resolve(name: str, value: Any, inserted: dict[str, Any]) -> Any:
    """Replace the names of rows that are inserted in this transaction by the rows."""
    if name == "qos":
        return [] if value is None else [inserted.get(value, value)]
    if name == "queues":
        return {queue_id: inserted.get(row, row) for queue_id, row in value.items()}
    return value
