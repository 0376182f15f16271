"""Rows of CSV files as spreadsheets, pandas and collectors write them.

The file may begin with a byte-order mark, be UTF-16, and have semicolons, tabs or bars in the place of commas. Blanks
around values, columns without a name, rows without values, and the header once more do not count.
"""

from __future__ import annotations

import csv
import io
import re
from itertools import chain
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

DELIMITERS = ",;\t|"
_ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_NOTHING = frozenset(("-", "na", "n/a", "nan", "<na>", "null", "none", "#n/a"))
"""What programs write, in any case, where there is no value."""

_LONGEST_HEADER = 1 << 16
"""Characters of the first line."""

_SEPARATORS = re.compile(r"[ \-/]+")
_DECIMAL_COMMA = re.compile(r"([0-9]+),([0-9]+)(\s*[A-Za-z/]*)")


def normal(name: str) -> str:
    """Normalize the name of a column: ``Src Port`` and ``src-port`` are ``src_port``."""
    return _SEPARATORS.sub("_", name.strip().lower())


def read_rows(file: IO[bytes]) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows, each with the number of its last line; a row has the columns only in which it has a value.

    The first one is the header: each name as its own value; it is empty where the file is.

    Raises:
        ValueError: the file is no text, or a row has more values than the header has names.
        csv.Error: the CSV is malformed.
    """
    with _text(file) as text:
        yield from _rows(text)


def _rows(text: IO[str]) -> Iterator[tuple[int, dict[str, str]]]:
    first = next((line for line in iter(lambda: text.readline(_LONGEST_HEADER), "") if line.strip()), "")
    if "\0" in first:
        raise ValueError("line 1: NUL characters; this is no text")
    if len(first) == _LONGEST_HEADER:
        raise ValueError(f"line 1: more than {_LONGEST_HEADER} characters; this is no header of a CSV file")
    declared = re.fullmatch(r'"?sep=(.)"?', first.strip("\r\n"))
    skipped = 0
    if declared:
        skipped, first = 1, next(text, "")
    delimiter = declared[1] if declared else max(DELIMITERS, key=first.count)
    reader = csv.reader(chain([first], text), delimiter=delimiter, skipinitialspace=True, strict=True)
    header = next(reader, [])
    names = [normal(name) for name in header]
    yield reader.line_num + skipped, {name: name for name in names if name}
    for values in reader:
        if values == header:
            continue
        line = reader.line_num + skipped
        if len(values) > len(names) and any(value.strip() for value in values[len(names) :]):
            raise ValueError(f"line {line}: more values than the header has fields")
        row = {
            name: value
            for name, text in zip(names, values, strict=False)
            if name and (value := text.strip()) and (name == "vm" or value.lower() not in _NOTHING)
        }
        if row:
            yield line, row if delimiter == "," else {name: _with_point(row[name]) for name in row}


def _with_point(value: str) -> str:
    """Write a number with a decimal comma, which files have whose delimiter is no comma, with a point."""
    number = _DECIMAL_COMMA.fullmatch(value)
    return f"{number[1]}.{number[2]}{number[3]}" if number else value


def _text(file: IO[bytes]) -> IO[str]:
    head = cast("io.BufferedReader", file).peek(2)[:2]
    return io.TextIOWrapper(file, _ENCODINGS.get(head, "utf-8-sig"), newline="")
