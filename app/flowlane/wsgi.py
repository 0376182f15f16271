"""The WSGI server of eventlet, with bounds on what clients take up, over plain HTTP or TLS."""

from __future__ import annotations

import _socket
import http.client  # noqa: F401  # before eventlet.wsgi, whose import of it would stay patched for every module
import logging
import socket
import ssl
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane import hub
from flowlane.framing import Chunks, HeaderError, HeaderLines, refusal_of

with warnings.catch_warnings():
    # eventlet warns at every import that new projects should choose another library.
    warnings.simplefilter("ignore")
    import eventlet.green.ssl
    import eventlet.wsgi

if TYPE_CHECKING:
    from collections.abc import Iterable


Refuse = Callable[[int, str], tuple[str, bytes]]
"""Makes the media type and the body of an answer that the server gives itself, of its HTTP status and a text."""


class WsgiLimits(NamedTuple):
    """What clients of a WSGI server may take up. Times are seconds, ``request_line`` and ``chunk`` are bytes.

    ``idle``: how long a connection without a request is kept. ``stalled``: how long one read or write may
    wait. ``head``: how long a request line with its headers may take, which may come a byte at a time.
    """

    connections: int
    request_line: int
    idle: float
    stalled: float
    head: float
    chunk: int = 4 << 20


class WsgiServer:
    """A WSGI server that listens and serves, one green thread for each connection.

    Args:
        refuse: makes the answers to requests that the app does not get.
        tls: context of :func:`tls_context`; None: plain HTTP.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        host: str,
        port: int,
        limits: WsgiLimits,
        log: logging.Logger,
        refuse: Refuse,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        listening = hub.listen(host, port, _WSGI_BACKLOG)
        # Connections inherit it. An answer of several segments else waits for the client's delayed acknowledgement,
        # 40 ms (RFC 1122, 4.2.3.4).
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections = eventlet.GreenPool(limits.connections)
        waiting = _Waiting(self._connections.free)
        self._socket = _Acceptor(listening, tls, log, waiting.make_room)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        """Where it listens, with the port that it got when ``port`` was 0."""
        self._thread = hub.spawn(
            eventlet.wsgi.server,
            self._socket,
            app,
            protocol=_protocol(log, limits.idle + limits.head, limits.chunk, waiting, refuse),
            custom_pool=self._connections,
            keepalive=limits.idle,
            socket_timeout=limits.stalled,
            url_length_limit=limits.request_line,
            log=log,
            log_output=False,
            debug=False,
        )
        hub.sleep()

    def stop(self, seconds: float) -> None:
        """Accept no more connections, let requests finish for so many seconds, and close what is left."""
        self._thread.kill()
        hub.within(seconds, self._connections.waitall)
        for connection in list(self._connections.coroutines_running):
            connection.kill()
        self._socket.close()


_WSGI_BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted; the SYN of one beyond is repeated a second later."""

PEER_NAME = "flowlane.peer_name"
"""Key of a WSGI environment: the common name of the client's certificate, which the CA has signed."""


def tls_context(certificate: str, key: str, client_ca: str | None = None) -> ssl.SSLContext:
    """Make the TLS context of a server, for TLS 1.2 and newer.

    Args:
        client_ca: file of the CA that has to have signed the certificate of every client; None: clients need none.

    Raises:
        OSError: a file is missing, or is no such file (ssl.SSLError).
    """
    made: ssl.SSLContext = eventlet.green.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_cert_chain(certificate, key)
    if client_ca is not None:
        made.load_verify_locations(client_ca)
        made.verify_mode = ssl.CERT_REQUIRED
    return made


class _Waiting:
    """Connections that wait for their client, in the order since when; the first makes room where there is none.

    A connection waits from its start, or the end of an answer, until a whole request is there, with its body.

    Args:
        free: returns how many more connections are served at the same time.
    """

    def __init__(self, free: Callable[[], int]) -> None:
        self._free = free
        self._ends: dict[object, Callable[[], None]] = {}

    def add(self, connection: object, end: Callable[[], None]) -> None:
        """Note that a connection begins to wait; ``end`` ends it."""
        self._ends[connection] = end

    def discard(self, connection: object) -> None:
        """Note that a connection does not wait any more."""
        self._ends.pop(connection, None)

    def make_room(self) -> None:
        """End the connection that waits longest, if no more are served; wait while all have sent their requests."""
        while self._free() <= 0:
            if self._ends:
                self._ends.pop(next(iter(self._ends)))()
                return
            hub.sleep(_NEXT_LOOK)


_NEXT_LOOK = 0.05
"""Seconds between two looks at whether one of the connections waits for its client."""


class _Acceptor:
    """A listening socket for eventlet's WSGI server, which would end by whatever its ``accept`` raises.

    Args:
        make_room: is called with each connection that is accepted, before it is served.
    """

    def __init__(
        self,
        listening: socket.socket,
        tls: ssl.SSLContext | None,
        log: logging.Logger,
        make_room: Callable[[], None],
    ) -> None:
        self._listening = listening
        self._make_room = make_room
        self._tls = tls
        self._logged_at = float("-inf")
        self._log = log
        self.family = listening.family
        self.getsockname = listening.getsockname
        self.close = listening.close
        if tls is not None:
            self.do_handshake = True  # By this name eventlet's server sees that it serves https.

    def accept(self) -> tuple[socket.socket, Any]:
        while True:
            try:
                accepted, address = self._listening.accept()
            except OSError as error:
                if self._listening.fileno() < 0:
                    raise
                if time.monotonic() - self._logged_at >= _LOG_EVERY:
                    self._logged_at = time.monotonic()
                    self._log.error("a connection was not accepted: %s", error.strerror or error)
                hub.sleep(_NEXT_ACCEPT)
                continue
            self._make_room()
            try:
                if self._tls is None:
                    return accepted, address
                accepted.getpeername()  # Raises where the client is gone; to wrap that would leave a socket open.
                wrapped = self._tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
                return wrapped, address
            except OSError as error:
                self._log.debug("%s: %s", address[0], error)
                accepted.close()


_LOG_EVERY = 10.0
"""Seconds between two lines in the log about connections that are not accepted."""

_NEXT_ACCEPT = 0.1
"""Seconds until the next connection is accepted, when one could not be: there is no descriptor left, say."""


_LINGERS = 2.0
"""Seconds in which a connection that the server ends is read on, so that the client gets its answer."""

_MOST_DISCARDED = 5 << 20
"""Bytes that are read and dropped meanwhile."""


def _protocol(
    log: logging.Logger, head_within: float, chunk: int, waiting: _Waiting, refuse: Refuse
) -> type[Any]:
    """Return eventlet's HTTP protocol, which logs requests that it refuses and does not print them.

    It ends a connection whose next request is not there, with all its headers, after so many seconds.
    """

    class Protocol(eventlet.wsgi.HttpProtocol):  # type: ignore[misc]  # eventlet has no types
        is_refused = False

        def _read_request_line(self) -> bytes | str:
            line: bytes | str = super()._read_request_line()
            self.raw_requestline = line
            if len(line) < self.server.url_length_limit:
                return line
            self.command = None
            self.send_error(414, f"the request line is longer than {self.server.url_length_limit} bytes")
            return ""

        def parse_request(self) -> bool:
            self.rfile: Any = HeaderLines(self.rfile)
            try:
                if not super().parse_request():
                    return False
            except HeaderError as error:
                self.close_connection = True
                if error.detail is not None:
                    self.send_error(400, error.detail)
                return False
            except (eventlet.wsgi.HeaderLineTooLong, eventlet.wsgi.HeadersTooLarge):
                line, lines = eventlet.wsgi.MAX_HEADER_LINE, eventlet.wsgi.MAX_TOTAL_HEADER_SIZE
                self.send_error(431, f"a header is longer than {line} bytes, or all are longer than {lines}")
                return False
            refusal = refusal_of(self.request_version, self.headers)
            if refusal is not None:
                self.send_error(*refusal)
            return refusal is None

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
            """Answer in the place of the app, and close the connection."""
            phrase = HTTPStatus(code).phrase
            kind, body = refuse(code, f"{message or phrase}{f': {explain}' if explain else ''}")
            self.log_error("%d %s", code, message or phrase)
            head = f"HTTP/1.1 {code:d} {phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            self.wfile.write(f"{head}Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode())
            if self.command != "HEAD":
                self.wfile.write(body)
            self.close_connection = self.is_refused = True

        def log_message(self, text: str, *values: object) -> None:
            log.debug("%s: %s", self.client_address[0], text % values)

        def handle_one_request(self) -> None:
            self.head_timer = hub.spawn_after(
                head_within, self.end, f"no complete request within {head_within:g} s"
            )
            waiting.add(self, self.make_room)
            try:
                super().handle_one_request()
            finally:
                self.head_timer.kill()
                waiting.discard(self)

        def finish(self) -> None:
            # What a client still sends would be answered by a reset, which may take the answer from it before it is
            # read (RFC 9112, 9.6).
            headers = getattr(self, "headers", None) or {}
            has_body = "Content-Length" in headers or "Transfer-Encoding" in headers
            if (
                (has_body or self.is_refused)
                and self.raw_requestline
                and not isinstance(self.connection, ssl.SSLSocket)
            ):
                hub.within(_LINGERS, self.discard)
            super().finish()

        def discard(self) -> None:
            """Say that nothing more comes, and read what the client still sends, until it ends."""
            with suppress(OSError, ValueError):
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_WR)
                left = _MOST_DISCARDED
                while left > 0 and (data := self.connection.recv(1 << 16)):
                    left -= len(data)

        def end(self, reason: str) -> None:
            log.debug("%s: %s", self.client_address[0], reason)
            with suppress(OSError):
                # That of a TLS connection would also drop its state, which the green thread that reads still needs.
                kernels: Any = getattr(self.connection, "fd", self.connection)
                _socket.socket.shutdown(kernels, socket.SHUT_RDWR)

        def make_room(self) -> None:
            self.end("its request is not complete, and others wait to be served")

        def handle(self) -> None:
            waiting.add(self, self.make_room)
            try:
                self.handle_all()
            finally:
                waiting.discard(self)

        def handle_all(self) -> None:
            if isinstance(self.connection, ssl.SSLSocket):
                try:
                    if not hub.within(head_within, self.connection.do_handshake):
                        raise TimeoutError(f"not done within {head_within:g} s")
                except OSError as error:
                    log.debug("%s: TLS: %s", self.client_address[0], error)
                    return
            super().handle()

        def get_environ(self) -> dict[str, Any]:
            self.head_timer.kill()
            environ: dict[str, Any] = super().get_environ()
            body = environ["eventlet.input"]
            if body.chunked_input:
                body.rfile = Chunks(body.rfile, chunk)
            read = body.read

            def read_on(length: int | None = None) -> bytes:
                data: bytes = read(length)
                if _is_read(body):
                    waiting.discard(self)
                return data

            body.read = read_on
            if _is_read(body):
                waiting.discard(self)
            if isinstance(self.connection, ssl.SSLSocket):
                environ[PEER_NAME] = _common_name(self.connection.getpeercert())
            return environ

        def handle_one_response(self) -> None:
            body = self.environ["eventlet.input"]
            try:
                super().handle_one_response()
            finally:
                # Else the request would be a cycle: of what was replaced of its body, and what webob keeps in here.
                vars(body).pop("read", None)
                vars(body).pop("discard", None)
                self.environ.clear()

    return Protocol


def _is_read(body: Any) -> bool:
    """Whether nothing of a request's body (eventlet's Input) is left to wait for."""
    return bool(body.chunk_length == 0 if body.chunked_input else body.position >= body.content_length)


def _common_name(certificate: Any) -> str:
    """Return the common name of a certificate's subject; empty where there is none."""
    subject = certificate.get("subject", ()) if certificate else ()
    return next((str(value) for part in subject for name, value in part if name == "commonName"), "")
