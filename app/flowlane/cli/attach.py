"""``flowlane attach`` and ``flowlane detach``: put Flowlane on a bridge, and take it off again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from flowlane.cli.arguments import TLS_FILES, format_of
from flowlane.cli.output import show_data
from flowlane.cli.qos import add_common, database_of
from flowlane.errors import DatabaseError, FlowlaneError, RequestError
from flowlane.escaping import escaped, escaped_lines
from flowlane.hosttools import attachment, bridge_tables, sampling
from flowlane.hosttools.bridge_settings import Step, Tools, checked, read_bridge
from flowlane.stdio import print_error
from flowlane.units import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from flowlane.hosttools.attachment import Detachment
    from flowlane.hosttools.bridge_settings import BridgeSettings
    from flowlane.hosttools.bridge_tables import Tables

_TRIES = 5
"""How often entries are deleted: the switch may learn one more while its entries are deleted."""


class _Report:
    """What was done or would be done, step by step."""

    def __init__(self, bridge: str, tools: Tools, dry_run: bool) -> None:
        self.bridge = bridge
        self.dry_run = dry_run
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self._tools = tools

    def take(self, steps: list[Step]) -> None:
        """Carry steps out one after another, unless it is a dry run."""
        for step in steps:
            self.steps.append(step)
            if not self.dry_run:
                self._tools.run(step)

    def take_at_once(self, first: list[Step], then: list[Step]) -> None:
        """Carry out the first steps and, as soon as they are done, the others, the last of which waits ready."""
        if self.dry_run or not then:
            self.take([*first, *then])
            return
        *early, last = then
        with self._tools.start(last) as process:
            assert process.stdin is not None
            try:
                process.stdin.write(last.text)
                process.stdin.flush()
                self.take([*first, *early])
            except BaseException:
                process.kill()
                raise
            self.steps.append(last)
            output, errors = process.communicate()
        checked(last, process.returncode, output, errors)

    def print(self, form: str | None) -> None:
        """Print all steps and notes, as data where a format is named."""
        if form is not None:
            value = {
                "bridge": self.bridge,
                "dry_run": self.dry_run,
                "changed": bool(self.steps) and not self.dry_run,
                "steps": [
                    {"why": step.why, "command": list(step.command), "input": step.text}
                    for step in self.steps
                ],
                "notes": self.notes,
            }
            show_data(lambda: value, form)
            return
        for step in self.steps:
            print(escaped(f"# {step.why}"))
            lines = escaped_lines(step.text)
            print(escaped(shlex.join(step.command)) + (f" <<'END'\n{lines}END" if lines else ""))
        if not self.steps:
            print(escaped(f"{self.bridge}: nothing to change"))
        for note in self.notes:
            print(escaped(f"note: {note}"))


class Command(NamedTuple):
    """A subcommand. ``controller``: the help of its option ``--controller``."""

    name: str
    controller: str
    carry_out: Callable[[argparse.Namespace, Tools, BridgeSettings, _Report], None]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("bridge", help="name of a bridge of this Open vSwitch")
        default = attachment.DEFAULT_TARGET if self.name == "attach" else None
        parser.add_argument("--controller", metavar="TARGET", default=default, help=self.controller)
        if self.name == "attach":
            parser.add_argument(
                "--despite-conflicts",
                action="store_true",
                help="also where entries of others in table 0 would not be met any more",
            )
            parser.add_argument(
                "--sampling",
                metavar="ADDRESS:PORT",
                nargs="?",
                const="",
                help="where flowlane-manager --ipfix-listen receives samples of packets (default: the controller's "
                "address, port 4739); off: send none",
            )
        parser.add_argument(
            "--dry-run", action="store_true", help="print what would be changed, change nothing"
        )
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Carry out the command; return 0, or 1 when it was refused or failed, with the reason on standard error."""
        try:
            database_of(args)
            tools = tools_of(args)
            report = _Report(args.bridge, tools, args.dry_run)
            if args.controller is not None:
                attachment.check_target(args.controller)
            self.carry_out(args, tools, read_bridge(tools, args.bridge), report)
        except FlowlaneError as error:
            print_error(f"flowlane {self.name}: {error}")
            return 1
        report.print(format_of(args))
        return 0


def tools_of(args: argparse.Namespace) -> Tools:
    """Return the tools for the Open vSwitch that the options name."""
    tls = [f"--{name}={value}" for name in TLS_FILES if (value := getattr(args, name.replace("-", "_")))]
    return Tools(args.db, tuple(tls), args.timeout)


def _attach(args: argparse.Namespace, tools: Tools, bridge: BridgeSettings, report: _Report) -> None:
    tables = bridge_tables.read_tables(tools, bridge) if tools.rundir else None
    if tables is not None and not args.despite_conflicts:
        _refuse_conflicts(bridge, tables)
    report.notes += attachment.attach_notes(bridge, args.controller)
    on = args.sampling not in (None, sampling.OFF)
    target = sampling.target_of(args.sampling, args.controller) if on else ""
    steps = attachment.plan_attach(bridge, tables, args.controller)
    report.take(steps)
    if steps:
        report.notes.append(
            "flowlane devices lists it when it is connected; until then it forwards as before"
        )
    if args.sampling is not None:
        present = sampling.read_set(tools, bridge.name)
        report.take(sampling.plan(bridge, present, target) if on else sampling.remove(present))
    if on:
        report.notes.append("packets are sampled where the policy has sampling, such as sampling: 1/64")


def _refuse_conflicts(bridge: BridgeSettings, tables: Tables) -> None:
    """Refuse a bridge whose entries in table 0 Flowlane's would keep from being met: packets would go other ways.

    Raises:
        RequestError: there are such entries, and Flowlane has none there yet.
    """
    if tables.ours or not (entries := bridge_tables.kept_from(tables)):
        return
    number = counted(len(entries), "entry", "entries")
    raise RequestError(
        f"{bridge.name} has {number} in table 0, such as {entries[0]!r}, that no packet would meet any "
        "more: there are not enough priorities for Flowlane's below them. Give them higher ones, or let table 0 lead "
        "to another start table (flowlane-manager --start-table); then, or if this is meant, add --despite-conflicts"
    )


def _detach(args: argparse.Namespace, tools: Tools, bridge: BridgeSettings, report: _Report) -> None:
    if tools.rundir is None:
        raise RequestError("run it on the bridge's host: entries are deleted over the bridge's own socket")
    tables = bridge_tables.read_tables(tools, bridge)
    targets = (args.controller,) if args.controller else ()
    found = attachment.find_attached(bridge, bool(tables.ours), targets)
    _note_left(bridge, tables, found, report)
    if found.deletes_all:
        mine = bridge_tables.owned(tables, _known(found), alone=True)
        default = attachment.missing_default(bridge, tables, found)
        steps = bridge_tables.restore(bridge, tables, mine, default)
        report.take_at_once(attachment.disconnect(bridge, found), steps)
    else:
        report.take(attachment.disconnect(bridge, found))
    if not (found.deletes_all and args.dry_run):
        _delete_entries(tools, bridge, found, report)
    report.take(sampling.remove(sampling.read_set(tools, bridge.name)))
    report.take(attachment.forget(bridge, found))


def _delete_entries(tools: Tools, bridge: BridgeSettings, found: Detachment, report: _Report) -> None:
    """Delete what is there of Flowlane's, until nothing is."""
    for _ in range(_TRIES):
        tables = bridge_tables.read_tables(tools, bridge)
        mine = bridge_tables.owned(tables, _known(found), alone=found.alone)
        default = attachment.missing_default(bridge, tables, found) if tables.ours else ""
        steps = bridge_tables.delete_ours(bridge, tables, mine, default)
        report.take(steps)
        if report.dry_run or not steps:
            return
    if bridge_tables.read_tables(tools, bridge).ours:
        raise DatabaseError(
            f"{bridge.name} still gets entries of Flowlane's; another of its controllers is Flowlane's: "
            "name it by --controller"
        )


def _known(found: Detachment) -> tuple[str, ...] | None:
    return found.record.meters if found.record else None


def _note_left(bridge: BridgeSettings, tables: Tables, found: Detachment, report: _Report) -> None:
    """Say what is left, and what could not be known."""
    if not found.controllers and not tables.ours and not found.record:
        if bridge.controllers:
            targets = ", ".join(entry.target for entry in bridge.controllers)
            report.notes.append(f"no controller is known to be Flowlane's; {targets} stays")
        return
    if found.deletes_all:
        report.notes.append(
            "the controller was of type primary: ovs-vswitchd has deleted all entries with it; the others' "
            "were put back with their counters and timeouts at their start"
        )
    default = attachment.missing_default(bridge, tables, found)
    if found.record is None and default and bridge.fail_mode == "secure":
        report.notes.append(
            "the bridge is secure and had no entry but Flowlane's: it has got priority=0,actions=NORMAL, so that "
            "it forwards"
        )
    report.notes.append("queues stay; flowlane qos clear PORT removes those that flowlane qos has made")


ATTACH = Command(
    "attach",
    f"where flowlane-manager listens: tcp:HOST[:PORT], ssl:HOST[:PORT] or unix:/FILE (default "
    f"{attachment.DEFAULT_TARGET})",
    _attach,
)
DETACH = Command("detach", "Flowlane's controller, where the bridge was attached by hand", _detach)
