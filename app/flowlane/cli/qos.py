"""``flowlane qos``: show, make and clear the queues of a port, in the Open vSwitch database and on its NIC."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from flowlane.cli.qos_view import Outcome, change_json, port_json, print_changes, print_ports
from flowlane.core.model import QueueKind
from flowlane.errors import FlowlaneError, RequestError
from flowlane.southbound.nic_mapping import plan_mapping, plan_unmapping
from flowlane.southbound.nic_qos import Wish, want
from flowlane.southbound.nic_reader import read_truth
from flowlane.southbound.nic_tc import run_batch
from flowlane.southbound.nic_truth import Said, differences
from flowlane.southbound.ovsdb.apply import apply_plan
from flowlane.southbound.ovsdb.client import open_database
from flowlane.southbound.ovsdb.inventory import port_of, ports_of
from flowlane.southbound.ovsdb.plan import plan_clear, plan_qos
from flowlane.southbound.ovsdb.remote import TlsFiles, prepare
from flowlane.units import parse_rate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from flowlane.southbound.findings import Finding
    from flowlane.southbound.nic_truth import NicTruth
    from flowlane.southbound.ovsdb.inventory import PortEntry
    from flowlane.southbound.ovsdb.plan import RowChange, WantedQos
    from flowlane.southbound.ovsdb.rows import Snapshot


TLS_FILES = {
    "private-key": "our private key",
    "certificate": "our certificate",
    "ca-cert": "certificate of who signed the database's",
}
"""The options of ovs-vsctl(8)."""


def default_remote() -> str:
    """Return the database socket of this host's Open vSwitch (OVS_RUNDIR counts, as for ovs-vsctl)."""
    return f"unix:{os.environ.get('OVS_RUNDIR', '/var/run/openvswitch')}/db.sock"


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that talks to the database."""
    parser.add_argument(
        "--db", default=default_remote(), metavar="REMOTE", help="unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT"
    )
    for name, about in TLS_FILES.items():
        parser.add_argument(f"--{name}", metavar="FILE", help=f"{about} (PEM), for ssl:HOST:PORT")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="SECONDS", help="patience with the database"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def database_of(args: argparse.Namespace) -> str:
    """The database that the options name, with its TLS made ready.

    Raises:
        ConfigError: see :func:`flowlane.southbound.ovsdb.remote.prepare`.
    """
    return prepare(args.db, TlsFiles(args.private_key, args.certificate, args.ca_cert))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands and options of ``flowlane qos``."""
    actions = parser.add_subparsers(dest="action", required=True)
    show = actions.add_parser("show", help="queues of ports, and where NIC, database and switch differ")
    show.add_argument("port", nargs="?", help="one port only")
    make = actions.add_parser(
        "apply", help="make a port's queues, again or anew; run it as often as you like"
    )
    make.add_argument("port")
    make.add_argument(
        "--queues", default="auto", metavar="N|auto", help="physical queues; auto: the NIC's transmit queues"
    )
    make.add_argument(
        "--software-queues", type=int, default=0, metavar="M", help="queues of kind software, after them"
    )
    make.add_argument(
        "--rate", metavar="RATE", help="of the whole port, such as 10Gbit/s (default: the link's speed)"
    )
    make.add_argument("--min-rate", default="even", metavar="RATE|even|none", help="guarantee of each queue")
    make.add_argument("--type", default="linux-htb", help="type of the QoS row (default: linux-htb)")
    make.add_argument(
        "--map-hardware", action="store_true", help="tc filters: queue k leaves by transmit queue k"
    )
    clear = actions.add_parser(
        "clear", help="take a port's queues away, and the tc filters of --map-hardware"
    )
    clear.add_argument("port")
    for action in (make, clear):
        action.add_argument(
            "--replace", action="store_true", help="also a QoS row that Flowlane did not make"
        )
        action.add_argument("--dry-run", action="store_true", help="print what would change, change nothing")
    for action in (show, make, clear):
        add_common(action)


def run(args: argparse.Namespace) -> int:
    """Run the sub-command; 0 done, 1 refused or failed (the reason goes to the standard error)."""
    try:
        database_of(args)
        return _ACTIONS[args.action](args)
    except FlowlaneError as error:
        print(f"flowlane qos {args.action}: {error}", file=sys.stderr)
        return 1


def truths_of(port: PortEntry, remote: str) -> list[NicTruth | None]:
    """Return what this host says of a port's interfaces; nothing when the database is not this host's.

    A TCP address may be a tunnel into a guest, so only a Unix socket counts as this host.
    """
    return [read_truth(row.name) if remote.startswith("unix:") else None for row in port.interfaces]


def said_of(port: PortEntry, reported: tuple[int, ...] | None = None) -> Said:
    """Return what Open vSwitch says of a port's queues."""
    queues = tuple((queue.queue_id, queue.kind) for queue in port.queues)
    return Said(port.name, port.qos_type, queues, reported, port.datapath == "system")


def compare(
    port: PortEntry, truths: list[NicTruth | None], reported: tuple[int, ...] | None = None
) -> list[Finding]:
    """Compare a port with every interface of it."""
    said = said_of(port, reported)
    return list(dict.fromkeys(finding for truth in truths for finding in differences(said, truth)))


def _show(args: argparse.Namespace) -> int:
    with open_database(args.db, args.timeout) as database:
        snapshot = database.snapshot()
    ports = [port_of(snapshot, args.port)] if args.port else ports_of(snapshot)
    truths = {port.name: truths_of(port, args.db) for port in ports}
    found = {
        port.name: compare(port, truths[port.name]) if port.queues or args.port else [] for port in ports
    }
    if args.json:
        _print_json([port_json(port, truths[port.name], found[port.name]) for port in ports])
    else:
        print_ports(ports, truths, found)
    return 0


def _apply(args: argparse.Namespace) -> int:
    wish = _wish(args)

    def wanted(port: PortEntry, truths: list[NicTruth | None]) -> WantedQos:
        return want(wish, port, [truth.nic if truth else None for truth in truths])

    def plan(now: Snapshot) -> list[RowChange]:
        port = port_of(now, args.port)
        return plan_qos(wanted(port, truths_of(port, args.db)), now, replace=args.replace)

    def lines(port: PortEntry, truths: list[NicTruth | None]) -> list[str]:
        if not args.map_hardware:
            return []
        kinds = [queue.kind for queue in wanted(port, truths).queues]
        return _map_lines(port, truths, kinds.count(QueueKind.PHYSICAL))

    return _change(args, plan, lines)


def _clear(args: argparse.Namespace) -> int:
    return _change(args, lambda now: plan_clear(args.port, now, replace=args.replace), _unmap_lines)


def _change(
    args: argparse.Namespace,
    plan: Callable[[Snapshot], list[RowChange]],
    lines_for: Callable[[PortEntry, list[NicTruth | None]], list[str]],
) -> int:
    """Change rows first, then the NIC: the mapping follows the queues that the database has by then.

    What is in the way on the NIC is found before anything is changed.
    """
    with open_database(args.db, args.timeout) as database:
        before = database.snapshot()
        port = port_of(before, args.port)
        lines_for(port, truths_of(port, args.db))
        rows, taken = (plan(before), True) if args.dry_run else apply_plan(database, plan, args.timeout)
        port = port_of(before if args.dry_run else database.snapshot(), args.port)
    lines = lines_for(port, truths_of(port, args.db))
    if not args.dry_run:
        run_batch(lines)
    outcome = Outcome(args.port, rows, lines, taken, args.dry_run)
    _print_json(change_json(outcome)) if args.json else print_changes(outcome)
    return 0


def _map_lines(port: PortEntry, truths: list[NicTruth | None], queues: int) -> list[str]:
    lines: list[str] = []
    for row, truth in zip(port.interfaces, truths, strict=True):
        if truth is None:
            raise RequestError(f"--map-hardware: {row.name} is not a network device of this host")
        number = min(queues, truth.nic.tx_queues)
        lines += plan_mapping(row.name, number, truth.qdiscs, truth.filters)
    return lines


def _unmap_lines(port: PortEntry, truths: list[NicTruth | None]) -> list[str]:
    pairs = zip(port.interfaces, truths, strict=True)
    return [line for row, truth in pairs if truth for line in plan_unmapping(row.name, truth.filters)]


def _wish(args: argparse.Namespace) -> Wish:
    if args.queues != "auto" and not (args.queues.isascii() and args.queues.isdigit()):
        raise RequestError(f"--queues: {args.queues!r} is neither a number nor auto")
    return Wish(
        queues=None if args.queues == "auto" else int(args.queues),
        software_queues=args.software_queues,
        rate=parse_rate(args.rate) if args.rate else None,
        min_rate=_MIN_RATES[args.min_rate] if args.min_rate in _MIN_RATES else parse_rate(args.min_rate),
        type=args.type,
    )


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


_MIN_RATES: Mapping[str, int | None] = {"even": None, "none": 0}
_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "show": _show,
    "apply": _apply,
    "clear": _clear,
}
