"""A switch that is a socket: it sends the bytes that a test wants, well-formed or not."""

from __future__ import annotations

import socket
from contextlib import suppress
from struct import pack, unpack
from typing import NamedTuple

from support.openflow import messages

BAD_REQUEST, BAD_TYPE = 1, 1


class Message(NamedTuple):
    version: int
    kind: int
    xid: int
    body: bytes


class RawSwitch:
    """One connection to a controller."""

    def __init__(self, port: int, version: int = messages.OF13, timeout: float = 5.0) -> None:
        self.version = version
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self._buffer = b""

    def __enter__(self) -> RawSwitch:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self) -> Message:
        """Return the next message; EOFError when the controller has closed, TimeoutError when it sends nothing."""
        while len(self._buffer) < 8 or len(self._buffer) < unpack("!H", self._buffer[2:4])[0]:
            received = self.sock.recv(65536)
            if not received:
                raise EOFError
            self._buffer += received
        version, kind, length, xid = unpack("!BBHI", self._buffer[:8])
        body, self._buffer = self._buffer[8:length], self._buffer[length:]
        return Message(version, kind, xid, body)

    def expect(self, kind: int) -> Message:
        """Return the next message of a type; messages before it are dropped."""
        while True:
            message = self.receive()
            if message.kind == kind:
                return message

    def hello(self) -> None:
        """Negotiate the version, and read the controller's features request."""
        self.send(messages.hello(self.version, messages.version_bitmap(self.version)))
        self.features_xid = self.expect(messages.FEATURES_REQUEST).xid

    def handshake(self, dpid: int, ports: tuple[int, ...] = (1, 2)) -> None:
        """Finish os-ken's handshake: features and port descriptions."""
        self.hello()
        self.send(messages.features(self.version, dpid, self.features_xid))
        self.reply_ports(self.expect(messages.MULTIPART_REQUEST), ports)

    def reply_ports(self, request: Message, ports: tuple[int, ...]) -> None:
        body = b"".join(messages.port(self.version, number, b"port%d" % number) for number in ports)
        self.send(messages.multipart(self.version, 13, body, request.xid))

    def refuse_requests(self, ports: tuple[int, ...] = (1, 2)) -> list[Message]:
        """Reply with the ports, reply to barriers and refuse all other requests until none comes for 0.5 s."""
        requests = []
        self.sock.settimeout(0.5)
        with suppress(TimeoutError):
            while True:
                request = self.receive()
                requests.append(request)
                if request.kind == 20:
                    self.send(messages.message(self.version, 21, b"", request.xid))
                elif request.kind == messages.MULTIPART_REQUEST and request.body[:2] == b"\0\r":
                    self.reply_ports(request, ports)
                elif request.kind == messages.ECHO_REQUEST:
                    self.send(messages.message(self.version, messages.ECHO_REPLY, request.body, request.xid))
                elif request.kind in (14, messages.MULTIPART_REQUEST, messages.QUEUE_CONFIG_REQUEST, 15, 29):
                    error = pack("!HH", BAD_REQUEST, BAD_TYPE)
                    self.send(messages.message(self.version, messages.ERROR, error + bytes(64), request.xid))
        self.sock.settimeout(5.0)
        return requests

    def is_served(self) -> bool:
        """Return whether the controller replies to an echo request on this connection."""
        self.send(messages.message(self.version, messages.ECHO_REQUEST, b"well?", 77))
        return self.expect(messages.ECHO_REPLY) == (self.version, messages.ECHO_REPLY, 77, b"well?")

    def is_closed(self) -> bool:
        """Return whether the controller closes the connection; messages before that are dropped."""
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionError):
            return True
        except TimeoutError:
            return False
