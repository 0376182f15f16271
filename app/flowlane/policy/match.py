"""Rate conditions: ``>= 100Mbit/s for 2s until below 50Mbit/s``, numbered for the whole policy.

VMs and devices as policies name them: globs, external ids, roles, datapath ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowlane.core.classify.gates import MAX_GATES
from flowlane.core.classify.matching import items
from flowlane.core.model import Role
from flowlane.core.policy import DeviceSelector, RateGate, VmSelector
from flowlane.errors import UnitError
from flowlane.policy.document import Path, shown
from flowlane.units import format_rate, parse_duration, parse_rate

if TYPE_CHECKING:
    from flowlane.policy.context import Context

_DPID = re.compile(r"(?:0x)?([0-9a-fA-F]{16})\Z")


def read_vms(context: Context, path: Path, value: Any) -> VmSelector:
    """Read a VM selector: a glob, a list of them, or a mapping of name and external-id."""
    if not isinstance(value, dict):
        return VmSelector(names=read_globs(context, path, value))
    ids = value.get("external-id", {})
    for key, glob in ids.items():
        _check_glob(context, (*path, "external-id", key), glob)
    names = read_globs(context, (*path, "name"), value["name"]) if "name" in value else ()
    return VmSelector(names, tuple(ids.items()))


def read_globs(context: Context, path: Path, value: str | list[str]) -> tuple[str, ...]:
    """Read a glob or a list of globs; names that stand twice count once."""
    found = []
    for place, glob in items(value):
        assert isinstance(glob, str)
        _check_glob(context, path if place is None else (*path, place), glob)
        found.append(glob)
    return tuple(dict.fromkeys(found))


def _check_glob(context: Context, path: Path, glob: str) -> None:
    """fnmatch takes an open bracket as itself; in a policy it is a mistake."""
    rest = re.sub(r"\[!?\]?[^\]]*\]", "", glob)
    if "[" in rest:
        context.report(
            path,
            f"{shown(glob)} is not a glob pattern: [ is never closed",
            "write [[] for the character itself",
        )


def read_device_selector(context: Context, path: Path, value: dict[str, Any]) -> DeviceSelector:
    """Read a device selector."""
    return DeviceSelector(
        roles=tuple(Role(str(role)) for _, role in items(value.get("role", []))),
        names=read_globs(context, (*path, "name"), value["name"]) if "name" in value else (),
        dpids=tuple(
            _dpid(context, (*path, "dpid"), place, one) for place, one in items(value.get("dpid", []))
        ),
    )


def _dpid(context: Context, path: Path, place: int | None, value: object) -> int:
    """A datapath id is always hex, also when it happens to have decimal digits only."""
    match = _DPID.match(str(value))
    if match is None:
        where = path if place is None else (*path, place)
        context.report(
            where, f"{shown(value)} is not a datapath id", "16 hex digits, such as 0000000000000001"
        )
        return 0
    return int(match[1], 16)


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
