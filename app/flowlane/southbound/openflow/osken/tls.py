"""TLS of connections from switches: a context that follows its files, and which certificate may be which device.

A switch has one certificate for all bridges of its host (ovs-vsctl(8), ``set-ssl``). Open vSwitch does not check the
name in the controller's certificate, only the CA that has signed it; the same is done here, as certificates made by
ovs-pki(8) have no host names. What a certificate's names allow is said by ``--switch-certificate``.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from flowlane.errors import ConfigError, ProtocolError
from flowlane.logs import Repeats

_REPEATS = Repeats(logging.getLogger(__name__))
_MAX_DPID = 0xFFFFFFFFFFFFFFFF


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


def names_of(sock: Any) -> frozenset[str]:
    """Return the common name and the DNS names of the other end's certificate; none where none was verified."""
    certificate: Any = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    subject = (certificate or {}).get("subject", ())
    names = [value for part in subject for name, value in part if name == "commonName"]
    names += [value for kind, value in (certificate or {}).get("subjectAltName", ()) if kind == "DNS"]
    return frozenset(names)


class Bindings:
    """Which certificates may be which devices.

    Args:
        texts: values of ``--switch-certificate``, each ``DPID=NAME``.

    Raises:
        ConfigError: one of them is not.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._names: dict[int, set[str]] = {}
        """dpid -> names of certificates that may be it."""
        for text in texts:
            dpid, equals, name = text.partition("=")
            try:
                number = int(dpid, 16)
            except ValueError:
                number = -1
            if not (equals and name.strip() and 0 <= number <= _MAX_DPID):
                raise ConfigError(
                    f"--switch-certificate {text}: give DPID=NAME, a datapath id of up to 16 hexadecimal digits and "
                    "the common name or a DNS name of a certificate"
                )
            self._names.setdefault(number, set()).add(name.strip())

    def __bool__(self) -> bool:
        return bool(self._names)

    def check(self, dpid: int, names: frozenset[str]) -> None:
        """Check that a connection with these names in its certificate may be a device.

        A datapath id that is listed needs one of its certificates, and a certificate that is listed may be its
        datapath ids only. What is not listed on either side may connect.

        Raises:
            ProtocolError: it may not.
        """
        shown = ", ".join(sorted(names)) or "no certificate"
        allowed = self._names.get(dpid)
        if allowed is not None and not names & allowed:
            raise ProtocolError(
                f"datapath id {dpid:016x} needs the certificate of {', '.join(sorted(allowed))}, not {shown}"
            )
        if allowed is None and any(names & listed for listed in self._names.values()):
            raise ProtocolError(f"the certificate of {shown} is for other datapath ids than {dpid:016x}")


ANY = Bindings(())
"""No certificate is listed: every switch that may connect may be every device."""
