"""What systemd offers to a service: notifications of its state, and priorities of its log lines in the journal."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from contextlib import suppress

from flowlane import logs

PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))
"""Level of a log record -> priority of syslog(3), the first that is not above the record's."""


def notify(state: str) -> None:
    """Report a state to systemd, where it started this process as a service of type notify (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # an abstract socket (unix(7))
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.sendall(state.encode())


def notify_ready(text: str) -> None:
    """Report that the service runs, or runs with its new configuration; ``systemctl status`` shows the text."""
    notify(f"READY=1\nSTATUS={text}")


def notify_reloading() -> None:
    """Report that the configuration is being read again."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def notify_stopping() -> None:
    """Report that the service stops."""
    notify("STOPPING=1")


def is_journal() -> bool:
    """Return whether standard error is the journal: systemd.exec(5), $JOURNAL_STREAM."""
    try:
        state = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{state.st_dev}:{state.st_ino}"


class JournalFormatter(logging.Formatter):
    """Formatter of lines for the journal: a priority in front (sd-daemon(3)), and in text no time: the journal has it.

    Args:
        form: a value of ``--log-format``.
    """

    def __init__(self, form: str = logs.TEXT) -> None:
        super().__init__()
        is_text = form == logs.TEXT
        self._inner = logs.TextFormatter(logs.FORMAT_WITHOUT_TIME) if is_text else logs.formatter(form)

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; each line of it has the priority."""
        priority = next(number for level, number in PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in self._inner.format(record).splitlines())
