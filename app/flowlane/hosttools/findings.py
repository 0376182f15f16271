"""A finding of a check: level, place, text, remedy and source."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How serious a finding is: a ``problem`` keeps Flowlane from working, a ``warning`` may surprise the operator."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """One line of ``flowlane doctor``; ``remedy`` is a command or a sentence, ``source`` a document or a command."""

    level: Level
    where: str
    what: str
    remedy: str = ""
    source: str = ""
