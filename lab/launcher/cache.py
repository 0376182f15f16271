"""The only folder that the lab writes to by itself: software, and one short-lived folder for each run.

``FLOWLANE_CACHE`` names another place than ``$XDG_CACHE_HOME/flowlane`` (``~/.cache/flowlane``).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Return the lab's part of the cache, made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("FLOWLANE_CACHE") or Path(base) / "flowlane").absolute() / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (a file made for it): two starts must not both build the cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def run_folder(cache: Path) -> Iterator[Path]:
    """Give a fresh folder for one run and delete it afterwards, together with what killed launchers left."""
    runs = cache / "runs"
    runs.mkdir(exist_ok=True)
    for old in runs.iterdir():
        _remove_if_abandoned(old)
    folder = Path(tempfile.mkdtemp(dir=runs))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    """Delete a run's folder when nobody holds its lock: the kernel drops a dead launcher's lock."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # held by a run that is alive, or still being made
        return
