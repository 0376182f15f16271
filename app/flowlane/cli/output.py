"""What a command prints instead of a table: JSON, YAML or names (``--output``); and rows in order (``--sort-by``)."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

import yaml

from flowlane.cli.arguments import DATA_FORMATS, format_of, shown
from flowlane.cli.client import Answer
from flowlane.cli.tables import console, emit, show_json, table, turns
from flowlane.closest import did_you_mean
from flowlane.escaping import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flowlane.cli.tables import Column

_DIGITS = re.compile(r"([0-9]{1,18})")


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """YAML's safe types, written by libyaml where it is there (ten times as fast), and the answers of REST."""


_Dumper.add_representer(Answer, lambda dumper, answer: dumper.represent_dict(answer.items()))
_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, "|" if "\n" in text else None
    ),
)


def show_data(read: Callable[[], Any], form: str, every: float | None = None) -> None:
    """Print what ``read`` returns as JSON or YAML; with ``every`` again and again, so many seconds apart.

    Both are ASCII: other characters are escaped as the format has it. YAML texts follow each other as documents.
    """
    for number, _ in enumerate(turns(every)):
        if form == "json":
            show_json(read())
        else:
            if number:
                print("---")
            print(yaml_text(read()), end="", flush=True)


def yaml_text(data: object) -> str:
    """Write data as one YAML document."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False)
    return text


def show_names(names: Iterable[str]) -> None:
    """Print names, one a line; a line end inside of one is escaped, so that a line is always one name."""
    print("".join(f"{escaped(name)}\n" for name in names), end="", flush=True)


def unique_names(
    items: Sequence[Answer], name: Callable[[Answer], str | None], identity: Callable[[Answer], str]
) -> list[str]:
    """List the names of items; of those that share their name, or have none, the id."""
    names = [name(item) for item in items]
    ids: dict[str | None, set[str]] = {}
    for item, text in zip(items, names, strict=True):
        ids.setdefault(text, set()).add(identity(item))
    return [
        text if text and len(ids[text]) == 1 else identity(item)
        for item, text in zip(items, names, strict=True)
    ]


def column_name(column: Column) -> str:
    """Return by which name ``--sort-by`` knows a column: its head in lower case, with hyphens for blanks."""
    return column.head.lower().replace(" ", "-")


def add_sorting(parser: argparse.ArgumentParser, columns: Sequence[Column]) -> None:
    """Add ``--sort-by`` and ``--reverse``."""
    names = {column_name(column): column for column in columns}

    def read(text: str) -> Column:
        word = text.lower().replace(" ", "-").replace("_", "-")
        if word not in names:
            raise argparse.ArgumentTypeError(f"{shown(text)} is no column; {did_you_mean(word, names)}")
        return names[word]

    parser.add_argument(
        "--sort-by",
        type=read,
        metavar="COLUMN",
        help=f"{', '.join(names)}; amounts the largest first, names and numbers in ascending order",
    )
    parser.add_argument("--reverse", action="store_true", help="turn the order around")


def in_order(items: Sequence[Answer], column: Column, *, reverse: bool) -> list[Answer]:
    """Sort items by a column; those without a value come last in either order."""
    amount = column.amount
    if amount is not None:
        keys: list[Any] = [amount(item) for item in items]
    else:
        texts = [column.read(item) for item in items]
        keys = [None if text == "-" else natural(text) for text in texts]
    known = [(key, number) for number, key in enumerate(keys) if key is not None]
    falling = (amount is not None) is not reverse
    known.sort(key=lambda pair: pair[0], reverse=falling)
    return [items[number] for _, number in known] + [
        item for item, key in zip(items, keys, strict=True) if key is None
    ]


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts ``vm10`` behind ``vm2``: numbers in a text by their value, before other parts."""
    parts = _DIGITS.split(text.lower())
    return [
        (False, int(part), "") if place % 2 else (True, 0, part) for place, part in enumerate(parts) if part
    ]


def show_items(
    items: Sequence[Answer],
    columns: Sequence[Column],
    args: argparse.Namespace,
    name: Callable[[Answer], str],
) -> None:
    """Print a list that is not REST's, by the options of :func:`add_sorting` and of all formats."""
    form = format_of(args)
    if args.sort_by is not None:
        items = in_order(items, args.sort_by, reverse=args.reverse)
    if form == "name":
        show_names(map(name, items))
    elif form in DATA_FORMATS:
        show_data(lambda: {"items": list(items)}, form)
    else:
        out = console(wide=form == "wide")
        emit(out, table(columns, items, out.width))
