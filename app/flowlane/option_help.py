"""The options of ``flowlane-manager`` in groups, Flowlane's first: for its help, manual page and completion.

oslo.config sorts all options by name, those of os-ken's BGP speaker and Zebra client among them. These stay accepted
on the command line and in the configuration file, and are listed nowhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from oslo_config import cfg

from flowlane import options

TITLES = "Flowlane", "switches", "log", "apps"
"""Titles of the groups, in their order."""

_ABOUT = {
    "Flowlane": "",
    "switches": "Where switches connect, or are connected to, and with which files of TLS.",
    "log": "",
    "apps": "Other os-ken apps beside Flowlane, and what os-ken's own apps take.",
}
_OF_SWITCHES = ("ofp-", "ctl-", "ca-certs", "ciphers", "socket-timeout", "echo-request", "maximum-unreplied")
_OF_LOGS = ("log-", "verbose", "default-log-level", "use-stderr", "use-syslog")
_OF_APPS = ("app-lists", "user-flags")


class Listed(NamedTuple):
    """An option as it is listed: its oslo.config object, and whether the command line has it, too."""

    opt: cfg.Opt
    on_command_line: bool


def groups() -> Iterator[tuple[str, str, list[Listed]]]:
    """Return (title, description, options) of each group; the options of a group in order of their names."""
    found: dict[str, list[Listed]] = {title: [] for title in TITLES}
    for opt, on_command_line in options.known():
        if not opt.positional:
            found[_group_of(opt.name)].append(Listed(opt, on_command_line))
    for title, listed in found.items():
        yield title, _ABOUT[title], sorted(listed, key=lambda item: item.opt.name)


def _group_of(name: str) -> str:
    if name.startswith(_OF_APPS):
        return "apps"
    if name.startswith(_OF_LOGS):
        return "log"
    if name.replace("-", "_") in options.own_names():
        return "Flowlane"
    return "switches" if name.startswith(_OF_SWITCHES) else "apps"


def parser() -> argparse.ArgumentParser:
    """Make a parser with every option that is listed. It is not the one that reads the command line: that is oslo's."""
    made = argparse.ArgumentParser(
        prog=options.PROGRAM,
        usage=options.USAGE,
        description="Run Flowlane, the controller that places flows of VMs on queues, and other os-ken apps.",
        epilog=f"Each option may stand in {options.CONFIG_FILE}, as NAME = VALUE with _ for -.",
        allow_abbrev=False,
    )
    made.add_argument("--version", action="store_true", help="show the version and exit")
    made.add_argument("app", nargs="*", metavar="APP", help=options.APP_HELP)
    for title, about, listed in groups():
        section = made.add_argument_group(title, about or None)
        if title == TITLES[0]:
            section.add_argument(
                "--config-file", metavar="FILE", action="append", help=options.CONFIG_FILE_HELP
            )
            section.add_argument("--config-dir", metavar="DIRECTORY", help=options.CONFIG_DIR_HELP)
        for opt, on_command_line in listed:
            if on_command_line:
                _add(section, opt)
    return made


def _add(section: argparse._ArgumentGroup, opt: cfg.Opt) -> None:
    # argparse formats a help text with %, which a text of oslo.config may hold.
    text = help_of(opt).replace("%", "%%")
    if isinstance(opt, cfg.BoolOpt):
        section.add_argument(
            f"--{opt.name}", f"--no{opt.name}", dest=opt.dest, action="store_true", help=text
        )
    else:
        repeated: dict[str, Any] = {"action": "append"} if isinstance(opt, cfg.MultiOpt) else {}
        section.add_argument(f"--{opt.name}", dest=opt.dest, metavar=metavar_of(opt), help=text, **repeated)


_METAVARS = {
    "host": "ADDRESS",
    "port": "PORT",
    "file": "FILE",
    "dir": "DIRECTORY",
    "policy": "FILE",
    "topology": "FILE",
    "privkey": "FILE",
    "cert": "FILE",
    "certs": "FILE",
    "flags": "FILE",
    "mode": "MODE",
    "interval": "SECONDS",
    "timeout": "SECONDS",
}
"""Last word of an option's name -> what its value is."""


def metavar_of(opt: cfg.Opt) -> str:
    """Return the word that stands for an option's value."""
    if opt.metavar:
        return str(opt.metavar)
    if isinstance(opt, cfg.ListOpt):
        return "LIST"
    last = opt.name.rpartition("-")[2]
    return _METAVARS.get(last) or ("NUMBER" if isinstance(opt, cfg.IntOpt | cfg.FloatOpt) else "TEXT")


def help_of(opt: cfg.Opt) -> str:
    """Return the text about an option, in one line, with its default where that is not said already."""
    text = " ".join((opt.help or "").split())
    default = options.default_of(opt)
    if "default" in text or default in (None, [], ""):
        return text
    if isinstance(opt, cfg.BoolOpt):
        return f"{text} (default {'yes' if default else 'no'})"
    return f"{text} (default {default})"
