"""Builder of section ``classes``: :class:`flowlane.core.policy.TrafficClass` objects."""

from __future__ import annotations

from typing import Any

from flowlane.closest import did_you_mean
from flowlane.core.policy import Alike, LimitScope, PathPreference, TrafficClass
from flowlane.policy.context import OLDER_KEYS, Context, value_of
from flowlane.policy.document import Document, Path
from flowlane.units import format_rate, parse_rate, parse_size

DEFAULT = "default"
"""Name of the default class, unless the policy gives another."""

MIN_BURST = 1522
"""Bytes of the largest tagged Ethernet frame: a meter with a smaller burst drops every full frame [LP 2153122]."""

MAX_RATE = (2**32 - 1) * 1000
"""bit/s: a meter's rate has 32 bits and is in kbit/s, its burst in kbit (OpenFlow 1.3.5, A.3.4.5)."""

MAX_RATE_TEXT = f"{MAX_RATE // 1000}kbit/s"


def class_names(document: Document) -> dict[str, int]:
    """Give each class its index: 0 to the default class, to the others as they follow in the document."""
    data = document.data
    assert isinstance(data, dict)
    section = data.get("classes")
    names = list(section) if isinstance(section, dict) else []
    default = data.get("default", DEFAULT)
    if not isinstance(default, str):
        default = DEFAULT
    elif default not in names and default != DEFAULT:
        document.report(("default",), f"there is no class {default!r}", did_you_mean(default, names))
        default = DEFAULT
    return {name: index for index, name in enumerate(dict.fromkeys([default, *names]))}


def build_classes(context: Context) -> tuple[TrafficClass, ...]:
    """Build all classes, in the order of their indexes; one that breaks the schema has its name only."""
    section = context.section("classes")
    return tuple(
        _build(context, ("classes", name), section[name], index)
        if name in section and ("classes", name) not in context.invalid
        else TrafficClass(name, index)
        for name, index in context.classes.items()
    )


def _build(context: Context, path: Path, entry: dict[str, Any], index: int) -> TrafficClass:
    _check(context, path, entry)
    return TrafficClass(
        name=str(path[-1]),
        index=index,
        priority=int(entry.get("priority", 0)),
        qos=entry.get("qos", ""),
        rate_limit=_rate(context, path, entry, "limit"),
        burst=_burst(context, path, entry),
        limit_scope=LimitScope(entry.get("limit-scope", "flow")),
        min_rate=_rate(context, path, entry, "minimum"),
        exclusive=entry.get("queues") == "exclusive",
        alike=tuple(Alike(word) for word in entry.get("alike", ())),
        min_queues=int(entry.get("min-queues", 0)),
        max_queues=int(entry["max-queues"]) if "max-queues" in entry else None,
        path=PathPreference(value_of(context, path, entry, "path") or "prefer-hardware"),
        keep_vm_together=entry.get("keep-vm-together", False),
        meter_only=entry.get("meter-only", False),
    )


def _rate(context: Context, path: Path, entry: dict[str, Any], key: str) -> int | None:
    if key not in entry:
        return None
    rate = parse_rate(entry[key])
    if rate < 1000:
        remedy = "OpenFlow meters count in kbit/s; to stop traffic use the network's access lists"
        context.report((*path, key), f"{format_rate(rate)} is too small", f"at least 1kbit/s: {remedy}")
    if rate > MAX_RATE:
        context.report((*path, key), f"{format_rate(rate)} is too large", f"at most {MAX_RATE_TEXT}")
    return rate


def _burst(context: Context, path: Path, entry: dict[str, Any]) -> int | None:
    """Read the burst; return bits."""
    if "burst" not in entry:
        return None
    size = parse_size(entry["burst"])
    if size < MIN_BURST:
        remedy = f"at least {MIN_BURST}B, better 0.3 seconds of the limit"
        context.report((*path, "burst"), f"a burst of {size} bytes is less than one frame", remedy)
    if size * 8 > MAX_RATE:
        context.report((*path, "burst"), f"a burst of {size} bytes is too large", f"at most {MAX_RATE // 8}B")
    return size * 8


def _check(context: Context, path: Path, entry: dict[str, Any]) -> None:
    """Report keys of a class that contradict each other."""
    for key in ("burst", "limit-scope"):
        if key in entry and "limit" not in entry:
            context.report((*path, key), f"{key} without a limit has no effect", "add limit: or remove it")
    if "max-queues" in entry and entry.get("min-queues", 0) > entry["max-queues"]:
        context.report((*path, "min-queues"), "more than max-queues", f"at most {entry['max-queues']}")
    if "limit" in entry and "minimum" in entry and parse_rate(entry["minimum"]) > parse_rate(entry["limit"]):
        context.report((*path, "minimum"), "more than the limit", f"at most {entry['limit']}")
    if entry.get("meter-only"):
        _check_meter_only(context, path, entry)


def _check_meter_only(context: Context, path: Path, entry: dict[str, Any]) -> None:
    if "limit" not in entry:
        context.report(
            (*path, "meter-only"), "a class with neither queue nor limit has no effect", "add limit:"
        )
    keys = ("queues", "minimum", "alike", "min-queues", "max-queues", "path", "keep-vm-together")
    for key in (*keys, *(older for older, name in OLDER_KEYS.items() if name in keys)):
        if key in entry:
            context.report(
                (*path, key), f"{key} is about queues, and a meter-only class has none", "remove one of them"
            )
