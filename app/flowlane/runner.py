"""Load os-ken apps, run them until a signal, stop them: what os-ken's ``AppManager.run_apps`` cannot.

On Ctrl-C that one calls a method its threads do not have, and a listener keeps its process alive; an app
that failed to start is not told from one that runs.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from os_ken.base.app_manager import AppManager

from flowlane import hub
from flowlane.errors import ConfigError, FlowlaneError

_LOG = logging.getLogger(__name__)
STOP_TIME = 1.5
"""Seconds that the apps have for stopping; the process ends then, whatever they do."""


def run(apps: Sequence[str], pid_file: Path | None) -> None:
    """Run apps until SIGINT or SIGTERM.

    Raises:
        FlowlaneError: one could not be loaded or started; the others are stopped again.
    """
    signals = hub.Signals((signal.SIGINT, signal.SIGTERM))
    manager = AppManager.get_instance()
    try:
        start(manager, apps)
        settle_collector()
        with written(pid_file):
            _LOG.info("running: %s", ", ".join(apps))
            caught = signals.wait()
            _LOG.info("stopping on %s", caught.name)
    finally:
        signals.restore()
        if not hub.within(STOP_TIME, manager.close):
            _LOG.warning("not every app stopped within %g s", STOP_TIME)


def start(manager: Any, apps: Sequence[str]) -> None:
    """Load, create and start the apps with all that they require.

    Raises:
        FlowlaneError: an app cannot be loaded or started; the text names it.
    """
    for name in apps:
        _load(manager, name)
    try:
        contexts = manager.create_contexts()
        manager.instantiate_apps(**contexts)
    except FlowlaneError:
        raise
    except Exception as error:
        _LOG.debug("an app did not start", exc_info=True)
        raise ConfigError(f"cannot start {', '.join(apps)}: {describe(error)}") from error


def settle_collector() -> None:
    """Take what was made while starting out of the garbage collector's sight, and let it run seldom.

    A full collection over a million flows' surroundings would stop everything for longer than the 20 ms that
    a controller may pause; the flow tables themselves are arrays, which it does not walk.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _load(manager: Any, name: str) -> None:
    try:
        manager.load_apps([name])
    except FlowlaneError:
        raise
    except Exception as error:
        _LOG.debug("an app could not be loaded", exc_info=True)
        raise ConfigError(f"cannot load app {name}: {describe(error)}") from error
    if name not in manager.applications_cls and not _is_context(manager, name):
        raise ConfigError(f"cannot load app {name}: there is no os-ken app in it")


def _is_context(manager: Any, name: str) -> bool:
    return name in [context.__module__ for context in manager.contexts_cls.values()]


def describe(error: BaseException) -> str:
    """Put an exception in one line, with its kind where the text alone would not say what went wrong."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ImportError | OSError) and text else f"{type(error).__name__}: {text}"


@contextmanager
def written(pid_file: Path | None) -> Iterator[None]:
    """Keep the process id in a file while running.

    Raises:
        ConfigError: the file cannot be written.
    """
    if pid_file is None:
        yield
        return
    mine = f"{os.getpid()}\n"
    try:
        pid_file.write_text(mine)
    except OSError as error:
        raise ConfigError(f"cannot write --pid-file {pid_file}: {error.strerror}") from error
    try:
        yield
    finally:
        if pid_file.is_file() and pid_file.read_text() == mine:
            pid_file.unlink()
