"""Puts a plan of row changes into the database, in one transaction, against what others do meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowlane.hosttools.client import Database
    from flowlane.hosttools.qos_plan import RowChange
    from flowlane.southbound.ovsdb.rows import Snapshot


def apply_plan(
    database: Database, plan: Callable[[Snapshot], list[RowChange]], patience: float = 5.0
) -> tuple[list[RowChange], bool]:
    """Plan on the database's present state and commit; plan anew when somebody changed it in between.

    Returns the changes made, and whether ovs-vswitchd took them over within ``patience`` seconds (it counts
    what it has done in ``Open_vSwitch:cur_cfg``; ``ovs-vsctl`` waits for the same sign).

    Raises:
        DatabaseError: the server refused, or the connection was lost; nothing was changed.
        FlowlaneError: what ``plan`` raises.
    """
    made: list[RowChange] = []

    def compose(transaction: Any, tables: Any) -> None:
        made[:] = plan(database.snapshot())
        if made:
            _write(made, transaction, tables)
            next(iter(tables["Open_vSwitch"].rows.values())).increment("next_cfg")

    database.transact(compose)
    return made, not made or _taken_over(database, patience)


def _taken_over(database: Database, patience: float) -> bool:
    def done() -> bool:
        return all(root.cur_cfg >= root.next_cfg for root in database.snapshot().roots.values())

    return database.wait_for(done, "", must=False, timeout=patience)


def _write(changes: list[RowChange], transaction: Any, tables: Any) -> None:
    """Write the changes; the commit fails if a value that they replace is no longer what it was."""
    made: dict[str, Any] = {}
    _hold_ports(changes, tables["Port"].rows)
    for change in changes:
        if change.action == "insert":
            row = made[str(change.row)] = transaction.insert(tables[change.table])
        else:
            row = tables[change.table].rows[change.row]
        if change.action == "delete":
            row.delete()
            continue
        for name, value in change.columns.items():
            if change.action == "update":
                row.verify(name)
            setattr(row, name, _resolve(name, value, made))


def _hold_ports(changes: list[RowChange], ports: Any) -> None:
    """Make the commit fail if a port took up, or gave up, a QoS row that is changed here.

    The Python IDL sends a check only for rows that are written, so the value is written as it is.
    """
    touched = {change.row for change in changes if change.table == "QoS"}
    for row in ports.values():
        if touched.intersection(row.qos):
            row.verify("qos")
            row.qos = row.qos


def _resolve(name: str, value: Any, made: dict[str, Any]) -> Any:
    """Put the rows made in this transaction in the places of their names."""
    if name == "qos":
        return [] if value is None else [made.get(value, value)]
    if name == "queues":
        return {queue_id: made.get(row, row) for queue_id, row in value.items()}
    return value
