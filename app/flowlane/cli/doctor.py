"""``flowlane doctor``: what keeps this host from working with Flowlane, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from flowlane.cli import prove
from flowlane.cli.arguments import add_url, format_of
from flowlane.cli.attach import tools_of
from flowlane.cli.client import Answer, RefusedError, UnreachableError, client_of, pages
from flowlane.cli.output import show_data
from flowlane.cli.qos import add_common, compare, database_of, nic_states
from flowlane.cli.qos_views import finding_json, wide_console
from flowlane.cli.tables import line
from flowlane.errors import DatabaseError, FlowlaneError
from flowlane.hosttools import sampling
from flowlane.hosttools.checks import Host, check_choice, check_database, offloads
from flowlane.hosttools.client import open_database, reported_queues
from flowlane.hosttools.findings import Finding, Level
from flowlane.hosttools.inventory import ports_of
from flowlane.hosttools.nic.reader import kernel_datapath

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from flowlane.hosttools.bridge_settings import Tools
    from flowlane.southbound.ovsdb.rows import Snapshot

_HOSTS = "docs/operators/many-hosts.md: what each state and problem means"
_CONFLICT = "docs/operators/beside-others.md: give your entry another priority or table, or --start-table"

_OWN_DPID = (
    "give each bridge one of its own: ovs-vsctl set bridge NAME other-config:datapath-id=0000000000000001"
)

_STYLES = {Level.OK: "green", Level.INFO: "blue", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flowlane doctor``."""
    add_common(parser)
    add_url(parser)
    parser.add_argument(
        "--prove",
        metavar="PORT",
        help="send a few marked packets by each queue of a port, and show which counters count them",
    )


def run(args: argparse.Namespace) -> int:
    """Check and print; return 0, or 1 when there is a problem."""
    if args.prove is not None:
        return prove.run(args)
    findings = examine(args)
    form = format_of(args)
    if form is None:
        _print(findings)
    else:
        show_data(lambda: [finding_json(finding) for finding in findings], form)
    return int(any(finding.level is Level.PROBLEM for finding in findings))


def examine(args: argparse.Namespace) -> list[Finding]:
    """Find everything about the Open vSwitch of the options and, where it is local, about this host."""
    remote = args.db
    try:
        with open_database(database_of(args), args.timeout) as database:
            snapshot = database.snapshot()
    except FlowlaneError as error:
        remedy = "systemctl start openvswitch-switch, or --db REMOTE; reading the socket needs root"
        return [Finding(Level.PROBLEM, "Open vSwitch", str(error), remedy)]
    local = remote.startswith("unix:")
    findings = check_database(snapshot, Host(local, kernel_datapath()))
    names = {bridge.name for bridge in snapshot.bridges.values()}
    of_controller = _controller(args, names if offloads(snapshot) else set(), names, tools_of(args))
    return findings + (_ports(snapshot, remote) if local else []) + of_controller


def _controller(
    args: argparse.Namespace, offloading: set[str], bridges: set[str], tools: Tools
) -> list[Finding]:
    """Find what the controller says of devices and databases: how queues are chosen, what is unusable or away.

    Args:
        offloading: names of the bridges whose flows are to be offloaded.
        bridges: names of the bridges of this Open vSwitch.
    """
    try:
        client = client_of(args)
        devices = pages(client, "/v1/devices", {}, None)["items"]
        databases = pages(client, "/v1/databases", {}, None)["items"]
    except (UnreachableError, RefusedError) as error:
        what = f"conflicts with entries of other controllers are not listed: {error}"
        return [Finding(Level.INFO, "controller", what, "start flowlane-manager, or give --url")]
    findings: list[Finding] = []
    for device in devices:
        kind = "passive switch" if device["declared"] else "bridge"
        where = f"{kind} {device['name'] or device['dpid']}"
        queues = sum(of_kind["total"] for of_kind in device["queues"].values())
        choice = check_choice(where, device["queues_by"], queues, device["name"] in offloading)
        findings += [choice] if choice is not None else []
        if device["sampling"] and device["name"] in bridges:
            findings.append(_samples(where, device["name"], tools))
        if device["unusable"]:
            findings.append(Finding(Level.PROBLEM, where, f"unusable: {device['unusable']}", ""))
        if peers := device["dpid_shared_by"]:
            what = f"switches at {', '.join(peers)} connect with this datapath id in turns"
            findings.append(Finding(Level.PROBLEM, where, what, _OWN_DPID))
        findings += [Finding(Level.WARNING, where, text, _CONFLICT) for text in device["conflicts"]]
    return findings + _databases(databases)


def _databases(databases: Sequence[Answer]) -> list[Finding]:
    """Find databases that the controller cannot read, and devices that two of them describe."""
    findings: list[Finding] = []
    for database in databases:
        where = f"database {database['name']}"
        if database["state"] not in ("synchronized", "listening"):
            what = f"{database['state']}: {database['problem'] or 'no problem is known yet'}"
            findings.append(Finding(Level.WARNING, where, what, _HOSTS))
        elif database["problem"]:
            findings.append(Finding(Level.WARNING, where, database["problem"], _HOSTS))
        findings += [
            Finding(
                Level.WARNING,
                where,
                f"describes device {conflict['device']}, which database {conflict['described_by']} described first",
                "give each bridge a datapath id of its own, and name each host's database once",
            )
            for conflict in database["conflicts"]
        ]
    return findings


def _samples(where: str, bridge: str, tools: Tools) -> Finding:
    try:
        return sampling.check_set(where, bridge, sampling.read_set(tools, bridge))
    except DatabaseError as error:
        return Finding(Level.INFO, where, f"where samples of packets go is not known: {error}", "")


def _ports(snapshot: Snapshot, remote: str) -> list[Finding]:
    rundir = Path(remote.removeprefix("unix:")).parent
    protocols = {bridge.name: bridge.protocols for bridge in snapshot.bridges.values()}
    findings: list[Finding] = []
    for port in ports_of(snapshot):
        if port.queues:
            name = port.interfaces[0].name
            reported = reported_queues(port.bridge, name, rundir, protocols[port.bridge])
            findings += compare(port, nic_states(port, remote), reported)
    return findings


def _print(findings: Sequence[Finding]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("LEVEL", "WHERE", "WHAT"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        text = line(finding.what)
        if finding.remedy and finding.level is not Level.OK:
            text.append("\n").append_text(line(f"-> {finding.remedy}", "bold"))
        if finding.source and finding.level is not Level.OK:
            text.append("\n").append_text(line(f"   ({finding.source})", "dim"))
        table.add_row(line(finding.level.value, _STYLES[finding.level]), line(finding.where), text)
    wide_console().print(table)
