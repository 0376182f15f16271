"""The launcher: options, log, listener and apps; an error at start is one line on standard error."""

from __future__ import annotations

import logging
import os
import platform
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import os_ken
from os_ken import log

from flowlane import __version__, logs, option_help, options, runner, systemd
from flowlane.errors import ConfigError, FlowlaneError
from flowlane.southbound.openflow.osken import listener
from flowlane.stdio import FAILED, print_error

HELP = frozenset(("-h", "--help"))
_LOG = logging.getLogger(__name__)


def launch(arguments: Sequence[str]) -> int:
    """Run until SIGINT or SIGTERM; return the exit code."""
    has_log = False
    try:
        if not HELP.isdisjoint(arguments):
            options.register_all(arguments)
            return _print_help()
        options.parse(arguments)
        set_up_log()
        has_log = True
        text = "Flowlane %s begins: process %d, Python %s, os-ken %s"
        _LOG.info(text, __version__, os.getpid(), platform.python_version(), os_ken.__version__)
        _warn_of_names()
        raise_descriptor_limit()
        listener.install()
        pid_file = options.CONF.pid_file
        runner.run(options.apps(), None if pid_file is None else Path(pid_file), reload)
    except FlowlaneError as error:
        if has_log and options.CONF.log_format == logs.JSON:
            _LOG.critical("%s", error)
        else:
            print_error(f"{options.PROGRAM}: {error}")
        return 1
    return 0


def _warn_of_names() -> None:
    for text in options.unknown_names():
        _LOG.warning("%s", text)


def _print_help() -> int:
    """Print the options; return the exit code."""
    try:
        sys.stdout.write(option_help.parser().format_help())
    except BrokenPipeError:  # its reader is gone
        raise
    except OSError as error:
        print_error(f"{options.PROGRAM}: {error.strerror or error}")
        return FAILED
    return 0


def raise_descriptor_limit() -> None:
    """Allow as many open files as the system lets this process have: each switch, database and client is one.

    The usual soft limit of 1024 is for programs that use select(2) (systemd.exec(5), LimitNOFILE).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def set_up_log() -> None:
    """Set up logging by os-ken's options, with a time in every line.

    Raises:
        ConfigError: the log file cannot be written.
    """
    try:
        log.init_log()
    except OSError as error:
        raise ConfigError(f"cannot write the log: {error}") from error
    for handler in logging.getLogger().handlers:
        if handler.formatter is None:
            to_journal = isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
            in_journal = to_journal and systemd.is_journal()
            form = options.CONF.log_format
            handler.setFormatter(systemd.JournalFormatter(form) if in_journal else logs.formatter(form))


def reload() -> tuple[str, ...]:
    """Read the configuration files again, and log by what they say now.

    Returns:
        The names of Flowlane's options that have another value now, with _ for -; none where the files are refused.
    """
    try:
        changed = options.reload()
    except ConfigError as error:
        _LOG.error("%s", error)
        return ()
    _warn_of_names()
    if not options.CONF.log_config_file:
        level = options.CONF.default_log_level
        default = logging.DEBUG if options.CONF.verbose else logging.INFO
        logging.getLogger().setLevel(default if level is None else level)
    _LOG.debug("options read again; changed: %s", ", ".join(changed) or "none")
    return changed
