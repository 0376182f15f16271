"""The frame of a simulated flow says what the flow is, to the reader that the controller uses."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from support.engine.required import required

from flowlane.core.flowkey import (
    FRAGMENT,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    LAYER2,
    PORT_PROTOCOLS,
    SCTP,
    TCP,
    UDP,
    FlowParts,
    pack,
)
from flowlane.core.frame import read_frame
from flowlane.simulation.flowspec import FlowSpec, frame_of

PORT = st.integers(0, 0xFFFF)
BYTE = st.integers(0, 255)
VLAN = st.one_of(st.none(), st.integers(0, 4095))
LENGTHS = {IPV4: 4, IPV6: 16, LAYER2: 6}


@st.composite
def specs(draw: DrawFn) -> FlowSpec:
    kind = draw(st.sampled_from((IPV4, IPV6, LAYER2)))
    address = st.binary(min_size=LENGTHS[kind], max_size=LENGTHS[kind])
    protocol = (
        0
        if kind == LAYER2
        else draw(st.sampled_from((TCP, UDP, SCTP, 47, FRAGMENT, ICMP if kind == IPV4 else ICMPV6)))
    )
    if kind == LAYER2:
        ports = draw(st.integers(0x600, 0xFFFF).filter(lambda t: t not in (0x800, 0x86DD, 0x8100, 0x88A8))), 0
    elif protocol in PORT_PROTOCOLS:
        ports = draw(PORT), draw(PORT)
    else:
        ports = (draw(BYTE), draw(BYTE)) if protocol in (ICMP, ICMPV6) else (0, 0)
    vlan = draw(VLAN)
    return FlowSpec(
        "vm", kind, protocol, draw(address), draw(address), *ports, 1.0,
        dscp=0 if kind == LAYER2 else draw(st.integers(0, 63)),
        pcp=0 if vlan is None else draw(st.integers(0, 7)),
        vlan=vlan,
    )  # fmt: skip


def is_group(address: bytes) -> bool:
    return ip_address(address).is_multicast or address == b"\xff" * 4


@given(specs(), st.integers(1, 60_000))
def test_reading_the_frame_gives_the_flow_back(spec: FlowSpec, port_no: int) -> None:
    frame = required(read_frame(frame_of(spec, port_no)))
    parts = FlowParts(
        9, spec.vlan, spec.kind, spec.protocol, spec.src_port, spec.dst_port, spec.src, spec.dst
    )
    assert frame.key(9) == pack(parts)
    assert (frame.dscp, frame.pcp) == (spec.dscp, spec.pcp)
    assert spec.kind == LAYER2 or frame.is_group_addressed is is_group(spec.dst)
