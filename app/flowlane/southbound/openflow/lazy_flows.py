"""Replies with flow entries, parsed when somebody looks: Flowlane reads their bytes itself (see :mod:`.flow_stats`).

os-ken makes some hundred objects of each entry, 60 to 90 µs of work; of 10,000 entries that is most of a second, in
which no other device is served. Here a reply keeps its bytes, and ``body`` is made of them at first access, for
whichever app asks. The guard has seen the message before.
"""

from __future__ import annotations

from typing import Any

from os_ken.ofproto import ofproto_v1_3_parser, ofproto_v1_4_parser, ofproto_v1_5_parser

from flowlane.southbound.openflow import late_parts

_MULTIPART_REPLY, _FLOW = 19, 1
_REPLIES = {
    4: ofproto_v1_3_parser.OFPFlowStatsReply,
    5: ofproto_v1_4_parser.OFPFlowStatsReply,
    6: ofproto_v1_5_parser.OFPFlowDescStatsReply,
}


def install() -> None:
    """Let os-ken's three classes of replies with flow entries make their body late; twice is the same as once."""
    late_parts.install(_REPLIES.values(), "body")


def read(datapath: Any, message: bytes) -> Any:
    """The reply without its body; None for messages of other kinds."""
    kind = _REPLIES.get(message[0]) if message[1] == _MULTIPART_REPLY and len(message) >= 16 else None
    if kind is None or int.from_bytes(message[8:10], "big") != _FLOW:
        return None
    reply = late_parts.begun(kind, datapath, message)
    reply.type, reply.flags = _FLOW, int.from_bytes(message[10:12], "big")
    del reply.body
    return reply
