"""TLS of REST: the files of certificate and key, read again when they have changed."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import NamedTuple

from flowlane import wsgi
from flowlane.errors import ConfigError

_LOG = logging.getLogger(__name__)


class RestTlsFiles(NamedTuple):
    """Files in PEM: certificate with its chain, private key, and the CA of the clients (None: clients need none)."""

    certificate: str
    key: str
    client_ca: str | None = None


class ServerTls:
    """The TLS context of the server of REST.

    Raises:
        ConfigError: a file is missing, or is no such file.
    """

    def __init__(self, files: RestTlsFiles) -> None:
        self._files = files
        self._problem = ""
        try:
            self._seen = self._changes()
            self.context = wsgi.tls_context(*files)
        except OSError as error:
            raise ConfigError(f"TLS for REST: cannot use {_names(files)}: {_reason(error)}") from error

    def renew(self) -> None:
        """Use a certificate that was renewed for the connections from now on; one that cannot be used is logged."""
        try:
            seen = self._changes()
            if seen == self._seen:
                return
            self._seen = seen
            # Tried before it is used: a chain that does not fit its key would spoil the context in use.
            wsgi.tls_context(*self._files)
            self.context.load_cert_chain(self._files.certificate, self._files.key)
        except OSError as error:
            problem = _reason(error)
            if problem != self._problem:
                _LOG.warning("TLS for REST: the former certificate stays in use: %s", problem)
            self._problem = problem
            return
        self._problem = ""
        _LOG.info("TLS for REST: certificate %s was read again", self._files.certificate)

    def _changes(self) -> tuple[int, ...]:
        files = (self._files.certificate, self._files.key)
        return tuple(part for name in files for part in _change(Path(name)))


def _change(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _names(files: RestTlsFiles) -> str:
    return ", ".join(name for name in files if name is not None)


def _reason(error: OSError) -> str:
    text = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return f"{error.filename}: {text}" if error.filename else str(text or error)
