"""What can go wrong before or beside the command, and the exit status that reports it."""

from __future__ import annotations

EXIT_TIMEOUT = 124
"""The command was still running when its time was up (as timeout(1) reports it)."""

EXIT_LOST = 125
"""The lab could not be started, or the guest went away without an exit status."""


class LabError(Exception):
    """The lab cannot go on; the text names what is missing and what to do."""
