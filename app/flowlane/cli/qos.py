"""``flowlane qos``: show, make and clear the queues of a port, in the Open vSwitch database and on its NIC."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from flowlane.cli.arguments import (
    DATA_FORMATS,
    FORMATS,
    MAX_QUEUES,
    add_action,
    add_format,
    add_tls_files,
    format_of,
    positive_rate,
    seconds,
    shown,
    whole_number,
)
from flowlane.cli.client import Answer
from flowlane.cli.output import add_sorting, in_order, show_data, show_names
from flowlane.cli.qos_views import PORT_COLUMNS, Outcome, change_json, port_json, print_changes, print_ports
from flowlane.core.model import QueueKind
from flowlane.errors import FlowlaneError, RequestError
from flowlane.hosttools.apply import apply_plan
from flowlane.hosttools.client import open_database, prepare
from flowlane.hosttools.inventory import port_of, ports_of
from flowlane.hosttools.nic.consistency import PortQueues, differences
from flowlane.hosttools.nic.leaves import (
    FQ_CODEL,
    LEAVES,
    LeafPlan,
    plan_first_leaves,
    plan_leaves,
    plan_removal,
)
from flowlane.hosttools.nic.queues import HTB, QosRequest, desired_qos, plan_mapping, plan_unmapping
from flowlane.hosttools.nic.reader import read_state
from flowlane.hosttools.nic.tc import has_no_such_kind, run_batch
from flowlane.hosttools.qos_plan import MAX_PRIO, plan_clear, plan_qos
from flowlane.southbound.ovsdb.remote import TlsFiles
from flowlane.stdio import print_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flowlane.hosttools.findings import Finding
    from flowlane.hosttools.inventory import PortEntry
    from flowlane.hosttools.nic.consistency import NicState
    from flowlane.hosttools.qos_plan import DesiredQos, RowChange
    from flowlane.southbound.ovsdb.rows import Snapshot


QOS_TYPES = (HTB, "linux-hfsc")
"""Types of QoS rows whose queues have min-rate and max-rate (ovs-vswitchd.conf.db(5), table QoS)."""


def default_remote() -> str:
    """Return the database socket of this host's Open vSwitch; $OVS_RUNDIR is its directory, as for ovs-vsctl."""
    return f"unix:{os.environ.get('OVS_RUNDIR', '/var/run/openvswitch')}/db.sock"


def add_common(parser: argparse.ArgumentParser, formats: Sequence[str] = DATA_FORMATS) -> None:
    """Add the options of every command that uses the database.

    Args:
        formats: the values of ``--output``.
    """
    parser.add_argument(
        "--db", default=default_remote(), metavar="REMOTE", help="unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT"
    )
    add_tls_files(parser)
    parser.add_argument(
        "--timeout",
        type=seconds(0.1, 3600),
        default=5.0,
        metavar="SECONDS",
        help="time that the database may take (default 5)",
    )
    add_format(parser, formats)


def database_of(args: argparse.Namespace) -> str:
    """Return the database that the options name, and set its TLS up.

    Raises:
        ConfigError: see :func:`flowlane.hosttools.client.prepare`.
    """
    return prepare(args.db, TlsFiles(args.private_key, args.certificate, args.ca_cert))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands and options of ``flowlane qos``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = add_action(actions, "show", "show queues of ports, and where NIC, database and switch differ")
    show.add_argument("port", nargs="?", help="name of a port (default: all ports)")
    add_sorting(show, PORT_COLUMNS)
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
    make.add_argument(
        "--priority",
        type=_priority,
        action="append",
        default=[],
        metavar="QUEUES=PRIO",
        help=f"HTB's prio of queues, such as 0=0 or 1-3=1: 0 (first) to {MAX_PRIO}; repeatable, 0 for the other queues "
        "(default: the rows' priorities stay)",
    )
    make.add_argument(
        "--leaf",
        choices=LEAVES,
        default=FQ_CODEL,
        help=f"qdisc under each queue of {HTB} that Linux schedules (default {FQ_CODEL}; none removes it)",
    )
    clear = add_action(
        actions,
        "clear",
        "remove the queues of a port with their leaves, and the tc filters of --map-hardware",
    )
    clear.add_argument("port", help="name of a port of a bridge of this Open vSwitch")
    for action in (make, clear):
        action.add_argument(
            "--replace", action="store_true", help="also replace a QoS row that Flowlane did not make"
        )
        action.add_argument("--dry-run", action="store_true", help="print what would change, change nothing")
    for action in (show, make, clear):
        add_common(action, tuple(FORMATS) if action is show else DATA_FORMATS)


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
    priorities = {queue.queue_id: queue.priority for queue in port.queues}
    scheduled = port.datapath == "system"
    return PortQueues(port.name, port.qos_type, queues, reported, scheduled, port.ours, port.leaf, priorities)


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
    if args.sort_by is not None:
        rows = in_order(
            [Answer(port=port, rate=port.max_rate) for port in ports], args.sort_by, reverse=args.reverse
        )
        ports = [row["port"] for row in rows]
    form = format_of(args)
    if form == "name":
        show_names(port.name for port in ports)
    elif form in DATA_FORMATS:
        show_data(lambda: [port_json(port, states[port.name], findings[port.name]) for port in ports], form)
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

    def leaves(_before: PortEntry, port: PortEntry, states: list[NicState | None]) -> LeafPlan:
        return _leaf_plan(port, states, desired(port, states), args)

    return _change(args, plan, lines, leaves)


def _clear(args: argparse.Namespace) -> int:
    def plan(now: Snapshot) -> list[RowChange]:
        return plan_clear(args.port, now, replace=args.replace)

    def leaves(before: PortEntry, port: PortEntry, states: list[NicState | None]) -> LeafPlan:
        """Open vSwitch removes leaves with their queues; these are what it leaves because it does not run."""
        if before.qos_type != HTB or port.qos_type:
            return LeafPlan()
        pairs = zip(port.interfaces, states, strict=True)
        return _together([plan_removal(row.name, state.qdiscs) for row, state in pairs if state])

    return _change(args, plan, _unmap_lines, leaves)


def _change(
    args: argparse.Namespace,
    plan: Callable[[Snapshot], list[RowChange]],
    lines_for: Callable[[PortEntry, list[NicState | None]], list[str]],
    leaves_for: Callable[[PortEntry, PortEntry, list[NicState | None]], LeafPlan],
) -> int:
    """Change rows first, then the NIC: mapping and leaves need the queues that the database has then.

    Obstacles to the mapping are errors before anything is changed.

    Args:
        leaves_for: plans from the port before and after.
    """
    with open_database(args.db, args.timeout) as database:
        snapshot = database.snapshot()
        before = port_of(snapshot, args.port)
        lines_for(before, nic_states(before, args.db))
        rows, taken = (plan(snapshot), True) if args.dry_run else apply_plan(database, plan, args.timeout)
        port = before if args.dry_run else port_of(database.snapshot(), args.port)
    states = nic_states(port, args.db)
    lines, leaves = lines_for(port, states), leaves_for(before, port, states)
    if not args.dry_run:
        run_batch(lines)
        leaves = _run_leaves(leaves)
    outcome = Outcome(args.port, rows, [*lines, *leaves.lines], taken, args.dry_run, leaves.left_alone)
    form = format_of(args)
    if form is None:
        print_changes(outcome)
    else:
        show_data(lambda: change_json(outcome), form)
    return 0


def _run_leaves(leaves: LeafPlan) -> LeafPlan:
    """Carry the plan out; a kernel without fq_codel has queues without leaves, and that is no failure."""
    try:
        run_batch(leaves.lines)
    except FlowlaneError as error:
        if not has_no_such_kind(error):
            raise
        text = f"this kernel has no {FQ_CODEL}; no leaf (modprobe sch_fq_codel, or --leaf none)"
        return LeafPlan((), (*leaves.left_alone, text))
    return leaves


def _leaf_plan(
    port: PortEntry, states: list[NicState | None], wanted: DesiredQos, args: argparse.Namespace
) -> LeafPlan:
    """Plan the leaves of all interfaces of a port, with what is left alone and why."""
    leaf, ids = args.leaf, [queue.queue_id for queue in wanted.queues]
    if reason := _why_no_leaf(port, wanted, args.db):
        return LeafPlan(left_alone=(f"{port.name}: {reason}; no leaf",) if leaf == FQ_CODEL else ())
    plans = []
    for row, state in zip(port.interfaces, states, strict=True):
        if state is None:
            text = f"{row.name}: not a network device of this host (type {row.type or 'system'}); no leaf"
            plans.append(LeafPlan(left_alone=(text,) if leaf == FQ_CODEL else ()))
        elif port.qos_type != wanted.type:  # A dry run: Open vSwitch would make the root qdisc anew.
            plans.append(plan_first_leaves(row.name, ids, leaf, wanted.max_rate))
        else:
            existing = ids if args.dry_run else [each.queue_id for each in state.classes]
            plans.append(plan_leaves(row.name, ids, leaf, state.qdiscs, existing, wanted.max_rate))
    return _together(plans)


def _together(plans: Sequence[LeafPlan]) -> LeafPlan:
    return LeafPlan(
        tuple(line for each in plans for line in each.lines),
        tuple(text for each in plans for text in each.left_alone),
    )


def _why_no_leaf(port: PortEntry, wanted: DesiredQos, remote: str) -> str:
    """Return why no queue of a port gets a leaf, as far as the database shows it."""
    if not remote.startswith("unix:"):
        return f"the database {remote} is of another host, and tc of this one; run the command there"
    if wanted.type != HTB:
        return f"{wanted.type} takes packets out of a leaf to look at them, which {FQ_CODEL} does not suit"
    if port.datapath != "system":
        return "the userspace datapath does not schedule queues"
    return ""


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
        priorities={key: prio for part in args.priority for key, prio in part.items()}
        if args.priority
        else None,
        leaf=args.leaf,
    )


def _priority(text: str) -> dict[int, int]:
    """Read a ``--priority``, such as ``1-3=1``: the priority of each of the queues."""
    queues, equals, prio = text.partition("=")
    first, dash, last = queues.partition("-")
    numbers = (first, last if dash else first, prio)
    if equals and all(word.isascii() and word.isdecimal() and len(word) <= 5 for word in numbers):
        low, high, value = map(int, numbers)
        if low <= high < MAX_QUEUES and value <= MAX_PRIO:
            return dict.fromkeys(range(low, high + 1), value)
    accepted = f"QUEUE=PRIO or FIRST-LAST=PRIO with a PRIO from 0 to {MAX_PRIO}, such as 1-3=1"
    raise argparse.ArgumentTypeError(f"{shown(text)} is not {accepted}")


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


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "show": _show,
    "apply": _apply,
    "clear": _clear,
}
