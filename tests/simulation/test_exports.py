"""CSV of nfdump and CICFlowMeter, as flows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowlane.core.flowkey import format_address
from flowlane.errors import RequestError
from flowlane.simulation.flowfile import read_flows

if TYPE_CHECKING:
    from flowlane.simulation.flowspec import FlowSpec

NFDUMP_7 = "firstSeen,duration,proto,srcAddr,srcPort,dstAddr,dstPort,packets,bytes,flows\n"
NFDUMP_6 = "ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt,in,out\n"
CIC_4 = "Flow ID,Src IP,Src Port,Dst IP,Dst Port,Protocol,Timestamp,Flow Duration,Tot Fwd Pkts,Flow Byts/s\n"
CIC_3 = (
    "Flow ID, Source IP, Source Port, Destination IP, Destination Port, Protocol, Timestamp, Flow Duration,"
    " Total Fwd Packets, Total Length of Fwd Packets, Flow Bytes/s\n"
)


def flows(tmp_path: Path, text: str) -> list[FlowSpec]:
    path = tmp_path / "flows.csv"
    path.write_text(text)
    return read_flows(path)


FILES = {
    "nfdump 1.7": (
        NFDUMP_7 + "2026-01-02 10:00:00.123,12.500,TCP,10.0.0.1,40001,192.0.2.1,443,1200,1500000,1\n"
        "2026-01-02 10:00:01.123,0.000,TCP,10.0.0.1,40002,192.0.2.1,443,1,120,1\n"
    ),
    "nfdump 1.6": (
        NFDUMP_6
        + "2026-01-02 10:00:00,2026-01-02 10:00:12,12.500,       10.0.0.1,      192.0.2.1,40001,  443,TCP  ,"
        "...AP.SF,0,0,1200,1500000,0,0,1,2\n"
        "2026-01-02 10:00:01,2026-01-02 10:00:01,0,10.0.0.1,192.0.2.1,40002,443,TCP,......S.,0,0,1,120,0,0,1,2\n"
        "Summary\nflows,bytes,packets,avg_bps,avg_pps,avg_bpp\n2,1500120,1201,1,1,1\n"
    ),
    "CICFlowMeter 4": (
        CIC_4 + "a,10.0.0.1,40001,192.0.2.1,443,6,02/01/2026 10:00:00 AM,12500000,1200,120000.0\n"
        "b,10.0.0.1,40002,192.0.2.1,443,6,02/01/2026 10:00:01 AM,500000,1,240.0\n"
    ),
    "CICFlowMeter 3": (
        CIC_3 + "a,10.0.0.1,40001,192.0.2.1,443,6,2/1/2026 10:00:00,12500000,1200,1500000,240000.0\n"
        "b,10.0.0.1,40002,192.0.2.1,443,6,2/1/2026 10:00:01,0,1,120,Infinity\n"
    ),
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_rows_of_other_programs_are_flows(tmp_path: Path, text: str) -> None:
    """A rate is bytes over duration, of one second at least; the first flow starts at 0 s."""
    first, second = flows(tmp_path, text)
    assert (format_address(4, first.src), first.src_port) == ("10.0.0.1", 40001)
    assert (format_address(4, first.dst), first.dst_port, first.protocol) == ("192.0.2.1", 443, 6)
    assert (first.rate, first.start, first.end) == (960_000, 0.0, 12.5)
    assert (first.packets, first.octets) == (1200, 1_500_000)
    assert [second.rate, second.start, second.end] == pytest.approx([960, 1.0, 2.0], abs=0.2)


def test_icmp_has_type_and_code_in_the_place_of_ports(tmp_path: Path) -> None:
    row = "2026-01-02 10:00:00,1,ICMP6,::1,0,::2,{},1,100,1\n"
    point, number = flows(tmp_path, NFDUMP_7 + row.format("128.0") + row.format(3 * 256 + 1))
    assert [(flow.protocol, flow.src_port, flow.dst_port) for flow in (point, number)] == [
        (58, 128, 0),
        (58, 3, 1),
    ]


WRONG = {
    "no bytes": (NFDUMP_7 + "2026-01-02 10:00:00,1,TCP,::1,1,::2,2,1,,1\n", "bytes is missing (nfdump 1.7)"),
    "no number": (
        NFDUMP_7 + "2026-01-02 10:00:00,x,TCP,::1,1,::2,2,1,9,1\n",
        "duration: 'x' is not a number",
    ),
    "no time": (NFDUMP_7 + "soon,1,TCP,::1,1,::2,2,1,9,1\n", "firstseen: 'soon' is not a time"),
    "endless": (CIC_3 + "a,::1,1,::2,2,6,1/1/2026 10:00,inf,1,9,1\n", "flow_duration: 'inf' is not a number"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_with_line_and_column(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RequestError) as refused:
        flows(tmp_path, text)
    assert str(refused.value).startswith(f"{tmp_path}/flows.csv, line 2: {words}")
