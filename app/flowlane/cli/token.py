"""``flowlane token``: make, list and remove the tokens of REST; no controller is needed.

They are in a file, or in the database that several controllers share (``--database``).
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowlane import tokens
from flowlane.cli.arguments import FORMATS, add_action, add_format, add_tls_files, positive_duration
from flowlane.cli.client import Answer
from flowlane.cli.output import add_sorting, show_items
from flowlane.cli.tables import Column, text
from flowlane.closest import did_you_mean
from flowlane.cluster.embedded import EMBEDDED
from flowlane.cluster.token_table import TokenTable
from flowlane.errors import ConfigError, NotFoundError, RequestError
from flowlane.southbound.ovsdb.remote import TlsFiles, read_target
from flowlane.stdio import print_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flowlane.tokens import Token

STATE_DIRECTORY = Path("/var/lib/flowlane")
"""The state directory of the packaged service (systemd.exec(5), StateDirectory)."""

FILE_VARIABLE = "FLOWLANE_TOKENS"

LONGEST = 10 * 365 * 86400.0
"""Seconds for which a token with an end may count."""

EPILOG = """\
Scopes: read (everything), operate (everything, and change it), hint:VM (the hints of one VM, by id, name or vm-uuid).
A running controller uses the tokens as they are from the next request on.
"""

COLUMNS = (
    Column("NAME", lambda item: item["name"]),
    Column("SCOPES", lambda item: " ".join(item["scopes"])),
    Column("CREATED", lambda item: text(item["created"]), 2),
    Column("EXPIRES", lambda item: text(item["expires"]), 3),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = add_action(actions, "add", "make a token and print it; it cannot be shown again")
    add.epilog, add.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    add.add_argument(
        "name", metavar="NAME", type=_name, help="who uses it, for the log and the policy's origin"
    )
    add.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        required=True,
        type=_scope,
        metavar="SCOPE",
        help="read, operate or hint:VM; repeat it",
    )
    add.add_argument(
        "--expires",
        type=positive_duration,
        metavar="TIME",
        help="such as 12h or 720h; without it the token stays",
    )
    listing = add_action(actions, "list", "list the tokens")
    add_format(listing, tuple(FORMATS))
    add_sorting(listing, COLUMNS)
    remove = add_action(actions, "remove", "remove a token, which counts no more")
    remove.add_argument("name", metavar="NAME", help="its name")
    remove.add_argument(
        "--admit-everybody",
        action="store_true",
        help="remove the last token of a database, too: REST then needs none",
    )
    for action in (add, listing, remove):
        where = action.add_mutually_exclusive_group()
        where.add_argument(
            "--tokens",
            type=Path,
            metavar="FILE",
            help=f"the file, as flowlane-manager has it (default ${FILE_VARIABLE}, else {tokens.FILE_NAME} in "
            f"$STATE_DIRECTORY or {STATE_DIRECTORY})",
        )
        where.add_argument(
            "--database",
            metavar="TARGET",
            help="the database that several controllers share, as flowlane-manager has it: the tokens count on all",
        )
        add_tls_files(action)


def run(args: argparse.Namespace) -> int:
    """Carry out the action; return the exit code."""
    return _ACTIONS[args.action](args)


class _Store(NamedTuple):
    """Where tokens are: what it is called, what it has, and what changes it."""

    name: str
    tokens: tuple[Token, ...]
    save: Callable[[Sequence[Token]], None]


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[_Store]:
    """Read the tokens of the file, or of the database, that the options name."""
    if args.database is not None:
        with _opened_database(args) as store:
            yield store
        return
    file = _file(args.tokens)
    if args.action == "list":
        yield _Store(str(file), tokens.load(file), lambda _tokens: None)
        return
    with tokens.locked(file):
        has_none = args.action == "add" and not file.exists()
        yield _Store(str(file), () if has_none else tokens.load(file), lambda new: tokens.save(file, new))


@contextmanager
def _opened_database(args: argparse.Namespace) -> Iterator[_Store]:
    if args.database == EMBEDDED:
        raise ConfigError("an embedded database has no tokens: those of its controller are in the file")
    target = read_target(args.database, tls=TlsFiles(args.private_key, args.certificate, args.ca_cert))
    table = TokenTable(target)
    try:
        known = table.load()
        yield _Store(f"database {args.database}", known, lambda new: table.change(known, new))
    finally:
        table.close()


def _file(given: Path | None) -> Path:
    """Return the file of tokens of the options, or of the environment."""
    if given is not None:
        return given
    if named := os.environ.get(FILE_VARIABLE):
        return Path(named)
    directory = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if directory:
        return Path(directory) / tokens.FILE_NAME
    if STATE_DIRECTORY.is_dir():
        return STATE_DIRECTORY / tokens.FILE_NAME
    raise ConfigError(f"there is no {STATE_DIRECTORY}; give --tokens FILE, and the same to flowlane-manager")


def _add(args: argparse.Namespace) -> int:
    with _opened(args) as store:
        if any(token.name == args.name for token in store.tokens):
            raise RequestError(
                f"there is a token {args.name} already; remove it first, or choose another name"
            )
        if len(store.tokens) >= tokens.MAX_TOKENS:
            raise RequestError(
                f"{store.name} has {tokens.MAX_TOKENS} tokens, which is the limit; remove one first"
            )
        if args.expires is not None and args.expires > LONGEST:
            raise RequestError(f"--expires is at most {LONGEST / 3600:.0f}h")
        secret, now = tokens.new_secret(), time.time()
        expires = None if args.expires is None else now + args.expires
        scopes = tuple(dict.fromkeys(args.scopes))
        store.save([*store.tokens, tokens.Token(args.name, tokens.hash_of(secret), scopes, now, expires)])
        print_error(f"{store.name}: token {args.name} may {', '.join(scopes)}; it is shown only now:")
    print(secret)
    return 0


def _list(args: argparse.Namespace) -> int:
    with _opened(args) as store:
        known = store.tokens
    listed = [
        Answer(
            name=token.name,
            scopes=list(token.scopes),
            created=_moment(token.created),
            expires=None if token.expires is None else _moment(token.expires),
        )
        for token in known
    ]
    show_items(listed, COLUMNS, args, lambda item: str(item["name"]))
    return 0


def _remove(args: argparse.Namespace) -> int:
    with _opened(args) as store:
        left = [token for token in store.tokens if token.name != args.name]
        if len(left) == len(store.tokens):
            names = [token.name for token in store.tokens]
            raise NotFoundError(f"{store.name} has no token {args.name!r}; {did_you_mean(args.name, names)}")
        if not left and args.database is not None and not args.admit_everybody:
            raise RequestError(
                f"{args.name} is the last token of the {store.name}, without which REST needs none; add another one "
                "first, or give --admit-everybody"
            )
        store.save(left)
    if not left and args.database is None:
        print_error(
            f"{store.name} has no token any more: REST admits nobody; delete the file to admit everybody again"
        )
    return 0


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "add": _add,
    "list": _list,
    "remove": _remove,
}


def _moment(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _name(value: str) -> str:
    if not tokens.NAME.fullmatch(value):
        raise argparse.ArgumentTypeError(
            f"{value!r} is no name: letters, digits, '.', '_', '@' and '-', 64 at most"
        )
    return value


def _scope(value: str) -> str:
    try:
        return tokens.check_scope(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is no scope: {error}") from error
