"""Exceptions that several packages raise; their text is meant for people.

::

    FlowlaneError
    ├── PolicyError         a policy was refused; carries every problem with its line, key path and remedy
    ├── ConfigError         an option or a configuration file is wrong; names the option
    ├── UnitError           a rate, size or duration could not be read
    ├── ProtocolError       a peer sent bytes that must not be parsed; names the structure at fault
    ├── DatabaseError       the Open vSwitch database refused or could not be reached
    ├── NotFoundError       something named in a request does not exist
    └── RequestError        a request is wrong; names the field

Exceptions of one package stand beside the code that raises them. ``FlowlaneError`` are ``MatchError``
(:mod:`flowlane.core.classify.matching`), ``ProblemError`` (:mod:`flowlane.northbound.http.problems`), ``TopologyError``
(:mod:`flowlane.topology`), ``UnreachableError`` and ``RefusedError`` (:mod:`flowlane.cli.client`).
``CannotExpressError`` is caught where the standing rules are compiled; ``PipelineError`` is an ``AssertionError``:
an entry that the pipeline does not declare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class FlowlaneError(Exception):
    """Base of all errors that Flowlane raises on purpose."""


class Problem(NamedTuple):
    """One thing that is wrong with a policy: where (line and column count from 1), what, and what to do."""

    line: int
    column: int
    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{place}{self.message}" + (f" ({self.remedy})" if self.remedy else "")


class PolicyError(FlowlaneError):
    """A policy was refused; ``problems`` has everything that was found, in the order of the document."""

    def __init__(self, problems: Sequence[Problem], source: str = "policy") -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(f"{source}:{problem.line}: {problem}" for problem in self.problems))


class ConfigError(FlowlaneError):
    """An option or configuration file is wrong; the text names the option."""


class UnitError(FlowlaneError, ValueError):
    """A rate, size or duration could not be read; the text shows what is accepted."""


class ProtocolError(FlowlaneError):
    """A peer sent bytes that must not be parsed; the text names the structure at fault."""


class DatabaseError(FlowlaneError):
    """The Open vSwitch database refused a change or could not be reached."""


class NotFoundError(FlowlaneError):
    """Something named in a request does not exist."""


class RequestError(FlowlaneError):
    """A request is wrong; the text names the field and what is accepted."""
