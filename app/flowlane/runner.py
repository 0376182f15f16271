"""The runner of os-ken apps: loads them, runs them until a signal, stops them.

os-ken's ``AppManager.run_apps`` cannot do this. On Ctrl-C it calls a method that its threads do not have, its
listener keeps the process alive, and it does not report an app that fails to start.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from os_ken.base.app_manager import AppManager

from flowlane import garbage, hub, other_apps, systemd
from flowlane.errors import ConfigError, FlowlaneError

_LOG = logging.getLogger(__name__)
STOP_TIME = 1.5
"""Seconds that the apps have to stop; then the process ends."""


def run(apps: Sequence[str], pid_file: Path | None, reload: Callable[[], tuple[str, ...]]) -> None:
    """Run apps until SIGINT or SIGTERM; on SIGHUP let them read their files again.

    Args:
        reload: reads the configuration again; returns the names of the options that changed.

    Raises:
        FlowlaneError: an app cannot be loaded or started; the others are stopped again.
    """
    signals = hub.Signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    manager = AppManager.get_instance()
    on_terminal = os.isatty(0)
    try:
        start(manager, apps)
        garbage.start()
        with pid_file_written(pid_file):
            text = f"running: {', '.join(apps)}"
            _LOG.info("%s", text)
            systemd.notify_ready(text)
            # SIGHUP also comes when the terminal is closed (termios(3)): then it ends the process, as it always did.
            while (received := signals.wait()) == signal.SIGHUP and os.isatty(0) == on_terminal:
                systemd.notify_reloading()
                reload_apps(manager, reload())
                systemd.notify_ready(text)
            _LOG.info("stopping on %s", received.name)
            systemd.notify_stopping()
    finally:
        signals.restore()
        if not hub.within(STOP_TIME, manager.close):
            _LOG.warning("not every app stopped within %g s", STOP_TIME)


def start(manager: Any, apps: Sequence[str]) -> None:
    """Load, create and start the apps and what they require.

    Raises:
        FlowlaneError: an app cannot be loaded or started; the text names it.
    """
    for name in apps:
        _load(manager, name)
    other_apps.check(manager.applications_cls)
    try:
        contexts = manager.create_contexts()
        manager.instantiate_apps(**contexts)
    except FlowlaneError:
        raise
    except Exception as error:
        _LOG.debug("an app did not start", exc_info=True)
        raise ConfigError(f"cannot start {', '.join(apps)}: {describe(error)}") from error


def reload_apps(manager: Any, changed: Collection[str]) -> None:
    """Call ``reload(changed)`` of each app that has it; what one raises is logged."""
    _LOG.info("reloading on SIGHUP")
    for name, app in manager.applications.items():
        try:
            getattr(app, "reload", _keep)(changed)
        except FlowlaneError as error:
            _LOG.error("app %s was not reloaded: %s", name, error)
        except Exception:
            _LOG.exception("app %s was not reloaded", name)


def _keep(_changed: Collection[str]) -> None:
    """Do nothing: this app reads no file."""


def _load(manager: Any, name: str) -> None:
    try:
        manager.load_apps([name])
    except FlowlaneError:
        raise
    except Exception as error:
        _LOG.debug("an app could not be loaded", exc_info=True)
        raise ConfigError(f"cannot load app {name}: {describe(_first_cause(error))}") from error
    if name not in manager.applications_cls and not _is_context(manager, name):
        raise ConfigError(f"cannot load app {name}: the module has no os-ken app")


def _first_cause(error: BaseException) -> BaseException:
    """Return the error of syntax behind an error of os-ken's, which takes the file for a module's name then."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SyntaxError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


def _is_context(manager: Any, name: str) -> bool:
    return name in [context.__module__ for context in manager.contexts_cls.values()]


def describe(error: BaseException) -> str:
    """Write an exception in one line, with its type where the text alone is not enough."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ImportError | OSError) and text else f"{type(error).__name__}: {text}"


@contextmanager
def pid_file_written(pid_file: Path | None) -> Iterator[None]:
    """Keep the process id in a file while running.

    Raises:
        ConfigError: the file cannot be written.
    """
    if pid_file is None:
        yield
        return
    content = f"{os.getpid()}\n"
    try:
        pid_file.write_text(content)
    except OSError as error:
        raise ConfigError(f"cannot write --pid-file {pid_file}: {error.strerror}") from error
    try:
        yield
    finally:
        if pid_file.is_file() and pid_file.read_text() == content:
            pid_file.unlink()
