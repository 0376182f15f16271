"""A switch that is a socket, speaking OpenFlow 1.3 by bytes that are packed here: well-formed, wrong, or none.

It reads what the controller requests and replies what its case wants; what no case cares about it refuses with an
error, as a switch without that capability does (OpenFlow 1.3.5 section 7.4.4), and it accepts all flow-mods.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from struct import pack, unpack_from

OF13 = 4
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, FEATURES_REQUEST, FEATURES_REPLY = 0, 1, 2, 3, 5, 6
GET_CONFIG_REQUEST, PACKET_IN, FLOW_REMOVED, PORT_STATUS, PACKET_OUT = 7, 10, 11, 12, 13
MULTIPART_REQUEST, MULTIPART_REPLY, BARRIER_REQUEST, BARRIER_REPLY = 18, 19, 20, 21
QUEUE_CONFIG_REQUEST, QUEUE_CONFIG_REPLY = 22, 23
FLOWS, QUEUE_STATS, PORTS = 1, 5, 13
MORE = 1
MAX_BODY = 65_000
"""Bytes of a body, so that the message's length fits 16 bits."""

WAITING = 0xF10A << 48 | 2 << 44 | 1 << 32
"""Cookie of a standing rule whose packets wait in the controller: each is answered by a packet-out."""

LEARNED, PIN = (0xF10A << 48 | kind << 44 for kind in (4, 3))

Replies = Mapping[tuple[int, int], Callable[[bytes], Iterable[bytes]]]
"""(type of a request, kind of a multipart request or -1) -> function of the request that yields whole messages."""


def message(kind: int, body: bytes = b"", xid: int = 0) -> bytes:
    return pack("!BBHI", OF13, kind, 8 + len(body), xid) + body


def multipart(kind: int, body: bytes, xid: int, more: bool = False) -> bytes:
    return message(MULTIPART_REPLY, pack("!HH4x", kind, MORE if more else 0) + body, xid)


def parts(kind: int, items: Iterable[bytes], xid: int) -> Iterable[bytes]:
    """Yield the parts of a multipart reply with these items."""
    body = bytearray()
    for item in items:
        if len(body) + len(item) > MAX_BODY:
            yield multipart(kind, bytes(body), xid, more=True)
            body.clear()
        body += item
    yield multipart(kind, bytes(body), xid)


def port(number: int, name: str = "", state: int = 4) -> bytes:
    mac = pack("!Q", 0x0200_0000_0000 | number)[2:]
    text = (name or f"p{number}").encode()
    return pack("!I4x6s2x16sIIIIIIII", number, mac, text, 0, state, 0, 0, 0, 0, 0, 0)


def port_status(number: int, reason: int = 0) -> bytes:
    return message(PORT_STATUS, pack("!B7x", reason) + port(number))


def queue(port_no: int, queue_id: int) -> bytes:
    return pack("!IIH6x", queue_id, port_no, 16)


def oxm(field: int, value: bytes) -> bytes:
    return pack("!HBB", 0x8000, field << 1, len(value)) + value


def match(*fields: bytes) -> bytes:
    body = b"".join(fields)
    length = 4 + len(body)
    return pack("!HH", 1, length) + body + bytes(-length % 8)


def tcp_match(number: int, in_port: int = 1, egress: int = 2) -> bytes:
    """Match a TCP flow as an entry of Flowlane does: sender and egress port in the metadata."""
    return match(
        oxm(0, pack("!I", in_port)),
        oxm(2, pack("!II", in_port, egress)),
        oxm(3, bytes.fromhex("0200000000ff")),
        oxm(4, pack("!Q", 0x0200_0000_0000 | in_port)[2:]),
        oxm(5, b"\x08\x00"),
        oxm(10, b"\x06"),
        oxm(11, pack("!I", 0x0A000000 | number >> 16)),
        oxm(12, b"\xc0\x00\x02\x01"),
        oxm(13, pack("!H", number & 0xFFFF)),
        oxm(14, b"\x01\xbb"),
    )


def flow(cookie: int, matched: bytes, table: int = 7, steps: bytes = b"", **fields: int) -> bytes:
    """Make an entry of flow statistics (7.3.5.2)."""
    head = pack(
        "!HBxIIHHHH4xQQQ",
        48 + len(matched) + len(steps),
        table,
        fields.get("seconds", 1),
        fields.get("nanoseconds", 0),
        fields.get("priority", 1000),
        fields.get("idle", 10),
        fields.get("hard", 0),
        fields.get("flags", 0),
        cookie,
        fields.get("packets", 1),
        fields.get("octets", 64),
    )
    return head + matched + steps


def apply_queue(queue_id: int) -> bytes:
    """Make the instruction that sets a queue."""
    action = pack("!HHI", 21, 8, queue_id)
    return pack("!HH4x", 4, 8 + len(action)) + action


def frame(number: int, source: int = 1) -> bytes:
    """Make a TCP frame of a flow of its own, of a host behind port 1."""
    ip = pack("!BBHHHBBHII", 0x45, 0, 40, 0, 0, 64, 6, 0, 0x0A000000 | number >> 16 & 0xFFFF, 0xC0000201)
    tcp = pack("!HHIIBBHHH", number & 0xFFFF, 443, 0, 0, 0x50, 2, 1024, 0, 0)
    return bytes.fromhex("0200000000ff") + pack("!Q", 0x0200_0000_0000 | source)[2:] + b"\x08\x00" + ip + tcp


def packet_in(number: int, data: bytes, cookie: int = WAITING) -> bytes:
    head = pack("!IHBBQ", 0xFFFFFFFF, len(data), 1, 7, cookie)
    return message(PACKET_IN, head + match(oxm(0, pack("!I", 1))) + bytes(2) + data, number)


class Switch:
    """One connection to a controller.

    Args:
        replies: what it replies instead of an error.
        ports: numbers of the ports that it describes, unless ``replies`` has them.
    """

    def __init__(self, port_no: int, dpid: int, replies: Replies | None = None, ports: int = 2) -> None:
        self.dpid, self._ports = dpid, ports
        self._replies = dict(replies or {})
        self.sock = socket.create_connection(("127.0.0.1", port_no), 30)
        self._inbox = bytearray()
        self.is_closed = self.is_mute = False
        self.requests: list[tuple[int, int]] = []
        self.last = time.monotonic()
        """When the last message of the controller came."""

    def __enter__(self) -> Switch:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> bool:
        """Send bytes; return False when the controller has closed the connection or does not read."""
        try:
            self.sock.sendall(data)
        except OSError:
            self.is_closed = True
        return not self.is_closed

    def connect(self, seconds: float = 30.0) -> Switch:
        """Greet, and reply until the controller requests nothing for half a second."""
        self.send(message(HELLO, pack("!HHI", 1, 8, 1 << OF13)))
        self.serve(seconds, quiet=0.5)
        return self

    def serve(self, seconds: float, quiet: float | None = None) -> None:
        """Reply for so many seconds, or until nothing has come for ``quiet`` seconds, or the connection ends."""
        deadline = time.monotonic() + seconds
        self.last = time.monotonic()
        while not self.is_closed and (now := time.monotonic()) < deadline:
            if quiet is not None and now - self.last >= quiet and (FEATURES_REQUEST, -1) in self.requests:
                return
            self.sock.settimeout(min(0.1, deadline - now))
            self.read()

    def read(self) -> list[bytes]:
        """Read what has come, and reply; return the messages."""
        try:
            data = self.sock.recv(1 << 18)
        except TimeoutError:
            return []
        except OSError:
            data = b""
        self.sock.settimeout(30)
        if not data:
            self.is_closed = True
        self._inbox += data
        found = []
        while len(self._inbox) >= 8 and len(self._inbox) >= (length := unpack_from("!H", self._inbox, 2)[0]):
            found.append(bytes(self._inbox[:length]))
            del self._inbox[:length]
        for received in found:
            self.last = time.monotonic()
            if not self.is_mute:
                self._reply(received)
        return found

    def _reply(self, request: bytes) -> None:
        kind, xid = request[1], unpack_from("!I", request, 4)[0]
        place = kind, unpack_from("!H", request, 8)[0] if kind == MULTIPART_REQUEST else -1
        self.requests.append(place)
        if place in self._replies:
            for answer in self._replies[place](request):
                if not self.send(answer):
                    return
        elif kind == FEATURES_REQUEST:
            self.send(message(FEATURES_REPLY, pack("!QIBB2xII", self.dpid, 0, 254, 0, 0x4F, 0), xid))
        elif kind == ECHO_REQUEST:
            self.send(message(ECHO_REPLY, request[8:], xid))
        elif kind == BARRIER_REQUEST:
            self.send(message(BARRIER_REPLY, b"", xid))
        elif place == (MULTIPART_REQUEST, PORTS):
            for part in parts(PORTS, map(port, range(1, self._ports + 1)), xid):
                self.send(part)
        elif kind == QUEUE_CONFIG_REQUEST:
            self.send(message(QUEUE_CONFIG_REPLY, request[8:12] + bytes(4), xid))
        elif kind in (GET_CONFIG_REQUEST, MULTIPART_REQUEST):
            self.send(message(ERROR, pack("!HH", 1, 1) + request[:64], xid))


class Background:
    """Serves a switch in a thread while its case sends."""

    def __init__(self, switch: Switch) -> None:
        self._switch, self._over = switch, threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while not self._over.is_set() and not self._switch.is_closed:
                self._switch.serve(0.2)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(5)
