"""What ``flowlane attach`` and ``flowlane detach`` change of a bridge's row: plans; pure.

Flowlane attaches as a controller of type ``service`` (ovs-vswitchd.conf.db(5), table Controller). A *primary*
controller, which ``ovs-vsctl set-controller`` makes, changes what the bridge does: ovs-vswitchd deletes all
flows, groups and meters when the first primary controller comes and when the last one goes (ofproto/connmgr.c,
connmgr_set_controllers), and the fail mode begins to count. With a service controller nothing is deleted, the
fail mode means what it meant before, and the bridge goes on when the controller is away.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from flowlane.errors import RequestError
from flowlane.hosttools.bridge_settings import VERSIONS, Step
from flowlane.hosttools.bridge_tables import DEFAULT_FLOW, default_of, meter_ids, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowlane.hosttools.bridge_settings import BridgeSettings, ControllerSettings
    from flowlane.hosttools.bridge_tables import Tables

KEY = "flowlane-attached"
"""Key in the Bridge's external_ids: a :class:`Record` as JSON."""

DEFAULT_TARGET = "tcp:127.0.0.1:6653"
MAX_BACKOFF_MS = 1000
"""Milliseconds between two attempts of the switch to reach the controller, at most (OVS: 8 s)."""

_TARGET = re.compile(r"(tcp|ssl):(\[[0-9A-Fa-f:.]+(%\w+)?\]|[^\s:\[\]\"]+)(:\d{1,5})?|unix:/[^\s\"]+")


class Record(NamedTuple):
    """What there was before: stored in the bridge, so that ``detach`` restores exactly that.

    Args:
        target: Flowlane's controller.
        protocols: the bridge's list; None: it was not changed.
        default: the entry of table 0 for all other packets, empty for none; None: not known.
        meters: ids of meters; None: not known.
    """

    target: str
    protocols: tuple[str, ...] | None = None
    default: str | None = None
    meters: tuple[str, ...] | None = None

    def text(self) -> str:
        """Return the record as JSON."""
        return json.dumps(self._asdict(), separators=(",", ":"))


def read_record(external_ids: Mapping[str, str]) -> Record | None:
    """Read the record of a bridge; None when it was not attached by ``flowlane attach``, or it cannot be read."""
    try:
        value = json.loads(external_ids.get(KEY, ""))
        lists = {name: tuple(map(str, value[name])) if value.get(name) is not None else None
                 for name in ("protocols", "meters")}  # fmt: skip
        default = value.get("default")
        return Record(
            str(value["target"]),
            lists["protocols"],
            None if default is None else str(default),
            lists["meters"],
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def check_target(target: str) -> str:
    """Return an OpenFlow target that ovs-vswitchd connects to.

    Raises:
        RequestError: it is none.
    """
    if not _TARGET.fullmatch(target):
        raise RequestError(
            f"--controller: {target!r} is none of tcp:HOST[:PORT], ssl:HOST[:PORT], unix:/FILE"
        )
    return target


def plan_attach(bridge: BridgeSettings, tables: Tables | None, target: str) -> list[Step]:
    """Plan one transaction that adds Flowlane's controller beside those that are there; none when it is there.

    Args:
        tables: what stands in the bridge; None where that cannot be read from here.
    """
    record = read_record(bridge.external_ids)
    present = _by_target(bridge, target)
    if record is not None and record.target == target and present is not None:
        return []
    old = _by_target(bridge, record.target) if record is not None and record.target != target else None
    added = added_versions(bridge)
    if record is None:
        record = Record(
            target,
            bridge.protocols if added else None,
            None if tables is None else default_of(tables.others),
            None if tables is None else meter_ids(tables.meters),
        )
    record = record._replace(target=target)
    command = ["ovs-vsctl"]
    if old is not None:
        command += ["remove", "Bridge", bridge.name, "controller", old.uuid, "--"]
    command += ["set", "Bridge", bridge.name, f"external_ids:{KEY}={json.dumps(record.text())}"]
    if added:
        command += ["--", "set", "Bridge", bridge.name, f"protocols={','.join((*bridge.protocols, *added))}"]
    if present is None:
        command += [
            "--", "--id=@flowlane", "create", "Controller", f"target={json.dumps(target)}", "type=service",
            "connection_mode=out-of-band", f"max_backoff={MAX_BACKOFF_MS}",
            "--", "add", "Bridge", bridge.name, "controller", "@flowlane",
        ]  # fmt: skip
    return [Step(f"add the controller {target}, and record what there was", tuple(command))]


def _by_target(bridge: BridgeSettings, target: str) -> ControllerSettings | None:
    return next((entry for entry in bridge.controllers if entry.target == target), None)


def added_versions(bridge: BridgeSettings) -> tuple[str, ...]:
    """Return the versions of OpenFlow to enable.

    Other controllers connect anew when the list changes, and may then choose another version, so beside them it is
    changed only if Flowlane could not connect otherwise.
    """
    enabled = set(bridge.protocols)
    others = [entry for entry in bridge.controllers if entry.primary]
    if not enabled or (others and enabled & set(VERSIONS)):
        return ()
    return tuple(version for version in VERSIONS if version not in enabled)


def attach_notes(bridge: BridgeSettings, target: str) -> list[str]:
    """Say what the operator should know about a bridge to which Flowlane is attached."""
    notes = []
    present = _by_target(bridge, target)
    record = read_record(bridge.external_ids)
    others = [entry for entry in bridge.controllers if entry.target != target]
    if present is not None and present.primary:
        notes.append(
            f"{target} is there already, of type primary: ovs-vswitchd deletes all entries when it is removed; "
            "flowlane detach puts the others' back"
        )
    if bridge.datapath_type == "netdev":
        notes.append("userspace datapath: queues are assigned, but not scheduled; limits work")
    if others and record is None:
        names = ", ".join(entry.target for entry in others)
        notes.append(f"other controllers stay: {names}")
    if any(entry.primary for entry in others) and bridge.fail_mode != "secure":
        notes.append(
            "fail_mode is standalone: when every primary controller is away, ovs-vswitchd deletes all entries, "
            "Flowlane's too"
        )
    if added_versions(bridge) and others:
        notes.append("the other controllers connect anew, since the bridge's list of protocols changes")
    if any(entry.primary and entry.connection_mode != "out-of-band" for entry in others):
        notes.append("in-band control of another controller stays: its hidden entries go before Flowlane's")
    return notes


class Detachment(NamedTuple):
    """What there is of Flowlane in a bridge.

    Args:
        controllers: its controllers.
        record: what there was before; None where it was attached by hand.
        deletes_all: ovs-vswitchd deletes all entries when the controllers go.
        alone: no other controller is left then.
    """

    controllers: tuple[ControllerSettings, ...]
    record: Record | None
    deletes_all: bool
    alone: bool


def find_attached(bridge: BridgeSettings, entries: bool, targets: Sequence[str] = ()) -> Detachment:
    """Find Flowlane's controllers: those recorded, those named, or the only one while Flowlane's entries are there.

    Args:
        entries: whether the bridge has entries of Flowlane's.

    Raises:
        RequestError: it may be any of several, or there is none of that name.
    """
    record = read_record(bridge.external_ids)
    wanted = {*targets, *([record.target] if record else [])}
    missing = set(targets) - {entry.target for entry in bridge.controllers}
    if missing and bridge.controllers:
        known = ", ".join(entry.target for entry in bridge.controllers)
        raise RequestError(f"--controller: {bridge.name} has no controller {min(missing)}; it has {known}")
    mine = tuple(entry for entry in bridge.controllers if entry.target in wanted)
    if not wanted and entries and bridge.controllers:
        if len(bridge.controllers) > 1:
            known = ", ".join(entry.target for entry in bridge.controllers)
            raise RequestError(
                f"{bridge.name} was attached by hand and has several controllers; name Flowlane's by "
                f"--controller, one of {known}"
            )
        mine = bridge.controllers
    rest = [entry for entry in bridge.controllers if entry not in mine]
    deletes_all = any(entry.primary for entry in mine) and not any(entry.primary for entry in rest)
    return Detachment(mine, record, deletes_all, not rest)


def disconnect(bridge: BridgeSettings, found: Detachment) -> list[Step]:
    """Remove Flowlane's controllers; others stay."""
    if not found.controllers:
        return []
    targets = ", ".join(entry.target for entry in found.controllers)
    uuids = ",".join(entry.uuid for entry in found.controllers)
    return [
        Step(
            f"remove the controller {targets}",
            ("ovs-vsctl", "remove", "Bridge", bridge.name, "controller", uuids),
        )
    ]


def missing_default(bridge: BridgeSettings, tables: Tables, found: Detachment) -> str:
    """Return the entry of table 0 without which packets would be dropped that were not dropped before; or "".

    Where it is not known what there was: Open vSwitch's own on a bridge without controller, and on a secure one
    whose only entries were Flowlane's.
    """
    if default_of(tables.others):
        return ""
    if found.record is not None and found.record.default is not None:
        return found.record.default
    in_first = any(table_of(flow) == 0 for flow in tables.others)
    standalone = found.alone and bridge.fail_mode != "secure"
    return DEFAULT_FLOW if standalone or (found.alone and not in_first) else ""


def forget(bridge: BridgeSettings, found: Detachment) -> list[Step]:
    """Restore the list of protocols, and remove the record; last, so that ``detach`` can be repeated until it ends."""
    if KEY not in bridge.external_ids:
        return []
    command = ["ovs-vsctl", "remove", "Bridge", bridge.name, "external_ids", KEY]
    before = found.record.protocols if found.record else None
    if before is not None and set(before) != set(bridge.protocols):
        kept = [name for name in bridge.protocols if name in before or name not in VERSIONS]
        command += ["--", "set", "Bridge", bridge.name, f"protocols={','.join(kept or before)}"]
        return [Step("restore the protocols, and remove the record", tuple(command))]
    return [Step("remove the record", tuple(command))]
