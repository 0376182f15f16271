"""What a device is asked, as os-ken messages for OpenFlow 1.3, 1.4 and 1.5."""

from __future__ import annotations

from flowlane.southbound.openflow import cookies
from flowlane.southbound.openflow.encode import OPENFLOW_14, OPENFLOW_15, Datapath, Message
from flowlane.southbound.openflow.pipeline import TableId

_VM_BITS = 32
"""Where the number of the sending VM begins in the metadata (see :mod:`.pipeline`)."""


def ports_request(datapath: Datapath) -> Message:
    """Which ports the device has."""
    return datapath.ofproto_parser.OFPPortDescStatsRequest(datapath, 0)


def queues_request(datapath: Datapath) -> Message:
    """Which queues all ports have: queue-get-config in 1.3, the queue-desc multipart since 1.4."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    if ofproto.OFP_VERSION < OPENFLOW_14:
        return parser.OFPQueueGetConfigRequest(datapath, ofproto.OFPP_ANY)
    return parser.OFPQueueDescStatsRequest(datapath, 0, ofproto.OFPP_ANY, ofproto.OFPQ_ALL)


def flows_request(
    datapath: Datapath,
    cookie: int = cookies.OWNER << 48,
    mask: int = cookies.OWNER_MASK,
    table_id: int | None = None,
    wanted: Message = None,
) -> Message:
    """Entries and their counters, by cookie and mask; by default all of ours, in all tables, with any match.

    In 1.5 this is flow-desc: its flow-stats leaves out the cookies.
    """
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    request = (
        parser.OFPFlowStatsRequest if ofproto.OFP_VERSION < OPENFLOW_15 else parser.OFPFlowDescStatsRequest
    )
    return request(
        datapath,
        0,
        ofproto.OFPTT_ALL if table_id is None else table_id,
        ofproto.OFPP_ANY,
        ofproto.OFPG_ANY,
        cookie,
        mask,
        wanted,
    )


def pins_request(datapath: Datapath) -> Message:
    """The pins and their counters."""
    return flows_request(datapath, *cookies.of_kind(cookies.Kind.PIN))


def learned_request(datapath: Datapath, part: int = 0, bits: int = 0) -> Message:
    """The entries that the device learned, and their counters.

    With ``bits`` those of VMs whose numbers end in that many bits of ``part``.
    """
    place = (part << _VM_BITS, (1 << bits) - 1 << _VM_BITS)
    wanted = datapath.ofproto_parser.OFPMatch(metadata=place) if bits else None
    return flows_request(datapath, *cookies.of_kind(cookies.Kind.LEARNED), TableId.SEEN, wanted)


def queue_stats_request(datapath: Datapath) -> Message:
    """Transmit counters of all queues."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    return parser.OFPQueueStatsRequest(datapath, 0, ofproto.OFPP_ANY, ofproto.OFPQ_ALL)


def meter_stats_request(datapath: Datapath) -> Message:
    """Counters of all meters."""
    return datapath.ofproto_parser.OFPMeterStatsRequest(datapath, 0, datapath.ofproto.OFPM_ALL)


def meters_request(datapath: Datapath) -> Message:
    """How all meters are set: meter-config, which 1.5 calls meter-desc."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    old = ofproto.OFP_VERSION < OPENFLOW_15
    request = parser.OFPMeterConfigStatsRequest if old else parser.OFPMeterDescStatsRequest
    return request(datapath, 0, ofproto.OFPM_ALL)


def groups_request(datapath: Datapath) -> Message:
    """How all groups are set."""
    return datapath.ofproto_parser.OFPGroupDescStatsRequest(datapath, 0)


def meter_features_request(datapath: Datapath) -> Message:
    """What meters the device can do."""
    return datapath.ofproto_parser.OFPMeterFeaturesStatsRequest(datapath, 0)


def group_features_request(datapath: Datapath) -> Message:
    """What groups the device can do."""
    return datapath.ofproto_parser.OFPGroupFeaturesStatsRequest(datapath, 0)


def table_features_request(datapath: Datapath) -> Message:
    """What tables the device has."""
    return datapath.ofproto_parser.OFPTableFeaturesStatsRequest(datapath, 0, [])


def description_request(datapath: Datapath) -> Message:
    """Who made the device."""
    return datapath.ofproto_parser.OFPDescStatsRequest(datapath, 0)
