"""Starts the server of REST as the options say, and logs who can reach it and what a client needs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flowlane.errors import ConfigError
from flowlane.northbound.app import make_app
from flowlane.northbound.http import server
from flowlane.northbound.http.access import Access, TokenFile, is_address, is_loopback
from flowlane.northbound.http.tls import RestTlsFiles, ServerTls
from flowlane.tokens import FILE_NAME

if TYPE_CHECKING:
    from flowlane.northbound.controller import Controller
    from flowlane.northbound.http.access import Tokens
    from flowlane.options import Settings

_LOG = logging.getLogger(__name__)


def start(controller: Controller, settings: Settings, shared: Tokens | None = None) -> server.Server:
    """Listen and serve.

    Args:
        shared: tokens of the database that controllers share; None: there is no such database.

    Raises:
        ConfigError: an address to listen at is in use, or not one of this machine; a file cannot be used.
    """
    host, port = settings.wsapi_host, settings.wsapi_port
    certificate, key, client_ca = settings.rest.tls
    tls = None if certificate is None else ServerTls(RestTlsFiles(certificate, key or certificate, client_ca))
    access = _access(settings, shared)
    try:
        started = server.start(make_app(controller, access), controller.feed, host, port, tls)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot listen for REST on {host} port {port}: {reason}") from error
    if shared is not None and shared.problem:
        _LOG.info("REST admits nobody until Flowlane's database has answered, which may have tokens")
    _announce(started, host, access.needs_token, client_ca is not None)
    return started


def renew(started: server.Server | None) -> None:
    """Use a certificate that was renewed."""
    if started is not None and started.tls is not None:
        started.tls.renew()


def _access(settings: Settings, shared: Tokens | None) -> Access:
    given = settings.rest.tokens
    path = given or (settings.state_dir / FILE_NAME if settings.state_dir is not None else None)
    own = () if is_address(settings.wsapi_host) else (settings.wsapi_host,)
    return Access(TokenFile(path, given is not None), (*settings.rest.hosts, *own), shared)


def _announce(started: server.Server, host: str, needs_token: bool, needs_certificate: bool) -> None:
    """Log where REST listens, and warn where more can reach it than is good."""
    address, port = started.address
    scheme = "http" if started.tls is None else "https"
    shown = f"[{address}]" if ":" in address else address
    reach = "this machine only" if is_loopback(host) else "every machine that reaches this one"
    needs = [*(["a token"] if needs_token else []), *(["a certificate"] if needs_certificate else [])]
    _LOG.info(
        "REST on %s://%s:%d/v1/status, for %s; %s needed",
        scheme,
        shown,
        port,
        reach,
        f"{' and '.join(needs)} {'are' if len(needs) > 1 else 'is'}" if needs else "no token is",
    )
    if is_loopback(host):
        return
    if not needs:
        _LOG.warning(
            "REST: everybody who reaches %s port %d may change everything; make tokens (flowlane token add), "
            "or listen on loopback (--wsapi-host 127.0.0.1)",
            shown,
            port,
        )
    if started.tls is None:
        _LOG.warning("REST: what is sent to %s port %d can be read on the way; give --rest-cert", shown, port)
