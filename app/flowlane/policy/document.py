"""YAML reader: plain data, with the line and column of every key and value beside it.

PyYAML's parser gives the events. They are put together here, not by its composer, which recurses without a
bound and follows anchors: depth is limited, anchors, aliases and tags are refused, and a key may appear once
in a mapping. Plain scalars mean what YAML 1.2's core schema says, but numbers with leading zeros (datapath
ids) stay texts. YAML 1.1 would make a boolean of ``no`` and a sexagesimal number of ``1:30``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from flowlane.errors import PolicyError, Problem

MAX_BYTES = 4 * 2**20
"""Size of the largest policy that is read."""

MAX_VALUES = 250_000
"""Keys and values that are read: some 20,000 rules."""

MAX_DEPTH = 16
"""Levels of nesting that are read; the language needs 7."""

MAX_PROBLEMS = 500
"""Problems that are collected at most."""

Path = tuple[str | int, ...]
"""Keys and list positions that lead to a value, from the root."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LIBYAML_TOO_DEEP = "exceeded maximum nesting depth"
"""libyaml's message for more than 1,000 levels: it parses up to 1 kB ahead, so this may come before MAX_DEPTH."""

_TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
_LANGUAGE = "see docs/operators/policy.md for the language"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\.[0-9]{1,18}\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,8}\Z")
_WORDS: dict[str, object] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(slots=True)
class Marks:
    """Line and column of a value (counted from 1), of its keys, and the marks of the values in it."""

    line: int
    column: int
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    children: dict[str | int, Marks] = field(default_factory=dict)


@dataclass(slots=True)
class Document:
    """A policy's data and marks, and the problems found so far."""

    data: object
    marks: Marks
    problems: list[Problem] = field(default_factory=list)

    def report(self, path: Path, message: str, remedy: str = "", key: str | None = None) -> None:
        """Add a problem with the value at ``path``, or with a key of the mapping there."""
        marks = self.marks
        for step in path:
            marks = marks.children.get(step, marks)
        line, column = (
            (marks.line, marks.column) if key is None else marks.keys.get(key, (marks.line, marks.column))
        )
        full = path if key is None else (*path, key)
        self.problems.append(Problem(line, column, format_path(full), message, remedy))


def format_path(path: Path) -> str:
    """Write a path as text: ``rules[3].match.dst-port``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            word = step if re.fullmatch(r"[\w./*-]{1,64}", step, re.ASCII) else shown(step)
            text += f".{word}" if text else word
    return text


def shown(value: object) -> str:
    """Write a value for a message, cut at 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read(text: str, if_empty: str = "") -> Document:
    """Read one YAML document.

    Args:
        if_empty: what is read in place of a text without any value.

    Raises:
        PolicyError: the text is not YAML, or uses what is refused here.
    """
    _check_text(text)
    composer = _Composer()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
            if len(composer.problems) > MAX_PROBLEMS:
                break
    except yaml.YAMLError as error:
        composer.problems.append(_yaml_problem(error, text, composer.here()))
    if composer.problems:
        raise PolicyError(composer.problems)
    if composer.marks is None and if_empty:
        return read(if_empty)
    if composer.marks is None:
        raise PolicyError([Problem(1, 1, "", "the policy is empty", "the smallest policy is: version: 1")])
    return Document(composer.data, composer.marks)


def _check_text(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise PolicyError(
            [Problem(line, 1, "", "the text is not valid Unicode", "save it as UTF-8")]
        ) from None
    if size > MAX_BYTES:
        remedy = "name VMs by globs or external ids, and ports by ranges"
        raise PolicyError(
            [Problem(1, 1, "", f"the policy has {size} bytes; at most {MAX_BYTES} are read", remedy)]
        )


def _yaml_problem(error: yaml.YAMLError, text: str, here: Path) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        message = str(getattr(error, "problem", None) or getattr(error, "context", None) or "cannot be read")
        if message == _LIBYAML_TOO_DEEP:
            return Problem(mark.line + 1, mark.column + 1, format_path(here), _TOO_DEEP, _LANGUAGE)
        remedy = (
            "check indentation, quotes and brackets near here; "
            "quote texts that contain : or #, or begin with * & ! % @"
        )
        return Problem(mark.line + 1, mark.column + 1, "", f"not YAML: {message}", remedy)
    position = getattr(error, "position", 0) or 0
    character = getattr(error, "character", None)
    named = f"character U+{ord(character) if isinstance(character, str) else character or 0:04X}"
    offset = (
        len(text.encode()[:position].decode(errors="ignore")) if _LOADER is not yaml.SafeLoader else position
    )
    line = text.count("\n", 0, offset) + 1
    return Problem(line, 1, "", f"not a text: YAML cannot contain {named}", "is this a binary file?")


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being read."""

    data: dict[str, object] | list[object]
    marks: Marks
    key: str | None = None


class _Composer:
    """Puts the parser's events together; the module's docstring says what it refuses."""

    def __init__(self) -> None:
        self.data: object = None
        self.marks: Marks | None = None
        self.problems: list[Problem] = []
        self._frames: list[_Frame] = []
        self._documents = self._values = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(
                    event, "a second document begins here", "a policy is one document: remove the ---"
                )
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(
                event, f"alias *{event.anchor}: anchors and aliases are refused", "write the value out"
            )
            self._place(event, None, self._mark(event))
        elif isinstance(event, yaml.NodeEvent):
            self._take_node(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._frames.pop()

    def _take_node(self, event: yaml.NodeEvent) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            self._stop(event, f"more than {MAX_VALUES:,} keys and values")
        if event.anchor is not None:
            self._refuse(
                event, f"anchor &{event.anchor}: anchors and aliases are refused", "write the value out"
            )
        if isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event)
            return
        if isinstance(event, yaml.CollectionStartEvent) and event.tag not in (None, "!"):
            self._refuse(event, f"tag {shown(event.tag)}: tags are refused", "remove it")
        if len(self._frames) == MAX_DEPTH:
            self._stop(event, _TOO_DEEP)
        data: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
        marks = self._mark(event)
        self._place(event, data, marks)
        self._frames.append(_Frame(data, marks))

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag not in (None, "!"):
            self._refuse(event, f"tag {shown(event.tag)}: tags are refused", "remove it, or quote the value")
        frame = self._frames[-1] if self._frames else None
        if frame and isinstance(frame.data, dict) and frame.key is None:
            self._take_key(frame, event)
        else:
            self._place(event, resolve(event.value) if event.implicit[0] else event.value, self._mark(event))

    def _take_key(self, frame: _Frame, event: yaml.ScalarEvent) -> None:
        frame.key = str(event.value)
        mark = self._mark(event)
        if frame.key in frame.marks.keys:
            first = frame.marks.keys[frame.key][0]
            path = format_path((*self._path(), frame.key))
            message = f"the key {shown(frame.key)} appears twice, first in line {first}"
            self.problems.append(Problem(mark.line, mark.column, path, message, "remove one of them"))
        frame.marks.keys.setdefault(frame.key, (mark.line, mark.column))

    def _place(self, event: yaml.Event, data: object, marks: Marks) -> None:
        """Put a value into the innermost mapping or list, or at the root."""
        frame = self._frames[-1] if self._frames else None
        if frame is None:
            if self.marks is None:
                self.data, self.marks = data, marks
        elif isinstance(frame.data, list):
            frame.marks.children[len(frame.data)] = marks
            frame.data.append(data)
        elif frame.key is None:
            self._stop(event, "a key must be a plain word")
        else:
            frame.marks.children[frame.key] = marks
            frame.data[frame.key] = data
            frame.key = None

    def here(self) -> Path:
        """Return the path of the value that comes next."""
        return (*self._path(), *_next_step(self._frames[-1] if self._frames else None))

    def _path(self) -> Path:
        return tuple(self._steps())

    def _steps(self) -> Iterator[str | int]:
        for outer, inner in zip(self._frames, self._frames[1:], strict=False):
            yield next(step for step, marks in outer.marks.children.items() if marks is inner.marks)

    def _refuse(self, event: yaml.Event, message: str, remedy: str) -> None:
        mark = self._mark(event)
        self.problems.append(Problem(mark.line, mark.column, format_path(self.here()), message, remedy))

    def _stop(self, event: yaml.Event, message: str) -> None:
        self._refuse(event, message, _LANGUAGE)
        raise PolicyError(self.problems)

    @staticmethod
    def _mark(event: yaml.Event) -> Marks:
        assert event.start_mark is not None
        return Marks(event.start_mark.line + 1, event.start_mark.column + 1)


def _next_step(frame: _Frame | None) -> Path:
    if frame is None:
        return ()
    if isinstance(frame.data, list):
        return (len(frame.data),)
    return () if frame.key is None else (frame.key,)


def resolve(text: str) -> object:
    """Return the value of a plain scalar: None, a boolean, a number, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    if _HEX.match(text):
        return int(text, 16)
    return float(text) if _FLOAT.match(text) else text
