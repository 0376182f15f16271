"""Devices as a file or ``GET /v1/devices`` describes them, to try a policy on before it touches one.

Each device is a mapping. All is optional: ``name``, ``dpid``, ``role``, ``capabilities`` (keys of
:class:`flowlane.core.model.Capabilities`), and ``queues``: either ``{physical: 4, software: 8}`` or the
``{physical: {total: 4, ...}, ...}`` of REST, with ``ports`` beside it.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import yaml

from flowlane.core.device_rules import DeviceView
from flowlane.core.model import Capabilities, QueueKind, Role
from flowlane.errors import ConfigError

_ABILITIES = {
    one.name: type(one.default) for one in fields(Capabilities) if isinstance(one.default, bool | int)
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
    described = data if isinstance(data, list) else [data]
    if not described:
        raise ConfigError(f"{source}: no device is described")
    return tuple(_device(one, f"{source}: device {place + 1}") for place, one in enumerate(described))


def _device(data: object, where: str) -> DeviceView:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: not a mapping with name, role, queues and capabilities")
    if not isinstance(data.get("ports", []), list):
        raise ConfigError(f"{where}: ports is not a list")
    role = data.get("role", "nic")
    if role not in [one.value for one in Role]:
        raise ConfigError(f"{where}: role {role!r} is none of nic, vswitch, switch")
    physical, software = _queues(data, where)
    kinds = {QueueKind.PHYSICAL: physical, QueueKind.SOFTWARE: software}
    return DeviceView(
        dpid=_dpid(data.get("dpid", 0), where),
        name=str(data.get("name", where)),
        role=Role(role),
        capabilities=_capabilities(data.get("capabilities", {}), where),
        physical_queues=physical,
        software_queues=software,
        kinds=frozenset(kind for kind, count in kinds.items() if count),
    )


def _dpid(value: object, where: str) -> int:
    try:
        return value if isinstance(value, int) else int(str(value), 16)
    except ValueError:
        raise ConfigError(f"{where}: dpid {value!r} is not 16 hex digits") from None


def _queues(data: dict[str, Any], where: str) -> tuple[int, int]:
    """Queues by kind on the port that has most; REST gives the sum over ports, and each port's ids."""
    physical, software = (_count(data.get("queues"), kind, where) for kind in ("physical", "software"))
    most = max((_on_port(port, where) for port in data.get("ports") or ()), default=physical + software)
    return min(physical, most), min(software, most)


def _on_port(port: object, where: str) -> int:
    queues = port.get("queues", []) if isinstance(port, dict) else None
    if not isinstance(queues, list):
        raise ConfigError(f"{where}: ports: {port!r} has no list of queue ids")
    return len(queues)


def _count(queues: object, kind: str, where: str) -> int:
    found = queues.get(kind, 0) if isinstance(queues, dict) else 0
    count = found.get("total", 0) if isinstance(found, dict) else found
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ConfigError(f"{where}: queues: {kind}: {count!r} is not a number of queues")
    return count


def _capabilities(data: object, where: str) -> Capabilities:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: capabilities is not a mapping")
    wrong = [
        name for name, value in data.items() if name in _ABILITIES and type(value) is not _ABILITIES[name]
    ]
    if wrong:
        raise ConfigError(f"{where}: capabilities: {wrong[0]}: {data[wrong[0]]!r} is not of the right type")
    return Capabilities(**{name: value for name, value in data.items() if name in _ABILITIES})
