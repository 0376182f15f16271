"""What a check of the host can find, in the form that people and programs read."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How much it matters: ``problem`` keeps Flowlane from its job, ``warning`` may surprise."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """One line of ``flowlane doctor``. ``remedy`` is a command or a sentence; ``source`` says how we know."""

    level: Level
    where: str
    what: str
    remedy: str = ""
    source: str = ""
