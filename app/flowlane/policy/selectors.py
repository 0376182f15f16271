"""VMs and devices as policies name them: globs, external ids, roles, datapath ids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowlane.core.match_text import items
from flowlane.core.model import Role
from flowlane.core.policy import DeviceSelector, VmSelector
from flowlane.policy.document import Path, shown

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


def read_devices(context: Context, path: Path, value: dict[str, Any]) -> DeviceSelector:
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
