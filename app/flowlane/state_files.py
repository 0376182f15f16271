"""Files that are replaced as a whole: after a crash, or a loss of power, there is the old content or the new one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flowlane import hub
from flowlane.logs import Repeats

_REPEATS = Repeats(logging.getLogger(__name__))

DEFAULT_MODE = 0o640
"""Mode of a file that is new: for its owner and group only."""


def replace(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a file's content, or make the file; blocks until the disk has it (fsync(2)).

    A file that exists keeps owner, group and mode; a new one has those of its directory where root makes it, so that
    a service that runs as another user can read what root's shell wrote.

    Args:
        durable: False for what may be torn after a loss of power, but not after a crash of this process.

    Raises:
        OSError: the file cannot be written; the old one stays as it was.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as file:
            _adopt_access(file.fileno(), path)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    if durable:
        _sync_directory(path.parent)


def try_replace(
    path: Path, make: Callable[[], bytes], lost: str, *, waits: bool, durable: bool = True
) -> bool:
    """Replace a file if that is possible; return whether it was. The log says once in a while why it is not.

    Args:
        make: makes what the file is to have.
        lost: what a restart loses otherwise, for the log.
        waits: others are served meanwhile.
        durable: see :func:`replace`.
    """

    def write() -> None:
        replace(path, make(), durable=durable)

    try:
        if waits:
            hub.in_thread(write)
        else:
            write()
    except OSError as error:
        text = "%s are lost at a restart: %s cannot be written: %s"
        _REPEATS.warning((lost, path), text, lost, path, error.strerror or error)
        return False
    return True


def _adopt_access(descriptor: int, path: Path) -> None:
    """Give a file the mode and the owner of the one that it replaces, before anything is in it."""
    try:
        former = path.stat()
        mode = former.st_mode & 0o7777
    except FileNotFoundError:
        former, mode = path.parent.stat(), DEFAULT_MODE
    os.fchmod(descriptor, mode)
    if os.geteuid() == 0:
        os.fchown(descriptor, former.st_uid, former.st_gid)


def _sync_directory(path: Path) -> None:
    """Write a directory to the disk: a rename is there after a loss of power only then (open(2), fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
