"""Packets as the fields that a switch sees."""

from __future__ import annotations

from flowlane.core import frame as frames
from flowlane.core.flowkey import FRAGMENT, IPV4, IPV6, LAYER2
from flowlane.southbound.openflow.wire import fields

Packet = dict[str, int]
"""Field -> value, with ``in_port`` and ``length`` (bytes)."""


def packet(in_port: int, *, eth_src: int = 2, eth_dst: int = 4, length: int = 100, **others: int) -> Packet:
    """A packet; untagged unless ``vlan_vid`` is given with the bit 0x1000."""
    return {
        "in_port": in_port,
        "eth_src": eth_src,
        "eth_dst": eth_dst,
        "vlan_vid": 0,
        "length": length,
        **others,
    }


def packet_of(in_port: int, data: bytes) -> Packet:
    """The packet that a frame is."""
    frame = frames.read_frame(data)
    assert frame is not None, "no Ethernet header"
    found = packet(
        in_port,
        eth_src=int.from_bytes(frame.eth_src, "big"),
        eth_dst=int.from_bytes(frame.eth_dst, "big"),
        eth_type=frame.eth_type,
        length=len(data),
    )
    if frame.vlan is not None:
        found |= {"vlan_vid": fields.VLAN_PRESENT | frame.vlan, "vlan_pcp": frame.pcp}
    if frame.kind == LAYER2:
        return found
    family = "ipv4" if frame.kind == IPV4 else "ipv6"
    found |= {
        f"{family}_src": int.from_bytes(frame.src, "big"),
        f"{family}_dst": int.from_bytes(frame.dst, "big"),
    }
    found |= {"ip_proto": frame.protocol, "ip_dscp": frame.dscp}
    if frame.kind == IPV6 and frame.protocol == FRAGMENT:
        found["ip_frag"] = 1
    names = fields.port_fields(frame.eth_type, frame.protocol)
    return found | ({names[0]: frame.src_port, names[1]: frame.dst_port} if names else {})
