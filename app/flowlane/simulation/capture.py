"""Reader of packet captures (pcap, pcapng): flows, read packet by packet; memory grows with the flows only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from flowlane.core.flowkey import LAYER2, format_address, unpack
from flowlane.core.frame import Frame, read_frame
from flowlane.errors import RequestError
from flowlane.simulation.flowspec import FlowSpec

MOST_FLOWS = 1_000_000
"""Flows that are kept; packets of further flows are only counted."""

MOST_RECORD = 1 << 20
"""Bytes of a record at most: libpcap's own bound is 256 KiB, so a longer one is a damaged length."""

_NO_MACS = bytes(12)
_ETH = {4: b"\x08\x00", 6: b"\x86\xdd"}


def _raw(packet: bytes) -> bytes:
    return _NO_MACS + _ETH.get(packet[0] >> 4 if packet else 0, b"\x00\x00") + packet


def _cooked(packet: bytes) -> bytes:
    """Convert Linux cooked capture v1 (LINKTYPE_LINUX_SLL): sender's address at 6, ethertype at 14."""
    return bytes(6) + packet[6:12] + packet[14:]


def _cooked2(packet: bytes) -> bytes:
    """Convert Linux cooked capture v2 (LINKTYPE_LINUX_SLL2): ethertype at 0, sender's address at 12."""
    return bytes(6) + packet[12:18] + packet[:2] + packet[20:]


LINK_TYPES: dict[int, Callable[[bytes], bytes]] = {
    0: lambda packet: _raw(packet[4:]),
    1: lambda packet: packet,
    12: _raw,
    14: _raw,
    101: _raw,
    108: lambda packet: _raw(packet[4:]),
    113: _cooked,
    228: _raw,
    229: _raw,
    276: _cooked2,
}
"""Link type (tcpdump.org's list) -> function that makes an Ethernet frame of its packet."""


class _CheckedFile:
    """A file that is read in records; a record that is too long or truncated is refused, not cut."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.name = file.name
        self.seek = file.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MOST_RECORD:
            raise ValueError(f"it has a record of {size} bytes")
        data = self._file.read(size)
        if data and len(data) < size:
            raise ValueError("it ends inside a record")
        return data


class Tally:
    """Counters of a flow: bytes on the wire, times of the first and last packet (s), marks of the first packet."""

    __slots__ = ("dscp", "first", "last", "octets", "pcp", "sender")

    def __init__(self, first: float, frame: Frame) -> None:
        self.first = self.last = first
        self.octets = 0
        self.dscp, self.pcp = frame.dscp, frame.pcp
        self.sender = frame.eth_src


def read_capture(path: Path, most: int = MOST_FLOWS) -> tuple[list[FlowSpec], int]:
    """Read the flows of a capture.

    A flow's rate is its bytes over its duration, or over one second where it is shorter. The sender's MAC is
    the VM, or its IP address where the link type has no MACs.

    Frames for bridges themselves (STP, LACP, LLDP) are no flows, as on a device.

    Returns:
        The flows in the order of their start, and the number of packets that belong to none of them.

    Raises:
        RequestError: the file cannot be read, is no capture, or has an unknown link type.
    """
    tallies: dict[bytes, Tally] = {}
    other = 0
    try:
        with path.open("rb") as file:
            for time, length, data in _packets(path, file):
                frame = read_frame(data)
                if frame is None or frame.is_for_bridges or not _count(tallies, frame, time, length, most):
                    other += 1
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None
    return _flows(tallies), other


def _packets(path: Path, file: BinaryIO) -> Iterator[tuple[float, int, bytes]]:
    import dpkt  # noqa: PLC0415  an extra: only this command needs it

    try:
        reader = dpkt.pcap.UniversalReader(_CheckedFile(file))
        link_type, check_length = _link_type(reader.datalink())
        frame_of = LINK_TYPES.get(link_type)
        if frame_of is None:
            raise RequestError(f"{path}: link type {link_type} cannot be read; capture an Ethernet port")
        for time, packet in reader:
            data = frame_of(packet)
            yield float(time), max(len(packet), _length_in_header(data) + check_length), data
    except (ValueError, dpkt.UnpackError, dpkt.NeedData) as error:
        raise RequestError(f"{path}: no complete packet capture: {error}") from None


def _link_type(field: int) -> tuple[int, int]:
    """Split a pcap header's last field: the link type, and the bytes of frame check sequence behind each frame.

    The low 16 bits are the link type. Where bit 26 is set, bits 28 to 31 are the length of the frame check
    sequence in 16-bit words [draft-ietf-opsawg-pcap].
    """
    return field & 0xFFFF, (field >> 28) * 2 if field & 1 << 26 else 0


def _length_in_header(data: bytes) -> int:
    """Return the length of the frame by its IP header: packets in a capture may be truncated."""
    frame = data[14:]
    if data[12:14] == _ETH[4] and len(frame) >= 4:
        return 14 + int.from_bytes(frame[2:4])
    if data[12:14] == _ETH[6] and len(frame) >= 6:
        return 54 + int.from_bytes(frame[4:6])
    return 0


def _count(tallies: dict[bytes, Tally], frame: Frame, time: float, length: int, most: int) -> bool:
    key = frame.eth_src + frame.key(0)
    tally = tallies.get(key)
    if tally is None:
        if len(tallies) >= most:
            return False
        tally = tallies[key] = Tally(time, frame)
    tally.octets += length
    tally.last = max(tally.last, time)
    return True


def _flows(tallies: dict[bytes, Tally]) -> list[FlowSpec]:
    begin = min((tally.first for tally in tallies.values()), default=0.0)
    return sorted(
        (_flow(key[6:], tally, begin) for key, tally in tallies.items()), key=lambda flow: flow.start
    )


def _flow(key: bytes, tally: Tally, begin: float) -> FlowSpec:
    parts = unpack(key)
    duration = max(1.0, tally.last - tally.first)
    known = any(tally.sender)
    return FlowSpec(
        vm=format_address(LAYER2, tally.sender) if known else format_address(parts.kind, parts.src),
        kind=parts.kind,
        protocol=parts.protocol,
        src=parts.src,
        dst=parts.dst,
        src_port=parts.src_port,
        dst_port=parts.dst_port,
        rate=tally.octets * 8 / duration,
        start=tally.first - begin,
        end=tally.first - begin + duration,
        dscp=tally.dscp,
        pcp=tally.pcp,
        vlan=parts.vlan,
    )
