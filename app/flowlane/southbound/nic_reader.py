"""Asks this host for everything it knows of an interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.errors import FlowlaneError
from flowlane.southbound.nic import read_nic
from flowlane.southbound.nic_channels import read_channels
from flowlane.southbound.nic_tc import read_filters, read_qdiscs
from flowlane.southbound.nic_truth import NicTruth
from flowlane.southbound.nic_vfs import read_limits

if TYPE_CHECKING:
    from flowlane.southbound.nic_tc import Filter, Qdisc


def read_truth(name: str) -> NicTruth | None:
    """Return what the host says of an interface, None when it has none of that name.

    Without ``tc`` the queues are still counted; qdiscs and filters are then missing.
    """
    nic = read_nic(name)
    if nic is None:
        return None
    qdiscs: tuple[Qdisc, ...] = ()
    filters: tuple[Filter, ...] = ()
    try:
        qdiscs = read_qdiscs(name)
        filters = read_filters(name, qdiscs)
    except FlowlaneError:
        pass
    limits = read_limits(name) if nic.num_vfs else ()
    return NicTruth(nic, read_channels(name), qdiscs, filters, limits)
