"""The WSGI server of REST: its address, and bounds on what a client may take up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane import hub, wsgi
from flowlane.northbound.http import routing
from flowlane.northbound.http.problems import MEDIA_TYPE, ProblemError, response_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flowlane.northbound.app import WsgiApp
    from flowlane.northbound.feed import Feed
    from flowlane.northbound.http.tls import ServerTls

MAX_CONNECTIONS = 256
SOCKET_TIMEOUT = 30.0
"""Seconds that a client may keep a read or a write waiting: a slow reader of events is dropped after that."""

HEAD_WITHIN = 10.0
"""Seconds beyond those of an idle connection in which a request line and all headers have to be there."""

KEEP_ALIVE = 30.0
"""Seconds that an idle connection is kept."""

MAX_LINE = 8192
"""Bytes of a request line; eventlet bounds header lines at 8 KiB and all headers at 64 KiB by itself."""

MAX_DISCARD = 1 << 20
"""Bytes of an unread body that are read away to keep the connection; beyond that it is closed."""

STOP_WITHIN = 1.0
"""Seconds that requests under way get to end when the server stops."""

_LOG = logging.getLogger(__name__)


class Server(NamedTuple):
    """A running server, the feed that its streams of events read, and its TLS (None: plain HTTP)."""

    wsgi: wsgi.WsgiServer
    feed: Feed
    tls: ServerTls | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, with the port that it got."""
        return self.wsgi.address


def start(
    app: WsgiApp, feed: Feed, host: str = "127.0.0.1", port: int = 8080, tls: ServerTls | None = None
) -> Server:
    """Listen and serve; ``port`` 0 takes a free one.

    Raises:
        OSError: the address cannot be listened on.
    """
    limits = wsgi.WsgiLimits(MAX_CONNECTIONS, MAX_LINE, KEEP_ALIVE, SOCKET_TIMEOUT, HEAD_WITHIN)
    context = None if tls is None else tls.context
    return Server(wsgi.WsgiServer(_bounded(app), host, port, limits, _LOG, _refuse, context), feed, tls)


def _refuse(status: int, detail: str) -> tuple[str, bytes]:
    """Make the problem document of a request that the application does not get."""
    return MEDIA_TYPE, response_of(ProblemError(status, detail)).body


def stop(server: Server) -> None:
    """Stop listening, end the streams of events, let requests under way finish, and close what is left."""
    server.feed.close()
    server.wsgi.stop(STOP_WITHIN)


def _bounded(app: WsgiApp) -> WsgiApp:
    """Let others run before each request; close the connection rather than read on for ever where a body was not read.

    A client that is quick enough has sent its next request before it is waited for: it would be served alone.
    """

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        hub.give_way()
        body = environ["eventlet.input"]
        body.discard = lambda: _discard(body)
        return app(environ, start_response)

    return serve


def _discard(body: Any) -> None:
    """Read what is left of a body, up to a bound.

    Raises:
        OSError: there is more, or it takes too long; eventlet then closes the connection.
    """
    left = MAX_DISCARD

    def read_away() -> None:
        nonlocal left
        while left >= 0 and (chunk := body.read(16 << 10)):
            left -= len(chunk)

    if not hub.within(routing.BODY_WITHIN, read_away) or left < 0:
        raise OSError("the rest of the body is not read")
