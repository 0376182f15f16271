"""The selection method of a select group: a group property of OpenFlow 1.5, defined by Netronome.

Without it Open vSwitch's own choice on the userspace datapath leaves out UDP's ports, so that all UDP flows
of two hosts share one bucket (``flow_hash_symmetric_l4`` in lib/flow.c); groups of older OpenFlow versions
have no other. Layout: Open vSwitch, Documentation/group-selection-method-property.txt.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowlane.southbound.openflow.wire.fields import FIELDS
from flowlane.southbound.openflow.wire.nicira import oxm_header

SELECTION_METHOD = 1
"""The property's type among Netronome's."""

BY_FIELDS, BY_DATAPATH = "hash", "dp_hash"
"""``hash``: by addresses and ports, for which Open vSwitch looks every flow up. ``dp_hash``: by the
datapath's own hash of the 5-tuple (OVS_HASH_ALG_L4), for which one cache entry serves all flows of a bucket;
all frames that are not IP have the same hash there."""

_HASHED = (
    *("eth_src", "eth_dst", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"),
    *("tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst"),
)


def selection(method: str) -> list[int]:
    """Write the property's data, in 32-bit words."""
    fields = b"".join(
        oxm_header(name).to_bytes(4, "big") + b"\xff" * FIELDS[name].octets
        for name in _HASHED * (method == BY_FIELDS)
    )
    data = bytes(4) + method.encode().ljust(16, b"\0") + bytes(8) + fields
    return [int.from_bytes(data[place : place + 4], "big") for place in range(0, len(data), 4)]


def selected_by(properties: Sequence[Sequence[int]]) -> str | None:
    """Read a group's selection method from the data of its properties.

    Returns:
        '' when the group has no properties; None when they are none that Flowlane makes.
    """
    if not properties:
        return ""
    data = [list(words) for words in properties]
    return next((method for method in (BY_FIELDS, BY_DATAPATH) if [selection(method)] == data), None)
