"""Where the database is, and how its TLS is set up."""

from __future__ import annotations

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


def use_tls(private_key: str, certificate: str, ca_certificate: str) -> None:
    """Set the files that ``ssl:`` remotes use; the OVS library keeps them for the whole process."""
    Stream.ssl_set_private_key_file(private_key)
    Stream.ssl_set_certificate_file(certificate)
    Stream.ssl_set_ca_cert_file(ca_certificate)
