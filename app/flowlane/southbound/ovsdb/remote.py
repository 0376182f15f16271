"""Where the database is, and how its TLS is set up."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from ovs.stream import Stream

from flowlane.errors import ConfigError


def check_remote(remote: str) -> str:
    """Return the OVSDB remote if it is one: ``unix:FILE``, ``tcp:HOST:PORT``, ``ssl:HOST:PORT``.

    Raises:
        ConfigError: it is none of these (ovsdb(7), connection methods).
    """
    method, _, rest = remote.partition(":")
    host, _, port = rest.rpartition(":")
    tcp = bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if rest and (method == "unix" or (method in ("tcp", "ssl") and tcp)):
        return remote
    raise ConfigError(f"ovsdb remote {remote!r} is none of unix:FILE, tcp:HOST:PORT, ssl:HOST:PORT")


class TlsFiles(NamedTuple):
    """PEM files: our own key and certificate, and the certificate of who signed the database's."""

    private_key: str | None = None
    certificate: str | None = None
    ca_certificate: str | None = None


def prepare(remote: str, files: TlsFiles) -> str:
    """Check a remote, and have the OVS library use the files where it is one with TLS.

    The library keeps them for the whole process, and reads them anew at every connection. It shows our
    certificate and demands one of the database that the CA has signed, as ovsdb-server and ovs-vsctl do of
    each other (ovs-vsctl(8), "Public Key Infrastructure Options").

    Raises:
        ConfigError: it is no remote, or there are not all three files, or one cannot be used.
    """
    if not check_remote(remote).startswith("ssl:"):
        return remote
    if None in files:
        raise ConfigError(f"ovsdb remote {remote} needs a private key, a certificate and a CA certificate")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(files.ca_certificate)
        context.load_cert_chain(files.certificate or "", files.private_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"TLS to {remote}: cannot use {', '.join(map(str, files))}: {error}") from error
    Stream.ssl_set_private_key_file(files.private_key)
    Stream.ssl_set_certificate_file(files.certificate)
    Stream.ssl_set_ca_cert_file(files.ca_certificate)
    return remote
