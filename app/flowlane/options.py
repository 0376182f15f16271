"""The launcher's options: ryu-manager's names and habits, read by oslo.config from arguments and a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Imported for the options that they register, as ryu-manager did: apps rely on them. The first must come
# first: os-ken's modules import each other in a circle that can be entered there only.
import os_ken.base.app_manager
import os_ken.controller.controller
import os_ken.log
import os_ken.topology.switches  # noqa: F401
from os_ken import cfg, utils

from flowlane import __version__
from flowlane.errors import ConfigError

PROGRAM = "flowlane-manager"
DEFAULT_APP = "flowlane.app"
OVSDB_SOCKET = Path("/run/openvswitch/db.sock")
"""Where Open vSwitch's database listens on Debian and most others (ovs-ctl(8))."""

CONF: Any = cfg.CONF


class Settings(NamedTuple):
    """What Flowlane itself takes from the options. ``ovsdb`` and ``policy`` are None where there is none."""

    wsapi_host: str
    wsapi_port: int
    ovsdb: str | None
    policy: Path | None
    learn: bool = True
    """Whether devices that can may learn flows by themselves."""
    tls: tuple[str | None, str | None, str | None] = (None, None, None)
    """Private key, certificate and CA certificate: of OpenFlow's listener, and of an ``ssl:`` database."""


def register() -> None:
    """Tell oslo.config our options; os-ken's modules have told theirs. A second call changes nothing."""
    CONF.register_cli_opts(
        [
            cfg.StrOpt("wsapi-host", default="127.0.0.1", help="REST listen host (default 127.0.0.1)"),
            cfg.IntOpt("wsapi-port", default=8080, help="REST listen port (default 8080)"),
            cfg.StrOpt("pid-file", help="write the process id here while running"),
            cfg.StrOpt("user-flags", help="a Python file that registers options of other apps"),
            cfg.ListOpt("app-lists", default=[], help="apps to run, separated by commas"),
            cfg.StrOpt(
                "ovsdb",
                help="Open vSwitch database: unix:FILE, tcp:HOST:PORT, ssl:HOST:PORT (with the files of "
                "--ctl-privkey, --ctl-cert and --ca-certs), or none "
                f"(default unix:{OVSDB_SOCKET} where that is)",
            ),
            cfg.StrOpt("policy", help="the operator's policy, a YAML file (default: the built-in one)"),
            cfg.BoolOpt(
                "learn",
                default=True,
                help="let switches learn by themselves which flows they have seen, where they can (Open vSwitch)",
            ),
            _positional_apps(),
        ]
    )
    CONF.set_default("ofp_tcp_listen_port", 6653)
    CONF.set_default("ofp_ssl_listen_port", 6653)


def _positional_apps() -> Any:
    from oslo_config.cfg import MultiStrOpt  # noqa: PLC0415  (os_ken.cfg does not pass its positional form on)

    text = f"os-ken app: a module's name or a Python file (default {DEFAULT_APP})"
    return MultiStrOpt("app", positional=True, default=[], help=text)


def parse(arguments: Sequence[str]) -> None:
    """Read the arguments and the configuration file into os-ken's ``CONF``.

    Raises:
        ConfigError: the configuration file is wrong.
        SystemExit: an argument is wrong (1 or 2) and has been told, or help or version was asked for (0).
    """
    register()
    _load_user_flags(arguments)
    try:
        CONF(
            args=list(arguments),
            project="flowlane",
            prog=PROGRAM,
            version=f"{PROGRAM} {__version__}",
            usage=f"{PROGRAM} [options] [APP ...]",
            default_config_files=[name for name in ("/etc/flowlane/flowlane.conf",) if Path(name).is_file()],
        )
    except BrokenPipeError:  # the reader of the help is gone
        raise
    except Exception as error:
        raise ConfigError(" ".join(str(error).split())) from error


def _load_user_flags(arguments: Sequence[str]) -> None:
    """Load ryu-manager's --user-flags file, which must be there before the arguments are read."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--user-flags":
            rest = arguments[position + 1 : position + 2]
            path = value if equals else "".join(rest)
            try:
                utils.import_module(path)
            except Exception as error:
                raise ConfigError(f"--user-flags {path}: {error}") from error


def apps() -> list[str]:
    """The apps to run, in order; Flowlane's own when none is named."""
    named = [*CONF.app_lists, *(name for item in CONF.app for name in item.split(","))]
    return [name for name in named if name] or [DEFAULT_APP]


def settings() -> Settings:
    """What Flowlane itself takes from the options."""
    ovsdb = CONF.ovsdb
    if ovsdb is None and OVSDB_SOCKET.is_socket():
        ovsdb = f"unix:{OVSDB_SOCKET}"
    policy = None if CONF.policy is None else Path(CONF.policy)
    database = None if ovsdb in (None, "", "none") else ovsdb
    tls = CONF.ctl_privkey, CONF.ctl_cert, CONF.ca_certs
    return Settings(CONF.wsapi_host, CONF.wsapi_port, database, policy, CONF.learn, tls)
