"""OpenFlow messages as bytes, written from the specification and not with the code under test."""

from __future__ import annotations

from struct import pack

OF13, OF14, OF15 = 4, 5, 6
VERSIONS = (OF13, OF14, OF15)

HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, FEATURES_REQUEST, FEATURES_REPLY = 0, 1, 2, 3, 5, 6
PACKET_IN, FLOW_REMOVED, PORT_STATUS, MULTIPART_REQUEST, MULTIPART_REPLY = 10, 11, 12, 18, 19
QUEUE_CONFIG_REQUEST, QUEUE_CONFIG_REPLY = 22, 23


def message(version: int, kind: int, body: bytes = b"", xid: int = 1) -> bytes:
    return pack("!BBHI", version, kind, 8 + len(body), xid) + body


def multipart(version: int, kind: int, body: bytes, xid: int = 1, more: bool = False) -> bytes:
    return message(version, MULTIPART_REPLY, pack("!HH4x", kind, more) + body, xid)


def hello(version: int, *elements: bytes) -> bytes:
    return message(version, HELLO, b"".join(elements))


def version_bitmap(*versions: int) -> bytes:
    return pack("!HHI", 1, 8, sum(1 << version for version in versions))


def features(version: int, dpid: int, xid: int = 1, auxiliary: int = 0) -> bytes:
    return message(version, FEATURES_REPLY, pack("!QIBB2xII", dpid, 0, 254, auxiliary, 0x4F, 0), xid)


def match(*fields: bytes) -> bytes:
    body = b"".join(fields)
    length = 4 + len(body)
    return pack("!HH", 1, length) + body + bytes(-length % 8)


def oxm(field: int, value: bytes) -> bytes:
    return pack("!HBB", 0x8000, field << 1, len(value)) + value


def packet_in(version: int, in_port: int, frame: bytes, total: int | None = None, xid: int = 0) -> bytes:
    """Section 7.4.1: buffer id, total length, reason, table id, cookie, match, 2 bytes of padding, frame."""
    head = pack("!IHBBQ", 0xFFFFFFFF, len(frame) if total is None else total, 1, 3, 0)
    return message(version, PACKET_IN, head + match(oxm(0, pack("!I", in_port))) + bytes(2) + frame, xid)


def port_13(number: int, name: bytes) -> bytes:
    return pack(
        "!I4x6s2x16sIIIIIIII", number, bytes(5) + bytes((number & 255,)), name, 0, 4, 0, 0, 0, 0, 0, 0
    )


def port_14(number: int, name: bytes) -> bytes:
    return pack("!IH2x6s2x16sII", number, 40, bytes(5) + bytes((number & 255,)), name, 0, 4)


def port(version: int, number: int, name: bytes) -> bytes:
    return port_13(number, name) if version == OF13 else port_14(number, name)


def flow_stats_13(length: int | None = None, instructions: bytes = b"", fields: bytes | None = None) -> bytes:
    body = match() if fields is None else fields
    real = 48 + len(body) + len(instructions)
    head = pack("!HBxIIHHHH4xQQQ", real if length is None else length, 0, 1, 0, 1, 0, 0, 0, 7, 1, 60)
    return head + body + instructions


def flow_desc_15(instructions: bytes = b"", length: int | None = None) -> bytes:
    stats = pack("!HHI2I", 0, 16, 0x80020008, 1, 0)
    real = 24 + 8 + len(stats) + len(instructions)
    head = pack("!H2xBxHHHHHQ", real if length is None else length, 0, 1, 0, 0, 0, 0, 7)
    return head + match() + stats + instructions


def apply_actions(*actions: bytes) -> bytes:
    body = b"".join(actions)
    return pack("!HH4x", 4, 8 + len(body)) + body


def queue_13(queue_id: int, port_no: int, *properties: bytes, length: int | None = None) -> bytes:
    body = b"".join(properties)
    return pack("!IIH6x", queue_id, port_no, 16 + len(body) if length is None else length) + body


def queue_config(*queues: bytes, port_no: int = 0xFFFFFFFF, xid: int = 1) -> bytes:
    return message(OF13, QUEUE_CONFIG_REPLY, pack("!I4x", port_no) + b"".join(queues), xid)


def max_rate(rate: int) -> bytes:
    return pack("!HH4xH6x", 2, 16, rate)
