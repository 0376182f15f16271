"""Packets of capture files made byte by byte, judged by tshark; and that no damage is a traceback."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from shutil import which
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import captures
from support.captures import EPOCH, MPLS_LABEL, Taken, cut, pcap, tagged, tcp_frame

from flowlane.errors import RequestError
from flowlane.simulation.packets import Packet, read_packets

FRAMES = [tcp_frame(100, 1000 + number % 3) for number in range(6)]
WHOLE = cut(FRAMES, 1 << 16, 5.0)
FILES = {
    "little-endian.pcap": pcap(WHOLE),
    "big-endian, nanoseconds.pcap": pcap(WHOLE, order=">", nanoseconds=True),
    "VLAN.pcap": pcap(cut([tcp_frame(1000, tags=tagged(7))] * 3, 64)),
    "QinQ.pcap": pcap(cut([tcp_frame(1000, tags=tagged(7, 0x88A8) + tagged(8))] * 3, 64)),
    "MPLS.pcap": pcap(cut([tcp_frame(1000, tags=b"\x88\x47" + MPLS_LABEL)] * 3, 64)),
    "check sequence.pcap": pcap([Taken(EPOCH, tcp_frame() + bytes(4))] * 3, field=0x24000000),
    "raw IP.pcap": pcap([Taken(EPOCH, captures.udp_packet())] * 2, 101),
    "two clocks.pcapng": captures.two_clocks(),
    "odd clocks.pcapng": captures.odd_clocks(),
    "two links.pcapng": captures.two_links(),
    "two sections.pcapng": captures.two_sections(),
    "simple blocks.pcapng": captures.simple_blocks(),
    "old blocks.pcapng": captures.old_blocks(),
}


def read(path: Path) -> tuple[list[Packet], list[str]]:
    warnings: list[str] = []
    return list(read_packets(path, warnings.append)), warnings


def written(tmp_path: Path, data: bytes, name: str = "x.pcap") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_tshark_reads_the_same_packets(tmp_path: Path) -> None:
    """Number of packets, bytes on the wire, and seconds from the first to the last one, of each file."""
    assert which("capinfos"), "tshark is missing: apt-get install tshark"
    paths = [written(tmp_path, data, name) for name, data in FILES.items()]
    done = subprocess.run(
        ["capinfos", "-T", "-M", "-m", "-Q", "-r", "-c", "-d", "-u", *map(str, paths)],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.rsplit(",", 3) for line in done.stdout.splitlines()]
    judged = {Path(row[0].strip('"')).name: tuple(word.strip('"') for word in row[1:]) for row in rows}
    assert judged.keys() == FILES.keys()
    for path in paths:
        packets, warnings = read(path)
        count, octets, seconds = judged[path.name]
        assert warnings == []
        assert (len(packets), sum(packet.length for packet in packets)) == (int(count), int(octets)), (
            path.name
        )
        times = [packet.time for packet in packets if packet.time is not None]
        if seconds != "n/a":
            assert max(times) - min(times) == pytest.approx(float(seconds), abs=1e-6), path.name
        else:
            assert path.name in ("simple blocks.pcapng", "two sections.pcapng")


def test_each_packet_has_time_interface_and_bytes(tmp_path: Path) -> None:
    """Judged by tshark packet by packet, where a file has several clocks and link types."""
    for name in ("two links.pcapng", "odd clocks.pcapng", "two sections.pcapng"):
        path = written(tmp_path, FILES[name], name)
        fields = [word for name in ("time_epoch", "len", "cap_len") for word in ("-e", f"frame.{name}")]
        command = ["tshark", "-n", "-r", str(path), "-T", "fields", *fields]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        judged = [tuple(map(float, line.split())) for line in shown.splitlines()]
        packets, _ = read(path)
        assert [(packet.time, packet.length, len(packet.data)) for packet in packets] == judged
    assert Counter(packet.link_type for packet in read(tmp_path / "two links.pcapng")[0]) == {1: 10, 101: 10}


CUT = {
    "pcap, in the data": (pcap(WHOLE)[:-30], "inside packet 6, at byte"),
    "pcap, in a header": (pcap(WHOLE)[: -len(FRAMES[5]) - 5], "inside packet 6, at byte"),
    "pcapng": (captures.two_clocks()[:-40], "inside packet 20, at byte"),
    "pcapng, in a head": (captures.two_clocks()[:-1068], "inside packet 20, at byte"),
}


@pytest.mark.parametrize(("data", "words"), CUT.values(), ids=CUT)
def test_what_is_before_a_cut_is_read_with_a_warning_that_names_the_place(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = written(tmp_path, data)
    packets, (warning,) = read(path)
    assert len(packets) in (5, 19)
    assert warning.startswith(f"{path}: cut off inside packet {len(packets) + 1}, at byte {len(data)}; ")
    assert warning.endswith(f"; the {len(packets)} packets before that are used")
    assert words in warning


FIRST = captures.section() + captures.interface() + captures.packet(0, EPOCH, FRAMES[0])
DAMAGED = {
    "a record of 3 GB": (
        pcap(WHOLE[:1]) + pack("<IIII", 1, 1, 3 << 30, 3 << 30),
        "a packet of 3221225472 bytes",
    ),
    "a block of 3 GB": (FIRST + pack("<III", 6, 3 << 30, 0), "a block of 3221225472 bytes"),
    "a block of 4 bytes": (FIRST + pack("<III", 6, 4, 0), "a block of 4 bytes"),
    "two lengths": (FIRST + pack("<IIII", 5, 16, 0, 20), "a block whose two lengths are 16 and 20 bytes"),
    "another interface": (FIRST + captures.packet(7, 0, b""), "a packet of interface 7, which the file"),
    "a short packet": (FIRST + captures.block(6, bytes(8)), "a block of 8 bytes, too short"),
    "data beyond the block": (
        FIRST + captures.block(6, pack("<IIIII", 0, 0, 0, 99, 99)),
        "a packet of 99 bytes",
    ),
    "a simple packet beyond its block": (
        FIRST + captures.block(3, pack("<I", 99)),
        "a packet of 99 bytes in a",
    ),
    "no byte order": (FIRST + pack("<III", captures.PCAPNG_SECTION, 28, 7), "a section without byte order"),
}


@pytest.mark.parametrize(("data", "words"), DAMAGED.values(), ids=DAMAGED)
def test_what_is_before_damage_is_read_with_a_warning(tmp_path: Path, data: bytes, words: str) -> None:
    packets, (warning,) = read(written(tmp_path, data))
    assert len(packets) == 1
    assert f"at packet 2: {words}" in warning
    assert warning.endswith("; the packet before that is used")


OTHERS = {
    "snoop": (
        b"snoop\0\0\0" + bytes(40),
        "this is a capture of snoop (RFC 1761); convert it: editcap -F pcapng",
    ),
    "nfdump": (b"\x0c\xa5\1\0" + bytes(40), "nfdump -r FILE -o csv"),
    "text": (b"src,dst,rate\n", "text; flows as CSV or JSON are read by --flows"),
    "anything": (bytes(range(128, 168)), "neither pcap nor pcapng"),
    "version": (pack("<IHHiIII", 0xA1B2C3D4, 3, 0, 0, 0, 0, 1), "version 3.0 of pcap is not known"),
}


@pytest.mark.parametrize(("data", "words"), OTHERS.values(), ids=OTHERS)
def test_other_files_are_refused_as_what_they_are(tmp_path: Path, data: bytes, words: str) -> None:
    path = written(tmp_path, data)
    with pytest.raises(RequestError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert words in str(refused.value)


def test_the_form_of_kuznetzov_has_eight_bytes_more(tmp_path: Path) -> None:
    data = pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 1 << 16, 1)
    data += pack("<IIIIIHBB", 5, 0, len(FRAMES[0]), len(FRAMES[0]), 3, 0x0800, 0, 0) + FRAMES[0]
    assert read(written(tmp_path, data)) == ([Packet(5.0, len(FRAMES[0]), 1, FRAMES[0])], [])


SAMPLES = [
    FILES["little-endian.pcap"],
    FIRST + captures.simple_packet(FRAMES[1]),
    FILES["two sections.pcapng"],
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SAMPLES), st.integers(0, 10_000), st.integers(0, 255))
def test_any_cut_and_any_changed_byte_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int, value: int
) -> None:
    """A whole file has no warning; a shorter one has one, or ends between two packets."""
    path = tmp_path_factory.getbasetemp() / "changed.pcap"
    place %= len(data)
    for changed in (data[:place], data[:place] + bytes((value,)) + data[place + 1 :]):
        path.write_bytes(changed)
        try:
            packets, warnings = read(path)
        except RequestError as error:
            assert str(error).startswith(f"{path}: ")
            continue
        assert len(warnings) <= 1
        if changed == data:
            assert warnings == []
            assert len(packets) > 1
