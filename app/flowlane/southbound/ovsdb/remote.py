"""Where databases are: what ``--ovsdb`` may say, the syntax of a remote, and the files of TLS.

A *target* is one database: a remote, the members of one cluster (``cluster:A,B,C``), or a port at which hosts connect
to us (``ptcp:``, ``pssl:``). A list with commas is several databases, since that is what a list of hosts means;
Open vSwitch's tools would take it for the members of one cluster, which therefore have a word of their own here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from flowlane.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

ACTIVE, PASSIVE = ("unix", "tcp", "ssl"), ("ptcp", "pssl")
"""Connection methods (ovsdb(7)): we connect, hosts connect."""

CLUSTER, DIRECTORY = "cluster:", "dir:"
DEFAULT_PORT = 6640
"""The port of the OVSDB protocol (RFC 7047 section 6, ovsdb(7))."""

_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,127})=(.*)", re.DOTALL)
_FORMS = "unix:FILE, tcp:HOST:PORT, ssl:HOST:PORT"


class TlsFiles(NamedTuple):
    """PEM files: our private key and certificate, and the CA certificate for the other end's."""

    private_key: str | None = None
    certificate: str | None = None
    ca_certificate: str | None = None


NO_FILES = TlsFiles()


class Target(NamedTuple):
    """A database to follow, or a port for hosts that connect. Several ``remotes`` are members of one cluster."""

    name: str
    remotes: tuple[str, ...]
    tls: TlsFiles = NO_FILES

    @property
    def text(self) -> str:
        """The target as it is written in ``--ovsdb``."""
        return self.remotes[0] if len(self.remotes) == 1 else CLUSTER + ",".join(self.remotes)

    @property
    def is_passive(self) -> bool:
        """Whether hosts connect to us."""
        return self.remotes[0].partition(":")[0] in PASSIVE

    @property
    def uses_tls(self) -> bool:
        """Whether one of its remotes needs the files of TLS."""
        return any(remote.partition(":")[0] in ("ssl", "pssl") for remote in self.remotes)


def check_remote(remote: str) -> str:
    """Return the remote if it is ``unix:FILE``, ``tcp:HOST:PORT`` or ``ssl:HOST:PORT``.

    Raises:
        ConfigError: it is none of these (ovsdb(7), connection methods).
    """
    method, _, rest = remote.partition(":")
    host, _, port = rest.rpartition(":")
    is_host = host.isprintable() and " " not in host and _is_port(port)
    if rest.isprintable() and (
        (method == "unix" and rest) or (method in ("tcp", "ssl") and host and is_host)
    ):
        return remote
    raise ConfigError(f"ovsdb remote {remote!r} is none of {_FORMS}")


def host_and_port(remote: str) -> tuple[str, int]:
    """Return host and port of a remote that is no unix socket; of a passive one, where it listens.

    ``ptcp:[PORT][:HOST]`` listens at all IPv4 addresses and port 6640 unless it says otherwise (ovsdb(7)).
    """
    method, _, rest = remote.partition(":")
    if method in PASSIVE:
        port, _, host = rest.partition(":")
        return host.strip("[]") or "0.0.0.0", int(port or DEFAULT_PORT)  # noqa: S104  (the method's default)
    host, _, port = rest.rpartition(":")
    return host.strip("[]"), int(port)


def read_target(text: str, name: str = "", tls: TlsFiles = NO_FILES) -> Target:
    """Read one target: a remote, ``cluster:`` with remotes, ``ptcp:`` or ``pssl:``; before it may stand ``NAME=``.

    Raises:
        ConfigError: it is none of these, or needs files of TLS that are not given.
    """
    if match := _NAME.match(text):
        name, text = name or match[1], match[2]
    if text.startswith(CLUSTER):
        remotes = tuple(check_remote(part) for part in text.removeprefix(CLUSTER).split(","))
        if len(set(remotes)) < len(remotes):
            raise ConfigError(f"ovsdb target {text} has the same member twice")
    elif "," in text:
        raise ConfigError(
            f"ovsdb target {text!r} is a list; members of one cluster are written cluster:A,B,C"
        )
    elif text.partition(":")[0] in PASSIVE:
        remotes = (_check_passive(text),)
    else:
        remotes = (_check_active(text),)
    target = Target(name or text, remotes, tls)
    if target.uses_tls and None in tls:
        raise ConfigError(f"ovsdb remote {text} needs a private key, a certificate and a CA certificate")
    return target


def read_targets(values: Iterable[str], tls: TlsFiles) -> tuple[list[Target], list[str]]:
    """Read the values of ``--ovsdb``: the targets, and the directories that have more of them.

    Raises:
        ConfigError: a value is malformed, or two targets have one name.
    """
    targets: list[Target] = []
    directories: list[str] = []
    for value in values:
        for item in _items(value):
            if item.startswith(DIRECTORY):
                directories.append(item.removeprefix(DIRECTORY))
            else:
                targets.append(read_target(item, tls=tls))
    names = [target.name for target in targets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"--ovsdb names {twice[0]} twice")
    return targets, directories


def _items(value: str) -> list[str]:
    named = _NAME.match(value)
    if (named[2] if named else value).startswith(CLUSTER):
        return [value]
    items = value.split(",")
    for item in items[1:]:
        if CLUSTER in item:
            raise ConfigError(
                f"--ovsdb {value}: cluster:A,B,C takes the rest of its option; repeat --ovsdb for other databases"
            )
    return items


def _check_active(text: str) -> str:
    if text.startswith(("/", "./", "../", "~")):
        raise ConfigError(
            f"ovsdb remote {text!r}: write unix:FILE for a socket, dir:DIRECTORY for files of targets"
        )
    try:
        return check_remote(text)
    except ConfigError as error:
        raise ConfigError(
            f"{error}, ptcp:[PORT][:HOST], pssl:[PORT][:HOST], cluster:A,B,C, dir:DIRECTORY"
        ) from None


def _check_passive(text: str) -> str:
    port, _, host = text.partition(":")[2].partition(":")
    if (port not in ("", "0") and not _is_port(port)) or (
        host and not re.fullmatch(r"\[?[0-9A-Fa-f.:]+\]?", host)
    ):
        raise ConfigError(f"ovsdb remote {text!r} is not {text.partition(':')[0]}:[PORT][:ADDRESS]")
    return text


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536
