"""``flowlane``: the command line; :data:`COMMANDS` is the table of its subcommands.

A subcommand is a module, or an object in one, with ``add_arguments(parser)`` and ``run(args) -> int`` (the exit
code). Only the module of the subcommand in the command line is imported: the others may need packages that are
not installed.
"""

from __future__ import annotations

import argparse
import sys
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Protocol

import flowlane
from flowlane import stdio
from flowlane.errors import FlowlaneError
from flowlane.stdio import FAILED, print_error

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = 2
"""Exit code: the command line is wrong (as argparse has it), or a package is missing."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""

COMMANDS = {
    "status": ("flowlane.cli.status", "the controller's own state"),
    "top": ("flowlane.cli.top", "queues side by side and the largest flows, as they change"),
    "databases": ("flowlane.cli.lists:DATABASES", "Open vSwitch databases of the hosts: which can be read"),
    "members": ("flowlane.cli.lists:MEMBERS", "controllers that share a database: which leads which device"),
    "devices": ("flowlane.cli.lists:DEVICES", "devices: what they can do, how full they are"),
    "ports": ("flowlane.cli.lists:PORTS", "ports: their roles, and why they have them"),
    "queues": ("flowlane.cli.lists:QUEUES", "queues and what is on them"),
    "meters": ("flowlane.cli.lists:METERS", "meters: what each limits, and what it has dropped"),
    "groups": ("flowlane.cli.lists:GROUPS", "groups by which devices spread new flows over queues"),
    "left-out": ("flowlane.cli.lists:LEFT_OUT", "parts of the policy that devices do not get, and why"),
    "vms": ("flowlane.cli.lists:VMS", "virtual machines and their ports"),
    "topology": ("flowlane.cli.topology", "hosts, devices and the links between them"),
    "hosts": ("flowlane.cli.lists:HOSTS", "machines with their bridges"),
    "addresses": ("flowlane.cli.lists:ADDRESSES", "where MAC addresses are attached"),
    "flows": ("flowlane.cli.lists:FLOWS", "flows with their characteristics"),
    "assignments": ("flowlane.cli.lists:ASSIGNMENTS", "which flow is on which queue"),
    "explain": ("flowlane.cli.explain", "why a flow is where it is"),
    "pin": ("flowlane.cli.pin:PIN", "put a flow on a queue by hand, for a time"),
    "unpin": ("flowlane.cli.pin:UNPIN", "take a flow's pin back"),
    "pins": ("flowlane.cli.lists:PINS", "flows that were put on a queue by hand"),
    "cordon": ("flowlane.cli.cordon:CORDON", "let a queue take no new flows"),
    "drain": ("flowlane.cli.cordon:DRAIN", "cordon a queue, and move its flows away"),
    "uncordon": ("flowlane.cli.cordon:UNCORDON", "let a queue take new flows again"),
    "role": ("flowlane.cli.role", "give a device a role by hand, or take that back"),
    "events": ("flowlane.cli.events", "changes, as they happen"),
    "hint": ("flowlane.cli.hint", "a VM's hints: show, set, clear"),
    "policy": ("flowlane.cli.policy", "the policy in force: show, check, replace"),
    "token": ("flowlane.cli.token", "tokens of REST: make, list, remove (needs no controller)"),
    "monitoring": (
        "flowlane.cli.monitoring",
        "write alert rules and dashboards (needs no controller)",
    ),
    "check": ("flowlane.cli.check", "check a policy file (needs no controller)"),
    "plan": ("flowlane.cli.plan", "where a policy places given flows (needs no controller)"),
    "simulate": ("flowlane.cli.simulate", "a workload over time under a policy (needs no controller)"),
    "qos": ("flowlane.cli.qos", "make a port's QoS and Queue rows match its physical queues"),
    "attach": ("flowlane.cli.attach:ATTACH", "put Flowlane on a bridge"),
    "detach": ("flowlane.cli.attach:DETACH", "take Flowlane off a bridge"),
    "doctor": ("flowlane.cli.doctor", "find what is wrong on this host"),
    "completion": ("flowlane.cli.completion", "print completions for bash, zsh or fish"),
}
"""Subcommand -> (module, or module:object, help)."""


class Command(Protocol):
    """A subcommand: a module, or an object in one."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""

    def run(self, args: argparse.Namespace) -> int:
        """Carry out the command; return the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return stdio.run("flowlane", lambda: _guarded(words))


def _guarded(words: list[str]) -> int:
    """Run a command; an error that is meant for people is one line and an exit code."""
    try:
        return _run(words)
    except FlowlaneError as error:
        print_error(f"flowlane: {error}")
        return int(getattr(error, "exit_code", FAILED))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        print_error(f"flowlane: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
        return FAILED


def _run(words: list[str]) -> int:
    name = next((word for word in words if word in COMMANDS), "")
    try:
        args = parser(name).parse_args(words)
    except ModuleNotFoundError as error:
        print_error(f"flowlane {name}: the Python package {error.name!r} is missing; install it")
        return USAGE
    command: Command = resolve_name(COMMANDS[name][0])
    return command.run(args)


def parser(*names: str) -> argparse.ArgumentParser:
    """Make the parser of the command line, in which the named commands have their options.

    Raises:
        ModuleNotFoundError: a command needs a package that is not installed.
    """
    made = argparse.ArgumentParser(prog="flowlane", description=flowlane.__doc__)
    made.add_argument("--version", action="version", version=f"flowlane {flowlane.__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (place, about) in COMMANDS.items():
        subparser = commands.add_parser(name, help=about, description=about)
        if name in names:
            command: Command = resolve_name(place)
            command.add_arguments(subparser)
    return made


if __name__ == "__main__":
    sys.exit(main())
