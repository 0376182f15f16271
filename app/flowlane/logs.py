"""Formats of the log: text, or JSON with one object a line; and warnings that are not repeated at every retry."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.escaping import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

FORMAT_WITHOUT_TIME = "%(levelname)s %(name)s: %(message)s"
FORMAT = f"%(asctime)s {FORMAT_WITHOUT_TIME}"
TEXT, JSON = "text", "json"
INDENT = "    "
"""In front of the lines of a traceback: only a line of the log begins at its margin."""

QUIET = 600.0
"""Seconds for which a warning is not repeated."""

MOST_KEYS = 1000
"""Warnings at most that are known as repeated."""


MOST_CHARACTERS = 1000
"""Characters at most of a message of others in which a peer's bytes may be."""


class TextFormatter(logging.Formatter):
    """A record in one line, in which what others have chosen is escaped; a traceback in indented lines below."""

    def __init__(self, form: str = FORMAT) -> None:
        super().__init__(form)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name of logging's)
        """Return the line of a record."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return a traceback; its text is indented, too, where it has line ends."""
        return "\n".join(f"{INDENT}{escaped(line)}" for line in super().formatException(ei).splitlines())

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Return a stack."""
        return "\n".join(f"{INDENT}{escaped(line)}" for line in stack_info.splitlines())


class JsonFormatter(logging.Formatter):
    """A record as a JSON object in one line: ``time``, ``level``, ``logger``, ``message``, ``fields``.

    ``fields`` is an object with what the message is about, such as ``device`` and ``flow`` (see :func:`fields`);
    ``exception`` is there after an exception, with its traceback. All is ASCII: JSON escapes the rest.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "fields": getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            line["exception"] = record.exc_text
        return json.dumps(line, default=str)


def fields(values: Mapping[str, object]) -> Mapping[str, object]:
    """Return the argument ``extra`` of a log call that puts these fields into the line of JSON."""
    return {"fields": values}


def formatter(form: str) -> logging.Formatter:
    """Make the formatter of a value of ``--log-format``."""
    return JsonFormatter() if form == JSON else TextFormatter()


class _Last(NamedTuple):
    """When a warning was logged last, and how often it was left out since."""

    time: float
    left_out: int


class Repeats:
    """Warnings of which there would be one at every retry: each is logged at most once in :data:`QUIET`.

    Those in between are logged as debug, and counted.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._last: dict[Hashable, _Last] = {}

    def warning(self, key: Hashable, text: str, *args: object, exc_info: bool = False) -> None:
        """Log a warning, unless one of this key was logged lately.

        Args:
            key: what makes warnings the same, such as a peer's address and the kind of its fault.
        """
        left_out = self.due(key)
        if left_out is None:
            self._log.debug(text, *args)
            return
        if left_out:
            text, args = f"{text} (and %d times since the last such line)", (*args, left_out)
        self._log.warning(text, *args, exc_info=exc_info)

    def admits(self, key: Hashable, record: logging.LogRecord) -> bool:
        """Return whether a record of a logger of others is logged; it then says how many of its key were left out.

        It is for filters: a record that is not admitted is nowhere, and a text that a peer made long is cut.
        """
        left_out = self.due(key)
        if left_out is None:
            return False
        text = record.getMessage()
        text = text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
        record.msg = f"{text} (and {left_out} times since the last such line)" if left_out else text
        record.args = ()
        return True

    def due(self, key: Hashable) -> int | None:
        """Return how many warnings of a key were left out since the last one; None where this one is, too."""
        now, last = self._clock(), self._last.get(key)
        if last is not None and now - last.time < QUIET:
            self._last[key] = last._replace(left_out=last.left_out + 1)
            return None
        if last is None and len(self._last) >= MOST_KEYS:
            del self._last[min(self._last, key=lambda known: self._last[known].time)]
        self._last[key] = _Last(now, 0)
        return 0 if last is None else last.left_out
