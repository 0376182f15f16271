"""How a select group chooses among its buckets: a property of groups of OpenFlow 1.5, in Netronome's words.

Open vSwitch's own choice leaves out the ports of UDP on the userspace datapath, so that all UDP flows of two
hosts would share one bucket (``flow_hash_symmetric_l4`` in its flow.c); older versions of OpenFlow have only
that. Layout: Open vSwitch, Documentation/group-selection-method-property.txt.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowlane.southbound.openflow.wire.fields import FIELDS
from flowlane.southbound.openflow.wire.nicira import oxm_header

SELECTION_METHOD = 1

BY_FIELDS, BY_DATAPATH = "hash", "dp_hash"
"""By a hash of addresses and ports, for which every flow is looked up by itself; by the datapath's own hash
of the 5-tuple (its OVS_HASH_ALG_L4), for which one cache entry serves all flows of a bucket. Frames that are
not IP have one hash between them in the datapath's."""

_HASHED = (
    *("eth_src", "eth_dst", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"),
    *("tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst"),
)


def selection(method: str) -> list[int]:
    """The property's data, in 32-bit words."""
    fields = b"".join(
        oxm_header(name).to_bytes(4, "big") + b"\xff" * FIELDS[name].octets
        for name in _HASHED * (method == BY_FIELDS)
    )
    data = bytes(4) + method.encode().ljust(16, b"\0") + bytes(8) + fields
    return [int.from_bytes(data[place : place + 4], "big") for place in range(0, len(data), 4)]


def selected_by(properties: Sequence[Sequence[int]]) -> str | None:
    """How a group with these properties' data selects: '' as the device will; None when not as any of ours."""
    if not properties:
        return ""
    found = [list(data) for data in properties]
    return next((method for method in (BY_FIELDS, BY_DATAPATH) if [selection(method)] == found), None)
