"""The bench of packet-ins runs with all ways whose programs are there, and its packet-ins are what os-ken reads."""

from __future__ import annotations

import time
from collections import deque
from types import SimpleNamespace

import pytest
from bench.controller import packet_in_load, packet_ins
from bench.controller.packet_in_load import Load, plain_packet_in
from os_ken.ofproto import ofproto_v1_3, ofproto_v1_3_parser


def test_a_plain_packet_in_is_one_for_os_ken() -> None:
    frame = bytes(range(60))
    message = plain_packet_in(frame, 7)
    read = ofproto_v1_3_parser.OFPPacketIn.parser(
        None, ofproto_v1_3.OFP_VERSION, 10, len(message), 0, message
    )
    assert (read.match["in_port"], read.data, read.buffer_id) == (7, frame, ofproto_v1_3.OFP_NO_BUFFER)


@pytest.mark.ovs
def test_every_flow_is_answered_and_known(capsys: pytest.CaptureFixture[str]) -> None:
    """All ways whose programs are there, with few packet-ins; no time is judged."""
    packet_ins.main(["copies", "reactive", "textbook", "--quick"])
    table = capsys.readouterr().out.partition("Medians:")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[3:] if line]
    assert {(row[0], row[1]) for row in rows} >= {
        ("copies", "500/s"),
        ("reactive", "500/s"),
        ("textbook", "closed loop"),
    }
    for way, load, sent, *_, dropped, known, _ in rows:
        assert int(sent.replace(",", "")) > 0
        assert dropped == "0"
        if way == "copies":
            assert known == sent, load


def test_a_closed_loop_ends_though_a_connection_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(
        outbox=bytearray(packet_in_load.MOST_WAITING + 1), ready=deque([None]), under_way={}
    )
    full.copies_under_way = 0
    loader = object.__new__(packet_in_load.Loader)
    loader._switches = [full]  # type: ignore[list-item]
    monkeypatch.setattr(loader, "serve", lambda _until: None)
    for by_echo in (True, False):
        loader._closed(Load(0.05, 0, 256, by_echo), time.monotonic() + 0.05)
    assert len(full.ready) == 1
