"""Random policies and flows, for the tests that compare two ways to the same verdict."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from flowlane.core.classify.matching import Facts
from flowlane.core.flowkey import FRAGMENT, ICMP, IPV4, IPV6, LAYER2, SCTP, TCP, UDP, FlowParts
from flowlane.core.model import HintSource, Vm
from flowlane.core.policy import Match, Policy, RateGate, Rule, TrafficClass, Trust, VmSelector

T = TypeVar("T")
WEB = Vm(1, "web-1", "web-1", 1, 1, "p1", external_ids={"tier": "front"})
DB = Vm(2, "db-1", "db-1", 1, 2, "p2")


def ip(text: str) -> bytes:
    return ip_address(text).packed


def policy_of(*matches: Match) -> Policy:
    """One class for each rule, class 0 for the rest."""
    classes = tuple(TrafficClass(f"c{index}", index) for index in range(max(3, len(matches) + 1)))
    gates = (RateGate(10**7, 2.0, 5 * 10**6), RateGate(10**8, 2.0, 5 * 10**7))
    return Policy(classes, tuple(Rule(f"r{i}", i, match, i + 1) for i, match in enumerate(matches)), gates)


PREFIXES = [
    ip_network(t) for t in ("10.0.0.0/8", "10.0.0.0/24", "10.0.0.1/32", "::/0", "2001:db8::/32", "0.0.0.0/0")
]
prefixes = st.lists(
    st.sampled_from([(n.network_address.packed, n.prefixlen) for n in PREFIXES]), max_size=2
).map(tuple)
spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda s: (min(s), max(s))), max_size=2
).map(tuple)


def some(values: Sequence[T], most: int = 2) -> SearchStrategy[tuple[T, ...]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


matches = st.builds(
    Match,
    vms=st.sampled_from([None, None, VmSelector(("web-*",)), VmSelector(("db-*",)), VmSelector(("*",))]),
    eth_types=some([0x0800, 0x86DD, 0x0806]),
    vlans=spans,
    protocols=some([TCP, UDP, ICMP, FRAGMENT, 0]),
    src=prefixes,
    dst=prefixes,
    src_ports=spans,
    dst_ports=spans,
    dscp=some([0, 10, 46]),
    pcp=some([0, 5, 7]),
    hint=some([1, 2]),
    gate=st.sampled_from([None, None, 0, 1]),
)

one_part = st.one_of(
    *(st.builds(Match, **{name: strategy}) for name, strategy in {
        "vms": st.sampled_from([VmSelector(("web-*",)), VmSelector(("*",))]),
        "protocols": some([TCP, UDP, ICMP]),
        "src": prefixes,
        "dst_ports": spans,
        "dscp": some([10, 46]),
        "vlans": spans,
        "eth_types": some([0x0800, 0x0806]),
    }.items())
)  # fmt: skip
"""Matches of one part, which many flows satisfy."""

trusts = st.lists(
    st.builds(
        Trust,
        vms=st.sampled_from([VmSelector(), VmSelector(("web-*",))]),
        sources=st.just(frozenset({HintSource.DSCP, HintSource.PCP})),
        classes=st.just(frozenset({1, 2})),
        dscp=some([(10, 1), (46, 2)]),
        pcp=some([(5, 1), (7, 2)]),
    ),
    max_size=2,
).map(tuple)

ADDRESSES = {
    IPV4: [ip("10.0.0.1"), ip("10.0.1.1"), ip("192.0.2.1"), ip("255.255.255.255")],
    IPV6: [ip("2001:db8::1"), ip("fd00::1"), ip("ffff::ffff")],
    LAYER2: [bytes(6), bytes([255] * 6)],
}


@st.composite
def facts(draw: DrawFn) -> Facts | None:
    kind = draw(st.sampled_from([IPV4, IPV6, LAYER2]))
    port = st.integers(0, 31) if draw(st.booleans()) else st.just(0)
    parts = FlowParts(
        1,
        draw(st.one_of(st.none(), port)),
        kind,
        0 if kind == LAYER2 else draw(st.sampled_from([TCP, UDP, ICMP, SCTP, 255, FRAGMENT])),
        draw(st.sampled_from([0x0806, 0x88CC])) if kind == LAYER2 else draw(port),
        0 if kind == LAYER2 else draw(port),
        draw(st.sampled_from(ADDRESSES[kind])),
        draw(st.sampled_from(ADDRESSES[kind])),
    )
    dscp = 0 if kind == LAYER2 else draw(st.sampled_from([0, 10, 46]))
    pcp = 0 if parts.vlan is None else draw(st.sampled_from([0, 5, 7]))
    vm = draw(st.sampled_from([WEB, DB, None]))
    return Facts(vm, parts, dscp, pcp, draw(st.sampled_from([None, 1, 2])), draw(st.integers(0, 3)))
