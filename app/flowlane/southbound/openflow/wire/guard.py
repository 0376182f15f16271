"""The guard: a check of every message before os-ken parses it.

os-ken 4.2 steps through lists by the lengths in a message. A length of 0 (of a hello element, a flow-stats
entry, a queue, a property, a group description, a meter's statistics, ...) makes it loop for ever, and on a
single-threaded hub every other switch waits. So does a well-formed property of an unknown type in a
queue-config reply. These faults were reported to Ryu in 2023 (faucetsdn/ryu issues 188 to 196). Here every
length that os-ken's parser uses is checked first, so that such a message costs its sender the connection and
no other switch anything.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from flowlane.errors import ProtocolError
from flowlane.southbound.openflow.wire import layouts
from flowlane.southbound.openflow.wire.constants import (
    ECHO_REPLY,
    ECHO_REQUEST,
    ERROR,
    EXPERIMENTER,
    HELLO,
    MULTIPART_FLOW,
    MULTIPART_REPLY,
    OPENFLOW_15,
    QUEUE_GET_CONFIG_REPLY,
)

HEADER = Struct("!BBHI")
"""Version, type, length, transaction id (7.1)."""

MOST_OF_HELLO = 256
"""Bytes of a hello: its header, and a bitmap of all 256 versions, which has 36; later elements have the rest."""

_BEFORE_VERSION = frozenset((HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY))
_SAME_IN_ALL = frozenset((ERROR, ECHO_REQUEST, ECHO_REPLY))
_KNOWN_QUEUE_PROPERTIES = frozenset((1, 2, EXPERIMENTER))
_HELLO_FAILED = b"\x00\x00"
_MULTIPART_HEAD = 16
_OF_FLOWS = MULTIPART_FLOW.to_bytes(2)


class Header(NamedTuple):
    """The fixed start of every message. ``length`` is in bytes, the header included."""

    version: int
    kind: int
    length: int
    xid: int


def read_header(data: bytes | bytearray) -> Header:
    """Read the first 8 bytes of a message.

    Raises:
        ProtocolError: there are fewer, or the length is less than the header itself.
    """
    if len(data) < HEADER.size:
        raise ProtocolError(f"message of {len(data)} bytes; an OpenFlow header takes 8")
    header = Header(*HEADER.unpack_from(data))
    if header.length < HEADER.size:
        raise ProtocolError(f"message length {header.length}, less than the header's 8")
    return header


def check(message: bytes, agreed: int | None, *, flows_later: bool = False) -> bytes | None:
    """Check one message of a switch; return what may be parsed.

    That is the message itself, or a copy without the queue properties that os-ken loops on, or None for a
    message of a type that only controllers send or that is unknown.

    Args:
        message: header and body.
        agreed: the OpenFlow version on the wire that was negotiated by hello; None before that.
        flows_later: leave the entries of flow statistics replies to :func:`check_flows`, which has to be called before
            anybody trusts their lengths.

    Raises:
        ProtocolError: lengths in the message contradict each other; the text names the structure.
    """
    header = read_header(message)
    if header.length != len(message):
        raise ProtocolError(f"message length {header.length} in {len(message)} bytes")
    if header.kind == HELLO:
        return _hello(message, header)
    if header.kind == ERROR:
        _check_error(message)
    if agreed is None:
        if header.kind not in _BEFORE_VERSION:
            raise ProtocolError(f"message of type {header.kind} before hello")
        return message if header.version <= OPENFLOW_15 else None
    if header.version != agreed:
        raise ProtocolError(f"message of version {header.version} where {agreed} was agreed")
    if flows_later and is_of_flows(message):
        return message
    return message if header.kind in _SAME_IN_ALL else _body(message, header)


def is_of_flows(message: bytes) -> bool:
    """Return whether a message is a flow statistics reply, a whole header of it at least."""
    return message[1] == MULTIPART_REPLY and len(message) >= _MULTIPART_HEAD and message[8:10] == _OF_FLOWS


def check_flows(message: bytes) -> None:
    """Check the entries of a flow statistics reply, which :func:`check` may have left; not other messages.

    A device reports thousands of entries every second whose lengths are those of entries that were checked before.

    Raises:
        ProtocolError: lengths in the message contradict each other.
    """
    if is_of_flows(message):
        _body(message, read_header(message))


def _body(message: bytes, header: Header) -> bytes | None:
    shapes = layouts.MESSAGES.get(header.version)
    if shapes is None:
        raise ProtocolError(f"OpenFlow version {header.version} is not served")
    shape = shapes.get(header.kind)
    if shape is None:
        return None
    shape(message, HEADER.size, header.length)
    return _known_properties(message) if header.kind == QUEUE_GET_CONFIG_REPLY else message


def _hello(message: bytes, header: Header) -> bytes:
    """Check a hello. One of a version newer than OpenFlow 1.5 counts as 1.5 (6.3.1).

    os-ken lists every version of its bitmap, of which 64 kB have half a million.
    """
    if header.length > MOST_OF_HELLO:
        raise ProtocolError(f"hello of {header.length} bytes, {MOST_OF_HELLO} at most are read")
    layouts.HELLO(message, HEADER.size, header.length)
    if header.version == 0:
        raise ProtocolError("hello of version 0")
    return bytes((min(header.version, OPENFLOW_15),)) + message[1:]


def _check_error(message: bytes) -> None:
    """Check an error message: os-ken decodes the text of a hello-failed error as ASCII (7.5.4.1)."""
    if len(message) < 12:
        raise ProtocolError(f"error message cut short: {len(message)} of 12 bytes")
    if message[8:10] == _HELLO_FAILED and not message[12:].isascii():
        raise ProtocolError("hello-failed error with a text that is not ASCII")


def _known_properties(message: bytes) -> bytes:
    """Leave out queue properties of an unknown type, on which os-ken loops for ever (7.3.6 of 1.3).

    The lengths were checked before.
    """
    queues, position = bytearray(), 16
    while position < len(message):
        length = int.from_bytes(message[position + 8 : position + 10], "big")
        properties = _only_known(message[position + 16 : position + length])
        queues += message[position : position + 8] + (16 + len(properties)).to_bytes(2, "big")
        queues += message[position + 10 : position + 16] + properties
        position += length
    size = (16 + len(queues)).to_bytes(2, "big")
    return message[:2] + size + message[4:16] + bytes(queues)


def _only_known(properties: bytes) -> bytes:
    kept, position = bytearray(), 0
    while position < len(properties):
        kind = int.from_bytes(properties[position : position + 2], "big")
        length = int.from_bytes(properties[position + 2 : position + 4], "big")
        if kind in _KNOWN_QUEUE_PROPERTIES:
            kept += properties[position : position + length]
        position += length
    return bytes(kept)
