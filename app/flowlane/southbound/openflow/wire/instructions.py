"""Where the instructions of an entry lead, read from their bytes: other controllers' entries may have any action.

Layouts are those of ``ofp_instruction`` and ``ofp_action`` (OpenFlow 1.3.5 sections 7.2.4 and 7.2.5), and of
the actions of Open vSwitch's lib/ofp-actions.c that lead to another table.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from flowlane.southbound.openflow.wire.constants import (
    CONTROLLER_PORT,
    EXPERIMENTER,
    NICIRA,
    NX_CONTROLLER2,
    NX_CT,
    NX_LEARN,
    NX_RESUBMIT_TABLE,
    OUTPUT_ACTION,
)

_GOTO, _WRITE, _APPLY = 1, 3, 4
_HEAD = Struct("!HH").unpack_from
_VENDOR = Struct("!IH").unpack_from
_PORT = Struct("!I").unpack_from
_NX_CONTROLLER, _NX_CLONE, _NX_RESUBMIT_TABLE_CT, _NX_LEARN_2 = 20, 42, 44, 45
_TABLE_AT = {
    NX_RESUBMIT_TABLE: 12,
    _NX_RESUBMIT_TABLE_CT: 12,
    NX_LEARN: 26,
    _NX_LEARN_2: 26,
    NX_CT: 18,
}
"""Action of Open vSwitch -> where the number of the table stands in it."""

_ACTIONS_AT = {_NX_CLONE: 16, NX_CT: 24}
"""Action of Open vSwitch -> where the actions in it begin."""

_SAME_TABLE = 0xFF


class Leads(NamedTuple):
    """The tables to which instructions lead, and whether they send packets to a controller."""

    tables: frozenset[int]
    copies: bool


def leads(data: bytes) -> Leads:
    """Return where an entry's instructions lead; what is cut short or malformed leads nowhere."""
    tables: set[int] = set()
    copies = False
    for kind, instruction in _items(data):
        if kind == _GOTO and len(instruction) > 4:
            tables.add(instruction[4])
        elif kind in (_WRITE, _APPLY):
            inside = leads_of_actions(instruction[8:])
            tables |= inside.tables
            copies = copies or inside.copies
    return Leads(frozenset(tables), copies)


def leads_of_actions(data: bytes) -> Leads:
    """Return where actions lead, those inside of other actions included."""
    tables: set[int] = set()
    copies = False
    for kind, action in _items(data):
        if kind == OUTPUT_ACTION and len(action) >= 8:
            copies = copies or _PORT(action, 4)[0] == CONTROLLER_PORT
        if kind != EXPERIMENTER or len(action) < 10:
            continue
        vendor, subtype = _VENDOR(action, 4)
        if vendor != NICIRA:
            continue
        copies = copies or subtype in (_NX_CONTROLLER, NX_CONTROLLER2)
        at = _TABLE_AT.get(subtype)
        if at is not None and at < len(action):
            tables.add(action[at])
        if subtype in _ACTIONS_AT:
            inside = leads_of_actions(action[_ACTIONS_AT[subtype] :])
            tables |= inside.tables
            copies = copies or inside.copies
    return Leads(frozenset(tables - {_SAME_TABLE}), copies)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, bytes) of each instruction or action."""
    at = 0
    while at + 4 <= len(data):
        kind, length = _HEAD(data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind, data[at : at + length]
        at += length
