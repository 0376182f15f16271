"""Standard output and standard error of a program: flushed at its end, quiet when their reader is gone."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from flowlane.escaping import escaped_lines

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED = 1
"""Exit code: what was asked for could not be done."""


def run(program: str, command: Callable[[], int]) -> int:
    """Run a command and flush what it printed.

    The reader of the output may be gone, as in ``flowlane flows | head -1``: then the command ends without a
    message. Python would flush at exit only, and print a traceback then.

    Args:
        program: the name in front of an error message.
        command: returns the exit code.

    Returns:
        The command's exit code; 1 when its output could not be written.

    Raises:
        SystemExit: the command raised it (argparse does), or the output could not be flushed (code 1).
    """
    try:
        return command()
    except BrokenPipeError:
        return FAILED
    finally:
        if not all([_flush(program, "standard output", sys.stdout), _flush(program, "", sys.stderr)]):
            raise SystemExit(FAILED)


def _flush(program: str, name: str, stream: TextIO | None) -> bool:
    """Flush a stream; what cannot be written is discarded, so that the interpreter does not try again."""
    try:
        if stream is not None:
            stream.flush()
    except OSError as error:
        assert stream is not None
        with open(os.devnull, "wb") as devnull:  # noqa: PTH123  (a device, not a path)
            os.dup2(devnull.fileno(), stream.fileno())
        if name and not isinstance(error, BrokenPipeError):
            print_error(f"{program}: {name}: {error.strerror or error}")
        return False
    return True


def print_error(text: str) -> None:
    """Write lines to standard error; what others have chosen in them is escaped."""
    if sys.stderr is not None:
        sys.stderr.write(f"{escaped_lines(text)}\n")
