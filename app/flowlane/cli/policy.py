"""``flowlane policy``: show the policy in force or the built-in one; check or replace the one in force."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flowlane.cli.arguments import add_action, add_output, format_of
from flowlane.cli.client import Answer, client_of, get, get_text, send
from flowlane.cli.output import show_data
from flowlane.cli.policy_file import HELP, read_bytes
from flowlane.cli.tables import is_terminal
from flowlane.escaping import escaped
from flowlane.policy import default_text
from flowlane.policy.reference import reference
from flowlane.policy.structure import schema
from flowlane.units import counted

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
    "settings_changed": "~ setting",
}
"""Keys of REST's answer -> how a change is marked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = add_action(actions, "show", "print the policy in force")
    show.add_argument(
        "--built-in", action="store_true", help="the built-in policy, which is in force by default"
    )
    add_output(show, watch=False)
    for name, about in (
        ("check", "what a policy would change"),
        ("replace", "replace the policy in force atomically"),
    ):
        action = add_action(actions, name, about)
        action.add_argument("file", metavar="POLICY", help=HELP)
        add_output(action, watch=False)
    add_action(actions, "schema", "print the language's JSON Schema, for editors")
    add_action(actions, "reference", "print the tables of the language, in Markdown")


def run(args: argparse.Namespace) -> int:
    """Carry out the action; return the exit code."""
    return _ACTIONS[args.action](args)


def _show(args: argparse.Namespace) -> int:
    if args.built_in:
        print(default_text(), end="")
    elif (form := format_of(args)) is not None:
        show_data(lambda: get(client_of(args), "/v1/policy"), form)
    else:
        document = get_text(client_of(args), "/v1/policy", YAML)
        print(_for_terminal(document) if is_terminal() else document, end="")
    return 0


def _for_terminal(document: str) -> str:
    """Escape what a terminal would carry out; a file or a pipe gets the document as it is."""
    return "\n".join("\t".join(map(escaped, line.split("\t"))) for line in document.split("\n"))


def _check(args: argparse.Namespace) -> int:
    return _send_policy(args, "POST", "/v1/policy/check")


def _replace(args: argparse.Namespace) -> int:
    return _send_policy(args, "PUT", "/v1/policy")


def _send_policy(args: argparse.Namespace, method: str, path: str) -> int:
    """Send the file's bytes as they are: the controller checks them, and a refusal names line and key."""
    answer = send(client_of(args), method, path, data=read_bytes(args.file), headers={"Content-Type": YAML})
    form = format_of(args)
    if form is not None:
        show_data(lambda: answer, form)
    else:
        print("\n".join(map(escaped, _changes(answer))))
    return 0


def _changes(answer: Answer) -> list[str]:
    lines = [f"{mark} {name}" for key, mark in CHANGES.items() for name in answer[key]]
    outcome = "the policy is in force" if answer["applied"] else "nothing was changed: this was a check"
    last = outcome if lines else f"classes and rules stay as they are; {outcome}"
    return [*lines, *(_flows(answer["flows"]) if "flows" in answer else ()), last]


def _flows(flows: Answer) -> Iterator[str]:
    yield (
        f"of {counted(flows['total'], 'flow')} {flows['reclassified']} would be of another class, "
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
