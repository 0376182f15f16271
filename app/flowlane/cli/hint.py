"""``flowlane hint``: show, set and clear the hints of a VM [0055]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flowlane.cli.arguments import DATA_FORMATS, FORMATS, add_action, add_output, format_of, positive_duration
from flowlane.cli.client import Answer, Client, client_of, delete, get, send
from flowlane.cli.output import show_data, show_names
from flowlane.cli.tables import Column, console, emit, table, text
from flowlane.errors import RequestError

if TYPE_CHECKING:
    import argparse

MAX_DIGITS = 18
"""Digits of a number in ``--match``; no field of a packet has more."""

COLUMNS = (
    Column("CLASS", lambda item: item["class"]),
    Column("MATCH", lambda item: _match_text(item["match"])),
    Column("SOURCE", lambda item: item["source"], 2),
    Column("EXPIRES", lambda item: text(item["expires"]), 3),
    Column("IGNORED", lambda item: text(item["ignored"])),
    Column("ID", lambda item: item["id"], 4),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, about in (
        ("show", "show a VM's hints"),
        ("set", "replace the hints that came over REST by one, or add one"),
        ("clear", "withdraw the hints that came over REST"),
    ):
        action = add_action(actions, name, about)
        action.add_argument("vm", metavar="VM", help="a VM's id or name")
        add_output(action, watch=False, formats=tuple(FORMATS))
        if name == "set":
            _add_hint(action)
        elif name == "clear":
            action.add_argument("--name", metavar="NAME", help="only the hint of this name")


def _add_hint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--class", dest="class_name", required=True, help="the class that the flows should be of"
    )
    parser.add_argument(
        "--match", action="append", default=[], metavar="KEY=VALUE", help="such as dst-port=873; repeat it"
    )
    parser.add_argument(
        "--lifetime",
        type=positive_duration,
        metavar="TIME",
        help="such as 60s or 5min; without it the hint stays",
    )
    parser.add_argument("--add", action="store_true", help="keep the hints that are there")
    parser.add_argument(
        "--name", metavar="NAME", help="give, or replace, the hint of this name only; the others stay"
    )


def run(args: argparse.Namespace) -> int:
    """Carry out the action; return the exit code."""
    return _ACTIONS[args.action](client_of(args), args)


def _show(client: Client, args: argparse.Namespace) -> int:
    _print(get(client, _path(args)), args)
    return 0


def _set(client: Client, args: argparse.Namespace) -> int:
    if args.name is not None:
        answer = send(client, "PUT", _path(args), json=_hint(args))
        _print(answer if format_of(args) in DATA_FORMATS else Answer(hints=[answer]), args)
        return 0
    kept = [_as_input(item) for item in get(client, _path(args))["hints"] if item["source"] == "rest"]
    body = {"hints": [*(kept if args.add else []), _hint(args)]}
    _print(send(client, "PUT", _path(args), json=body), args)
    return 0


def _hint(args: argparse.Namespace) -> dict[str, Any]:
    """Make the input of the hint that the options describe."""
    hint: dict[str, Any] = {"class": args.class_name, "match": _read_match(args.match)}
    if args.lifetime is not None:
        hint["lifetime"] = args.lifetime
    return hint


def _clear(client: Client, args: argparse.Namespace) -> int:
    delete(client, _path(args))
    return 0


_ACTIONS = {"show": _show, "set": _set, "clear": _clear}


def _path(args: argparse.Namespace) -> str:
    path, name = f"/v1/vms/{quote(args.vm, safe='')}/hints", getattr(args, "name", None)
    return path if name is None else f"{path}/{quote(name, safe='')}"


def _as_input(item: Answer) -> dict[str, Any]:
    """Make the input that would give a hint again. The rest of its lifetime is lost: it stays."""
    return {"class": item["class"], "match": item["match"]}


def _read_match(pairs: list[str]) -> dict[str, Any]:
    match: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise RequestError(f"--match {pair!r} is not KEY=VALUE")
        match[key] = int(value) if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS else value
    return match


def _match_text(match: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in match.items()) or "all its flows"


def _print(answer: Answer, args: argparse.Namespace) -> None:
    form = format_of(args)
    if form == "name":
        show_names(hint["id"] for hint in answer["hints"])
    elif form in ("json", "yaml"):
        show_data(lambda: answer, form)
    else:
        out = console(wide=form == "wide")
        emit(out, table(COLUMNS, answer["hints"], out.width))
