"""The options of ``flowlane-manager``, with ryu-manager's names, read by oslo.config from arguments and a file."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

# Imported for the options that they register, on which apps rely, as with ryu-manager. app_manager comes first, since
# os-ken's modules have an import cycle that can be entered only there.
import os_ken.base.app_manager
import os_ken.controller.controller
import os_ken.log
import os_ken.topology.switches  # noqa: F401
from os_ken import cfg, utils

from flowlane import __version__, logs, tokens
from flowlane.closest import did_you_mean
from flowlane.cluster import embedded
from flowlane.errors import ConfigError
from flowlane.escaping import escaped

PROGRAM = "flowlane-manager"
DEFAULT_APP = "flowlane.app"
USAGE = f"{PROGRAM} [options] [APP ...]"
CONFIG_FILE = Path("/etc/flowlane/flowlane.conf")
"""Read where no --config-file is given, if it exists."""

CONFIG_FILE_HELP = (
    f"read options from this file; may be repeated, later ones win (default {CONFIG_FILE}, if it exists)"
)
CONFIG_DIR_HELP = "read options from the files *.conf in this directory, after the configuration file"
APP_HELP = f"os-ken app: a module's name or a Python file (default {DEFAULT_APP})"
OVSDB_SOCKETS = (Path("/run/flowlane/ovsdb.sock"), Path("/run/openvswitch/db.sock"))
"""Where the database of this host's Open vSwitch may be: the first that exists. flowlane-ovsdb.socket of the Debian
package lets the user flowlane use the second, which belongs to root (ovs-ctl(8))."""

MAX_START_TABLE = 200
"""The others are above the start table, and a switch has 254 at most."""

MAX_PORT = 0xFFFF
DATABASE_VARIABLE = "FLOWLANE_DATABASE"
"""In the environment, the value of --database where that is not given: the service's unit has it."""

MEMBER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

CONF: Any = cfg.CONF
_OF_OS_KEN, _OWN = frozenset(CONF._opts), set[str]()
"""Names, with _ for -, of the options that os-ken's modules have registered, and of Flowlane's. oslo.config lists its
options nowhere in public."""
_OF_OSLO = frozenset(("config_file", "config_dir", "shell_completion"))
"""Options that oslo.config adds when it parses the arguments: configuration files, and a completion of its own."""


class RestSettings(NamedTuple):
    """Options of access to REST. ``tls``: files of certificate, key and the clients' CA; None: not given."""

    tls: tuple[str | None, str | None, str | None] = (None, None, None)
    hosts: tuple[str, ...] = ()
    """Names by which the controller is called."""
    tokens: Path | None = None
    """The file of tokens; None: that of the state directory, if it has one."""


class ClusterSettings(NamedTuple):
    """Options of Flowlane's own database. ``database``: a target; None: there is none.

    ``member``: the name of this controller. ``url``: where others reach its REST; empty: nowhere. ``ca``: file of the
    CA of the database's servers; None: that of databases of switches.
    """

    database: str | None = None
    member: str = ""
    url: str = ""
    ca: str | None = None


class Settings(NamedTuple):
    """The options of Flowlane itself. ``ovsdb``: the values of ``--ovsdb``; ``policy`` is None for none."""

    wsapi_host: str
    wsapi_port: int
    ovsdb: tuple[str, ...]
    policy: Path | None
    learn: bool = True
    """Whether devices with the learn action may use it."""
    start_tables: Mapping[int | None, int] = MappingProxyType({})
    """dpid -> number of the start table; None: that of devices without one of their own."""
    tls: tuple[str | None, str | None, str | None] = (None, None, None)
    """Files of private key, certificate and CA certificate, for OpenFlow and for databases over TLS."""
    ipfix: tuple[str, int] | None = None
    """Address and UDP port on which samples are received; None: they are not."""
    forget_after: float = 600.0
    """Seconds after which what a database described is forgotten when the database is away."""
    topology: Path | None = None
    """The network file that the links found are compared with; None: none."""
    probes: bool = True
    """Whether devices send probes, by which links are found."""
    state_dir: Path | None = None
    """The directory of what has to survive a restart; None: nothing does."""
    rest: RestSettings = RestSettings()
    """Who may do what over REST."""
    cluster: ClusterSettings = ClusterSettings()
    """The database of Flowlane's own, and how this controller is known in it."""


def register() -> None:
    """Register Flowlane's options with oslo.config, beside those of os-ken's modules; idempotent."""
    CONF.register_cli_opts(
        [
            cfg.StrOpt("wsapi-host", default="127.0.0.1", help="REST listen host (default 127.0.0.1)"),
            cfg.IntOpt("wsapi-port", default=8080, min=0, max=65535, help="REST listen port (default 8080)"),
            *_access_options(),
            cfg.StrOpt("pid-file", help="write the process id here while running"),
            cfg.StrOpt("user-flags", help="a Python file that registers options of other apps"),
            cfg.ListOpt("app-lists", default=[], help="apps to run, separated by commas"),
            cfg.MultiStrOpt(
                "ovsdb",
                default=[],
                metavar="[NAME=]TARGET[,...]",
                help="Open vSwitch databases, one of each host: unix:FILE, tcp:HOST:PORT, ssl:HOST:PORT (with the "
                "files of --ctl-privkey, --ctl-cert and --ca-certs); ptcp:[PORT][:HOST], pssl:[PORT][:HOST] for hosts "
                "that connect; dir:DIRECTORY of files with a target each; cluster:A,B,C for one database with several "
                f"servers; none; may be repeated (default: unix:{OVSDB_SOCKETS[-1]} if that exists)",
            ),
            cfg.FloatOpt(
                "forget-after",
                default=600.0,
                min=0.0,
                metavar="SECONDS",
                help="time after which a host whose database is away, and whose devices are not connected, is "
                "forgotten (default 600)",
            ),
            cfg.StrOpt(
                "log-format",
                choices=(logs.TEXT, logs.JSON),
                default=logs.TEXT,
                help="text, or json with one object a line (default text)",
            ),
            cfg.StrOpt("policy", help="the operator's policy, a YAML file (default: the built-in one)"),
            cfg.StrOpt(
                "topology",
                help="the network as it should be, a YAML file (topologies/README.md): links that are missing, "
                "unexpected or miswired are reported",
            ),
            cfg.BoolOpt(
                "lldp-probes",
                default=True,
                help="find links by LLDP frames that switches send by their ports to the network",
            ),
            cfg.BoolOpt(
                "learn",
                default=True,
                help="let switches that have the learn action (Open vSwitch) make entries of the flows that they place",
            ),
            cfg.MultiStrOpt(
                "start-table",
                default=[],
                metavar="[DPID=]N",
                help="the flow table in which packets enter Flowlane's tables, of all switches or of one "
                "(default 0); entries of yours in the tables before lead there",
            ),
            cfg.MultiStrOpt(
                "switch-certificate",
                default=[],
                metavar="DPID=NAME",
                help="the switch with this datapath id has to show a certificate with this common name or DNS name, "
                "which may be listed datapath ids only; may be repeated (default: as each is first used)",
            ),
            cfg.StrOpt(
                "ipfix-listen",
                metavar="HOST:PORT",
                help="receive samples of packets here, by IPFIX over UDP, such as 127.0.0.1:4739, for policies with "
                "sampling (default: none); see flowlane attach --sampling",
            ),
            *_cluster_options(),
            _positional_apps(),
        ]
    )
    CONF.set_default("ofp_tcp_listen_port", 6653)
    CONF.set_default("ofp_ssl_listen_port", 6653)
    _OWN.update(set(CONF._opts) - _OF_OS_KEN if not _OWN else ())


def own_names() -> frozenset[str]:
    """Return the names of Flowlane's own options, with _ for -."""
    _register_once()
    return frozenset(_OWN)


def known() -> Iterator[tuple[Any, bool]]:
    """Return each option without a group: (its oslo.config object, whether the command line has it).

    Those in groups are of apps of os-ken that Flowlane does not load.
    """
    _register_once()
    for name, info in CONF._opts.items():
        if name not in _OF_OSLO:
            yield info["opt"], info["cli"]


def _register_once() -> None:
    """Register Flowlane's options unless they are; none can be when the arguments have been parsed."""
    if not _OWN:
        register()


def default_of(opt: Any) -> Any:
    """Return an option's default, also where it is not that of the option's own module."""
    return CONF._opts[opt.dest].get("default", opt.default)


def _cluster_options() -> list[Any]:
    return [
        cfg.StrOpt(
            "database",
            metavar="TARGET",
            help="the database of Flowlane's own: embedded for an ovsdb-server in the state directory that this "
            "controller starts; unix:FILE, tcp:HOST:PORT, ssl:HOST:PORT, or cluster:A,B,C with several servers for "
            "several controllers; none for files in the state directory (default: $FLOWLANE_DATABASE, which the "
            "service sets to embedded; else none)",
        ),
        cfg.StrOpt(
            "database-ca",
            metavar="FILE",
            help="CA of the servers of --database over ssl:, which get the certificate of --ctl-cert "
            "(default: --ca-certs)",
        ),
        cfg.StrOpt(
            "member",
            metavar="NAME",
            help="the name of this controller among those that share the database (default: the host's name)",
        ),
        cfg.StrOpt(
            "rest-url",
            metavar="URL",
            help="where the clients of other controllers reach this one's REST (default: --wsapi-host and "
            "--wsapi-port, where others can reach them)",
        ),
    ]


def _access_options() -> list[Any]:
    return [
        cfg.StrOpt(
            "state-dir",
            metavar="DIRECTORY",
            help="keep here what has to survive a restart: a policy that was put in force over REST, tokens "
            "(default: $STATE_DIRECTORY, which systemd sets; none: keep nothing)",
        ),
        cfg.StrOpt(
            "tokens",
            metavar="FILE",
            help=f"tokens of REST, as flowlane token makes them (default: {tokens.FILE_NAME} of the state directory, "
            "if there is one; without tokens everybody who reaches REST may do everything)",
        ),
        cfg.StrOpt("rest-cert", metavar="FILE", help="serve REST over TLS with this certificate, in PEM"),
        cfg.StrOpt("rest-key", metavar="FILE", help="private key of --rest-cert (default: in the same file)"),
        cfg.StrOpt(
            "rest-client-ca",
            metavar="FILE",
            help="REST admits clients only whose certificate this CA has signed (with --rest-cert)",
        ),
        cfg.MultiStrOpt(
            "rest-host",
            default=[],
            metavar="NAME",
            help="a name by which clients call REST, beside IP addresses and localhost; may be repeated; *: any",
        ),
    ]


def _positional_apps() -> Any:
    from oslo_config.cfg import MultiStrOpt  # noqa: PLC0415  (os_ken.cfg does not pass its positional form on)

    return MultiStrOpt("app", positional=True, default=[], help=APP_HELP)


def parse(arguments: Sequence[str]) -> None:
    """Read the arguments and the configuration file into os-ken's ``CONF``.

    Raises:
        ConfigError: the configuration file is wrong.
        SystemExit: an argument is wrong and has been reported (1 or 2), or help or version was requested (0).
    """
    register_all(arguments)
    try:
        CONF(
            args=list(arguments),
            project="flowlane",
            prog=PROGRAM,
            version=f"{PROGRAM} {__version__}",
            usage=USAGE,
            default_config_files=[str(CONFIG_FILE)] if CONFIG_FILE.is_file() else [],
        )
    except BrokenPipeError:  # the reader of the help is gone
        raise
    except Exception as error:
        raise ConfigError(" ".join(str(error).split())) from error


def reload() -> tuple[str, ...]:
    """Read the configuration files again; return the names of Flowlane's own options that have another value now.

    Raises:
        ConfigError: a file is wrong; every option keeps its value. The log has the reason.
    """
    before = {name: CONF[name] for name in _OWN}
    if not CONF.reload_config_files():
        raise ConfigError("the configuration files are refused, and every option keeps its value")
    return tuple(name for name, value in before.items() if CONF[name] != value)


def unknown_names() -> list[str]:
    """List what the configuration files set and no option is: ``FILE: NAME``, with the option that it may be meant for.

    Options of apps beside Flowlane are registered when these are loaded, so that with others nothing is judged.
    """
    from oslo_config.cfg import ConfigParser  # noqa: PLC0415  (os_ken.cfg does not pass it on)

    if apps() != [DEFAULT_APP]:
        return []
    in_directories = (sorted(Path(name).glob("*.conf")) for name in CONF.config_dir or ())
    names = {name.replace("-", "_") for name in CONF}
    found = []
    for path in dict.fromkeys([*map(Path, CONF.config_file or []), *chain.from_iterable(in_directories)]):
        sections: dict[str, dict[str, list[str]]] = {}
        ConfigParser(str(path), sections).parse()
        for name in sections.pop("DEFAULT", {}):
            if name not in names:
                remedy = did_you_mean(name, (word.replace("_", "-") for word in names)).replace("-", "_")
                found.append(f"{path}: {escaped(repr(name))} is no option; {remedy}")
        found += [
            f"{path}: section {escaped(repr(name))} is not read; options stand in [DEFAULT]"
            for name in sections
        ]
    return found


def register_all(arguments: Sequence[str]) -> None:
    """Register Flowlane's options, and those of the file of --user-flags, before the arguments are parsed.

    Raises:
        ConfigError: that file cannot be loaded.
    """
    register()
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
    """Return the apps to run, in order; Flowlane's own when none is named."""
    named = [*CONF.app_lists, *(name for item in CONF.app for name in item.split(","))]
    return [name for name in named if name] or [DEFAULT_APP]


def settings() -> Settings:
    """Return the options of Flowlane itself."""
    ovsdb = tuple(CONF.ovsdb)
    if not ovsdb:
        ovsdb = tuple(f"unix:{path}" for path in OVSDB_SOCKETS if path.is_socket())[:1]
    policy = None if CONF.policy is None else Path(CONF.policy)
    databases = tuple(value for value in ovsdb if value not in ("", "none"))
    tls = CONF.ctl_privkey, CONF.ctl_cert, CONF.ca_certs
    starts = start_tables(CONF.start_table)
    ipfix = None if CONF.ipfix_listen in (None, "", "none") else ipfix_address(CONF.ipfix_listen)
    topology = None if CONF.topology is None else Path(CONF.topology)
    return Settings(
        CONF.wsapi_host,
        CONF.wsapi_port,
        databases,
        policy,
        CONF.learn,
        starts,
        tls,
        ipfix,
        CONF.forget_after,
        topology,
        CONF.lldp_probes,
        _state_directory(),
        _rest_settings(),
        _cluster_settings(),
    )


def _cluster_settings() -> ClusterSettings:
    database = None if CONF.database in ("", "none") else CONF.database or _default_database()
    member = CONF.member or socket.gethostname()
    if not MEMBER_NAME.fullmatch(member):
        raise ConfigError(f"--member {member!r} is no name: letters, digits, '.', '_' and '-', 64 at most")
    return ClusterSettings(database, member, CONF.rest_url or _own_url(), CONF.database_ca)


def _default_database() -> str | None:
    """Return what the service's unit says, where this machine has an ovsdb-server."""
    named = os.environ.get(DATABASE_VARIABLE) or None
    return None if named == embedded.EMBEDDED and not embedded.is_installed() else named


def _own_url() -> str:
    """Return where REST listens, if others can reach it."""
    host = CONF.wsapi_host
    try:
        is_reachable = not (ip_address(host).is_loopback or ip_address(host).is_unspecified)
    except ValueError:
        is_reachable = host != "localhost"
    if not is_reachable or CONF.wsapi_port == 0:
        return ""
    scheme = "http" if CONF.rest_cert is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{CONF.wsapi_port}"


def _state_directory() -> Path | None:
    # Of several directories, which systemd separates by colons, the first one (systemd.exec(5), StateDirectory).
    named = CONF.state_dir or os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if named in ("", "none"):
        return None
    path = Path(named)
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--state-dir {path} cannot be made: {error.strerror or error}") from error
    return path


def _rest_settings() -> RestSettings:
    if CONF.rest_cert is None and (CONF.rest_key or CONF.rest_client_ca):
        raise ConfigError("--rest-key and --rest-client-ca need --rest-cert, the certificate of REST")
    files = CONF.rest_cert, CONF.rest_key or CONF.rest_cert, CONF.rest_client_ca
    hosts = tuple(name for value in CONF.rest_host for name in value.split(",") if name)
    return RestSettings(files, hosts, None if CONF.tokens is None else Path(CONF.tokens))


def ipfix_address(text: str) -> tuple[str, int]:
    """Read the value of --ipfix-listen.

    Raises:
        ConfigError: it is no IP address with a port.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(host)
        number = int(port)
    except ValueError:
        number = -1
    if not 0 <= number <= MAX_PORT:
        raise ConfigError(f"--ipfix-listen {text}: give ADDRESS:PORT, such as 127.0.0.1:4739 or [::]:4739")
    return host, number


def start_tables(texts: Iterable[str]) -> dict[int | None, int]:
    """Read the values of --start-table, each ``N`` or ``DPID=N``.

    Raises:
        ConfigError: a value is neither.
    """
    numbers: dict[int | None, int] = {}
    for text in texts:
        dpid, _, number = text.rpartition("=")
        try:
            key, value = int(dpid, 16) if "=" in text else None, int(number)
        except ValueError:
            value = -1
        if not 0 <= value <= MAX_START_TABLE:
            raise ConfigError(
                f"--start-table {text}: give N or DPID=N, where N is 0 to {MAX_START_TABLE}, "
                "and DPID up to 16 hexadecimal digits"
            )
        numbers[key] = value
    return numbers
