"""Where the instructions of an entry lead, read from their bytes: other controllers' entries may have any action.

Layouts are those of ``ofp_instruction`` and ``ofp_action`` (OpenFlow 1.3.5 sections 7.2.4 and 7.2.5), and of
the actions of Open vSwitch's lib/ofp-actions.c that lead to another table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
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

_GOTO, _WRITE, _APPLY, _METER = 1, 3, 4, 6
_GROUP_ACTION, _METER_ACTION = 22, 29
_HEAD = Struct("!HH").unpack_from
_VENDOR = Struct("!IH").unpack_from
_NUMBER = Struct("!I").unpack_from
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
    """The tables, groups and meters to which instructions lead, and whether they send packets to a controller."""

    tables: frozenset[int] = frozenset()
    copies: bool = False
    groups: frozenset[int] = frozenset()
    meters: frozenset[int] = frozenset()

    def __or__(self, other: Leads) -> Leads:
        """Return where both lead."""
        return Leads(
            self.tables | other.tables,
            self.copies or other.copies,
            self.groups | other.groups,
            self.meters | other.meters,
        )


NOWHERE = Leads()


def union(several: Iterable[Leads]) -> Leads:
    """Return where any of them leads, in a time that grows with their number: there may be as many as entries."""
    tables: set[int] = set()
    groups: set[int] = set()
    meters: set[int] = set()
    copies = False
    for one in several:
        tables |= one.tables
        groups |= one.groups
        meters |= one.meters
        copies |= one.copies
    return Leads(frozenset(tables), copies, frozenset(groups), frozenset(meters))


@lru_cache(1024)
def leads(data: bytes) -> Leads:
    """Return where an entry's instructions lead; what is cut short or malformed leads nowhere."""
    found = NOWHERE
    for kind, instruction in _items(data):
        if kind == _GOTO and len(instruction) > 4:
            found |= Leads(tables=frozenset(instruction[4:5]))
        elif kind == _METER and len(instruction) >= 8:
            found |= Leads(meters=frozenset(_NUMBER(instruction, 4)))
        elif kind in (_WRITE, _APPLY):
            found |= leads_of_actions(instruction[8:])
    return found


def leads_of_actions(data: bytes) -> Leads:
    """Return where actions lead, those inside of other actions included."""
    found = NOWHERE
    for kind, action in _items(data):
        if kind == EXPERIMENTER and len(action) >= 10:
            found |= _leads_of_extension(action)
        elif len(action) >= 8:
            number = frozenset(_NUMBER(action, 4))
            if kind == OUTPUT_ACTION:
                found |= Leads(copies=CONTROLLER_PORT in number)
            elif kind == _GROUP_ACTION:
                found |= Leads(groups=number)
            elif kind == _METER_ACTION:
                found |= Leads(meters=number)
    return found


def _leads_of_extension(action: bytes) -> Leads:
    vendor, subtype = _VENDOR(action, 4)
    if vendor != NICIRA:
        return NOWHERE
    at = _TABLE_AT.get(subtype, len(action))
    tables = frozenset(action[at : at + 1]) - {_SAME_TABLE}
    found = Leads(tables, subtype in (_NX_CONTROLLER, NX_CONTROLLER2))
    inside = _ACTIONS_AT.get(subtype)
    return found if inside is None else found | leads_of_actions(action[inside:])


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, bytes) of each instruction or action."""
    at = 0
    while at + 4 <= len(data):
        kind, length = _HEAD(data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind, data[at : at + length]
        at += length
