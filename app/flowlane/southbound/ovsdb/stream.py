"""Byte streams to databases: unix sockets, TCP and TLS, on each of which one green thread waits.

Sockets never block, so a peer that is hung costs its own green thread only. TLS goes through memory
(``ssl.MemoryBIO``), so that waiting is the same for all of them.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flowlane import hub
from flowlane.errors import DatabaseError
from flowlane.southbound.ovsdb.remote import host_and_port
from flowlane.southbound.ovsdb.tls import context

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowlane.southbound.ovsdb.remote import TlsFiles

CHUNK = 1 << 16
"""Bytes that are read at most before another stream has its turn."""

_RETRY_UNIX = 0.1
"""Seconds between two tries to connect to a unix socket whose backlog is full, for which nothing wakes us."""


class Stream:
    """A connected stream. ``peer`` is the address of the other end, for people."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        self._socket = sock
        self._is_drained = True
        """Whether the socket had nothing more when it was read last."""
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    def start_tls(self, context: ssl.SSLContext, seconds: float, *, server_side: bool = False) -> None:
        """Agree on TLS within so many seconds.

        Raises:
            OSError: the other end refuses, or its certificate is not signed by the CA.
        """
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self._through(self._tls.do_handshake, time.monotonic() + seconds)

    def receive(self, seconds: float) -> bytes:
        """Return what has arrived, after waiting for at most so many seconds; empty at the end of the stream.

        Raises:
            TimeoutError: nothing came.
            OSError: the connection is broken.
        """
        deadline = time.monotonic() + seconds
        if self._tls is None:
            return self._receive(deadline)
        try:
            read = self._tls.read
            data: bytes = self._through(lambda: read(CHUNK), deadline)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""
        return data

    def send(self, data: bytes, seconds: float) -> None:
        """Send everything within so many seconds.

        Raises:
            TimeoutError: the other end does not read.
            OSError: the connection is broken.
        """
        deadline = time.monotonic() + seconds
        if self._tls is None:
            self._send(data, deadline)
        else:
            self._tls.write(data)
            try:
                self._send(self._outgoing.read(), deadline)
            except ConnectionError:
                self._raise_alert(self._tls)
                raise

    def _raise_alert(self, tls: ssl.SSLObject) -> None:
        """Raise what the other end has said before it closed the connection, such as that it does not know our CA.

        With TLS 1.3 it checks our certificate when we have sent our first data already (RFC 8446, 4.4.2, 6.2).
        """
        with suppress(BlockingIOError, ConnectionError, ssl.SSLWantReadError):
            self._incoming.write(self._socket.recv(CHUNK))
            tls.read(CHUNK)

    def shut_down(self) -> None:
        """Have the green thread that waits for the stream see its end."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; idempotent."""
        self._socket.close()

    def _through(self, step: Callable[[], Any], deadline: float) -> Any:
        """Carry out a step of TLS, with all that it needs to read and write on the socket."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._send(self._outgoing.read(), deadline)
                if data := self._receive(deadline):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                self._send(self._outgoing.read(), deadline)  # the alert that says why
                raise
            else:
                self._send(self._outgoing.read(), deadline)
                return result

    def _receive(self, deadline: float) -> bytes:
        while True:
            # Where this process was stopped, the time is over, and what came meanwhile is there all the same.
            is_late = self._is_drained and not hub.wait_readable(
                self._socket.fileno(), max(0.0, deadline - time.monotonic())
            )
            try:
                data = self._socket.recv(CHUNK)
            except BlockingIOError:
                if is_late:
                    raise TimeoutError("nothing was received in time") from None
                self._is_drained = True
                continue
            self._is_drained = len(data) < CHUNK
            return data

    def _send(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                if not hub.wait_writable(self._socket.fileno(), max(0.0, deadline - time.monotonic())):
                    raise TimeoutError("the other end does not read") from None


def connect(remote: str, tls: TlsFiles, seconds: float) -> Stream:
    """Connect to a remote within so many seconds for each address of its host.

    Raises:
        DatabaseError: it cannot be reached; the text says why.
    """
    method, _, path = remote.partition(":")
    try:
        if method == "unix":
            return Stream(_connected(socket.AF_UNIX, path, seconds), remote)
        host, port = host_and_port(remote)
        stream = _connect_to_host(host, port, seconds, remote)
        if method == "ssl":
            _begin_tls(stream, tls, seconds)
    except TimeoutError:
        raise DatabaseError(f"no connection within {seconds:g} s") from None
    except OSError as error:
        raise DatabaseError(f"no connection: {reason(error)}") from error
    return stream


def _begin_tls(stream: Stream, tls: TlsFiles, seconds: float) -> None:
    try:
        stream.start_tls(context(tls), seconds)
    except BaseException:
        stream.close()
        raise


def _connect_to_host(host: str, port: int, seconds: float, peer: str) -> Stream:
    addresses: list[tuple[int, Any]] = []
    if not hub.within(seconds, lambda: addresses.extend(hub.resolve(host, port))):
        raise OSError(f"the name {host} is not resolved within {seconds:g} s")
    failure = OSError(f"{host} has no address")
    for family, address in addresses:
        try:
            sock = _connected(family, address, seconds)
        except OSError as error:
            failure = error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Stream(sock, peer)
    raise failure


def _connected(family: int, address: Any, seconds: float) -> socket.socket:
    sock = hub.bare_socket(family)
    try:
        _connect(sock, address, time.monotonic() + seconds)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: socket.socket, address: Any, deadline: float) -> None:
    while (number := sock.connect_ex(address)) == errno.EAGAIN:
        # A unix socket with a full backlog: the server does not accept (connect(2)).
        if time.monotonic() > deadline:
            raise TimeoutError
        hub.sleep(_RETRY_UNIX)
    if number == errno.EINPROGRESS:
        if not hub.wait_writable(sock.fileno(), max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def reason(error: BaseException) -> str:
    """Return why a connection failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    text = getattr(error, "strerror", None) or str(error)
    return str(text) or type(error).__name__
