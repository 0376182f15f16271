"""The OVSDB remote: its syntax, and the files of its TLS."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from ovs.stream import Stream

from flowlane.errors import ConfigError


def check_remote(remote: str) -> str:
    """Return the remote if it is ``unix:FILE``, ``tcp:HOST:PORT`` or ``ssl:HOST:PORT``.

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
    """PEM files: the client's private key and certificate, and the CA certificate for the server's."""

    private_key: str | None = None
    certificate: str | None = None
    ca_certificate: str | None = None


def prepare(remote: str, files: TlsFiles) -> str:
    """Check a remote and, if it uses TLS, pass the files to the OVS library.

    The library stores their names for the whole process, and reads the files at every connection. Client and
    server check each other's certificates, as ovsdb-server and ovs-vsctl do (ovs-vsctl(8), "Public Key
    Infrastructure Options").

    Raises:
        ConfigError: the remote is malformed, or one of the three files is missing or cannot be used.
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
