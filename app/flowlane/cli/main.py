"""``flowlane``: one command, many subcommands, each in a module of its own.

A subcommand's module has ``add_arguments(parser)`` and ``run(args) -> int`` (the exit code). Only the module
of the subcommand that was asked for is imported, so that a missing extra hurts that one alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import flowlane
from flowlane.errors import FlowlaneError

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED = 1
"""Exit code: what was asked for could not be done."""

USAGE = 2
"""Exit code: the command line is wrong (as argparse has it), or a package is missing."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""

COMMANDS = {
    "status": ("flowlane.cli.status", "the controller's own state"),
    "devices": ("flowlane.cli.devices", "devices: what they can do, how full they are"),
    "queues": ("flowlane.cli.queues", "queues and what is on them"),
    "vms": ("flowlane.cli.vms", "virtual machines and their ports"),
    "flows": ("flowlane.cli.flows", "flows with their characteristics"),
    "assignments": ("flowlane.cli.assignments", "which flow is on which queue"),
    "explain": ("flowlane.cli.explain", "why a flow is where it is"),
    "events": ("flowlane.cli.events", "what changes, as it happens"),
    "hint": ("flowlane.cli.hint", "a VM's suggestions: show, set, clear"),
    "policy": ("flowlane.cli.policy", "the running policy: show, check, replace"),
    "check": ("flowlane.cli.check", "check a policy file (needs no controller)"),
    "plan": ("flowlane.cli.plan", "what a policy makes of given flows (needs no controller)"),
    "simulate": ("flowlane.cli.simulate", "a workload over time under a policy (needs no controller)"),
    "qos": ("flowlane.cli.qos", "make a port's QoS and Queue rows match its physical queues"),
    "doctor": ("flowlane.cli.doctor", "look for what is wrong on this host"),
}
"""Subcommand -> (module, help)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except FlowlaneError as error:
        print(f"flowlane: {error}", file=sys.stderr)
        return int(getattr(error, "exit_code", FAILED))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush fails
        return FAILED
    except OSError as error:
        print(f"flowlane: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return FAILED


def _run(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="flowlane", description=flowlane.__doc__)
    parser.add_argument("--version", action="version", version=f"flowlane {flowlane.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    module: Any = None
    for name, (path, about) in COMMANDS.items():
        if find_spec(path) is None:
            continue
        subparser = commands.add_parser(name, help=about, description=about)
        if words[:1] == [name]:
            try:
                module = import_module(path)
            except ModuleNotFoundError as error:
                return _missing(name, error)
            module.add_arguments(subparser)
    args = parser.parse_args(words)
    return int(module.run(args))


def _missing(name: str, error: ModuleNotFoundError) -> int:
    remedy = "pip install 'flowlane[plan]' brings it" if name in {"plan", "simulate"} else "install it"
    print(f"flowlane {name}: the Python package {error.name!r} is missing; {remedy}", file=sys.stderr)
    return USAGE


if __name__ == "__main__":
    sys.exit(main())
