"""A small blocking OpenFlow controller for tests: os-ken's parsers on a plain socket, without os-ken's app.

The bridge connects to it. Its messages are collected, so that a test can request replies or wait for
asynchronous messages.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from lab.inside.private_ovs import PrivateOvs
from os_ken.ofproto import (
    ofproto_parser,
    ofproto_v1_3,
    ofproto_v1_3_parser,
    ofproto_v1_4,
    ofproto_v1_4_parser,
    ofproto_v1_5,
    ofproto_v1_5_parser,
)

NUMBERS = {"OpenFlow13": 4, "OpenFlow14": 5, "OpenFlow15": 6}
"""Version, as ovs-ofctl calls it -> its number on the wire."""

VERSIONS = tuple(NUMBERS)
_MODULES = {
    "OpenFlow13": (ofproto_v1_3, ofproto_v1_3_parser),
    "OpenFlow14": (ofproto_v1_4, ofproto_v1_4_parser),
    "OpenFlow15": (ofproto_v1_5, ofproto_v1_5_parser),
}
TIMEOUT = 10.0


def datapath(version: str) -> SimpleNamespace:
    """The attributes of a datapath that os-ken's message classes use."""
    ofproto, parser = _MODULES[version]
    return SimpleNamespace(ofproto=ofproto, ofproto_parser=parser, id=1)


class Client:
    """One connection; ``seen`` has all messages that no request was waiting for."""

    def __init__(self, connection: socket.socket, version: str) -> None:
        self.datapath = datapath(version)
        self.seen: list[Any] = []
        self._socket = connection
        self._buffer = b""
        self._xids = itertools.count(1)
        self._socket.settimeout(TIMEOUT)

    def handshake(self) -> None:
        parser = self.datapath.ofproto_parser
        self.send(parser.OFPHello(self.datapath))
        self.request(parser.OFPFeaturesRequest(self.datapath))

    def send(self, message: Any) -> int:
        message.set_xid(next(self._xids))
        message.serialize()
        self._socket.sendall(message.buf)
        return int(message.xid)

    def request(self, message: Any) -> list[Any]:
        """Send a request; return all parts of the reply, or the error message."""
        xid, parts = self.send(message), []
        while True:
            received = self._next()
            if received.xid != xid or type(received).__name__ == "OFPHello":
                self.seen.append(received)
                continue
            parts.append(received)
            if not getattr(received, "flags", 0) & 1 or not hasattr(received, "body"):
                return parts

    def apply(self, messages: Iterable[Any]) -> list[Any]:
        """Send messages and a barrier; return the errors that came back."""
        for message in messages:
            self.send(message)
        self.request(self.datapath.ofproto_parser.OFPBarrierRequest(self.datapath))
        errors = [seen for seen in self.seen if type(seen).__name__ == "OFPErrorMsg"]
        self.seen = [seen for seen in self.seen if seen not in errors]
        return errors

    def wait_for(self, kind: str, accept: Callable[[Any], bool] = lambda _: True) -> Any:
        """Return the first message of a class (``OFPPacketIn``) that is accepted, already seen or still to come."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            for message in self.seen:
                if type(message).__name__ == kind and accept(message):
                    self.seen.remove(message)
                    return message
            self.seen.append(self._next())
        raise AssertionError(f"no {kind} came; there were {self.seen}")

    def _next(self) -> Any:
        while True:
            length = int.from_bytes(self._buffer[2:4], "big") if len(self._buffer) >= 8 else 8
            if len(self._buffer) >= max(length, 8):
                break
            received = self._socket.recv(65536)
            if not received:
                raise AssertionError("the switch closed the connection")
            self._buffer += received
        data, self._buffer = self._buffer[:length], self._buffer[length:]
        version, kind, size, xid = ofproto_parser.header(data)
        message = ofproto_parser.msg(self.datapath, version, kind, size, xid, data)
        if type(message).__name__ == "OFPEchoRequest":
            reply = self.datapath.ofproto_parser.OFPEchoReply(self.datapath)
            reply.xid, reply.data = message.xid, message.data
            reply.serialize()
            self._socket.sendall(reply.buf)
        return message


@contextmanager
def controlled(ovs: PrivateOvs, bridge: str, version: str, ports: Iterable[str]) -> Iterator[Client]:
    """Add a bridge with a Client as its controller; the bridge is deleted at the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT)
        target = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        ovs.add_bridge(bridge, ports, controller=target, versions=version)
        try:
            with server.accept()[0] as connection:
                client = Client(connection, version)
                client.handshake()
                yield client
        finally:
            ovs.vsctl("--if-exists", "del-br", bridge)
