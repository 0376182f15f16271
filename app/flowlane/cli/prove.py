"""``flowlane doctor --prove PORT``: which queues of a port are real on this host, by packets sent through each."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from flowlane.cli.arguments import format_of
from flowlane.cli.attach import tools_of
from flowlane.cli.output import show_data
from flowlane.cli.qos import database_of
from flowlane.cli.tables import Column, console, emit, table, text
from flowlane.core.device.roles import TUNNELS
from flowlane.core.model import QueueKind
from flowlane.errors import FlowlaneError, RequestError
from flowlane.hosttools import proof
from flowlane.hosttools.bridge_settings import Step
from flowlane.hosttools.client import open_database
from flowlane.hosttools.inventory import port_of
from flowlane.hosttools.nic.counters import read_class_counters, read_driver_counters
from flowlane.hosttools.nic.queues import mapped_queues
from flowlane.hosttools.nic.reader import read_state
from flowlane.hosttools.proof import Counters, Proof, Verdict
from flowlane.units import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from flowlane.hosttools.bridge_settings import Tools
    from flowlane.hosttools.inventory import PortEntry
    from flowlane.hosttools.nic.consistency import NicState
    from flowlane.southbound.ovsdb.rows import InterfaceRow

PAUSE = 0.5
"""Seconds in which the packets of others are counted before any packet is sent."""

PATIENCE = 1.5
"""Seconds at most until the packets of one queue are counted: some drivers bring counters up to date once a second."""

KERNEL_DATAPATH = "system"
"""The datapath that schedules queues."""

_BETWEEN = 0.05
"""Seconds between two readings of the counters."""

_NOT_A_LINK = {"patch": "a patch port", **dict.fromkeys(TUNNELS, "a tunnel")}
_STATE = r"^\s*{port}\(.*\n\s+config:\s+(.*)\n\s+state:\s+(.*)$"
"""A port in the output of ``ovs-ofctl dump-ports-desc``: what it is told, and how its link is."""


def run(args: argparse.Namespace) -> int:
    """Send and count; return 0, or 1 when a queue is not real."""
    database_of(args)
    tools = tools_of(args)
    with open_database(args.db, args.timeout) as database:
        snapshot = database.snapshot()
    port = port_of(snapshot, args.prove)
    bridge = next(row for row in snapshot.bridges.values() if row.name == port.bridge)
    version = max(bridge.protocols or ("OpenFlow13",))
    members = _usable(port, tools, version)
    proofs = [
        (row.name, found) for row, state in members for found in _prove(port, row, state, tools, version)
    ]
    form = format_of(args)
    if form is None:
        _print(port, proofs)
    else:
        show_data(lambda: [_json(name, found) for name, found in proofs], form)
    return int(any(found.verdict is Verdict.NOT_REAL for _, found in proofs))


def _usable(port: PortEntry, tools: Tools, version: str) -> list[tuple[InterfaceRow, NicState]]:
    """Return the interfaces by which packets can be sent.

    Raises:
        RequestError: nothing could be proved, or others would get packets that are of no use; the text says why.
    """
    name = port.name
    if tools.rundir is None:
        raise RequestError(f"--prove {name}: the database is another host's; run it on the host itself")
    if not port.queues:
        raise RequestError(f"--prove {name}: the port has no queues; flowlane qos apply {name} makes them")
    if kinds := [_NOT_A_LINK[row.type] for row in port.interfaces if row.type in _NOT_A_LINK]:
        raise RequestError(
            f"--prove {name}: this is {kinds[0]}, whose packets leave by other ports; prove the port that they leave by"
        )
    described = tools.read("ovs-ofctl", "-O", version, "dump-ports-desc", port.bridge)
    reasons, usable = [], []
    for row in port.interfaces:
        state = read_state(row.name)
        reason = _why_not(row, state, described)
        if reason or state is None:
            reasons.append(f"{row.name} {reason}")
        else:
            usable.append((row, state))
    if not usable:
        raise RequestError(f"--prove {name}: {'; '.join(reasons)}")
    return usable


def _why_not(row: InterfaceRow, state: NicState | None, described: str) -> str:
    """Say why no packet can be sent by an interface, nothing where it can."""
    if state is None:
        return "is not a network device of this host: its queues cannot be read"
    if row.ofport is None or row.ofport < 0:
        return f"is not in use by Open vSwitch{f': {row.error}' if row.error else ''}"
    found = re.search(_STATE.format(port=row.ofport), described, re.MULTILINE)
    if found is None:
        return "is not a port that the switch describes"
    config, link = found[1].split(), found[2].split()
    if "PORT_DOWN" in config or "LINK_DOWN" in link:
        return f"is down: nothing would leave; ip link set {row.name} up"
    if "NO_FWD" in config or any(word.startswith("STP_") and word != "STP_FORWARD" for word in link):
        return "forwards no packets (spanning tree, or no-forward): nothing would leave"
    return ""


def _prove(
    port: PortEntry, row: InterfaceRow, state: NicState, tools: Tools, version: str
) -> Iterator[Proof]:
    """Send packets by each queue of an interface, one after the other."""
    assert row.ofport is not None

    def read() -> Counters:
        return _read(port.bridge, row, tools, version)

    mapped, scheduled = mapped_queues(state.filters), port.datapath == KERNEL_DATAPATH
    start = read()
    time.sleep(PAUSE)
    idle = start, read()
    before = idle[1]
    for queue in port.queues:
        _send(port.bridge, row.ofport, queue.queue_id, tools, version)
        deadline = time.monotonic() + (PATIENCE if scheduled else 0.0)
        after = read()
        while not proof.has_arrived(queue.queue_id, before, after) and time.monotonic() < deadline:
            time.sleep(_BETWEEN)
            after = read()
        is_mapped = queue.queue_id in mapped
        yield proof.prove(
            queue.queue_id, queue.kind, before, after, idle, mapped=is_mapped, scheduled=scheduled
        )
        before = after


def _send(bridge: str, ofport: int, queue_id: int, tools: Tools, version: str) -> None:
    packet_out = f"in_port=CONTROLLER, packet={proof.frame()}, actions={proof.actions(queue_id, ofport)}"
    command = ("ovs-ofctl", "-O", version, "packet-out", bridge, packet_out)
    tools.run(Step(f"send {proof.PACKETS} packets by queue {queue_id}", command))


def _read(bridge: str, row: InterfaceRow, tools: Tools, version: str) -> Counters:
    statistics = tools.read("ovs-ofctl", "-O", version, "queue-stats", bridge, str(row.ofport))
    try:
        classes = read_class_counters(row.name)
    except FlowlaneError as error:
        raise RequestError(f"--prove: the kernel's counters of {row.name} cannot be read: {error}") from None
    driver = read_driver_counters(row.name)
    return Counters(proof.parse_queue_statistics(statistics), classes, driver or None, time.monotonic())


_KINDS = {None: "-", QueueKind.PHYSICAL: "physical", QueueKind.SOFTWARE: "software"}

COLUMNS = (
    Column("INTERFACE", lambda item: item["interface"], 3),
    Column("QUEUE", lambda item: str(item["queue_id"]), right=True),
    Column("KIND", lambda item: text(item["kind"]), 2),
    Column("SENT", lambda item: str(item["sent"]), right=True),
    Column("SWITCH", lambda item: text(item["switch"]), right=True),
    Column("KERNEL", lambda item: text(item["kernel"]), right=True),
    Column(
        "DRIVER", lambda item: text(None if item["driver"] is None else ",".join(map(str, item["driver"])))
    ),
    Column("VERDICT", lambda item: item["verdict"]),
    Column("WHY", lambda item: item["why"], 4),
)


def _json(interface: str, found: Proof) -> dict[str, Any]:
    kind = None if found.kind is None else _KINDS[found.kind]
    return {"interface": interface, **found._asdict(), "kind": kind}


def _print(port: PortEntry, proofs: list[tuple[str, Proof]]) -> None:
    out = console()
    emit(out, table(COLUMNS, [_json(name, found) for name, found in proofs], out.width))
    real = sum(found.verdict is Verdict.REAL for _, found in proofs)
    verb = "is" if len(proofs) == 1 else "are"
    print(f"{port.name}: {real} of {counted(len(proofs), 'queue')} {verb} real on this host")
