"""Probes: an LLDP parser of others reads them, and frames of others are no probes."""

from __future__ import annotations

import pytest
from os_ken.lib.packet import lldp as osken_lldp
from os_ken.lib.packet.packet import Packet

from flowlane.southbound.openflow.wire import lldp

KEY = bytes(range(8))
FRAME = lldp.frame(0xA1B2, 0xFFFFFF00, KEY, 120)


def test_another_parser_reads_a_probe() -> None:
    packet = Packet(FRAME)
    (found,) = packet.get_protocols(osken_lldp.lldp)
    chassis, port, ttl, organization, end = found.tlvs
    assert (chassis.chassis_id, port.port_id, ttl.ttl) == (b"dpid:000000000000a1b2", b"4294967040", 120)
    assert isinstance(organization, osken_lldp.OrganizationallySpecific)
    assert isinstance(end, osken_lldp.End)
    assert len(FRAME) < 128, "it is copied whole"


def test_a_probe_names_its_sender() -> None:
    assert lldp.read(FRAME, KEY) == (0xA1B2, 0xFFFFFF00)
    assert lldp.read(FRAME + bytes(20), KEY) == (0xA1B2, 0xFFFFFF00)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        FRAME[:40],
        lldp.frame(1, 2, bytes(8), 120),
        FRAME[:6] + bytes.fromhex("525400000001") + FRAME[12:],
        bytes.fromhex("0123200000 01".replace(" ", "")) + FRAME[6:],
    ],
    ids=["nothing", "cut", "of another controller", "of another station", "to another address"],
)
def test_what_is_no_probe_of_ours(frame: bytes) -> None:
    assert lldp.read(frame, KEY) is None


def test_any_bytes_are_read_to_an_end() -> None:
    for length in range(len(FRAME)):
        for last in (0, 0xFF):
            lldp.read(FRAME[:length] + bytes([last]) * 40, KEY)
