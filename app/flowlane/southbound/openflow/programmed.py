"""The entries of a reply that the controller has programmed, as os-ken reads them.

A device that connects tells of all entries, and ten thousand of them may be learned ones, of which nothing is wanted
here: to make os-ken's objects of those would hold every other device up for a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from flowlane.southbound.openflow import cookies, decode, flow_stats

Message = Any
_LEARNED = cookies.pack(cookies.Kind.LEARNED)
_KEPT = "flowlane_programmed"
"""Attribute of a reply: what was read of it, for it is looked at several times."""


def programmed(parts: Iterable[Message]) -> Iterator[Message]:
    """os-ken's entries of all parts, those left out that the device learned where they can be told apart."""
    for part in parts:
        kept = getattr(part, _KEPT, None)
        if not isinstance(kept, list):
            kept = list(_not_learned(part))
            with suppress(AttributeError):
                setattr(part, _KEPT, kept)
        yield from kept


def _not_learned(part: Message) -> Iterable[Message]:
    found = flow_stats.entries(part)
    try:
        starts = [raw.start for raw in found or () if raw.cookie & cookies.KIND_MASK != _LEARNED]
    except ValueError:
        found = None
    if found is None:
        return decode.bodies((part,))
    return (part.cls_stats_body_cls.parser(part.buf, start) for start in starts)
