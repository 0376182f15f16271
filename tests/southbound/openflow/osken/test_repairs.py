"""os-ken's parsers before and after: a repair that is not needed any more fails here."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from types import ModuleType

import pytest
from os_ken.ofproto import ofproto_parser, ofproto_v1_5_parser
from support.openflow.client import datapath

from flowlane.southbound.openflow.osken import repairs
from flowlane.southbound.openflow.session import decode, readback
from flowlane.southbound.openflow.tables.entries import Bucket, GroupEntry

BUCKET = (
    "0028 0018 0000000{0} 0015 0008 0000000{1} 0000 0010 00000002 0000 000000000000 0000 0008 000{2} 0000"
)
GROUP_DESC = bytes.fromhex(
    "0613 0070 00000028 0007 0000 00000000 0060 01 00 00000007 0050 000000000000"
    + BUCKET.format(0, 1, 5)
    + BUCKET.format(1, 2, 1)
)
METER_FEATURES = bytes.fromhex("0613 0020 00000001 000b 0000 00000000 00040000 00000002 0000000f 08 00 0000")
GROUP = GroupEntry(7, (Bucket(1, 2, 5), Bucket(2, 2, 1)))


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """os-ken's parser as it is installed; repaired again afterwards."""
    # A parser registers itself while it is imported; the repaired one stays registered.
    monkeypatch.setattr(ofproto_parser, "_MSG_PARSERS", dict(ofproto_parser._MSG_PARSERS))
    originals = {name: getattr(ofproto_v1_5_parser, name) for name in ("OFPBucket", "OFPMeterFeaturesStats")}
    fresh = importlib.util.find_spec("os_ken.ofproto.ofproto_v1_5_parser")
    assert fresh is not None
    assert fresh.loader is not None
    module = importlib.util.module_from_spec(fresh)
    fresh.loader.exec_module(module)
    yield module
    for name, original in originals.items():
        setattr(ofproto_v1_5_parser, name, original)


def read(parser: ModuleType, data: bytes) -> object:
    kind, length, xid = struct.unpack_from("!BHI", data, 1)
    return parser.OFPMultipartReply.parser(datapath("OpenFlow15"), 6, kind, length, xid, data)


def test_a_group_of_two_buckets_is_read() -> None:
    repairs.repair()
    assert readback.groups([read(ofproto_v1_5_parser, GROUP_DESC)]) == (GROUP,)


def test_meter_features_of_16_bytes_are_read() -> None:
    repairs.repair()
    found = decode.meter_capabilities([read(ofproto_v1_5_parser, METER_FEATURES)])
    assert found == decode.MeterCapabilities(0x40000, True, True)


@pytest.mark.parametrize("data", [GROUP_DESC, METER_FEATURES], ids=["group-desc", "meter-features"])
def test_os_ken_still_needs_the_repair(untouched: ModuleType, data: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        read(untouched, data)
