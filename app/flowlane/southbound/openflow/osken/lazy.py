"""Lazy parsing of os-ken messages: the part that is expensive is parsed when it is first read.

Flowlane reads what it needs from a message's bytes. os-ken's objects are made only when another app reads
them:

- ``match`` of a packet-in, a dozen objects and texts, which is most of the time that reading a copied packet
  takes;
- ``body`` of a flow statistics reply, a hundred objects or 60 to 90 µs for each entry, in which no other
  device is served;
- ``body`` of group-desc, meter-config and flow-monitor replies, which are compared by their bytes every few
  seconds;
- ``body`` of table features, and in it ``properties``: Open vSwitch describes 254 tables in some 1.2 MB, 80,000
  objects at every connect.

The guard has checked the message before, and the entries of a flow statistics reply before they are parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from os_ken.lib.stringify import obj_python_attrs
from os_ken.ofproto import ofproto_parser, ofproto_v1_3_parser, ofproto_v1_4_parser, ofproto_v1_5_parser

from flowlane.errors import ProtocolError
from flowlane.southbound.openflow.wire import guard
from flowlane.southbound.openflow.wire.constants import (
    MULTIPART_FLOW,
    MULTIPART_FLOW_MONITOR,
    MULTIPART_GROUP_DESC,
    MULTIPART_METER_CONFIG,
    MULTIPART_REPLY,
    MULTIPART_TABLES,
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


def make_lazy(kinds: Iterable[Any], part: str) -> None:
    """Let os-ken's classes of messages parse an attribute on first access; idempotent."""

    def parse_part(message: Any, name: str) -> Any:
        """Parse the attribute; Python calls this for an attribute that is missing.

        Raises:
            ProtocolError: it cannot be read.
        """
        if name != part:
            raise AttributeError(name)
        guard.check_flows(message.buf)
        parse = ofproto_parser._MSG_PARSERS[message.version]
        header = (message.version, message.msg_type, message.msg_len, message.xid)
        value = getattr(_readable(lambda: parse(message.datapath, *header, message.buf), message), part)
        setattr(message, part, value)
        return value

    def attributes(message: Any) -> Any:
        """Return what os-ken writes of a message as text or JSON, the attribute included."""
        getattr(message, part)
        return obj_python_attrs(message)

    for kind in kinds:
        kind.__getattr__ = parse_part
        kind.stringify_attrs = attributes


def _readable(parse: Callable[[], Any], message: Any) -> Any:
    """Parse what is left of a message.

    Raises:
        ProtocolError: os-ken cannot: a field has a length that is not its own, an action is not known, ...
    """
    try:
        return parse()
    except Exception as error:
        what = " ".join(f"{type(error).__name__} {error}".split())[:_SHOWN]
        raise ProtocolError(f"{type(message).__name__} cannot be read: {what}") from error


_SHOWN = 120
"""Characters that are shown of what os-ken raised."""


def new_message(kind: Any, datapath: Any, data: bytes) -> Any:
    """Make a message with its header and bytes; the caller sets the fixed part and deletes the lazy attribute."""
    message = kind(datapath)
    message.set_headers(*ofproto_parser.header(data))
    message.set_buf(data)
    return message


_REPLIES = {
    (OPENFLOW_13, MULTIPART_FLOW): ofproto_v1_3_parser.OFPFlowStatsReply,
    (OPENFLOW_14, MULTIPART_FLOW): ofproto_v1_4_parser.OFPFlowStatsReply,
    (OPENFLOW_15, MULTIPART_FLOW): ofproto_v1_5_parser.OFPFlowDescStatsReply,
    (OPENFLOW_13, MULTIPART_GROUP_DESC): ofproto_v1_3_parser.OFPGroupDescStatsReply,
    (OPENFLOW_14, MULTIPART_GROUP_DESC): ofproto_v1_4_parser.OFPGroupDescStatsReply,
    (OPENFLOW_15, MULTIPART_GROUP_DESC): ofproto_v1_5_parser.OFPGroupDescStatsReply,
    (OPENFLOW_13, MULTIPART_METER_CONFIG): ofproto_v1_3_parser.OFPMeterConfigStatsReply,
    (OPENFLOW_14, MULTIPART_METER_CONFIG): ofproto_v1_4_parser.OFPMeterConfigStatsReply,
    (OPENFLOW_15, MULTIPART_METER_CONFIG): ofproto_v1_5_parser.OFPMeterDescStatsReply,
    (OPENFLOW_14, MULTIPART_FLOW_MONITOR): ofproto_v1_4_parser.OFPFlowMonitorReply,
    (OPENFLOW_15, MULTIPART_FLOW_MONITOR): ofproto_v1_5_parser.OFPFlowMonitorReply,
    (OPENFLOW_13, MULTIPART_TABLES): ofproto_v1_3_parser.OFPTableFeaturesStatsReply,
    (OPENFLOW_14, MULTIPART_TABLES): ofproto_v1_4_parser.OFPTableFeaturesStatsReply,
    (OPENFLOW_15, MULTIPART_TABLES): ofproto_v1_5_parser.OFPTableFeaturesStatsReply,
}


def install_lazy_multiparts() -> None:
    """Let os-ken's classes of these replies parse their body on first access; idempotent."""
    make_lazy(_REPLIES.values(), "body")


def read_multipart(datapath: Any, message: bytes) -> Any:
    """Read a reply that is parsed on first access without its body; None for messages of other kinds."""
    if message[1] != MULTIPART_REPLY or len(message) < 16:
        return None
    part = int.from_bytes(message[8:10], "big")
    kind = _REPLIES.get((message[0], part))
    if kind is None:
        return None
    reply = new_message(kind, datapath, message)
    reply.type, reply.flags = part, int.from_bytes(message[10:12], "big")
    del reply.body
    return reply


_PACKET_INS = {
    OPENFLOW_13: ofproto_v1_3_parser.OFPPacketIn,
    OPENFLOW_14: ofproto_v1_4_parser.OFPPacketIn,
    OPENFLOW_15: ofproto_v1_5_parser.OFPPacketIn,
}


def install_lazy_packets() -> None:
    """Let os-ken's three classes of packet-ins parse their match on first access; idempotent."""
    make_lazy(_PACKET_INS.values(), "match")


def read_packet(datapath: Any, message: bytes) -> Any:
    """Read a packet-in without its match; return None for messages of other kinds."""
    kind = _PACKET_INS.get(message[0]) if message[1] == PACKET_IN else None
    if kind is None:
        return None
    packet_in = new_message(kind, datapath, message)
    packet_in.buffer_id, packet_in.total_len, packet_in.reason, packet_in.table_id, packet_in.cookie = (
        FIXED.unpack_from(message, FIXED_START)
    )
    length = MATCH_HEADER.unpack_from(message, MATCH_START)[1]
    start = MATCH_START + length + -length % 8 + 2
    packet_in.data = message[start : start + packet_in.total_len]
    del packet_in.match
    return packet_in


_TABLE_FIXED = 64
"""Bytes of ``ofp_table_features`` before its properties, in all versions (7.3.5.5 of 1.3.5, 7.3.5.18 of 1.5.1)."""


def install_lazy_tables() -> None:
    """Let os-ken's three classes of table features parse their properties on first access; idempotent."""
    for module in (ofproto_v1_3_parser, ofproto_v1_4_parser, ofproto_v1_5_parser):
        kind = module.OFPTableFeaturesStats
        if "__getattr__" not in vars(kind):
            kind.parser = classmethod(_lazy_parser(kind.parser))
            kind.__getattr__ = _parse_properties
            kind.stringify_attrs = _attributes


def _lazy_parser(parse: Callable[[bytes, int], Any]) -> Callable[[Any, bytes, int], Any]:
    """Wrap a parser so that it leaves the properties for later."""

    def parse_fixed_part(_kind: Any, buffer: bytes, offset: int) -> Any:
        length = int.from_bytes(buffer[offset : offset + 2], "big")
        fixed = _TABLE_FIXED.to_bytes(2, "big") + bytes(buffer[offset + 2 : offset + _TABLE_FIXED])
        table = parse(fixed, 0)
        entry = bytes(buffer[offset : offset + length])
        table.length = length
        table._parse_later = lambda: parse(entry, 0).properties
        del table.properties
        return table

    return parse_fixed_part


def _parse_properties(table: Any, name: str) -> Any:
    """Parse the attribute; Python calls this for an attribute that is missing.

    Raises:
        ProtocolError: it cannot be read.
    """
    if name != "properties" or "_parse_later" not in vars(table):
        raise AttributeError(name)
    table.properties = _readable(vars(table).pop("_parse_later"), table)
    return table.properties


def _attributes(table: Any) -> Any:
    """Return what os-ken writes of an entry as text or JSON, the properties included."""
    _ = table.properties
    return obj_python_attrs(table)
