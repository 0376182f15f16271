"""How actions and instructions must lie, so that a parser that steps by their lengths comes to their end.

Known actions and instructions have one size each: os-ken steps over them by that size whatever the wire
says, so another length would make it read the inside of one as the beginning of the next. Sizes are those of the
OpenFlow Switch Specification 1.3.5, 1.4.1 and 1.5.1, section 7.2; Nicira's of openvswitch's ofp-actions.c.
"""

from __future__ import annotations

from struct import Struct

from flowlane.errors import ProtocolError
from flowlane.southbound.openflow.shapes import (
    Shape,
    after,
    anything,
    by_type,
    elements,
    exactly,
    fields_then,
)

EXPERIMENTER = 0xFFFF
NICIRA = 0x00002320
MAX_NESTING = 16
"""Actions inside actions (Nicira's ct) this deep; Open vSwitch itself stops at 64 for all of a packet."""

_NX_CT, _NX_CONTROLLER2 = 35, 37
_NX_HEAD = Struct("!IH").unpack_from


def _nicira_action(depth: int) -> Shape:
    """Nicira's actions that hold lists: ct (actions, from byte 24) and controller (properties, from 16)."""
    properties = after(16, elements("property of a Nicira controller action", 4, pad=8))

    def check(data: bytes, start: int, end: int) -> None:
        if end - start < 16:
            raise ProtocolError(f"experimenter action of length {end - start}, must be at least 16")
        vendor, subtype = _NX_HEAD(data, start + 4)
        if vendor != NICIRA:
            return
        if subtype == _NX_CONTROLLER2:
            properties(data, start, end)
        elif subtype == _NX_CT:
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
    """A list of actions, ``depth`` lists deep."""
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
