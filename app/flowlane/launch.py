"""The launcher: options, log, listener and apps; an error at start is one line on standard error."""

from __future__ import annotations

import logging
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from os_ken import log

from flowlane import options, runner
from flowlane.errors import ConfigError, FlowlaneError
from flowlane.southbound.openflow.osken import listener

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def launch(arguments: Sequence[str]) -> int:
    """Run until SIGINT or SIGTERM; return the exit code."""
    try:
        options.parse(arguments)
        set_up_log()
        raise_descriptor_limit()
        listener.install()
        pid_file = options.CONF.pid_file
        runner.run(options.apps(), None if pid_file is None else Path(pid_file))
    except FlowlaneError as error:
        sys.stderr.write(f"{options.PROGRAM}: {error}\n")
        return 1
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
            handler.setFormatter(logging.Formatter(FORMAT))
