"""``flowlane qos``: show, make and clear the queues of a port, in the Open vSwitch database and on its NIC."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowlane.cli.arguments import MAX_QUEUES, add_action, positive_rate, seconds, shown, whole_number
from flowlane.core.model import QueueKind
from flowlane.errors import FlowlaneError, RequestError
from flowlane.hosttools.apply import apply_plan
from flowlane.hosttools.client import open_database
from flowlane.hosttools.inventory import port_of, ports_of
from flowlane.hosttools.nic.consistency import PortQueues, differences
from flowlane.hosttools.nic.queues import QosRequest, desired_qos, mapped_queues, plan_mapping, plan_unmapping
from flowlane.hosttools.nic.reader import read_state
from flowlane.hosttools.nic.tc import run_batch
from flowlane.hosttools.qos_plan import plan_clear, plan_qos
from flowlane.southbound.ovsdb.remote import TlsFiles, prepare
from flowlane.stdio import print_error
from flowlane.units import format_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from flowlane.hosttools.findings import Finding
    from flowlane.hosttools.inventory import PortEntry
    from flowlane.hosttools.nic.consistency import NicState
    from flowlane.hosttools.nic.reader import Vf
    from flowlane.hosttools.qos_plan import DesiredQos, RowChange
    from flowlane.southbound.ovsdb.rows import Snapshot


class Outcome(NamedTuple):
    """Result of a change.

    ``rows``: changes in the database. ``tc``: lines of ``tc -batch``. ``taken_over``: ovs-vswitchd applied the
    rows in time.
    """

    port: str
    rows: list[RowChange]
    tc: list[str]
    taken_over: bool
    dry_run: bool


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
        "queues": [
            {
                "queue_id": queue.queue_id,
                "kind": queue.kind.word if queue.kind else None,
                "min_rate": queue.min_rate,
                "max_rate": queue.max_rate,
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
    for name in ("BRIDGE", "PORT", "NIC TX", "QOS", "RATE", "QUEUE", "KIND", "MIN RATE", "MAX RATE"):
        table.add_column(name, justify="right" if name in ("NIC TX", "QUEUE") else "left")
    for port in ports:
        head = [port.bridge, port.name, _transmit(states[port.name]), _qos(port), format_rate(port.max_rate)]
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
    for finding in (finding for port in ports for finding in findings[port.name]):
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


def _transmit(states: Sequence[NicState | None]) -> str:
    numbers = {str(state.nic.tx_queues) for state in states if state}
    return "/".join(sorted(numbers)) or "-"


QOS_TYPES = ("linux-htb", "linux-hfsc")
"""Types of QoS rows whose queues have min-rate and max-rate (ovs-vswitchd.conf.db(5), table QoS)."""

TLS_FILES = {
    "private-key": "private key of this program",
    "certificate": "certificate of this program",
    "ca-cert": "certificate of the CA that signed the database's",
}
"""The options of ovs-vsctl(8)."""


def default_remote() -> str:
    """Return the database socket of this host's Open vSwitch; $OVS_RUNDIR is its directory, as for ovs-vsctl."""
    return f"unix:{os.environ.get('OVS_RUNDIR', '/var/run/openvswitch')}/db.sock"


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that uses the database."""
    parser.add_argument(
        "--db", default=default_remote(), metavar="REMOTE", help="unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT"
    )
    for name, about in TLS_FILES.items():
        parser.add_argument(f"--{name}", metavar="FILE", help=f"{about} (PEM), for ssl:HOST:PORT")
    parser.add_argument(
        "--timeout",
        type=seconds(0.1, 3600),
        default=5.0,
        metavar="SECONDS",
        help="time that the database may take (default 5)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def database_of(args: argparse.Namespace) -> str:
    """Return the database that the options name, and set its TLS up.

    Raises:
        ConfigError: see :func:`flowlane.southbound.ovsdb.remote.prepare`.
    """
    return prepare(args.db, TlsFiles(args.private_key, args.certificate, args.ca_cert))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands and options of ``flowlane qos``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = add_action(actions, "show", "show queues of ports, and where NIC, database and switch differ")
    show.add_argument("port", nargs="?", help="name of a port (default: all ports)")
    make = add_action(actions, "apply", "make the queues of a port; repeat it at will (idempotent)")
    make.add_argument("port", help="name of a port of a bridge of this Open vSwitch")
    make.add_argument(
        "--queues",
        type=_queues,
        default="auto",
        metavar="N|auto",
        help="physical queues; auto (default): the NIC's transmit queues",
    )
    make.add_argument(
        "--software-queues",
        type=whole_number(0, MAX_QUEUES, "number of queues"),
        default=0,
        metavar="M",
        help="queues of kind software, behind the physical ones (default 0)",
    )
    make.add_argument(
        "--rate",
        type=positive_rate,
        metavar="RATE",
        help="rate of the whole port, such as 10Gbit/s (default: the link's speed)",
    )
    make.add_argument(
        "--min-rate",
        type=_min_rate,
        default="even",
        metavar="RATE|even|none",
        help="guarantee of each queue (default even: rate / number of queues)",
    )
    make.add_argument(
        "--type",
        choices=QOS_TYPES,
        default=QOS_TYPES[0],
        help=f"type of the QoS row (default {QOS_TYPES[0]})",
    )
    make.add_argument(
        "--map-hardware", action="store_true", help="tc filters: queue k leaves by transmit queue k"
    )
    clear = add_action(actions, "clear", "remove the queues of a port, and the tc filters of --map-hardware")
    clear.add_argument("port", help="name of a port of a bridge of this Open vSwitch")
    for action in (make, clear):
        action.add_argument(
            "--replace", action="store_true", help="also replace a QoS row that Flowlane did not make"
        )
        action.add_argument("--dry-run", action="store_true", help="print what would change, change nothing")
    for action in (show, make, clear):
        add_common(action)


def run(args: argparse.Namespace) -> int:
    """Run the sub-command; return 0, or 1 when it was refused or failed, with the reason on standard error."""
    try:
        database_of(args)
        return _ACTIONS[args.action](args)
    except FlowlaneError as error:
        print_error(f"flowlane qos {args.action}: {error}")
        return 1


def nic_states(port: PortEntry, remote: str) -> list[NicState | None]:
    """Read the state of a port's interfaces on this host; None for each when the database is of another host.

    A TCP address may be a tunnel into a guest, so only a Unix socket counts as this host.
    """
    return [read_state(row.name) if remote.startswith("unix:") else None for row in port.interfaces]


def port_queues(port: PortEntry, reported: tuple[int, ...] | None = None) -> PortQueues:
    """Return a port's queues as the database has them, and as the switch reports them."""
    queues = tuple((queue.queue_id, queue.kind) for queue in port.queues)
    return PortQueues(port.name, port.qos_type, queues, reported, port.datapath == "system")


def compare(
    port: PortEntry, states: list[NicState | None], reported: tuple[int, ...] | None = None
) -> list[Finding]:
    """Compare a port's queues with the NIC of each of its interfaces."""
    queues_of_port = port_queues(port, reported)
    return list(dict.fromkeys(finding for state in states for finding in differences(queues_of_port, state)))


def _show(args: argparse.Namespace) -> int:
    with open_database(args.db, args.timeout) as database:
        snapshot = database.snapshot()
    ports = [port_of(snapshot, args.port)] if args.port else ports_of(snapshot)
    states = {port.name: nic_states(port, args.db) for port in ports}
    findings = {
        port.name: compare(port, states[port.name]) if port.queues or args.port else [] for port in ports
    }
    if args.json:
        _print_json([port_json(port, states[port.name], findings[port.name]) for port in ports])
    else:
        print_ports(ports, states, findings)
    return 0


def _apply(args: argparse.Namespace) -> int:
    request = _request(args)

    def desired(port: PortEntry, states: list[NicState | None]) -> DesiredQos:
        return desired_qos(request, port, [state.nic if state else None for state in states])

    def plan(now: Snapshot) -> list[RowChange]:
        port = port_of(now, args.port)
        return plan_qos(desired(port, nic_states(port, args.db)), now, replace=args.replace)

    def lines(port: PortEntry, states: list[NicState | None]) -> list[str]:
        if not args.map_hardware:
            return []
        kinds = [queue.kind for queue in desired(port, states).queues]
        return _map_lines(port, states, kinds.count(QueueKind.PHYSICAL))

    return _change(args, plan, lines)


def _clear(args: argparse.Namespace) -> int:
    return _change(args, lambda now: plan_clear(args.port, now, replace=args.replace), _unmap_lines)


def _change(
    args: argparse.Namespace,
    plan: Callable[[Snapshot], list[RowChange]],
    lines_for: Callable[[PortEntry, list[NicState | None]], list[str]],
) -> int:
    """Change rows first, then the NIC: the mapping needs the queues that the database has then.

    Obstacles on the NIC are findings before anything is changed.
    """
    with open_database(args.db, args.timeout) as database:
        before = database.snapshot()
        port = port_of(before, args.port)
        lines_for(port, nic_states(port, args.db))
        rows, taken = (plan(before), True) if args.dry_run else apply_plan(database, plan, args.timeout)
        port = port_of(before if args.dry_run else database.snapshot(), args.port)
    lines = lines_for(port, nic_states(port, args.db))
    if not args.dry_run:
        run_batch(lines)
    outcome = Outcome(args.port, rows, lines, taken, args.dry_run)
    _print_json(change_json(outcome)) if args.json else print_changes(outcome)
    return 0


def _map_lines(port: PortEntry, states: list[NicState | None], queues: int) -> list[str]:
    lines: list[str] = []
    for row, state in zip(port.interfaces, states, strict=True):
        if state is None:
            raise RequestError(f"--map-hardware: {row.name} is not a network device of this host")
        number = min(queues, state.nic.tx_queues)
        lines += plan_mapping(row.name, number, state.qdiscs, state.filters)
    return lines


def _unmap_lines(port: PortEntry, states: list[NicState | None]) -> list[str]:
    pairs = zip(port.interfaces, states, strict=True)
    return [line for row, state in pairs if state for line in plan_unmapping(row.name, state.filters)]


def _request(args: argparse.Namespace) -> QosRequest:
    return QosRequest(
        queues=args.queues,
        software_queues=args.software_queues,
        rate=args.rate,
        min_rate=args.min_rate,
        type=args.type,
    )


def _queues(text: str) -> int | None:
    """Read ``--queues``: a number, or None for ``auto``."""
    if text == "auto":
        return None
    try:
        return whole_number(1, MAX_QUEUES)(text)
    except argparse.ArgumentTypeError:
        accepted = f"auto or a number of queues from 1 to {MAX_QUEUES}"
        raise argparse.ArgumentTypeError(f"{shown(text)} is not {accepted}") from None


def _min_rate(text: str) -> int | None:
    """Read ``--min-rate`` in bit/s: None for ``even``, 0 for ``none``."""
    if text in {"even", "none"}:
        return None if text == "even" else 0
    try:
        return positive_rate(text)
    except argparse.ArgumentTypeError:
        accepted = "even, none or a rate such as 50Mbit/s"
        raise argparse.ArgumentTypeError(f"{shown(text)} is not {accepted}") from None


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "show": _show,
    "apply": _apply,
    "clear": _clear,
}
