"""Rate conditions: ``>= 100Mbit/s for 2s until below 50Mbit/s``, numbered for the whole policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowlane.core.gates import MAX_GATES
from flowlane.core.policy import RateGate
from flowlane.errors import UnitError
from flowlane.units import format_rate, parse_duration, parse_rate

if TYPE_CHECKING:
    from flowlane.policy.context import Context
    from flowlane.policy.document import Path

DEFAULT_HOLD = 2.0
"""Seconds that a rate has to hold when the policy does not say: below it, counters of OVS are noise."""

_CONDITION = re.compile(r"\s*>=\s*(\S.*)", re.DOTALL)
_TIMING = re.compile(r"(.*?)(?:\s+for\s+(.*?))?(?:\s+until\s+below\s+(.*))?\s*\Z", re.DOTALL)
_EXAMPLE = "write it such as '>= 100Mbit/s for 2s until below 50Mbit/s'"


def read_gate(text: str) -> RateGate:
    """Read the part after ``>=``: rate, then ``for`` a duration, then ``until below`` a rate.

    Without a falling edge it is half of the rate.

    Raises:
        UnitError: it cannot be read, or contradicts itself.
    """
    match = _TIMING.match(text)
    assert match is not None
    at_least = parse_rate(match[1].strip())
    hold = DEFAULT_HOLD if match[2] is None else parse_duration(match[2])
    below = at_least // 2 if match[3] is None else parse_rate(match[3])
    if at_least < 1000:
        raise UnitError(f"{format_rate(at_least)} is too small to tell from nothing; at least 1kbit/s")
    if hold > 3600:
        raise UnitError("nothing holds for so long; at most 1h")
    if below > at_least:
        raise UnitError(f"the falling edge {format_rate(below)} is above the rate {format_rate(at_least)}")
    return RateGate(at_least, hold, below)


def read_gates(context: Context) -> None:
    """Find every rate condition of the document and number the different ones, in ascending order of rate."""
    found: dict[Path, RateGate] = {}
    for path, text in _texts(context):
        try:
            found[path] = read_gate(text)
        except UnitError as error:
            context.report(path, str(error), _EXAMPLE)
    gates = tuple(sorted(set(found.values()), key=lambda gate: (gate.at_least, gate.hold, gate.below)))
    if len(gates) > MAX_GATES:
        last = max(found, key=context.line)
        message = f"{len(gates)} different rate conditions, counting those of trust"
        context.report(last, message, f"at most {MAX_GATES}: use equal ones in several rules")
    context.gates = gates
    context.gate_at = {path: gates.index(gate) for path, gate in found.items()}


def _texts(context: Context) -> Iterator[tuple[Path, str]]:
    for path, entry in context.entries("rules"):
        text = entry.get("match", {}).get("rate")
        if text is not None:
            where = (*path, "match", "rate")
            condition = _CONDITION.match(text)
            if condition:
                yield where, condition[1]
            else:
                remedy = f"only >= can be asked; for slow flows put their rule below that of the fast ones; {_EXAMPLE}"
                context.report(where, f"{text[:60]!r} is not a rate condition", remedy)
    for path, entry in context.entries("trust"):
        if "at-most" in entry:
            yield (*path, "at-most"), entry["at-most"]
