"""What can go wrong before or beside the command, and the exit status that says so."""

from __future__ import annotations

EXIT_TIMEOUT = 124
"""The command was still running when its time was up (as timeout(1) says it)."""

EXIT_LOST = 125
"""The lab could not be started, or the guest went away without an exit status."""


class LabError(Exception):
    """The lab cannot go on; the text tells the operator what is missing and what to do."""
