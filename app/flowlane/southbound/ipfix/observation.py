"""What identifies a device in its samples (observation domain and point), and its set of collectors."""

from __future__ import annotations

COLLECTOR_SET = 0xF10A
"""Flowlane's id in table Flow_Sample_Collector_Set; ids are each bridge's own, so all bridges have the same."""

DEFAULT_PORT = 4739
"""UDP port of IPFIX collectors (RFC 7011 section 10.3.4)."""


def identify(dpid: int) -> tuple[int, int]:
    """Return (observation domain id, observation point id) of a device: the low and the high half of its dpid."""
    return dpid & 0xFFFFFFFF, dpid >> 32


def dpid_of(domain: int, point: int) -> int:
    """Return the dpid of the device whose samples carry these ids."""
    return point << 32 | domain
