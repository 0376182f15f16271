"""Views of ``flowlane qos``: ports and changes as tables and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table

from flowlane.cli.tables import Column, line
from flowlane.hosttools.nic.leaves import leaves_of
from flowlane.hosttools.nic.queues import mapped_queues
from flowlane.units import format_rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from flowlane.hosttools.findings import Finding
    from flowlane.hosttools.inventory import PortEntry
    from flowlane.hosttools.nic.consistency import NicState
    from flowlane.hosttools.nic.reader import Vf
    from flowlane.hosttools.qos_plan import RowChange

COLUMNS = (
    "BRIDGE", "PORT", "NIC TX", "QOS", "RATE", "QUEUE", "KIND", "MIN RATE", "MAX RATE", "PRIO", "LEAF",
)  # fmt: skip


PORT_COLUMNS = (
    Column("BRIDGE", lambda row: row["port"].bridge),
    Column("PORT", lambda row: row["port"].name),
    Column("QOS", lambda row: row["port"].qos_type or "-"),
    Column("RATE", lambda row: format_rate(row["rate"]), amount=lambda row: row["rate"]),
    Column("QUEUES", lambda row: str(len(row["port"].queues)), amount=lambda row: len(row["port"].queues)),
)
"""By what ports are sorted; the queues of a port stay together, by their id."""


class Outcome(NamedTuple):
    """Result of a change.

    ``rows``: changes in the database. ``tc``: lines of ``tc -batch``. ``taken_over``: ovs-vswitchd applied the
    rows in time. ``left_alone``: what gets no leaf, and why.
    """

    port: str
    rows: list[RowChange]
    tc: list[str]
    taken_over: bool
    dry_run: bool
    left_alone: tuple[str, ...] = ()


def port_json(
    port: PortEntry, states: Sequence[NicState | None], findings: Sequence[Finding]
) -> dict[str, Any]:
    """Return a port as JSON; rates are bit/s, null where unknown."""
    return {
        "port": port.name,
        "bridge": port.bridge,
        "datapath_type": port.datapath,
        "qos_type": port.qos_type or None,
        "max_rate": port.max_rate,
        "made_by_flowlane": port.ours,
        "leaf": port.leaf or None,
        "queues": [
            {
                "queue_id": queue.queue_id,
                "kind": queue.kind.word if queue.kind else None,
                "min_rate": queue.min_rate,
                "max_rate": queue.max_rate,
                "priority": queue.priority,
            }
            for queue in port.queues
        ],
        "nics": [_nic_json(state) for state in states if state],
        "findings": [finding_json(finding) for finding in findings],
    }


def finding_json(finding: Finding) -> dict[str, str]:
    """Return a finding as JSON."""
    return {**finding._asdict(), "level": finding.level.value}


def change_json(outcome: Outcome) -> dict[str, Any]:
    """Return what a change did, or would do, as JSON."""
    return {
        "port": outcome.port,
        "dry_run": outcome.dry_run,
        "changed": bool(outcome.rows or outcome.tc),
        "taken_over": outcome.taken_over,
        "rows": [_row_json(change) for change in outcome.rows],
        "tc": outcome.tc,
        "left_alone": list(outcome.left_alone),
    }


def wide_console() -> Console:
    """Return a console of at least 120 columns: truncated ids and rates are useless in a pipe."""
    return Console(width=max(Console().width, 120), soft_wrap=True)


def print_ports(
    ports: Sequence[PortEntry],
    states: Mapping[str, Sequence[NicState | None]],
    findings: Mapping[str, Sequence[Finding]],
) -> None:
    """Print one line per queue, one for a port without queues, and the differences below."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("NIC TX", "QUEUE", "PRIO") else "left")
    for port in ports:
        head = [port.bridge, port.name, _transmit(states[port.name]), _qos(port), format_rate(port.max_rate)]
        rows = [
            [
                str(q.queue_id),
                q.kind.word if q.kind else "-",
                format_rate(q.min_rate),
                format_rate(q.max_rate),
                str(q.priority),
                _leaf(q.queue_id, states[port.name]),
            ]
            for q in port.queues
        ] or [["-", "", "", "", "", ""]]
        for row in rows:
            table.add_row(*map(line, head), *map(line, row))
            head = [""] * len(head)
    console = wide_console()
    console.print(table)
    for finding in (finding for port in ports for finding in findings[port.name]):
        console.print(line(f"{finding.level.value}: {finding.where}: {finding.what}"))
        if finding.remedy:
            console.print(line(f"  {finding.remedy}"))


def print_changes(outcome: Outcome) -> None:
    """Print what a change did, or would do."""
    console = wide_console()
    if not outcome.rows and not outcome.tc:
        console.print(line(f"{outcome.port}: nothing to change"))
    verb = "would " if outcome.dry_run else ""
    for change in outcome.rows:
        console.print(
            line(f"{verb}{change.action} {change.table} {_name(change.row)} {_columns(change)}".rstrip())
        )
    for command in outcome.tc:
        console.print(line(f"{verb}tc {command}"))
    for text in outcome.left_alone:
        console.print(line(text))
    if not outcome.taken_over:
        console.print(
            "the database has the change, but ovs-vswitchd has not applied it yet; is ovs-vswitchd running?"
        )


def _nic_json(state: NicState) -> dict[str, Any]:
    nic = state.nic
    return {
        "name": nic.name,
        "driver": nic.driver or None,
        "up": nic.up,
        "speed": nic.speed,
        "tx_queues": nic.tx_queues,
        "rx_queues": nic.rx_queues,
        "most_tx_queues": state.channels.most_tx if state.channels else None,
        "vfs": nic.num_vfs,
        "total_vfs": nic.total_vfs,
        "functions": [_function_json(vf, state) for vf in nic.vfs],
        "switch_id": nic.switch_id or None,
        "root_qdisc": next((f"{q.kind} {q.handle}" for q in state.qdiscs if q.root), None),
        "mapped_queues": list(mapped_queues(state.filters)),
        "leaves": {str(queue_id): kind for queue_id, kind in leaves_of(state.qdiscs).items()},
    }


def _function_json(vf: Vf, state: NicState) -> dict[str, Any]:
    limit = next((row for row in state.limits if row.number == vf.number), None)
    return {
        "number": vf.number,
        "pci": vf.pci,
        "netdev": vf.netdev or None,
        "max_tx_rate": limit.max_tx if limit else None,
        "min_tx_rate": limit.min_tx if limit else None,
        "vlan": (limit.vlan or None) if limit else None,
    }


def _row_json(change: RowChange) -> dict[str, Any]:
    columns = {name: _plain(value) for name, value in change.columns.items()}
    return {"action": change.action, "table": change.table, "row": str(change.row), "columns": columns}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if value is None else str(value)


def _columns(change: RowChange) -> str:
    return " ".join(f"{name}={_plain(value)}" for name, value in change.columns.items())


def _name(row: UUID | str) -> str:
    return str(row)


def _qos(port: PortEntry) -> str:
    if not port.qos_type:
        return "-"
    return port.qos_type if port.ours else f"{port.qos_type} (not Flowlane's)"


def _leaf(queue_id: int, states: Sequence[NicState | None]) -> str:
    """Return the kind of a queue's leaf: of all members of a bond, where they differ."""
    kinds = {leaves_of(state.qdiscs).get(queue_id, "-") for state in states if state}
    return "/".join(sorted(kinds)) or "-"


def _transmit(states: Sequence[NicState | None]) -> str:
    numbers = {str(state.nic.tx_queues) for state in states if state}
    return "/".join(sorted(numbers)) or "-"
