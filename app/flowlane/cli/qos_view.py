"""How ``flowlane qos`` looks: as tables for people, as JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowlane.southbound.nic_mapping import mapped_queues
from flowlane.units import format_rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from flowlane.southbound.findings import Finding
    from flowlane.southbound.nic import Vf
    from flowlane.southbound.nic_truth import NicTruth
    from flowlane.southbound.ovsdb.inventory import PortEntry
    from flowlane.southbound.ovsdb.plan import RowChange


class Outcome(NamedTuple):
    """What a change did: row changes, tc lines, and whether ovs-vswitchd took it over in time."""

    port: str
    rows: list[RowChange]
    tc: list[str]
    taken_over: bool
    dry_run: bool


def port_json(port: PortEntry, truths: Sequence[NicTruth | None], found: Sequence[Finding]) -> dict[str, Any]:
    """Return a port as JSON; rates are bit/s, null where nobody told."""
    return {
        "port": port.name,
        "bridge": port.bridge,
        "datapath_type": port.datapath,
        "qos_type": port.qos_type or None,
        "max_rate": port.max_rate,
        "made_by_flowlane": port.ours,
        "queues": [
            {
                "queue_id": queue.queue_id,
                "kind": queue.kind.word if queue.kind else None,
                "min_rate": queue.min_rate,
                "max_rate": queue.max_rate,
            }
            for queue in port.queues
        ],
        "nics": [_nic_json(truth) for truth in truths if truth],
        "findings": [finding_json(finding) for finding in found],
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
    }


def wide_console() -> Console:
    """Return a console that folds nothing below 120 columns: ids and rates cut short are useless in a pipe."""
    return Console(width=max(Console().width, 120), soft_wrap=True)


def print_ports(
    ports: Sequence[PortEntry],
    truths: Mapping[str, Sequence[NicTruth | None]],
    found: Mapping[str, Sequence[Finding]],
) -> None:
    """Print one line per queue, one for a port without queues, and the differences below."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("BRIDGE", "PORT", "NIC TX", "QOS", "RATE", "QUEUE", "KIND", "MIN RATE", "MAX RATE"):
        table.add_column(name, justify="right" if name in ("NIC TX", "QUEUE") else "left")
    for port in ports:
        head = [port.bridge, port.name, _transmit(truths[port.name]), _qos(port), format_rate(port.max_rate)]
        rows = [
            [
                str(q.queue_id),
                q.kind.word if q.kind else "-",
                format_rate(q.min_rate),
                format_rate(q.max_rate),
            ]
            for q in port.queues
        ] or [["-", "", "", ""]]
        for row in rows:
            table.add_row(*map(Text, head), *map(Text, row))
            head = [""] * len(head)
    console = wide_console()
    console.print(table)
    for finding in (finding for port in ports for finding in found[port.name]):
        console.print(Text(f"{finding.level.value}: {finding.where}: {finding.what}"))
        if finding.remedy:
            console.print(Text(f"  {finding.remedy}"))


def print_changes(outcome: Outcome) -> None:
    """Print what a change did, or would do."""
    console = wide_console()
    if not outcome.rows and not outcome.tc:
        console.print(f"{outcome.port}: nothing to change")
        return
    verb = "would " if outcome.dry_run else ""
    for change in outcome.rows:
        console.print(
            Text(f"{verb}{change.action} {change.table} {_name(change.row)} {_columns(change)}".rstrip())
        )
    for line in outcome.tc:
        console.print(Text(f"{verb}tc {line}"))
    if not outcome.taken_over:
        console.print("recorded, but ovs-vswitchd has not taken it over yet: is it running?")


def _nic_json(truth: NicTruth) -> dict[str, Any]:
    nic = truth.nic
    return {
        "name": nic.name,
        "driver": nic.driver or None,
        "up": nic.up,
        "speed": nic.speed,
        "tx_queues": nic.tx_queues,
        "rx_queues": nic.rx_queues,
        "most_tx_queues": truth.channels.most_tx if truth.channels else None,
        "vfs": nic.num_vfs,
        "total_vfs": nic.total_vfs,
        "functions": [_function_json(vf, truth) for vf in nic.vfs],
        "switch_id": nic.switch_id or None,
        "root_qdisc": next((f"{q.kind} {q.handle}" for q in truth.qdiscs if q.root), None),
        "mapped_queues": list(mapped_queues(truth.filters)),
    }


def _function_json(vf: Vf, truth: NicTruth) -> dict[str, Any]:
    limit = next((row for row in truth.limits if row.number == vf.number), None)
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


def _transmit(truths: Sequence[NicTruth | None]) -> str:
    numbers = {str(truth.nic.tx_queues) for truth in truths if truth}
    return "/".join(sorted(numbers)) or "-"
