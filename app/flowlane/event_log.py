"""What of events goes into the log: what happens to devices as it happens, each decision about a flow as debug.

Events are those of ``GET /v1/events``, with the same texts, ids and fields.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flowlane.core.device.claims import MOVED
from flowlane.core.device.conflicts import CONFLICT
from flowlane.core.device.hosts import OTHER_ADDRESS
from flowlane.core.device.quotas import OVER, WITHIN
from flowlane.core.effects import FlowReport
from flowlane.core.topology.findings import WRONG
from flowlane.logs import fields
from flowlane.northbound.views.events import Names, report_view
from flowlane.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.effects import Report
    from flowlane.core.policy import Policy, PolicyOrigin
    from flowlane.core.state.device import State
    from flowlane.southbound.ovsdb.databases import DatabaseStatus

_LOG = logging.getLogger("flowlane.events")
_DECISIONS = logging.getLogger("flowlane.decisions")
"""Loggers of their own names, so that a configuration of logging can choose them."""

_SHOWN_KINDS = frozenset(("device", "link", "policy", "error"))
_SHOWN_CHANGES = frozenset((OTHER_ADDRESS, CONFLICT, MOVED, WITHIN))
"""Events that are logged as information or warning; the others are too many for that."""

_WRONG_CHANGES = frozenset((CONFLICT, WRONG, OVER, "down"))

MOST_DATABASES = 10
"""Databases that the line about them names."""


def log_event(state: State, report: Report | FlowReport) -> None:
    """Log an event; nothing is made of it where nobody wants its level."""
    is_of_flow = isinstance(report, FlowReport)
    log, level = (_DECISIONS, logging.DEBUG) if is_of_flow else (_LOG, _level(report))
    if not log.isEnabledFor(level):
        return
    view = report_view(Names(state), report)
    text, data = view.pop("text"), view.pop("data")
    values = {name: value for name, value in (data | view).items() if value not in (None, "")}
    if is_of_flow:
        place = view["device_name"] or view["device"]
        log.log(level, "flow %s on %s: %s; %s", view["flow"], place, text, view["why"], extra=fields(values))
    else:
        log.log(level, "%s", text, extra=fields(values))


def _level(report: Report | FlowReport) -> int:
    if isinstance(report, FlowReport):
        return logging.DEBUG
    change = report.data.get("change")
    if report.kind == "error" or change in _WRONG_CHANGES:
        return logging.WARNING
    return logging.INFO if report.kind in _SHOWN_KINDS or change in _SHOWN_CHANGES else logging.DEBUG


def log_policy(policy: Policy, origin: PolicyOrigin) -> None:
    """Log which policy is in force, where it came from, and its hash."""
    place = origin.file or origin.address
    text = "policy in force: %s%s %s, %s, %s"
    values = origin.source or "policy", f" {place}" if place else "", origin.hash[:12]
    counts = counted(len(policy.classes), "class", "classes"), counted(len(policy.rules), "rule")
    _LOG.info(text, *values, *counts, extra=fields(origin._asdict()))


def log_databases(databases: Sequence[DatabaseStatus]) -> None:
    """Log which databases are followed."""
    names = [item.target or item.name for item in databases]
    if not names:
        _LOG.info("no Open vSwitch database is followed: names, VMs and rates are not known (--ovsdb)")
        return
    more = f" and {len(names) - MOST_DATABASES} more" if len(names) > MOST_DATABASES else ""
    text = ", ".join(names[:MOST_DATABASES])
    _LOG.info("%s: %s%s", counted(len(names), "database"), text, more, extra=fields({"databases": names}))
