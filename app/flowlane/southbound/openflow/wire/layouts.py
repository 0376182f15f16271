"""The layouts of the messages that a switch sends in OpenFlow 1.3, 1.4 and 1.5, as far as lengths are concerned.

Sizes are those of the structures in the OpenFlow Switch Specification 1.3.5, 1.4.1 and 1.5.1, section 7, and
for Nicira's actions in Open vSwitch's lib/ofp-actions.c. A known action or instruction has one size: os-ken
skips it by that size whatever its length field says, so another length would make it read the inside of one
as the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType

from flowlane.errors import ProtocolError
from flowlane.southbound.openflow.wire.constants import (
    EXPERIMENTER,
    NICIRA,
    NX_CONTROLLER2,
    NX_CT,
)
from flowlane.southbound.openflow.wire.grammar import (
    Shape,
    after,
    anything,
    at_least,
    by_type,
    elements,
    exactly,
    fields_then,
    once,
    records,
)

MAX_NESTING = 16
"""Depth of actions inside actions (Nicira's ct); Open vSwitch itself stops at 64 for all of a packet."""

_NX_HEAD = Struct("!IH").unpack_from


def _nicira_action(depth: int) -> Shape:
    """Check Nicira's actions that have lists: ct (actions, from byte 24) and controller (properties, from 16)."""
    properties = after(16, elements("property of a Nicira controller action", 4, pad=8))

    def check(data: bytes, start: int, end: int) -> None:
        if end - start < 16:
            raise ProtocolError(f"experimenter action of length {end - start}, must be at least 16")
        vendor, subtype = _NX_HEAD(data, start + 4)
        if vendor != NICIRA:
            return
        if subtype == NX_CONTROLLER2:
            properties(data, start, end)
        elif subtype == NX_CT:
            if depth >= MAX_NESTING:
                raise ProtocolError(f"actions nested more than {MAX_NESTING} deep")
            after(24, actions(depth + 1))(data, start, end)

    return check


def _experimenter_action(depth: int) -> Shape:
    nicira = _nicira_action(depth)

    def check(data: bytes, start: int, end: int) -> None:
        if end - start > 8:
            nicira(data, start, end)

    return check


def actions(depth: int = 0) -> Shape:
    """Check a list of actions.

    Args:
        depth: how many lists it is inside of.
    """
    sized = {
        kind: exactly("action", 8) for kind in (11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 27, 29)
    }
    inside = by_type({0: exactly("output action", 16), EXPERIMENTER: _experimenter_action(depth), **sized})
    return elements("action", 8, inside=inside)


ACTIONS = actions()
INSTRUCTIONS = elements(
    "instruction",
    8,
    inside=by_type(
        {
            1: exactly("goto-table instruction", 8),
            2: exactly("write-metadata instruction", 24),
            3: after(8, ACTIONS),
            4: after(8, ACTIONS),
            5: after(8, ACTIONS),
            6: exactly("meter instruction", 8),
            7: after(8, fields_then("thresholds of a stat-trigger instruction", anything)),
        }
    ),
)


def _properties(name: str) -> Shape:
    return elements(f"property of a {name}", 4, pad=8)


def _described(name: str, head: int, *, length_at: int = 0) -> Shape:
    """Check a list of structures that end in a list of properties."""
    return elements(name, head, length_at=length_at, inside=after(head, _properties(name)))


_ids = elements("instruction or action id", 4)
_TABLE_FEATURES = once(
    elements(
        "table-features entry",
        64,
        length_at=0,
        inside=after(
            64,
            elements(
                "property of a table-features entry",
                4,
                pad=8,
                inside=by_type({kind: after(4, _ids) for kind in (0, 1, 4, 5, 6, 7)}),
            ),
        ),
    ),
    most=64,
    longest=1 << 16,
)
"""Open vSwitch sends 1.2 MB of them at every connect, the same bytes on every bridge."""

_BUCKETS_13 = elements("group bucket", 16, length_at=0, inside=after(16, ACTIONS))
_BANDS = elements("meter band", 12)
_METERS = elements("meter-stats entry", 40, length_at=4, inside=after(40, records("meter band stats", 16)))
_METER_CONFIGS = elements("meter-config entry", 8, length_at=0, inside=after(8, _BANDS))
_GROUPS = elements("group-stats entry", 40, length_at=0, inside=after(40, records("bucket counter", 16)))
_ENTRY_INSTRUCTIONS = once(INSTRUCTIONS, most=1024, longest=512)
"""Entries of one kind have the same instructions, and a device reports thousands of them every second."""

_FLOWS_13 = elements(
    "flow-stats entry",
    56,
    length_at=0,
    inside=after(48, fields_then("match of a flow-stats entry", _ENTRY_INSTRUCTIONS)),
)
_QUEUES_13 = elements(
    "queue of a queue-config reply",
    16,
    length_at=8,
    inside=after(
        16,
        elements(
            "property of a queue",
            8,
            inside=by_type(
                {
                    1: exactly("min-rate property of a queue", 16),
                    2: exactly("max-rate property of a queue", 16),
                    EXPERIMENTER: at_least("experimenter property of a queue", 16),
                }
            ),
        ),
    ),
)
_FLOW_UPDATES = elements(
    "flow-monitor update",
    8,
    length_at=0,
    inside=lambda data, start, end: (
        after(24, fields_then("match of a flow update", INSTRUCTIONS))(data, start, end)
        if data[start + 2 : start + 4] <= b"\x00\x03"
        else None
    ),
)


def _buckets_15(data: bytes, start: int, end: int) -> None:
    """Check one 1.5 bucket: its own length, the length of its actions, actions, properties (7.2.3.4)."""
    stop = start + 8 + int.from_bytes(data[start + 2 : start + 4], "big")
    if stop > end:
        raise ProtocolError("action list of a group bucket longer than the bucket")
    ACTIONS(data, start + 8, stop)
    _properties("group bucket")(data, stop, end)


def _group_desc_15(data: bytes, start: int, end: int) -> None:
    """Check one 1.5 group-desc entry: its own length, the length of its buckets, buckets, properties (7.3.5.8)."""
    stop = start + 16 + int.from_bytes(data[start + 8 : start + 10], "big")
    if stop > end:
        raise ProtocolError("bucket list of a group-desc entry longer than the entry")
    elements("group bucket", 8, length_at=0, inside=_buckets_15)(data, start + 16, stop)
    _properties("group-desc entry")(data, stop, end)


_COMMON: dict[int, Shape] = {
    0: exactly("switch description", 1056),
    3: records("table-stats entry", 24),
    6: _GROUPS,
    8: exactly("group-features body", 40),
    9: _METERS,
    10: _METER_CONFIGS,
    12: _TABLE_FEATURES,
    EXPERIMENTER: at_least("experimenter body", 8),
}
_GROUP_DESC_13 = elements("group-desc entry", 8, length_at=0, inside=after(8, _BUCKETS_13))
_SINCE_14: dict[int, Shape] = {
    4: _described("port-stats entry", 80),
    5: _described("queue-stats entry", 48),
    13: _described("port", 40, length_at=4),
    14: _described("table-desc entry", 8),
    15: _described("queue-desc entry", 16, length_at=8),
    16: _FLOW_UPDATES,
}
_FLOW_STATS_15 = elements(
    "flow-stats entry",
    16,
    length_at=0,
    inside=after(8, fields_then("match of a flow entry", fields_then("stats of a flow entry", anything))),
)
_FLOW_DESC_15 = elements(
    "flow-desc entry",
    32,
    length_at=0,
    inside=after(
        24, fields_then("match of a flow entry", fields_then("stats of a flow entry", _ENTRY_INSTRUCTIONS))
    ),
)

MULTIPART: Mapping[int, Mapping[int, Shape]] = MappingProxyType(
    {
        4: {
            **_COMMON,
            1: _FLOWS_13,
            2: exactly("aggregate-stats body", 24),
            4: records("port-stats entry", 112),
            5: records("queue-stats entry", 40),
            7: _GROUP_DESC_13,
            11: exactly("meter-features body", 16),
            13: records("port", 64),
        },
        5: {
            **_COMMON,
            **_SINCE_14,
            1: _FLOWS_13,
            2: exactly("aggregate-stats body", 24),
            7: _GROUP_DESC_13,
            11: exactly("meter-features body", 16),
        },
        6: {
            **_COMMON,
            **_SINCE_14,
            1: _FLOW_DESC_15,
            2: fields_then("aggregate stats", anything),
            7: elements("group-desc entry", 16, length_at=0, inside=_group_desc_15),
            # Open vSwitch up to 3.1 sends 1.3's structure in 1.5 too.
            11: exactly("meter-features body", 24, 16),
            17: _FLOW_STATS_15,
            18: _described("controller-status entry", 16),
            19: after(8, _properties("bundle-features body")),
        },
    }
)
"""OpenFlow version on the wire -> multipart type -> shape of the body of a reply (7.3.5)."""


def _multipart(version: int) -> Shape:
    bodies = MULTIPART[version]

    def check(data: bytes, start: int, end: int) -> None:
        if end - start < 8:
            raise ProtocolError(f"multipart reply cut short: {end - start} of 8 bytes")
        kind = int.from_bytes(data[start : start + 2], "big")
        bodies.get(kind, anything)(data, start + 8, end)

    return check


HELLO = elements("hello element", 4)
ERROR = at_least("error message", 4)
_MATCH_AND_PACKET = after(16, fields_then("match of a packet-in", at_least("padding of a packet-in", 2)))
_EVERY: dict[int, Shape] = {
    0: HELLO,
    1: ERROR,
    2: anything,
    3: anything,
    4: at_least("experimenter message", 8),
    6: at_least("features reply", 24),
    8: at_least("config reply", 4),
    10: _MATCH_AND_PACKET,
    21: anything,
    25: at_least("role reply", 16),
}
_FLOW_REMOVED_13 = after(40, fields_then("match of a flow-removed message", anything))
_FROM_14: dict[int, Shape] = {
    11: _FLOW_REMOVED_13,
    12: after(8, _described("port of a port-status message", 40, length_at=4)),
    27: _properties("async-config reply"),
    30: after(16, _properties("role-status message")),
    31: after(8, _described("table of a table-status message", 8)),
    33: after(8, _properties("bundle-control message")),
}

MESSAGES: Mapping[int, Mapping[int, Shape]] = MappingProxyType(
    {
        4: {
            **_EVERY,
            11: _FLOW_REMOVED_13,
            12: exactly("port-status body", 72),
            19: _multipart(4),
            23: after(8, _QUEUES_13),
            27: at_least("async-config reply", 24),
        },
        5: {**_EVERY, **_FROM_14, 19: _multipart(5)},
        6: {
            **_EVERY,
            **_FROM_14,
            11: after(
                16, fields_then("match of a flow-removed message", fields_then("stats of a flow", anything))
            ),
            19: _multipart(6),
            35: _described("controller-status body", 16),
        },
    }
)
"""OpenFlow version on the wire -> message type that a switch may send -> shape behind the 8-byte header."""
