"""Serves the WSGI application on the eventlet hub, with bounds on what a client may take up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import eventlet
from eventlet import wsgi
from eventlet.greenpool import GreenPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eventlet.greenthread import GreenThread

    from flowlane.northbound.app import WsgiApp
    from flowlane.northbound.feed import Feed

MAX_CONNECTIONS = 256
SOCKET_TIMEOUT = 30.0
"""Seconds that a client may keep a read or a write waiting: a slow reader of events is dropped after that."""

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
    """A server that runs; ``address`` is where it listens, with the port that was really taken."""

    address: tuple[str, int]
    socket: Any
    pool: GreenPool
    thread: GreenThread
    feed: Feed


class _QuietProtocol(wsgi.HttpProtocol):  # type: ignore[misc]  # eventlet has no types
    """Eventlet's own, but what clients send wrong goes to the log's details and not to standard error."""

    def log_message(self, text: str, *values: object) -> None:
        """Log one line."""
        _LOG.debug("%s: %s", self.client_address[0], text % values)


def start(app: WsgiApp, feed: Feed, host: str = "127.0.0.1", port: int = 8080) -> Server:
    """Listen and serve. ``port`` 0 takes a free one; one that is taken is an error (eventlet would share it).

    Raises:
        OSError: the address cannot be listened on.
    """
    family = eventlet.green.socket.AF_INET6 if ":" in host else eventlet.green.socket.AF_INET
    socket = eventlet.listen((host, port), family=family, reuse_port=False)
    pool = GreenPool(MAX_CONNECTIONS)
    thread = eventlet.spawn(_serve, socket, _bounded(app), pool)
    eventlet.sleep(0)
    return Server(socket.getsockname()[:2], socket, pool, thread, feed)


def stop(server: Server) -> None:
    """Stop listening, end the streams of events, let requests under way end, and cut what is left."""
    server.feed.close()
    server.thread.kill()
    with eventlet.Timeout(STOP_WITHIN, False):
        server.pool.waitall()
    for connection in list(server.pool.coroutines_running):
        connection.kill()
    server.socket.close()


def _serve(socket: Any, app: WsgiApp, pool: GreenPool) -> None:
    wsgi.server(
        socket,
        app,
        protocol=_QuietProtocol,
        custom_pool=pool,
        keepalive=KEEP_ALIVE,
        socket_timeout=SOCKET_TIMEOUT,
        url_length_limit=MAX_LINE,
        log=_LOG,
        log_output=False,
        debug=False,
    )


def _bounded(app: WsgiApp) -> WsgiApp:
    """Close the connection rather than read on for ever when a body was refused unread."""

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["eventlet.input"]
        body.discard = lambda: _discard(body)
        return app(environ, start_response)

    return serve


def _discard(body: Any) -> None:
    """Read what is left of a body, up to a bound.

    Raises:
        OSError: there is more; eventlet then closes the connection.
    """
    left = MAX_DISCARD
    while chunk := body.read(16 << 10):
        left -= len(chunk)
        if left < 0:
            raise OSError("the rest of the body is not read")
