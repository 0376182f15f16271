"""Options that several commands share, and the readers that argparse calls for the values of options.

A reader takes the text of one value. It raises :class:`argparse.ArgumentTypeError`, which argparse prints
behind the option's name, with the value and with what is accepted; the exit code is 2.
"""

from __future__ import annotations

import argparse
import math
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flowlane.units import parse_duration, parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE = "FLOWLANE_URL"
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE, CA_VARIABLE = "FLOWLANE_TOKEN", "FLOWLANE_TOKEN_FILE", "FLOWLANE_CA"

WATCH = 2.0
"""Seconds between two readings by default: what changes faster cannot be read."""

SHORTEST_WATCH, LONGEST_WATCH = 0.1, 86_400.0
"""Seconds that ``--watch`` accepts."""

MAX_QUEUES = 61_440
"""One more than the highest queue id of HTB and HFSC in Open vSwitch (netdev-linux.c)."""

MAX_RATE = 10**15
"""bit/s; no link carries that much."""

LARGEST_COUNT = 1_000_000_000
"""The largest number that an option accepts where nothing else bounds it."""

LONGEST_SHOWN = 60
"""Characters of a value that a message repeats."""


def shown(text: str) -> str:
    """Quote a value for a message, cut where it is long."""
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}...")


def whole_number(lowest: int, highest: int, what: str = "number") -> Callable[[str], int]:
    """Make a reader of decimal numbers from ``lowest`` to ``highest``."""

    def read(text: str) -> int:
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) <= 20 and lowest <= int(text) <= highest:
            return int(text)
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a {what} from {lowest} to {highest}")

    return read


def number(lowest: float, highest: float, what: str = "number") -> Callable[[str], float]:
    """Make a reader of numbers with or without a fraction from ``lowest`` to ``highest``; NaN is refused."""

    def read(text: str) -> float:
        try:
            value = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            value = math.nan
        if lowest <= value <= highest:
            return value
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a {what} from {lowest:g} to {highest:g}")

    return read


def seconds(lowest: float, highest: float) -> Callable[[str], float]:
    """Make a reader of durations in seconds."""
    return number(lowest, highest, "number of seconds")


def positive_rate(text: str) -> int:
    """Read a rate such as ``10Gbit/s`` that is more than zero; return bit/s."""
    try:
        value = parse_rate(text)
    except ValueError:
        remedy = "write a number and a unit, such as 50Mbit/s or 2.5Gbit/s"
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a rate; {remedy}") from None
    if not 0 < value <= MAX_RATE:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a rate from 1bit/s to 1000Tbit/s")
    return value


def rates(text: str) -> tuple[int | None, ...]:
    """Read rates with commas between them, in bit/s; ``-`` is None."""
    return tuple(None if part.strip() == "-" else positive_rate(part.strip()) for part in text.split(","))


def positive_duration(text: str) -> float:
    """Read a duration such as ``5min`` that is more than zero; return seconds."""
    try:
        value = parse_duration(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        accepted = "write a number above 0 and a unit, such as 500ms, 2s or 5min"
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a duration; {accepted}")
    return value


def controller_url(text: str) -> str:
    """Read the URL of a controller; ``HOST:PORT`` is short for ``http://HOST:PORT``."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        valid = parts.scheme in {"http", "https"} and bool(host) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not text.isprintable() or " " in text or parts.query or parts.fragment:
        accepted = f"such as {DEFAULT_URL} (--url, or ${URL_VARIABLE})"
        raise argparse.ArgumentTypeError(f"{shown(text)} is not the URL of a controller, {accepted}")
    return url.rstrip("/")


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str
) -> argparse.ArgumentParser:
    """Add an action of a command; the list of actions and the action's own help describe it alike."""
    return actions.add_parser(name, help=about, description=about)


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add ``--url``."""
    parser.add_argument(
        "--url",
        type=controller_url,
        default=os.environ.get(URL_VARIABLE) or DEFAULT_URL,
        help=f"the controller (default ${URL_VARIABLE}, else {DEFAULT_URL})",
    )
    add_credentials(parser)


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Add ``--token``, ``--token-file`` and ``--ca``."""
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"file with the token that the controller asks for (default ${TOKEN_FILE_VARIABLE})",
    )
    given.add_argument(
        "--token",
        help=f"the token itself, which others may see in the list of processes (default ${TOKEN_VARIABLE})",
    )
    parser.add_argument(
        "--ca",
        metavar="FILE",
        default=os.environ.get(CA_VARIABLE) or None,
        help=f"CA of the controller's certificate, for https (default ${CA_VARIABLE}, else those of the system)",
    )


TLS_FILES = {
    "private-key": "private key of this program",
    "certificate": "certificate of this program",
    "ca-cert": "certificate of the CA that signed the database's",
}
"""The options of ovs-vsctl(8)."""


def add_tls_files(parser: argparse.ArgumentParser) -> None:
    """Add the files of TLS with a database."""
    for name, about in TLS_FILES.items():
        parser.add_argument(f"--{name}", metavar="FILE", help=f"{about} (PEM), for ssl:HOST:PORT")


FORMATS = {
    "wide": "a table with all columns",
    "json": "what REST answers",
    "yaml": "the same as YAML",
    "name": "one name a line, for scripts",
}
"""Format of ``--output`` -> what it is."""

DATA_FORMATS = ("json", "yaml")


def add_format(parser: argparse.ArgumentParser, formats: Sequence[str] = DATA_FORMATS) -> None:
    """Add ``--output``, and ``--json``, which is short for ``--output json``; they exclude each other."""
    group = parser.add_mutually_exclusive_group()
    about = "; ".join(f"{name}: {FORMATS[name]}" for name in formats)
    group.add_argument("-o", "--output", choices=formats, help=about)
    group.add_argument("--json", action="store_true", help="print what REST answers, as --output json")


def format_of(args: argparse.Namespace) -> str | None:
    """Return the format that the options name; None: the table or text that a command prints otherwise."""
    output: str | None = "json" if args.json else args.output
    return output


def add_output(
    parser: argparse.ArgumentParser, *, watch: bool = True, formats: Sequence[str] = DATA_FORMATS
) -> None:
    """Add ``--url``, ``--output``, ``--json`` and, with ``watch``, ``--watch``.

    Args:
        formats: the values of ``--output``; none: there is only ``--json``.
    """
    add_url(parser)
    if formats:
        add_format(parser, formats)
    else:
        parser.add_argument("--json", action="store_true", help="print what REST answers")
    if watch:
        parser.add_argument(
            "--watch",
            type=seconds(SHORTEST_WATCH, LONGEST_WATCH),
            nargs="?",
            const=WATCH,
            metavar="SECONDS",
            help=f"print again every so many seconds (default {WATCH:g})",
        )
