"""A directory of targets: one file for each database, whose name is the database's.

A file has the target, or a YAML mapping with ``target`` and the files of its TLS::

    target: ssl:10.0.0.7:6640
    private-key: /etc/flowlane/host7.key
    certificate: /etc/flowlane/host7.crt
    ca-cert: /etc/flowlane/ca.crt
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from flowlane.closest import did_you_mean
from flowlane.errors import ConfigError
from flowlane.southbound.ovsdb.remote import Target, TlsFiles, read_target

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_FILES = 10_000
MAX_BYTES = 1 << 16
KEYS = ("target", "private-key", "certificate", "ca-cert")

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_IGNORED = (".", "#", "_"), ("~", ".swp", ".tmp", ".bak", ".dpkg-new", ".dpkg-old")
"""Beginnings and ends of the names of files that editors and package managers leave."""


class TargetFile(NamedTuple):
    """A file of a directory: its target, or why it has none."""

    target: Target | None
    problem: str = ""


class Directory:
    """The files of a directory; only those that have changed are read again."""

    def __init__(self, path: str, tls: TlsFiles) -> None:
        self.path = path
        self.problem = ""
        self.files: dict[str, TargetFile] = {}
        self._tls = tls
        self._stamps: dict[str, tuple[int, int, int]] = {}

    def read(self, give_way: Callable[[], None] = lambda: None) -> bool:
        """Bring :attr:`files` up to date; return whether anything is new, changed or gone.

        While the directory itself cannot be read, its files stay.
        """
        try:
            stamps = self._scan()
        except OSError as error:
            before, self.problem = self.problem, f"{self.path} cannot be read: {error.strerror}"
            return before != self.problem
        changed = self.problem != "" or stamps != self._stamps
        self.problem = ""
        for name in self._stamps.keys() - stamps.keys():
            del self.files[name]
        for name, stamp in stamps.items():
            if self._stamps.get(name) != stamp:
                self.files[name] = read_file(Path(self.path, name), self._tls)
                give_way()
        self._stamps = stamps
        return changed

    def _scan(self) -> dict[str, tuple[int, int, int]]:
        stamps: dict[str, tuple[int, int, int]] = {}
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name.startswith(_IGNORED[0]) or entry.name.endswith(_IGNORED[1]):
                    continue
                try:
                    status = entry.stat()
                    is_file = entry.is_file()
                except OSError:
                    continue
                if is_file and len(stamps) < MAX_FILES:
                    stamps[entry.name] = status.st_mtime_ns, status.st_size, status.st_ino
        return dict(sorted(stamps.items()))


def read_file(path: Path, tls: TlsFiles) -> TargetFile:
    """Read one file.

    Args:
        tls: the files of TLS where it names none of its own.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"is larger than {MAX_BYTES >> 10} KiB")
        return TargetFile(_target_of(data.decode(), path.name, tls))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        text = getattr(error, "strerror", None) or str(error)
        return TargetFile(None, f"{path}: {' '.join(text.split())}")
    except ConfigError as error:
        return TargetFile(None, f"{path}: {error}")


def _target_of(text: str, name: str, tls: TlsFiles) -> Target:
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    if not lines:
        raise ConfigError("names no target")
    data: object = lines[0] if len(lines) == 1 and ": " not in lines[0] else yaml.load(text, _LOADER)  # noqa: S506
    if isinstance(data, str):
        return read_target(data, name, tls)
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ConfigError("is neither a target nor a mapping with the key target; its values are texts")
    for key in data:
        if key not in KEYS:
            raise ConfigError(f"has an unknown key {key!r}; {did_you_mean(str(key), KEYS)}")
    if "target" not in data:
        raise ConfigError("names no target")
    own = TlsFiles(*(data.get(key, default) for key, default in zip(KEYS[1:], tls, strict=True)))
    return read_target(data["target"], name, own)
