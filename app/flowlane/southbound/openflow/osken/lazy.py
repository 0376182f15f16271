"""Packet-ins whose match is parsed when somebody looks: of its dozen fields Flowlane needs three.

os-ken turns addresses, registers and connection tracking fields into objects and text, most of what reading a
copied packet costs. Here the fixed part is read at once, ``match`` at first access, for whichever app asks,
and :func:`told` picks what is needed out of the bytes. The guard has seen the message before.

Messages of os-ken's of which one part is parsed when somebody looks, from the bytes that they keep.

os-ken makes a hundred objects of a flow entry and a dozen of a packet-in's match, of which Flowlane needs a
few numbers and reads them from the bytes itself. The part is made at first access, for whichever app asks.

Replies with flow entries, parsed when somebody looks: Flowlane reads their bytes itself (see
:mod:`.flow_stats`).

os-ken makes some hundred objects of each entry, 60 to 90 µs of work; of 10,000 entries that is most of a
second, in which no other device is served. Here a reply keeps its bytes, and ``body`` is made of them at
first access, for whichever app asks. The guard has seen the message before.

Table features read when somebody looks: their properties are long, and mostly nobody does.

Open vSwitch describes 254 tables in some 400 kB of ids, which os-ken turns into 80,000 objects; that took
most of a second at every connect, in which no other device was served. Here the fixed part of an entry is
read at once, and ``properties`` at first access, for whichever app asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from os_ken.lib.stringify import obj_python_attrs
from os_ken.ofproto import ofproto_parser, ofproto_v1_3_parser, ofproto_v1_4_parser, ofproto_v1_5_parser

from flowlane.southbound.openflow.wire.constants import (
    MULTIPART_FLOW,
    MULTIPART_REPLY,
    OPENFLOW_13,
    OPENFLOW_14,
    OPENFLOW_15,
    PACKET_IN,
)
from flowlane.southbound.openflow.wire.packet_in_match import (
    FIXED,
    FIXED_START,
    MATCH_HEADER,
    MATCH_START,
)


def install_late_part(kinds: Iterable[Any], part: str) -> None:
    """Let os-ken's classes of messages make this attribute late; twice is the same as once."""

    def read_part(message: Any, name: str) -> Any:
        """Stand in for the attribute until it is there; Python asks here for attributes that are missing."""
        if name != part:
            raise AttributeError(name)
        parse = ofproto_parser._MSG_PARSERS[message.version]
        header = (message.version, message.msg_type, message.msg_len, message.xid)
        found = getattr(parse(message.datapath, *header, message.buf), part)
        setattr(message, part, found)
        return found

    def attributes(message: Any) -> Any:
        """What os-ken writes of a message as text or JSON: that too is looking."""
        getattr(message, part)
        return obj_python_attrs(message)

    for kind in kinds:
        kind.__getattr__ = read_part
        kind.stringify_attrs = attributes


def begun(kind: Any, datapath: Any, message: bytes) -> Any:
    """A message with its header and bytes; the caller fills in the fixed part and takes the late one away."""
    made = kind(datapath)
    made.set_headers(*ofproto_parser.header(message))
    made.set_buf(message)
    return made


_REPLIES = {
    OPENFLOW_13: ofproto_v1_3_parser.OFPFlowStatsReply,
    OPENFLOW_14: ofproto_v1_4_parser.OFPFlowStatsReply,
    OPENFLOW_15: ofproto_v1_5_parser.OFPFlowDescStatsReply,
}


def install_lazy_flows() -> None:
    """Let os-ken's three classes of replies with flow entries make their body late; twice is the same as once."""
    install_late_part(_REPLIES.values(), "body")


def read_flows(datapath: Any, message: bytes) -> Any:
    """The reply without its body; None for messages of other kinds."""
    kind = _REPLIES.get(message[0]) if message[1] == MULTIPART_REPLY and len(message) >= 16 else None
    if kind is None or int.from_bytes(message[8:10], "big") != MULTIPART_FLOW:
        return None
    reply = begun(kind, datapath, message)
    reply.type, reply.flags = MULTIPART_FLOW, int.from_bytes(message[10:12], "big")
    del reply.body
    return reply


_PACKET_INS = {
    OPENFLOW_13: ofproto_v1_3_parser.OFPPacketIn,
    OPENFLOW_14: ofproto_v1_4_parser.OFPPacketIn,
    OPENFLOW_15: ofproto_v1_5_parser.OFPPacketIn,
}


def install_lazy_packets() -> None:
    """Let os-ken's three classes of packet-ins make their match late; twice is the same as once."""
    install_late_part(_PACKET_INS.values(), "match")


def read_packet(datapath: Any, message: bytes) -> Any:
    """The packet-in without its match; None for messages of other kinds."""
    kind = _PACKET_INS.get(message[0]) if message[1] == PACKET_IN else None
    if kind is None:
        return None
    found = begun(kind, datapath, message)
    found.buffer_id, found.total_len, found.reason, found.table_id, found.cookie = FIXED.unpack_from(
        message, FIXED_START
    )
    length = MATCH_HEADER.unpack_from(message, MATCH_START)[1]
    start = MATCH_START + length + -length % 8 + 2
    found.data = message[start : start + found.total_len]
    del found.match
    return found


_TABLE_FIXED = 64
"""Bytes of ``ofp_table_features`` before its properties, in all versions (7.3.5.5 of 1.3.5, 7.3.5.18 of 1.5.1)."""


def install_lazy_tables() -> None:
    """Make os-ken's three classes of table features lazy; more than once is the same as once."""
    for module in (ofproto_v1_3_parser, ofproto_v1_4_parser, ofproto_v1_5_parser):
        kind = module.OFPTableFeaturesStats
        if "__getattr__" not in vars(kind):
            kind.parser = classmethod(_reader(kind.parser))
            kind.__getattr__ = _read_properties
            kind.stringify_attrs = _attributes


def _reader(read: Callable[[bytes, int], Any]) -> Callable[[Any, bytes, int], Any]:
    """Make a parser that leaves the properties for later out of one that does not."""

    def lazy(_kind: Any, buffer: bytes, offset: int) -> Any:
        length = int.from_bytes(buffer[offset : offset + 2], "big")
        fixed = _TABLE_FIXED.to_bytes(2, "big") + bytes(buffer[offset + 2 : offset + _TABLE_FIXED])
        table = read(fixed, 0)
        whole = bytes(buffer[offset : offset + length])
        table.length = length
        table._later = lambda: read(whole, 0).properties
        del table.properties
        return table

    return lazy


def _read_properties(table: Any, name: str) -> Any:
    """Stand in for the attribute until it is there; Python asks here for attributes that are missing."""
    if name != "properties" or "_later" not in vars(table):
        raise AttributeError(name)
    table.properties = vars(table).pop("_later")()
    return table.properties


def _attributes(table: Any) -> Any:
    """What os-ken writes of an entry as text or JSON: that too is looking."""
    _ = table.properties
    return obj_python_attrs(table)
