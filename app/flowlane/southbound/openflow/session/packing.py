"""Changes and requests as bytes; what is the same on all devices is made once.

A thousand switches with one policy get nearly the same entries. So the instructions of an entry, whole groups and
meters, and requests are made by os-ken's classes once for each OpenFlow version, and their bytes are stored; the fixed
part and the match of a flow-mod are written here. Tests compare every message with the one that os-ken makes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from struct import Struct
from types import SimpleNamespace
from typing import Any

from flowlane.southbound.openflow.session import encode
from flowlane.southbound.openflow.tables.entries import Change, FlowEntry, Op, Step
from flowlane.southbound.openflow.tables.layout import DEFAULT, Layout
from flowlane.southbound.openflow.wire import cookies, fields
from flowlane.southbound.openflow.wire.constants import (
    ANY_GROUP,
    ANY_PORT,
    ECHO_REPLY,
    FLOW_ADD,
    FLOW_DELETE_STRICT,
    FLOW_MOD,
    FLOW_MODIFY_STRICT,
    GROUP_MOD,
    METER_MOD,
    NO_BUFFER,
)
from flowlane.southbound.openflow.wire.parts import WireMatch

Datapath = encode.Datapath

MOST_STORED = 4096
"""Pieces that are stored; the oldest half goes when there are more."""

_FLOW_MOD = Struct("!BBHIQQBBHHHIIIHH")
"""``ofp_flow_mod`` before its match (OpenFlow 1.3.5 section 7.3.4.1): what is padding there is the importance since
1.4, which Flowlane leaves 0."""

_HEADER, _COMMAND_AT, _COOKIE_AT = 8, 25, 32
_COMMANDS = {Op.ADD: FLOW_ADD, Op.MODIFY: FLOW_MODIFY_STRICT, Op.DELETE: FLOW_DELETE_STRICT}
_stored: dict[Hashable, bytes] = {}


_NO_MESSAGE = SimpleNamespace(set_xid=int)


def next_xid(datapath: Datapath) -> int:
    """Return the next transaction id of a connection; os-ken counts them where it sets that of a message."""
    xid: int = datapath.set_xid(_NO_MESSAGE)
    return xid


def numbered(message: bytes, xid: int) -> bytes:
    """Return a message with its transaction id (7.1)."""
    return message[:4] + xid.to_bytes(4) + message[_HEADER:]


def change(datapath: Datapath, made: Change, layout: Layout = DEFAULT) -> bytes:
    """Return the message of a change, with transaction id 0; see :func:`.encode.message`."""
    entry = made.entry
    if isinstance(entry, FlowEntry):
        return _flow_mod(datapath, made.op, entry, layout)
    key = datapath.ofproto.OFP_VERSION, layout.key, made
    return _once(key, lambda: serialized(encode.message(datapath, made, layout)))


def request(datapath: Datapath, make: Callable[..., Any], *arguments: Hashable) -> bytes:
    """Return a request, with transaction id 0.

    Args:
        make: makes its os-ken message of the datapath and these arguments.
    """
    key = datapath.ofproto.OFP_VERSION, make, arguments
    return _once(key, lambda: serialized(make(datapath, *arguments)))


_FLOW_COMMANDS = ("add", "modify", "modify", "delete", "delete")
"""By OFPFC_*: OFPFC_MODIFY_STRICT and OFPFC_DELETE_STRICT are 2 and 4 (7.3.4.1)."""

_OTHER_COMMANDS = ("add", "modify", "delete")
"""By OFPGC_* and OFPMC_* (7.3.4.2, 7.3.4.4); commands for single buckets are not used."""


def operation_of(message: bytes) -> str | None:
    """Return what a flow-mod, group-mod or meter-mod does: ``add``, ``modify`` or ``delete``; None for others."""
    kind = message[1]
    if kind == FLOW_MOD:
        return _FLOW_COMMANDS[message[_COMMAND_AT]]
    return _OTHER_COMMANDS[message[_HEADER + 1]] if kind in (GROUP_MOD, METER_MOD) else None


def echo_reply(request: bytes) -> bytes:
    """Return the reply to an echo request: its transaction id and data (7.5.3)."""
    return request[:1] + bytes((ECHO_REPLY,)) + bytes(request[2:])


def with_cookie(message: bytes, cookie: int) -> bytes:
    """Return a request for entries with another cookie (7.3.5.2)."""
    return message[:_COOKIE_AT] + cookie.to_bytes(8) + message[_COOKIE_AT + 8 :]


def _once(key: Hashable, make: Callable[[], bytes]) -> bytes:
    found = _stored.get(key)
    if found is None:
        found = make()
        if len(_stored) >= MOST_STORED:
            for old in list(_stored)[: MOST_STORED // 2]:
                del _stored[old]
        _stored[key] = found
    return found


def serialized(message: Any) -> bytes:
    """Return the bytes of an os-ken message, with transaction id 0."""
    message.set_xid(0)
    message.serialize()
    return bytes(message.buf)


def _flow_mod(datapath: Datapath, op: Op, entry: FlowEntry, layout: Layout) -> bytes:
    version = datapath.ofproto.OFP_VERSION
    match = _match(entry.match)
    tail = b""
    if op is not Op.DELETE:
        tail = instructions(datapath, entry.steps, layout)
    head = _FLOW_MOD.pack(
        version,
        FLOW_MOD,
        _FLOW_MOD.size + len(match) + len(tail),
        0,
        entry.cookie,
        0 if op is Op.ADD else cookies.FULL_MASK,
        layout.number_of(entry.table_id),
        _COMMANDS[op],
        entry.idle_timeout,
        entry.hard_timeout,
        layout.priority_of(entry),
        NO_BUFFER,
        ANY_PORT,
        ANY_GROUP,
        entry.flags,
        0,
    )
    return head + match + tail


@lru_cache(MOST_STORED)
def _match(terms: fields.Match) -> bytes:
    return WireMatch(terms).data


def instructions(datapath: Datapath, steps: tuple[Step, ...], layout: Layout = DEFAULT) -> bytes:
    """Return the instructions of an entry with these steps."""
    key = datapath.ofproto.OFP_VERSION, layout.key, steps
    return _once(key, lambda: _instructions(datapath, steps, layout))


def _instructions(datapath: Datapath, steps: tuple[Step, ...], layout: Layout) -> bytes:
    data, offset = bytearray(), 0
    for instruction in encode.instructions(datapath, layout.steps_on_device(steps)):
        instruction.serialize(data, offset)
        offset += instruction.len
    return bytes(data)
