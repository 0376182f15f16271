"""Readers of what rules and entries match: VM and device selectors, rate conditions.

A selector names VMs by globs of their names or by external ids, and devices by role, name or datapath id. A
rate condition such as ``>= 100Mbit/s for 2s until below 50Mbit/s`` becomes a :class:`RateGate`; equal ones
in several rules are one gate.
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
    """Read a glob or a list of globs; equal ones count once."""
    globs = []
    for place, glob in items(value):
        assert isinstance(glob, str)
        _check_glob(context, path if place is None else (*path, place), glob)
        globs.append(glob)
    return tuple(dict.fromkeys(globs))


def _check_glob(context: Context, path: Path, glob: str) -> None:
    """Report an open bracket: fnmatch takes it as itself, in a policy it is a mistake."""
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
            _dpid(context, (*path, "dpid"), place, dpid) for place, dpid in items(value.get("dpid", []))
        ),
    )


def _dpid(context: Context, path: Path, place: int | None, value: object) -> int:
    """Read a datapath id, which is hex even where it has decimal digits only."""
    match = _DPID.match(str(value))
    if match is None:
        where = path if place is None else (*path, place)
        context.report(
            where, f"{shown(value)} is not a datapath id", "16 hex digits, such as 0000000000000001"
        )
        return 0
    return int(match[1], 16)


DEFAULT_HOLD = 2.0
"""Seconds that a rate has to hold by default: over shorter times OVS's counters, which move in steps, are noise."""

_CONDITION = re.compile(r"\s*>=\s*(\S.*)", re.DOTALL)
_TIMING = re.compile(r"(.*?)(?:\s+for\s+(.*?))?(?:\s+until\s+below\s+(.*))?\s*\Z", re.DOTALL)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*%\s+of\s+(?:a\s+)?queue")
_EXAMPLE = "write it such as '>= 100Mbit/s for 2s until below 50Mbit/s'"


def read_gate(text: str) -> RateGate:
    """Read the part after ``>=``: rate, then ``for`` a duration, then ``until below`` a rate.

    Without ``until below`` the gate closes at half of the rate. A rate may be a part of a queue's: ``25% of a queue``.

    Raises:
        UnitError: it cannot be read, or contradicts itself.
    """
    match = _TIMING.match(text)
    assert match is not None
    at_least, of_queue = _read_threshold(match[1].strip())
    hold = DEFAULT_HOLD if match[2] is None else parse_duration(match[2])
    below, below_of_queue = (
        (at_least // 2, of_queue) if match[3] is None else _read_threshold(match[3].strip())
    )
    if of_queue != below_of_queue:
        raise UnitError("one rate is a part of a queue's, the other is not")
    if at_least < 1000:
        raise UnitError(
            f"{match[1].strip()} is too small to be measured; at least 1kbit/s or 0.1% of a queue"
        )
    if hold > 3600:
        raise UnitError(f"{match[2]} is too long a time; at most 1h")
    if below > at_least:
        raise UnitError(
            f"the rate after 'until below', {_shown(below, of_queue)}, is above {_shown(at_least, of_queue)}"
        )
    return RateGate(at_least, hold, below, of_queue)


def _read_threshold(text: str) -> tuple[int, bool]:
    """Read a rate in bit/s, or a part of a queue's rate in millionths; return which it is, too."""
    match = _PART.fullmatch(text)
    if match is None:
        return parse_rate(text), False
    part = round(float(match[1]) * 10_000)
    if part > 10**6:
        raise UnitError(f"{text!r} is more than a queue carries")
    return part, True


def _shown(threshold: int, of_queue: bool) -> str:
    return f"{threshold / 10_000:g}% of a queue" if of_queue else format_rate(threshold)


def read_gates(context: Context) -> None:
    """Read every rate condition of the document; number the different ones, in ascending order of rate."""
    gate_at: dict[Path, RateGate] = {}
    for path, text in _texts(context):
        try:
            gate_at[path] = read_gate(text)
        except UnitError as error:
            context.report(path, str(error), _EXAMPLE)
    gates = tuple(
        sorted(
            set(gate_at.values()),
            key=lambda gate: (gate.of_queue, gate.at_least, gate.hold, gate.below),
        )
    )
    if len(gates) > MAX_GATES:
        last = max(gate_at, key=context.line)
        message = f"{len(gates)} different rate conditions, counting those of trust"
        context.report(last, message, f"at most {MAX_GATES}: write equal conditions in several rules")
    context.gates = gates
    context.gate_at = {path: gates.index(gate) for path, gate in gate_at.items()}


def _texts(context: Context) -> Iterator[tuple[Path, str]]:
    for path, entry in context.entries("rules"):
        text = entry.get("match", {}).get("rate")
        if text is not None:
            where = (*path, "match", "rate")
            condition = _CONDITION.match(text)
            if condition:
                yield where, condition[1]
            else:
                remedy = (
                    f"only >= is possible; put a rule for slow flows below the rule for fast ones; {_EXAMPLE}"
                )
                context.report(where, f"{text[:60]!r} is not a rate condition", remedy)
    for path, entry in context.entries("trust"):
        if "at-most" in entry:
            yield (*path, "at-most"), entry["at-most"]
