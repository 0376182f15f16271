"""What is fuzzed: functions that take any bytes, and let out nothing but what they promise to raise.

Each function reads bytes in the way in which the product reads what others send: refusals that have a reason
(:class:`~flowlane.errors.FlowlaneError`) are an answer, every other exception is a finding.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fuzz.session import Target
from os_ken.controller.handler import HANDSHAKE_DISPATCHER, MAIN_DISPATCHER
from os_ken.ofproto import ofproto_protocol
from support.engine.controller import FakeController, world
from webob import Request

from flowlane.core import flowkey
from flowlane.core.classify.classifier import compile_rules
from flowlane.core.frame import read_frame
from flowlane.errors import FlowlaneError, PolicyError, ProtocolError
from flowlane.northbound.app import ROUTES, make_app
from flowlane.policy import lint, loader
from flowlane.simulation.capture import read_capture
from flowlane.simulation.flowfile import read_flows
from flowlane.southbound.ipfix import messages as ipfix
from flowlane.southbound.openflow.osken import lazy, listener, repairs
from flowlane.southbound.openflow.session import arrangement, counters, decode, handshake, readback
from flowlane.southbound.openflow.session.requests import Reply
from flowlane.southbound.openflow.tables.layout import DEFAULT
from flowlane.southbound.ovsdb.describe import describe
from flowlane.southbound.ovsdb.jsonrpc import Messages
from flowlane.southbound.ovsdb.rows import dangling
from flowlane.southbound.ovsdb.schema import WATCHED
from flowlane.southbound.ovsdb.tables import Tables

VERSIONS = (4, 5, 6)
_KEY = bytes(16)
_MULTIPART_REPLY = 19
_SCRATCH = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"flowlane-fuzz-{os.getuid()}"


def frame(data: bytes) -> None:
    """Parse a frame of a packet-in, and make the key of its flow and its text."""
    parsed = read_frame(data)
    if parsed is not None:
        key = parsed.key(1)
        parts = flowkey.unpack(key)
        assert flowkey.pack(parts) == key
        assert parsed.is_for_bridges in (True, False)
        assert parsed.is_group_addressed in (True, False)


@cache
def _prepared() -> None:
    """Install what the listener installs, but for the listener itself."""
    repairs.repair()
    lazy.install_lazy_tables()
    lazy.install_lazy_multiparts()
    lazy.install_lazy_packets()


def _datapath(version: int | None) -> Any:
    described = ofproto_protocol.ProtocolDesc(version or 4)
    return SimpleNamespace(
        state=HANDSHAKE_DISPATCHER if version is None else MAIN_DISPATCHER,
        ofproto=described.ofproto,
        ofproto_parser=described.ofproto_parser,
        address=("192.0.2.1", 1),
        id=1,
        check_id=_nothing,
        socket=SimpleNamespace(received=0, has_unread=False),
        version=version,
    )


def openflow(data: bytes) -> None:
    """Check and parse a message, and read it as its handler does.

    The first byte chooses the version that was agreed. Version and length in the header are put right, so that
    inputs are not wasted on them; every 16th first byte leaves them as they are.
    """
    if len(data) < 9:
        return
    agreed = (None, *VERSIONS)[data[0] & 3]
    message = bytearray(data[1:65536])
    if data[0] & 0xF0:
        message[0] = agreed or message[0]
        message[2:4] = len(message).to_bytes(2)
    _read(bytes(message), agreed)


MULTIPARTS = (0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
"""Kinds of multipart replies (7.3.5 of OpenFlow 1.5.1)."""


def statistics(data: bytes) -> None:
    """Read a multipart reply, whose header is made of the first two bytes: version and kind."""
    if len(data) < 2:
        return
    version, kind = VERSIONS[data[0] % 3], MULTIPARTS[data[1] % len(MULTIPARTS)]
    body = data[2:65000]
    size = (16 + len(body)).to_bytes(2)
    head = bytes((version, _MULTIPART_REPLY)) + size + b"\0\0\0\1" + kind.to_bytes(2) + bytes(6)
    _read(head + body, version)


def _read(data: bytes, agreed: int | None) -> None:
    _prepared()
    datapath = _datapath(agreed)
    try:
        message = listener.read(datapath, data[0], data[1], len(data), 0, bytearray(data))
        if message is not None and agreed is not None:
            _READERS.get(data[1], _nothing)(message)
    except ProtocolError:
        return


def _nothing(_message: Any) -> None:
    """Read a message that no handler reads further."""


def _packet_in(message: Any) -> None:
    decode.packet_in(1, message, DEFAULT, _KEY)


def _flow_removed(message: Any) -> None:
    _ = decode.pin_ended(1, message) or readback.learned_ended(1, message)


def _port_status(message: Any) -> None:
    decode.port_report(message.desc)


def _error(message: Any) -> None:
    decode.error_name(message, message.datapath.ofproto)


def _queue_config(message: Any) -> None:
    decode.queues((message,))


def _multipart(message: Any) -> None:
    """Read a reply in all the ways in which replies of its kind are read."""
    parts = (message,)
    for read in (
        counters.pin_counters,
        counters.groups_counted,
        counters.learned_counters,
        decode.queue_counters,
        decode.meter_counters,
    ):
        read(1, parts)
    decode.queues(parts)
    decode.ports(parts)
    arrangement.has_ours(parts)
    replies = dict.fromkeys(_REQUESTED.get(message.type, ()), Reply(parts))
    if replies:
        handshake.evaluate(1, message.version, "192.0.2.1:1", replies, {})


_REQUESTED = {
    0: ("description",),
    1: ("flows",),
    7: ("groups",),
    8: ("group features",),
    10: ("meters",),
    11: ("meter features",),
    12: ("table features",),
    13: ("ports",),
    15: ("queues",),
}
"""Kind of a multipart reply -> the requests of the handshake that it replies to."""

_READERS: dict[int, Callable[[Any], None]] = {
    1: _error,
    10: _packet_in,
    11: _flow_removed,
    12: _port_status,
    _MULTIPART_REPLY: _multipart,
    23: _queue_config,
}


def policy(data: bytes) -> None:
    """Load a policy, and compile and lint what was loaded."""
    try:
        loaded = loader.load_stream(BytesIO(data), "policy")
    except PolicyError as error:
        assert str(error)
        return
    compile_rules(loaded)
    lint.notes(loaded)


SERVED = 2000
"""Requests that one controller answers: its events are kept, and would make each answer about them slower."""

_apps: list[tuple[FakeController, Any]] = []


def _app() -> tuple[FakeController, Any]:
    """Return the controller and its application, made anew after :data:`SERVED` calls."""
    if not _apps or len(_apps) >= SERVED:
        controller = world()
        _apps[:] = [(controller, make_app(controller))]
    else:
        _apps.append(_apps[0])
    return _apps[0]


_BODIES = [route for route in ROUTES if route.accepts]
_PATHS = {
    "dpid": "0000000000000001",
    "id": "uuid-web",
    "name": "one",
    "port": "3",
    "queue": "1",
    "asset": "page.js",
}


def rest(data: bytes) -> None:
    """Answer a request: the first byte chooses the route, the second says whether the rest is its body or its query."""
    if len(data) < 2:
        return
    controller, app = _app()
    if data[1] & 1:
        route = _BODIES[data[0] % len(_BODIES)]
        path, text, body = route.path, "", data[2:]
    else:
        route = ROUTES[data[0] % len(ROUTES)]
        parts, _, text = data[2:].decode("latin-1").partition("?")
        path, body = route.path, b""
        for word in parts.split("/", 3)[1:]:
            path = (
                path.replace(path[path.find("{") : path.find("}") + 1], word or "x", 1)
                if "{" in path
                else path
            )
    for name, value in _PATHS.items():
        path = path.replace(f"{{{name}}}", value)
    environ = {"REQUEST_METHOD": route.method, "QUERY_STRING": text, "RAW_PATH_INFO": path}
    request = Request.blank(
        "/", environ=environ, body=body, content_type=route.accepts[0] if route.accepts else ""
    )
    request.method = route.method
    request.headers["Host"] = "127.0.0.1"
    if route.path == "/v1/events":
        request.headers["Accept"] = "application/json"  # The stream goes on for ever.
    answer = request.get_response(app)
    assert answer.status_int != 500, (route.method, route.path, answer.text[:300])
    if not controller.submitted or len(controller.submitted) > 64:
        controller.submitted.clear()


def capture(data: bytes) -> None:
    """Read a capture, compressed or not."""
    _from_file("capture.pcap", data, read_capture)


def flows(data: bytes) -> None:
    """Read a file of flows: JSON where the first byte is even, else CSV of any program."""
    if data:
        _from_file("flows.json" if data[0] % 2 == 0 else "flows.csv", data[1:], read_flows)


def _from_file(name: str, data: bytes, read: Callable[[Path], object]) -> None:
    _SCRATCH.mkdir(exist_ok=True)
    path = _SCRATCH / f"{os.getpid()}-{name}"
    path.write_bytes(data)
    try:
        read(path)
    except FlowlaneError as error:
        assert str(error)


def datagram(data: bytes) -> None:
    """Read datagrams of samples (IPFIX), one or two: the first byte says where the second one begins."""
    reader = ipfix.Reader()
    cut = 1 + data[0] if data else 0
    for part in (data[1:cut], data[cut:]):
        try:
            for sampled in reader.read(part, "192.0.2.1"):
                assert sampled.packet.tail
        except ProtocolError as error:
            assert str(error)


def database(data: bytes) -> None:
    """Read what a database sends, in pieces of as many bytes as the first byte says, and describe its devices."""
    size = data[0] + 1 if data else 1
    messages, copy = Messages(), Tables(WATCHED)
    try:
        for start in range(1, len(data), size):
            for message in messages.feed(data[start : start + size]):
                updates = message.get("result", message.get("params"))
                copy.apply(updates, _give_way)
                snapshot = copy.snapshot()
                if not dangling(snapshot):
                    describe(snapshot)
    except FlowlaneError as error:
        assert str(error)


def _give_way() -> None:
    """Give way to nobody."""


TARGETS = {
    "frame": Target(frame, 256),
    "openflow": Target(openflow, 4096),
    "statistics": Target(statistics, 4096),
    "policy": Target(policy, 4096),
    "rest": Target(rest, 2048),
    "capture": Target(capture, 4096),
    "flows": Target(flows, 2048),
    "datagram": Target(datagram, 1500),
    "database": Target(database, 4096),
}
