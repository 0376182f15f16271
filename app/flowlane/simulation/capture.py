"""Flows of a packet capture, read packet by packet; memory grows with the flows only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from flowlane.core.flowkey import LAYER2, format_address, unpack
from flowlane.core.frame import ETH_LLC, Frame, read_frame
from flowlane.errors import RequestError
from flowlane.simulation.flowspec import FlowSpec
from flowlane.simulation.link_types import FRAMES, name_of, remedy_for
from flowlane.simulation.packets import Packet, read_packets
from flowlane.units import counted

MOST_FLOWS = 1_000_000
"""Flows that are kept; packets of further flows are only counted."""

_BRIDGE_PROTOCOLS = {
    ETH_LLC: "STP",
    0x8808: "PAUSE",
    0x8809: "LACP",
    0x888E: "802.1X",
    0x88CC: "LLDP",
    0x88F7: "PTP",
}
"""Ethertypes (IEEE 802 numbers, IANA) of frames for bridges themselves, and what they are called."""

_OTHER_BRIDGE_PROTOCOL = "other frames for bridges"
TOO_SHORT = "frames without Ethernet header"
TOO_MANY = "packets of further flows"


class Capture(NamedTuple):
    """What a capture holds.

    Attributes:
        flows: in the order of their start.
        others: kind -> number of packets that belong to none of the flows.
        warnings: what is wrong with the file, or left out of it.
    """

    flows: list[FlowSpec]
    others: Mapping[str, int]
    warnings: tuple[str, ...] = ()


class Tally:
    """Counters of a flow: packets, bytes on the wire, times of its packets (s), marks of the first packet."""

    __slots__ = ("dscp", "first", "last", "octets", "packets", "pcp", "sender")

    def __init__(self, frame: Frame) -> None:
        self.first: float | None = None
        self.last = 0.0
        self.packets = self.octets = 0
        self.dscp, self.pcp = frame.dscp, frame.pcp
        self.sender = frame.eth_src

    def add(self, packet: Packet) -> None:
        """Count a packet."""
        self.packets += 1
        self.octets += packet.length
        time = packet.time
        if time is not None:
            if self.first is None:
                self.first = self.last = time
            elif time > self.last:
                self.last = time
            elif time < self.first:
                self.first = time


def read_capture(path: Path, most: int = MOST_FLOWS) -> Capture:
    """Read the flows of a capture.

    A flow's rate is its bytes over its duration, or over one second where it is shorter. Bytes are those of whole
    frames on the wire, also where their beginnings only were captured. The sender's MAC is the VM, or its IP address
    where the link type has no MACs.

    Frames for bridges themselves (STP, LACP, LLDP) are no flows, as on a device.

    Raises:
        RequestError: the file cannot be read, is no capture, or has link types only that are not read.
    """
    reading = _Reading(most)
    warnings: list[str] = []
    try:
        for packet in read_packets(path, warnings.append):
            reading.add(packet)
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror or error}") from None
    warnings += reading.remarks(path)
    return Capture(_flows(reading.tallies), dict(reading.others), tuple(warnings))


class _Reading:
    """What has been counted of a capture so far."""

    def __init__(self, most: int) -> None:
        self.tallies: dict[bytes, Tally] = {}
        self.others: Counter[str] = Counter()
        self._most = most
        self._refused: Counter[int] = Counter()
        self._packets = self._without_time = 0

    def add(self, packet: Packet) -> None:
        """Count a packet with its flow, or with what else it is."""
        frame_of = FRAMES.get(packet.link_type)
        if frame_of is None:
            self._refused[packet.link_type] += 1
            return
        self._packets += 1
        self._without_time += packet.time is None
        frame = read_frame(frame_of(packet.data))
        if frame is None:
            self.others[TOO_SHORT] += 1
        elif frame.is_for_bridges:
            self.others[_BRIDGE_PROTOCOLS.get(frame.eth_type, _OTHER_BRIDGE_PROTOCOL)] += 1
        else:
            self._count(packet, frame)

    def _count(self, packet: Packet, frame: Frame) -> None:
        key = frame.eth_src + frame.key(0)
        tally = self.tallies.get(key)
        if tally is None:
            if len(self.tallies) >= self._most:
                self.others[TOO_MANY] += 1
                return
            tally = self.tallies[key] = Tally(frame)
        tally.add(packet)

    def remarks(self, path: Path) -> list[str]:
        """Say what is left out, and what is not known.

        Raises:
            RequestError: every packet is of a link type that is not read.
        """
        if self._refused and not self._packets:
            link_type = next(iter(self._refused))
            raise RequestError(f"{path}: {name_of(link_type)}, cannot be read; {remedy_for(link_type)}")
        remarks = [
            f"{path}: {_packets(count)} of {name_of(link_type)}, cannot be read and {_are(count)} left out; "
            f"{remedy_for(link_type)}"
            for link_type, count in self._refused.items()
        ]
        if self._without_time:
            remarks.append(
                f"{path}: {_packets(self._without_time)} without time stamp: where a flow has no other, its rate "
                "is unknown, and it is placed as one that sends next to nothing"
            )
        return remarks


def _packets(count: int) -> str:
    return counted(count, "packet")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _flows(tallies: Mapping[bytes, Tally]) -> list[FlowSpec]:
    begin = min((tally.first for tally in tallies.values() if tally.first is not None), default=0.0)
    names: dict[str, str] = {}
    flows = [_flow(key[6:], tally, begin, names) for key, tally in tallies.items()]
    return sorted(flows, key=lambda flow: flow.start)


def _flow(key: bytes, tally: Tally, begin: float, names: dict[str, str]) -> FlowSpec:
    parts = unpack(key)
    start = 0.0 if tally.first is None else tally.first - begin
    duration = 1.0 if tally.first is None else max(1.0, tally.last - tally.first)
    known = any(tally.sender)
    vm = format_address(LAYER2, tally.sender) if known else format_address(parts.kind, parts.src)
    return FlowSpec(
        vm=names.setdefault(vm, vm),
        kind=parts.kind,
        protocol=parts.protocol,
        src=parts.src,
        dst=parts.dst,
        src_port=parts.src_port,
        dst_port=parts.dst_port,
        rate=0.0 if tally.first is None else tally.octets * 8 / duration,
        start=start,
        end=start + duration,
        dscp=tally.dscp,
        pcp=tally.pcp,
        vlan=parts.vlan,
        packets=tally.packets,
        octets=tally.octets,
        rate_known=tally.first is not None,
    )
