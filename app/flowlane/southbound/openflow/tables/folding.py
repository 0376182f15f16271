"""The pipeline without table output, for a device with too few tables: what leads there does what it would do.

Only for devices that do not learn. There, the entries of table output match the egress port alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.entries import FlowEntry, Goto, Step
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import fields

if TYPE_CHECKING:
    from flowlane.southbound.openflow.wire.fields import Match

_TO_OUTPUT = Goto(TableId.OUTPUT)

Outputs = Mapping[int | None, tuple[Step, ...]]
"""Egress port -> the steps of its entry in table output; None: those of the table-miss entry."""


def outputs(flows: Iterable[FlowEntry]) -> Outputs:
    """Return what the entries of table output do, by the egress port that they match."""
    entries = (entry for entry in flows if entry.table_id == TableId.OUTPUT)
    return {_egress(entry.match): entry.steps for entry in entries}


def fold(flows: Iterable[FlowEntry], by_port: Outputs) -> tuple[FlowEntry, ...]:
    """Return the entries without those of table output."""
    return tuple(chain.from_iterable(_folded(entry, by_port) for entry in flows))


def _folded(entry: FlowEntry, by_port: Outputs) -> Iterator[FlowEntry]:
    """Yield an entry that outputs by itself; one for each egress port, where it matches all and they differ."""
    if entry.table_id == TableId.OUTPUT:
        return
    if _TO_OUTPUT not in entry.steps:
        yield entry
        return
    before = tuple(step for step in entry.steps if step != _TO_OUTPUT)
    egress, miss = _egress(entry.match), by_port.get(None, ())
    if egress is not None or set(by_port.values()) <= {miss}:
        yield replace(entry, steps=(*before, *by_port.get(egress, miss)))
        return
    for port_no, steps in by_port.items():
        if port_no is not None:
            yield replace(entry, match=_with_egress(entry.match, port_no), steps=(*before, *steps))


def _egress(terms: Match) -> int | None:
    term = next((term for term in terms if term.field == "metadata"), None)
    if term is None or (term.mask is not None and term.mask & pipeline.EGRESS_MASK != pipeline.EGRESS_MASK):
        return None
    return pipeline.egress_of(term.value)


def _with_egress(terms: Match, port_no: int) -> Match:
    """Return a match of one egress port too."""
    value, mask = pipeline.egress(port_no)
    values: dict[str, int | tuple[int, int]] = {
        term.field: term.value if term.mask is None else (term.value, term.mask) for term in terms
    }
    sender = next(((term.value, term.mask or 0) for term in terms if term.field == "metadata"), (0, 0))
    values["metadata"] = sender[0] | value, sender[1] | mask
    return fields.match(**values)
