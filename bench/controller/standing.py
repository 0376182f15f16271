"""What a simulated switch lists of the entries, groups and meters that it was given: as Open vSwitch, but for counters.

Pins and learned entries are left out: they have lists of their own (:mod:`bench.controller.switches`), and what the
controller reads of them is counters. Layouts are those of OpenFlow 1.3.5, 7.3.4 (what is given) and 7.3.5 (what is
listed). Nothing is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bench.controller.recording import ALL_TABLES

from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.constants import (
    FLOW_ADD,
    FLOW_MOD,
    GROUP_MOD,
    METER_MOD,
    MULTIPART_REPLY,
    OPENFLOW_13,
)

FLOWS, GROUPS, METERS = 1, 7, 10
"""Kinds of multipart messages: OFPMP_FLOW, OFPMP_GROUP_DESC, OFPMP_METER_CONFIG."""


MOST = 60_000
"""Bytes of entries in a message, which is shorter than 64 KiB."""

_MODIFY_STRICT, _DELETE, _DELETE_STRICT = 2, 3, 4
_DELETE_ITEM = 2
"""OFPGC_DELETE and OFPMC_DELETE."""

_KINDS = frozenset((cookies.Kind.INFRASTRUCTURE, cookies.Kind.STANDING, cookies.Kind.GROUP))
_HEAD = struct.Struct("!QQBBHHHIIIH2x")
"""``ofp_flow_mod`` between its header and its match."""

_ENTRY = struct.Struct("!HBxIIHHHH4xQQQ")
"""``ofp_flow_stats`` before its match."""

_MATCH_AT = 48
_shared: dict[bytes, bytes] = {}
"""Matches and instructions, which are the same on many switches."""


class Standing:
    """The standing entries, groups and meters of one switch."""

    def __init__(self) -> None:
        self._flows: dict[tuple[int, int, bytes], tuple[int, int, int, int, bytes]] = {}
        """Table, priority and match -> cookie, timeouts, flags and instructions."""
        self._groups: dict[bytes, bytes] = {}
        self._meters: dict[bytes, bytes] = {}
        self._began: float | None = None

    def take(self, message: bytes, now: float) -> None:
        """Take a flow-mod, group-mod or meter-mod."""
        if message[1] == FLOW_MOD:
            self._began = now if self._began is None else self._began
            self._take_flow(message)
        elif message[1] == GROUP_MOD:
            self._take_item(self._groups, message, message[12:16], message[10:12] + message[12:16])
        elif message[1] == METER_MOD:
            self._take_item(self._meters, message, message[12:16], message[10:16])

    def _take_flow(self, message: bytes) -> None:
        cookie, mask, table, command, idle, hard, priority, _, _, _, flags = _HEAD.unpack_from(message, 8)
        if command == _DELETE:
            chosen = self._chosen(cookie, mask, table)
            self._flows = {key: flow for key, flow in self._flows.items() if key not in chosen}
            return
        end = _MATCH_AT + (int.from_bytes(message[_MATCH_AT + 2 : _MATCH_AT + 4]) + 7 & ~7)
        match, rest = message[_MATCH_AT:end], message[end:]
        key = table, priority, _shared.setdefault(match, match)
        if command == _DELETE_STRICT:
            self._flows.pop(key, None)
            return
        kind = cookies.unpack(cookie)
        if kind is not None and kind.kind in _KINDS and (command == FLOW_ADD or key in self._flows):
            self._flows[key] = cookie, idle, hard, flags, _shared.setdefault(rest, rest)

    def _take_item(self, items: dict[bytes, bytes], message: bytes, number: bytes, head: bytes) -> None:
        if int.from_bytes(message[8:10]) == _DELETE_ITEM:
            items.pop(number, None)
        else:
            body = head + message[16:]
            items[number] = _shared.setdefault(body, body)

    def _chosen(self, cookie: int, mask: int, table: int) -> list[tuple[int, int, bytes]]:
        return [
            key
            for key, flow in self._flows.items()
            if (flow[0] ^ cookie) & mask == 0 and table in (ALL_TABLES, key[0])
        ]

    def flows(self, request: bytes, now: float) -> list[bytes]:
        """Return the entries that a request for flow statistics is about (7.3.5.2)."""
        table, cookie, mask = request[16], int.from_bytes(request[32:40]), int.from_bytes(request[40:48])
        age = 0.0 if self._began is None else max(0.0, now - self._began)
        second, nanosecond = int(age), int(age % 1 * 1e9)
        found = []
        for key in self._chosen(cookie, mask, table):
            number, idle, hard, flags, rest = self._flows[key]
            head = key[0], second, nanosecond, key[1], idle, hard, flags, number, 0, 0
            found.append(_ENTRY.pack(_ENTRY.size + len(key[2]) + len(rest), *head) + key[2] + rest)
        return found

    def items(self, kind: int) -> list[bytes]:
        """Return the descriptions of all groups, or of all meters (7.3.5.7, 7.3.5.11)."""
        items = self._groups if kind == GROUPS else self._meters
        return [(2 + len(body)).to_bytes(2) + body for body in items.values()]


def reply(xid: bytes, kind: int, entries: list[bytes]) -> bytes:
    """Return the messages of a multipart reply."""
    bodies = list(_bodies(entries))
    messages = []
    for number, body in enumerate(bodies, start=1):
        head = struct.pack(
            "!BBH4sHH4x", OPENFLOW_13, MULTIPART_REPLY, 16 + len(body), xid, kind, number < len(bodies)
        )
        messages.append(head + body)
    return b"".join(messages)


def _bodies(entries: list[bytes]) -> Iterator[bytes]:
    body = bytearray()
    for entry in entries:
        if len(body) + len(entry) > MOST:
            yield bytes(body)
            body.clear()
        body += entry
    yield bytes(body)
