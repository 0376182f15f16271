"""What ``flowlane attach --sampling`` and ``flowlane detach`` change for samples of packets: plans.

A row of table Flow_Sample_Collector_Set names a bridge and, by its IPFIX row, where what the ``sample`` action picks is
sent (ovs-vswitchd.conf.db(5)). Without an entry that samples into the set nothing is sent, so the row alone changes
nothing. With an empty cache (``cache_max_flows``) each sample is sent at once.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from flowlane.errors import RequestError
from flowlane.hosttools.bridge_settings import Step, items, rows
from flowlane.hosttools.findings import Finding, Level
from flowlane.southbound.ipfix.observation import COLLECTOR_SET, DEFAULT_PORT

if TYPE_CHECKING:
    from flowlane.hosttools.bridge_settings import BridgeSettings, Tools

OFF = "off"
MARK = "flowlane"
"""Key in the external_ids of our rows."""

_TARGET = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+):\d{1,5}")
_HOST = re.compile(r"(?:tcp|ssl):(\[[0-9A-Fa-f:.]+\]|[0-9.]+)(?::\d+)?")


class CollectorSet(NamedTuple):
    """The set of collectors of a bridge that has Flowlane's id; ``ours``: Flowlane has made it."""

    uuid: str
    targets: tuple[str, ...]
    at_once: bool
    ours: bool


def target_of(given: str, controller: str) -> str:
    """Return where samples are to be sent: as given or, when that is empty, to the controller's host.

    Raises:
        RequestError: it is no IP address with a port, or the controller's host is not known by its address.
    """
    if not given:
        host = _HOST.fullmatch(controller)
        if controller.startswith("unix:"):
            return f"127.0.0.1:{DEFAULT_PORT}"
        if host is None:
            raise RequestError(f"--sampling: give ADDRESS:PORT; the address in {controller} is a name")
        return f"{host[1]}:{DEFAULT_PORT}"
    if not _TARGET.fullmatch(given):
        raise RequestError(f"--sampling: {given!r} is not ADDRESS:PORT, such as 127.0.0.1:{DEFAULT_PORT}")
    return given


def read_set(tools: Tools, bridge: str) -> CollectorSet | None:
    """Read the set of collectors with Flowlane's id on a bridge."""
    bridge_uuid = tools.read("ovs-vsctl", "get", "Bridge", bridge, "_uuid").strip()
    columns = "--columns=_uuid,id,bridge,ipfix,external_ids"
    sets = rows(tools.read("ovs-vsctl", "--format=json", columns, "list", "Flow_Sample_Collector_Set"))
    row = next((row for row in sets if row["id"] == COLLECTOR_SET and row["bridge"][1] == bridge_uuid), None)
    if row is None:
        return None
    columns = "--columns=_uuid,targets,cache_active_timeout,cache_max_flows"
    exporters = rows(tools.read("ovs-vsctl", "--format=json", columns, "list", "IPFIX"))
    exporter = next((entry for entry in exporters if entry["_uuid"][1] in items(row["ipfix"])), None)
    targets = () if exporter is None else tuple(sorted(items(exporter["targets"])))
    at_once = exporter is not None and not any(
        any(items(exporter[name])) for name in ("cache_active_timeout", "cache_max_flows")
    )
    return CollectorSet(row["_uuid"][1], targets, at_once, MARK in dict(row["external_ids"][1]))


def plan(bridge: BridgeSettings, present: CollectorSet | None, target: str) -> list[Step]:
    """Plan the rows that send samples of a bridge to a target; nothing where they are there.

    Raises:
        RequestError: there is a set with Flowlane's id that Flowlane has not made.
    """
    if present is not None and not present.ours:
        raise RequestError(
            f"{bridge.name}: the Flow_Sample_Collector_Set with id {COLLECTOR_SET} is not Flowlane's; destroy it, or "
            f"mark it: ovs-vsctl set Flow_Sample_Collector_Set {present.uuid} external_ids:{MARK}=sampling"
        )
    if present is not None and present.targets == (target,) and present.at_once:
        return []
    steps = [] if present is None else remove(present)
    command = (
        "ovs-vsctl",
        "--id=@bridge", "get", "Bridge", bridge.name,
        "--", "--id=@exporter", "create", "IPFIX", f"targets={json.dumps(target)}",
        "cache_active_timeout=0", "cache_max_flows=0",
        "--", "create", "Flow_Sample_Collector_Set", f"id={COLLECTOR_SET}", "bridge=@bridge", "ipfix=@exporter",
        f"external_ids:{MARK}=sampling",
    )  # fmt: skip
    return [*steps, Step(f"send samples of packets to {target}, where the policy has sampling", command)]


def check_set(where: str, bridge: str, present: CollectorSet | None) -> Finding:
    """Check the set of collectors of a bridge that samples packets."""
    remedy = f"flowlane attach {bridge} --sampling"
    if present is None or not present.targets:
        what = "the policy has sampling, but samples of packets are sent nowhere"
        return Finding(Level.WARNING, where, what, remedy, "ovs-vswitchd.conf.db(5)")
    if not present.at_once:
        what = "samples of packets wait in the exporter's cache, so that heavy flows are noticed late"
        return Finding(Level.WARNING, where, what, remedy, "ovs-vswitchd.conf.db(5)")
    return Finding(Level.OK, where, f"samples of packets go to {', '.join(present.targets)}")


def remove(present: CollectorSet | None) -> list[Step]:
    """Remove Flowlane's set of collectors; its IPFIX row goes with it."""
    if present is None or not present.ours:
        return []
    command = ("ovs-vsctl", "destroy", "Flow_Sample_Collector_Set", present.uuid)
    return [Step("send no samples of packets", command)]
