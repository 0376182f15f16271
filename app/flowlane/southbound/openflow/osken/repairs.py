"""Repairs of os-ken parsers that fail on a device's correct message.

Only messages that Flowlane requests are concerned. Each repair has a test that fails when os-ken no longer
needs it.
"""

from __future__ import annotations

import struct
from typing import Any

from os_ken.ofproto import ofproto_v1_5, ofproto_v1_5_parser


def repair() -> None:
    """Replace os-ken's faulty parsers; idempotent.

    - In a 1.5 group-desc reply os-ken 4.2.2 takes the bytes after a bucket for properties of that bucket,
      because it adds the bucket's whole length to where its properties begin (OFPBucket.parser). Every group
      of two or more buckets is then refused as malformed.
    - There it also takes the next groups for properties of a group: they end after the length counted from
      where they begin, not from where the group does (OFPGroupDescStats.parser).
    - Open vSwitch (3.1 and before) replies to a meter-features request in 1.5 with the 16 bytes of 1.3, where the
      specification has 24 (7.3.5.15), and os-ken reads beyond the end. The missing bytes are read as 0.
    """
    ofproto_v1_5_parser.OFPBucket.parser = classmethod(_parse_bucket)
    ofproto_v1_5_parser.OFPGroupDescStats.parser = classmethod(_parse_group_desc)
    ofproto_v1_5_parser.OFPMeterFeaturesStats.parser = classmethod(_parse_meter_features)


def _parse_bucket(cls: Any, buffer: bytes, offset: int) -> Any:
    """Read an ``ofp_bucket`` (OpenFlow 1.5.1 section 7.3.4.3.1): header, actions, then properties."""
    length = int.from_bytes(buffer[offset : offset + 2], "big")
    data = bytes(buffer[offset : offset + length])
    bucket = cls()
    bucket.len, bucket.action_array_len, bucket.bucket_id = (
        length,
        int.from_bytes(data[2:4], "big"),
        int.from_bytes(data[4:8], "big"),
    )
    end_of_actions = 8 + bucket.action_array_len
    position = 8
    while position < end_of_actions:
        action = ofproto_v1_5_parser.OFPAction.parser(data, position)
        bucket.actions.append(action)
        position += action.len
    rest = data[end_of_actions:]
    while rest:
        item, rest = ofproto_v1_5_parser.OFPGroupBucketProp.parse(rest)
        bucket.properties.append(item)
    return bucket


def _parse_group_desc(cls: Any, buffer: bytes, offset: int) -> Any:
    """Read an ``ofp_group_desc`` (OpenFlow 1.5.1 section 7.3.5.8): header, buckets, properties."""
    group = cls()
    group.length, group.type, group.group_id, group.bucket_array_len = struct.unpack_from(
        ofproto_v1_5.OFP_GROUP_DESC_STATS_PACK_STR, buffer, offset
    )
    position = offset + ofproto_v1_5.OFP_GROUP_DESC_STATS_SIZE
    end_of_buckets = position + group.bucket_array_len
    while position < end_of_buckets:
        bucket = ofproto_v1_5_parser.OFPBucket.parser(buffer, position)
        group.buckets.append(bucket)
        position += bucket.len
    rest = bytes(buffer[end_of_buckets : offset + group.length])
    while rest:
        item, rest = ofproto_v1_5_parser.OFPGroupProp.parse(rest)
        group.properties.append(item)
    return group


_METER_FEATURES = 24


def _parse_meter_features(cls: Any, buffer: bytes, offset: int) -> Any:
    body = bytes(buffer[offset : offset + _METER_FEATURES])
    features = cls(
        *struct.unpack(ofproto_v1_5.OFP_METER_FEATURES_PACK_STR, body.ljust(_METER_FEATURES, b"\0"))
    )
    features.length = len(body)
    return features
