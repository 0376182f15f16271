"""Entries that are sent to a device on trial: without an error it has what they need.

They stand in the start table for the time of the handshake, and match no packet: a group address is never
the source of a frame (IEEE 802.3-2018 section 3.2.3).
"""

from __future__ import annotations

from flowlane.core.flowkey import TCP
from flowlane.core.frame import ETH_IPV4
from flowlane.southbound.openflow.tables.entries import FlowEntry, Goto, Output, Step, learn
from flowlane.southbound.openflow.tables.matches import Fields
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.wire import cookies, nicira
from flowlane.southbound.openflow.wire.constants import NORMAL_PORT
from flowlane.southbound.openflow.wire.fields import match
from flowlane.southbound.openflow.wire.nicira import ZONE, Load, Sample, Track

_BROADCAST = 0xFFFFFFFFFFFF
_RESERVED_TYPE = 0xFFFF
"""An ethertype that is reserved and never assigned (IANA, "IEEE 802 Numbers")."""

_ZONE = 0xFFFF
_NEXT = Goto(TableId.FORWARD)


def normal() -> FlowEntry:
    """Make an entry that a device accepts only when it can forward by itself."""
    return _probe({"eth_type": _RESERVED_TYPE}, Output(NORMAL_PORT))


def port_masks() -> FlowEntry:
    """Make an entry that a device accepts only if it takes masks on transport ports."""
    return _probe({"eth_type": ETH_IPV4, "ip_proto": TCP, "tcp_dst": (0, 1)}, _NEXT)


def learning() -> FlowEntry:
    """Make an entry that a device accepts only if it has the learn action, registers and resubmit."""
    steps = learn(nicira.Family(), 1), Load(nicira.SEEN, 1), nicira.Resubmit(TableId.SEEN), _NEXT
    return _probe({"eth_type": _RESERVED_TYPE - 1}, *steps)


def tracking() -> FlowEntry:
    """Make an entry that a device accepts only if it tracks connections."""
    commit, track = Track(_ZONE, mark=1, label=1), Track(_ZONE, TableId.GATE)
    return _probe(
        {"eth_type": ETH_IPV4, "ip_proto": TCP, "ip_frag": (0, 3)}, commit, Load(ZONE, _ZONE), track
    )


def sampling() -> FlowEntry:
    """Make an entry that a device accepts only if it has the sample action; of a set of collectors that none has."""
    return _probe({"eth_type": _RESERVED_TYPE - 3}, Sample(1, 0, 0, 0), _NEXT)


def nothing() -> FlowEntry:
    """Make an entry that a device with its table accepts."""
    return _probe({"eth_type": _RESERVED_TYPE - 2})


def _probe(terms: Fields, *steps: Step) -> FlowEntry:
    """Make an entry that the pipeline does not declare."""
    return FlowEntry(
        TableId.INGRESS,
        Priority.PORT,
        match(eth_src=_BROADCAST, **terms),
        steps,
        cookies.pack(cookies.Kind.INFRASTRUCTURE),
    )
