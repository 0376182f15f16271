"""TLS contexts of connections to databases."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from flowlane.errors import ConfigError

if TYPE_CHECKING:
    from flowlane.southbound.ovsdb.remote import TlsFiles

_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
"""(files, times of their last change, which end) -> context: with its CA certificates each takes 100 kB or more."""

_MAX_CONTEXTS = 64


def context(files: TlsFiles, *, server_side: bool = False) -> ssl.SSLContext:
    """Return the TLS context of three files; a file that has changed is read again.

    Client and server check each other's certificates, not their names, as ovsdb-server and ovs-vsctl do
    (ovs-vsctl(8), "Public Key Infrastructure Options").

    Raises:
        ConfigError: a file is missing or cannot be used.
    """
    try:
        key = (files, tuple(Path(name or "").stat().st_mtime_ns for name in files), server_side)
        if key not in _contexts:
            if len(_contexts) >= _MAX_CONTEXTS:
                _contexts.clear()
            _contexts[key] = _make_context(files, server_side)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"TLS: cannot use {', '.join(map(str, files))}: {error}") from error
    return _contexts[key]


def _make_context(files: TlsFiles, server_side: bool) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(files.ca_certificate)
    made.load_cert_chain(files.certificate or "", files.private_key)
    return made
