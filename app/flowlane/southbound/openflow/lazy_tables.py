"""Table features read when somebody looks: their properties are long, and mostly nobody does.

Open vSwitch describes 254 tables in some 400 kB of ids, which os-ken turns into 80,000 objects; that took
most of a second at every connect, in which no other device was served. Here the fixed part of an entry is
read at once, and ``properties`` at first access, for whichever app asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from os_ken.lib.stringify import obj_python_attrs
from os_ken.ofproto import ofproto_v1_3_parser, ofproto_v1_4_parser, ofproto_v1_5_parser

_FIXED = 64
"""Bytes of ``ofp_table_features`` before its properties, in all versions (7.3.5.5 of 1.3.5, 7.3.5.18 of 1.5.1)."""


def install() -> None:
    """Make os-ken's three classes of table features lazy; more than once is the same as once."""
    for module in (ofproto_v1_3_parser, ofproto_v1_4_parser, ofproto_v1_5_parser):
        kind = module.OFPTableFeaturesStats
        if "__getattr__" not in vars(kind):
            kind.parser = classmethod(_reader(kind.parser))
            kind.__getattr__ = _read_properties
            kind.stringify_attrs = _attributes


def _reader(read: Callable[[bytes, int], Any]) -> Callable[[Any, bytes, int], Any]:
    """Make a parser that leaves the properties for later out of one that does not."""

    def lazy(_kind: Any, buffer: bytes, offset: int) -> Any:
        length = int.from_bytes(buffer[offset : offset + 2], "big")
        fixed = _FIXED.to_bytes(2, "big") + bytes(buffer[offset + 2 : offset + _FIXED])
        table = read(fixed, 0)
        whole = bytes(buffer[offset : offset + length])
        table.length = length
        table._later = lambda: read(whole, 0).properties
        del table.properties
        return table

    return lazy


def _read_properties(table: Any, name: str) -> Any:
    """Stand in for the attribute until it is there; Python asks here for attributes that are missing."""
    if name != "properties" or "_later" not in vars(table):
        raise AttributeError(name)
    table.properties = vars(table).pop("_later")()
    return table.properties


def _attributes(table: Any) -> Any:
    """What os-ken writes of an entry as text or JSON: that too is looking."""
    _ = table.properties
    return obj_python_attrs(table)
