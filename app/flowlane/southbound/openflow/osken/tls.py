"""TLS of connections from switches: a context that follows its files.

A switch has one certificate for all bridges of its host (ovs-vsctl(8), ``set-ssl``). Open vSwitch does not check the
name in the controller's certificate, only the CA that has signed it; the same is done here, as certificates made by
ovs-pki(8) have no host names. Which datapath ids a certificate may have is the business of :mod:`.bindings`.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any, NamedTuple

from flowlane.errors import ConfigError
from flowlane.logs import Repeats

_REPEATS = Repeats(logging.getLogger(__name__))


class Files(NamedTuple):
    """Private key, certificate, and the CA that signs the switches' certificates (None: none is needed)."""

    key: str
    certificate: str
    ca: str | None = None


class ServerTls:
    """Wraps accepted sockets; files that have changed count from the next connection on.

    Raises:
        ConfigError: a file is missing, or cannot be used.
    """

    def __init__(self, files: Files, ciphers: str | None = None) -> None:
        self._files, self._ciphers = files, ciphers
        try:
            self._read_at = self._times()
            self._context = self._make()
        except OSError as error:
            raise ConfigError(
                f"TLS: cannot use {files.key}, {files.certificate} or {files.ca}: {error}"
            ) from error

    @property
    def verifies(self) -> bool:
        """Whether switches need a certificate of the CA."""
        return self._files.ca is not None

    def wrap(self, sock: Any) -> Any:
        """Shake hands, and return the socket to go on with.

        Raises:
            OSError: the other end refuses, or is refused (ssl.SSLError), or does not answer in time.
        """
        self._renew()
        return self._context.wrap_socket(sock, server_side=True)

    def _times(self) -> tuple[int, ...]:
        return tuple(Path(name).stat().st_mtime_ns for name in self._files if name is not None)

    def _renew(self) -> None:
        try:
            times = self._times()
            if times != self._read_at:
                self._context, self._read_at = self._make(), times
        except OSError as error:
            _REPEATS.warning(
                "renew", "TLS: the files have changed and cannot be used, the former ones are: %s", error
            )

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._files.certificate, self._files.key)
        if self._ciphers is not None:
            context.set_ciphers(self._ciphers)
        if self._files.ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._files.ca)
        return context
