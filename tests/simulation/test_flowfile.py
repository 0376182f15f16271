"""Flows in files: what is read, and that what is wrong is named with file, place and field."""

from __future__ import annotations

import gzip
import json
import os
import time
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlane.core.flowkey import IPV4, IPV6, LAYER2, UDP
from flowlane.errors import RequestError
from flowlane.simulation import flowfile
from flowlane.simulation.flowfile import read_flows

HEAD = "vm,protocol,src,dst,src_port,dst_port,rate\n"


def written(tmp_path: Path, text: bytes | str, name: str = "flows.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    line = "vm-a,udp,10.0.0.1,10.0.0.2,1000,53,2Mbit/s\n"
    row = dict(zip(HEAD.strip().split(","), line.strip().split(","), strict=True))
    expected = read_flows(written(tmp_path, HEAD + line))
    assert read_flows(written(tmp_path, json.dumps([row]), "flows.json")) == expected
    assert read_flows(written(tmp_path, json.dumps([{**row, "rate": 2_000_000}]), "flows.json")) == expected
    (flow,) = expected
    assert (flow.vm, flow.kind, flow.protocol, flow.src_port, flow.dst_port) == ("vm-a", IPV4, UDP, 1000, 53)
    assert (flow.src, flow.dst) == (ip_address("10.0.0.1").packed, ip_address("10.0.0.2").packed)
    assert (flow.rate, flow.start, flow.end) == (2_000_000, 0.0, float("inf"))


def test_all_kinds_of_flows(tmp_path: Path) -> None:
    rows = [
        {"src": "2001:db8::1", "dst": "2001:db8::2", "rate": "1Mbit/s", "dscp": "ef", "vlan": 5, "pcp": 3},
        {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02", "rate": 5, "ethertype": "0x88f7"},
        {"src": "10.0.0.1", "dst": "10.0.0.2", "rate": 0, "protocol": "icmp", "start": 1.5, "end": 2},
    ]
    six, two, four = read_flows(written(tmp_path, json.dumps(rows), "flows.json"))
    assert (six.kind, six.dscp, six.vlan, six.pcp) == (IPV6, 46, 5, 3)
    assert (two.kind, two.src_port) == (LAYER2, 0x88F7)
    assert (four.protocol, four.start, four.end) == (1, 1.5, 2.0)


def test_a_file_of_no_flows_is_no_flows(tmp_path: Path) -> None:
    assert read_flows(written(tmp_path, "")) == []
    assert read_flows(written(tmp_path, "[]", "flows.json")) == []


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/urandom", "pipe", "."])
def test_what_is_no_regular_file_is_refused_unread(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match="no regular file"):
        read_flows(tmp_path / name)


@pytest.mark.parametrize("name", ["flows.csv", "flows.json"])
def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, "", name)
    os.truncate(path, flowfile.MOST_BYTES + 1)
    with pytest.raises(RequestError, match="larger than 1024 MiB; split the file"):
        read_flows(path)


def test_a_file_of_nuls_is_no_text(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    os.truncate(path, flowfile.MOST_BYTES)
    began = time.thread_time()
    with pytest.raises(RequestError, match="line 1: NUL characters"):
        read_flows(path)
    with pytest.raises(RequestError, match="line 1: more than 65536 characters"):
        read_flows(written(tmp_path, "a" * 10_000_000))
    assert time.thread_time() - began < 1


GOOD = {"src": "10.0.0.1", "dst": "10.0.0.2", "rate": "1Mbit/s"}
MALFORMED = {
    "no rate": ({"src": "10.0.0.1", "dst": "10.0.0.2"}, "flow 1: rate is missing"),
    "rate without unit": ({**GOOD, "rate": "5"}, "rate: '5' is not a rate"),
    "rate below 0": ({**GOOD, "rate": -5}, "rate: -5 is not a number"),
    "rate not a number": ({**GOOD, "rate": float("nan")}, "rate: nan is not a number"),
    "rate without end": ({**GOOD, "rate": float("inf")}, "rate: inf is not a number"),
    "rate true": ({**GOOD, "rate": True}, "rate: True is not a rate"),
    "rate a list": ({**GOOD, "rate": [1]}, "rate: [1] is not a rate"),
    "source an object": ({**GOOD, "src": {}}, "src:"),
    "no address": ({**GOOD, "dst": "10.0.0.300"}, "dst: '10.0.0.300'"),
    "two families": ({**GOOD, "dst": "::1"}, "src and dst are not both IPv4"),
    "protocol": ({**GOOD, "protocol": "tpc"}, "protocol:"),
    "protocol too high": ({**GOOD, "protocol": 256}, "protocol: 256 is not between 0 and 255"),
    "port": ({**GOOD, "dst_port": 65536}, "dst_port: 65536 is not between"),
    "half a port": ({**GOOD, "src_port": "1.5"}, "src_port:"),
    "dscp": ({**GOOD, "dscp": 64}, "dscp: 64 is not between"),
    "pcp": ({**GOOD, "pcp": "8"}, "pcp: '8' is not between"),
    "vlan": ({**GOOD, "vlan": -1}, "vlan: -1 is not between"),
    "ethertype": ({**GOOD, "ethertype": 5}, "ethertype: 5 is not between"),
    "start": ({**GOOD, "start": "soon"}, "start:"),
    "start below 0": ({**GOOD, "start": -1}, "start: -1 is not a number of seconds"),
    "end before start": ({**GOOD, "start": 5, "end": 4}, "end is before start"),
    "no such field": ({**GOOD, "colour": "red"}, "unknown field 'colour'; known: "),
}


@pytest.mark.parametrize(("row", "words"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_wrong_with_a_flow_is_named(tmp_path: Path, row: dict[str, object], words: str) -> None:
    path = written(tmp_path, json.dumps([row]), "flows.json")
    with pytest.raises(RequestError) as refused:
        read_flows(path)
    assert str(refused.value).startswith(f"{path}, flow 1: ")
    assert words in str(refused.value)


FILES = {
    "not json": ("flows.json", b"{", "Expecting property name"),
    "an object": ("flows.json", b"{}", "not a list of objects"),
    "a list of numbers": ("flows.json", b"[1]", "not a list of objects"),
    "deep": ("flows.json", b"[" * 100_000, "nested too deeply"),
    "huge number": ("flows.json", b'[{"src":"::1","dst":"::2","rate":' + b"9" * 5000 + b"}]", "digits"),
    "binary json": ("flows.json", b"\x80\xff", "can't decode"),
    "binary csv": ("flows.csv", b"\x80\xff\n1", "can't decode"),
    "zeros": ("flows.csv", b"a,b\n\0\0,1\n", ""),
    "open quote": ("flows.csv", HEAD.encode() + b'"vm', "unexpected end of data"),
    "too many values": ("flows.csv", b"src,dst,rate\n::1,::2,1Mbit/s,9\n", "line 2: more values"),
    "no header": (
        "flows.csv",
        b"10.0.0.1,10.0.0.2,1Mbit/s\n::1,::2,::3\n",
        "line 2: unknown field '10.0.0.1'",
    ),
}


@pytest.mark.parametrize(("name", "data", "words"), FILES.values(), ids=FILES)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = written(tmp_path, data, name)
    with pytest.raises(RequestError) as refused:
        read_flows(path)
    assert str(path) in str(refused.value)
    assert words in str(refused.value)


def test_the_line_of_a_wrong_flow_is_told(tmp_path: Path) -> None:
    lines = "vm-a,udp,10.0.0.1,10.0.0.2,1,2,2Mbit/s\n" * 3 + "vm-a,udp,10.0.0.1,nowhere,1,2,2Mbit/s\n"
    with pytest.raises(RequestError, match=r"line 5: dst: 'nowhere'"):
        read_flows(written(tmp_path, HEAD + lines))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No such file"):
        read_flows(tmp_path / "none.csv")


@pytest.mark.parametrize("name", ["flows.csv", "flows.json"])
def test_a_file_with_too_many_flows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(flowfile, "MOST_FLOWS", 3)
    text = json.dumps([GOOD] * 4) if name.endswith("json") else "src,dst,rate\n" + "::1,::2,1Mbit/s\n" * 4
    with pytest.raises(RequestError, match="more than 3 flows"):
        read_flows(written(tmp_path, text, name))


def test_ports_that_pandas_has_made_numbers_with_a_point(tmp_path: Path) -> None:
    text = "src,dst,rate,src_port,dst_port\n10.0.0.1,192.0.2.1,5Mbit/s,40001.0,443.0\n"
    (flow,) = read_flows(written(tmp_path, text))
    assert (flow.src_port, flow.dst_port) == (40001, 443)


@pytest.mark.parametrize(
    "times",
    [
        (1_700_000_000, 1_700_000_001.5),
        (1_700_000_000_000, 1_700_000_001_500),
        (1_700_000_000_000_000_000, 1_700_000_001_500_000_000),
        ("2026-01-02 10:00:00", "2026-01-02T10:00:01.500Z"),
        (0, 1.5),
    ],
)
def test_times_count_from_the_first_start(tmp_path: Path, times: tuple[object, object]) -> None:
    text = "src,dst,rate,start\n" + "".join(
        f"10.0.0.1,192.0.2.1,5Mbit/s,{time}\n" for time in reversed(times)
    )
    assert [flow.start for flow in read_flows(written(tmp_path, text))] == [1.5, 0.0]


def test_times_of_two_kinds_are_refused(tmp_path: Path) -> None:
    text = "src,dst,rate,start\n::1,::2,5Mbit/s,1700000000\n::1,::2,5Mbit/s,5\n"
    with pytest.raises(
        RequestError, match="line 3: start: this is seconds from the beginning, and line 2 has a"
    ):
        read_flows(written(tmp_path, text))


def test_compressed_files_are_read(tmp_path: Path) -> None:
    data = (HEAD + "vm-a,udp,10.0.0.1,10.0.0.2,1,2,2Mbit/s\n" * 99).encode()
    assert len(read_flows(written(tmp_path, gzip.compress(data), "flows.csv.gz"))) == 99
    assert (
        len(read_flows(written(tmp_path, gzip.compress(json.dumps([GOOD]).encode()), "flows.json.gz"))) == 1
    )
    with pytest.raises(RequestError, match="its compressed data are damaged"):
        read_flows(written(tmp_path, gzip.compress(data)[:-9]))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused_by_line(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    data = bytearray((HEAD + "vm-a,udp,10.0.0.1,10.0.0.2,1,2,2Mbit/s\n" * 3).encode())
    data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "changed.csv"
    path.write_bytes(data)
    try:
        assert len(read_flows(path)) <= 4
    except RequestError as error:
        assert str(error).startswith(str(path))
