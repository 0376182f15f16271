"""Builder of section ``devices``, and the descriptions of devices that a policy is checked against.

:func:`build_devices` makes the :class:`flowlane.core.policy.DeviceRules` of a policy.

:func:`read_devices` reads devices from a file or from the answer of ``GET /v1/devices``. Each device is a
mapping in which every key is optional: ``name``, ``dpid``, ``role``, ``capabilities`` (keys of
:class:`flowlane.core.model.Capabilities`) and ``queues``, which is ``{physical: 4, software: 8}`` or, as in
REST, ``{physical: {total: 4, ...}, ...}`` with ``ports`` beside it.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import yaml

from flowlane.core.device.rules import DeviceView
from flowlane.core.model import Capabilities, Role
from flowlane.core.policy import ClassChange, DeviceRules, PathPreference, QueuesBy
from flowlane.errors import ConfigError
from flowlane.policy.classes import MAX_RATE, MAX_RATE_TEXT
from flowlane.policy.context import Context, value_of
from flowlane.policy.document import Path
from flowlane.policy.marks import read_keep_marks, read_marks
from flowlane.policy.match import read_device_selector, read_globs
from flowlane.policy.settings import read_sampling
from flowlane.units import parse_rate


def build_devices(context: Context) -> tuple[DeviceRules, ...]:
    """Build the device entries that keep to the schema, in order."""
    return tuple(_build(context, path, entry) for path, entry in context.entries("devices"))


def _build(context: Context, path: Path, entry: dict[str, Any]) -> DeviceRules:
    selector = read_device_selector(context, (*path, "match"), entry.get("match", {}))
    if "role" in entry and selector.roles:
        remedy = "name the devices by name or dpid"
        context.report((*path, "role"), "an entry that selects devices by role cannot set their role", remedy)
    if not entry.keys() - {"match"}:
        context.report(
            path, "this entry changes nothing", "add role, uplinks, only, change or sampling, or remove it"
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
    by = QueuesBy(entry["queues-by"]) if "queues-by" in entry else None
    for key in ("marks", "keep-marks"):
        if key in entry and by not in (QueuesBy.DSCP, QueuesBy.PCP):
            remedy = "add queues-by: dscp (or pcp), or remove it"
            context.report((*path, key), f"{key} without a queues-by of marks", remedy)
    return DeviceRules(
        devices=selector,
        only=only,
        changes=changes,
        role=Role(entry["role"]) if "role" in entry else None,
        uplinks=read_globs(context, (*path, "uplinks"), entry["uplinks"]) if "uplinks" in entry else (),
        queues_by=by,
        marks=read_marks(context, path, entry, by),
        keep_marks=read_keep_marks(context, path, entry, by),
        sampling=read_sampling(entry["sampling"]) if "sampling" in entry else None,
    )


def _change(context: Context, path: Path, name: str, entry: dict[str, Any]) -> ClassChange:
    limit = entry.get("limit", "").strip()
    rate = parse_rate(limit) if limit not in ("", "none") else None
    if rate is not None and rate < 1000:
        context.report((*path, "limit"), f"{limit} is too small", "at least 1kbit/s, or none")
    if rate is not None and rate > MAX_RATE:
        context.report((*path, "limit"), f"{limit} is too large", f"at most {MAX_RATE_TEXT}, or none")
    preference = value_of(context, path, entry, "path")
    return ClassChange(
        class_index=context.class_index(path[:-1], name, name),
        rate_limit=rate,
        no_rate_limit=limit == "none",
        exclusive=entry["queues"] == "exclusive" if "queues" in entry else None,
        path=PathPreference(preference) if preference else None,
        max_queues=int(entry["max-queues"]) if "max-queues" in entry else None,
        meter_only=entry.get("meter-only"),
    )


_CAPABILITY_TYPES = {
    field.name: type(field.default) for field in fields(Capabilities) if isinstance(field.default, bool | int)
}


def read_devices(text: str, source: str) -> tuple[DeviceView, ...]:
    """Read devices from JSON or YAML: one device, a list of them, or a page of the REST list.

    Raises:
        ConfigError: the text does not describe devices; the error names the source and the place.
    """
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{source}: neither JSON nor YAML: {str(error).splitlines()[0]}") from None
    return devices_of(data, source)


def devices_of(data: object, source: str) -> tuple[DeviceView, ...]:
    """Read devices from plain data; see :func:`read_devices`."""
    if isinstance(data, dict) and isinstance(data.get("items"), list):
        data = data["items"]
    devices = data if isinstance(data, list) else [data]
    if not devices:
        raise ConfigError(
            f"{source}: no device is described; describe one, such as {{role: nic, queues: {{physical: 4}}}}"
        )
    return tuple(_device(item, f"{source}: device {place + 1}") for place, item in enumerate(devices))


def _device(data: object, where: str) -> DeviceView:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: not a mapping; its keys are name, dpid, role, queues, capabilities")
    if not isinstance(data.get("ports", []), list):
        raise ConfigError(f"{where}: ports is not a list of ports")
    role = data.get("role", "nic")
    if role not in [known.value for known in Role]:
        raise ConfigError(f"{where}: role {role!r} is none of nic, vswitch, switch")
    physical, software = _queues(data, where)
    return DeviceView(
        dpid=_dpid(data.get("dpid", 0), where),
        name=str(data.get("name", where)),
        role=Role(role),
        capabilities=_capabilities(data.get("capabilities", {}), where),
        physical_queues=physical,
        software_queues=software,
    )


def _dpid(value: object, where: str) -> int:
    try:
        return value if isinstance(value, int) else int(str(value), 16)
    except ValueError:
        raise ConfigError(f"{where}: dpid {value!r} is not 16 hex digits") from None


def _queues(data: dict[str, Any], where: str) -> tuple[int, int]:
    """Return (physical, software) queues of the port that has most.

    REST gives the sum over all ports, and each port's queue ids.
    """
    physical, software = (_count(data.get("queues"), kind, where) for kind in ("physical", "software"))
    most = max((_on_port(port, where) for port in data.get("ports") or ()), default=physical + software)
    return min(physical, most), min(software, most)


def _on_port(port: object, where: str) -> int:
    queues = port.get("queues", []) if isinstance(port, dict) else None
    if not isinstance(queues, list):
        raise ConfigError(f"{where}: ports: {port!r} has no list of queue ids")
    return len(queues)


def _count(queues: object, kind: str, where: str) -> int:
    value = queues.get(kind, 0) if isinstance(queues, dict) else 0
    count = value.get("total", 0) if isinstance(value, dict) else value
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ConfigError(f"{where}: queues: {kind}: {count!r} is not a number of queues")
    return count


def _capabilities(data: object, where: str) -> Capabilities:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: capabilities is not a mapping")
    wrong = [
        name
        for name, value in data.items()
        if name in _CAPABILITY_TYPES and type(value) is not _CAPABILITY_TYPES[name]
    ]
    if wrong:
        raise ConfigError(f"{where}: capabilities: {wrong[0]}: {data[wrong[0]]!r} is not of the right type")
    return Capabilities(**{name: value for name, value in data.items() if name in _CAPABILITY_TYPES})
