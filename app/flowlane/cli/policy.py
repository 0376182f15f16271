"""``flowlane policy``: the policy in force and the built-in one, to read; another one, to try or to put in force."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowlane.cli.client import call, connect
from flowlane.cli.listing import add_output
from flowlane.cli.tables import show_json
from flowlane.policy import default_text
from flowlane.policy.reference import reference
from flowlane.policy.structure import schema

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

YAML = "application/yaml"

CHANGES = {
    "classes_added": "+ class",
    "classes_removed": "- class",
    "classes_changed": "~ class",
    "rules_added": "+ rule",
    "rules_removed": "- rule",
    "rules_changed": "~ rule",
}
"""Keys of REST's answer -> how a change is marked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print the policy in force")
    show.add_argument(
        "--built-in", action="store_true", help="the one that is in force when nobody gave another"
    )
    add_output(show, watch=False)
    for name, about in (
        ("check", "what a policy would change"),
        ("replace", "put a policy in its place, whole"),
    ):
        action = actions.add_parser(name, help=about, description=about)
        action.add_argument("file", metavar="POLICY", help="policy file; - reads standard input")
        add_output(action, watch=False)
    actions.add_parser("schema", help="print the language's JSON Schema, for editors")
    actions.add_parser("reference", help="print the tables of the language, in Markdown")


def run(args: argparse.Namespace) -> int:
    """Carry out the action; return the exit code."""
    return _ACTIONS[args.action](args)


def _show(args: argparse.Namespace) -> int:
    if args.built_in:
        print(default_text(), end="")
    elif args.json:
        show_json(call(connect(args.url), "GET", "/v1/policy").json())
    else:
        print(call(connect(args.url), "GET", "/v1/policy", headers={"Accept": YAML}).text, end="")
    return 0


def _check(args: argparse.Namespace) -> int:
    return _send(args, "POST", "/v1/policy/check")


def _replace(args: argparse.Namespace) -> int:
    return _send(args, "PUT", "/v1/policy")


def _send(args: argparse.Namespace, method: str, path: str) -> int:
    """Send the file's bytes as they are: the controller checks them, and its answer names line and key."""
    body = sys.stdin.buffer.read() if args.file == "-" else Path(args.file).read_bytes()
    answer = call(connect(args.url), method, path, data=body, headers={"Content-Type": YAML}).json()
    if args.json:
        show_json(answer)
    else:
        print("\n".join(_changes(answer)))
    return 0


def _changes(answer: dict[str, Any]) -> list[str]:
    lines = [f"{mark} {name}" for key, mark in CHANGES.items() for name in answer[key]]
    done = "the policy is in force" if answer["applied"] else "nothing was changed: this was a check"
    last = done if lines else f"classes and rules stay as they are; {done}"
    return [*lines, *(_flows(answer["flows"]) if "flows" in answer else ()), last]


def _flows(flows: dict[str, int]) -> Iterator[str]:
    yield (
        f"of {flows['total']} flows {flows['reclassified']} would be of another class, "
        f"{flows['moved']} on another queue"
    )


def _schema(_args: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=2))
    return 0


def _reference(_args: argparse.Namespace) -> int:
    print(reference())
    return 0


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "show": _show,
    "check": _check,
    "replace": _replace,
    "schema": _schema,
    "reference": _reference,
}
