"""What devices get: from the document to :class:`flowlane.core.policy.DeviceRules`."""

from __future__ import annotations

from typing import Any

from flowlane.core.model import Role
from flowlane.core.policy import ClassChange, DeviceRules, Road
from flowlane.policy.context import Context
from flowlane.policy.document import Path
from flowlane.policy.selectors import read_devices, read_globs
from flowlane.units import parse_rate


def build_devices(context: Context) -> tuple[DeviceRules, ...]:
    """Build the sound device entries, in order."""
    return tuple(_build(context, path, entry) for path, entry in context.entries("devices"))


def _build(context: Context, path: Path, entry: dict[str, Any]) -> DeviceRules:
    selector = read_devices(context, (*path, "match"), entry.get("match", {}))
    if "role" in entry and selector.roles:
        remedy = "name the devices by name or dpid"
        context.report((*path, "role"), "an entry that selects by role cannot give the role", remedy)
    if not entry.keys() - {"match"}:
        context.report(
            path, "an entry that changes nothing", "add role, uplinks, only or change, or remove it"
        )
    only = context.class_indexes((*path, "only"), entry["only"]) if "only" in entry else None
    changes = tuple(
        _change(context, (*path, "change", name), name, change)
        for name, change in entry.get("change", {}).items()
    )
    for name, change in zip(entry.get("change", {}), changes, strict=True):
        if only is not None and change.class_index not in {0, *only}:
            context.report(
                (*path, "change"), f"class {name!r} is changed but not in only", "add it to only", name
            )
    return DeviceRules(
        devices=selector,
        only=only,
        changes=changes,
        role=Role(entry["role"]) if "role" in entry else None,
        uplinks=read_globs(context, (*path, "uplinks"), entry["uplinks"]) if "uplinks" in entry else (),
    )


def _change(context: Context, path: Path, name: str, entry: dict[str, Any]) -> ClassChange:
    limit = entry.get("limit", "").strip()
    rate = parse_rate(limit) if limit not in ("", "none") else None
    if rate is not None and rate < 1000:
        context.report((*path, "limit"), f"{limit} is too small", "at least 1kbit/s, or none")
    return ClassChange(
        class_index=context.class_index(path[:-1], name, name),
        rate_limit=rate,
        no_rate_limit=limit == "none",
        exclusive=entry["queues"] == "exclusive" if "queues" in entry else None,
        road=Road(entry["road"]) if "road" in entry else None,
        max_queues=int(entry["max-queues"]) if "max-queues" in entry else None,
        meter_only=entry.get("meter-only"),
    )
