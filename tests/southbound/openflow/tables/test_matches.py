from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.packets import packet
from support.openflow.memory_switch import matches_term

from flowlane.core.effects import StandingMatch
from flowlane.core.flowkey import ICMP, ICMPV6, SCTP, TCP, UDP
from flowlane.southbound.openflow.tables import matches
from flowlane.southbound.openflow.tables.matches import CannotExpressError
from flowlane.southbound.openflow.wire.fields import PORT_FIELDS

RANGES = st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)).map(lambda ends: (min(ends), max(ends)))


@given(RANGES)
def test_masks_cover_a_range_exactly_and_never_twice(ports: tuple[int, int]) -> None:
    covered = [
        number
        for value, mask in matches.range_masks(*ports)
        for number in range(value, value + (0xFFFF ^ mask) + 1)
    ]
    assert covered == list(range(ports[0], ports[1] + 1))
    assert len(matches.range_masks(*ports)) <= 30


def test_a_well_known_range() -> None:
    assert matches.range_masks(1024, 65535) == [
        (1024, 0xFC00),
        (2048, 0xF800),
        (4096, 0xF000),
        (8192, 0xE000),
        (16384, 0xC000),
        (32768, 0x8000),
    ]
    assert matches.range_masks(0, 65535) == [(0, 0)]


SMALL = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda ends: (min(ends), max(ends)))
WANTED = st.builds(
    StandingMatch,
    eth_type=st.sampled_from((None, 0x800)),
    dst=st.none(),
    vm_numbers=st.sampled_from(((), (7,), (7, 8))),
    ip_proto=st.sampled_from((None, TCP, UDP, SCTP)),
    src=st.sampled_from((None, (bytes((10, 0, 0, 0)), 8), (bytes((10, 0, 0, 1)), 32))),
    src_ports=st.lists(SMALL, max_size=2).map(tuple),
    dst_ports=st.lists(SMALL, max_size=2).map(tuple),
    dscp=st.sampled_from((None, 46)),
    vlan=st.sampled_from((None, 5)),
    pcp=st.sampled_from((None, 3)),
)


@st.composite
def seen(draw: st.DrawFn) -> dict[str, int]:
    protocol = draw(st.sampled_from((TCP, UDP, SCTP, 47)))
    there = packet(1, eth_type=0x800, ip_proto=protocol, ip_dscp=draw(st.sampled_from((0, 46))))
    there["ipv4_src"] = draw(st.sampled_from((0x0A000001, 0x0A000002, 0x0B000001)))
    there["metadata"] = draw(st.sampled_from((7, 8, 9))) << 32 | draw(st.sampled_from((3, 4)))
    if protocol in PORT_FIELDS:
        names = PORT_FIELDS[protocol]
        there |= {names[0]: draw(st.integers(0, 13)), names[1]: draw(st.integers(0, 13))}
    if draw(st.booleans()):
        there |= {
            "vlan_vid": 0x1000 | draw(st.sampled_from((5, 6))),
            "vlan_pcp": draw(st.sampled_from((0, 3))),
        }
    return there


def rule_matches(wanted: StandingMatch, there: dict[str, int]) -> bool:
    """Whether a rule matches a packet, without OpenFlow matches. Both ports 0: a fragment, which has none."""
    names = PORT_FIELDS.get(there["ip_proto"])
    ports = (there[names[0]], there[names[1]]) if names else None
    for number, ranges in ((0, wanted.src_ports), (1, wanted.dst_ports)):
        if (
            ranges
            and ports != (0, 0)
            and (ports is None or not any(low <= ports[number] <= high for low, high in ranges))
        ):
            return False
    prefix = wanted.src
    if prefix and there["ipv4_src"] >> 32 - prefix[1] != int.from_bytes(prefix[0], "big") >> 32 - prefix[1]:
        return False
    tagged = there["vlan_vid"] & 0x1000
    return (
        there["metadata"] & 0xFFFFFFFF == 3
        and (not wanted.vm_numbers or there["metadata"] >> 32 in wanted.vm_numbers)
        and wanted.ip_proto in {None, there["ip_proto"]}
        and wanted.dscp in {None, there["ip_dscp"]}
        and (wanted.vlan is None or bool(tagged and there["vlan_vid"] & 0xFFF == wanted.vlan))
        and (wanted.pcp is None or bool(tagged and there["vlan_pcp"] == wanted.pcp))
    )


def most_matches(wanted: StandingMatch) -> int:
    """How many matches the rule takes with masks on ports: for each VM, address family, protocol and pair of masks."""
    sources, destinations = (
        sum(len(matches.range_masks(*ports)) for ports in ranges) or 1
        for ranges in (wanted.src_ports, wanted.dst_ports)
    )
    return (len(wanted.vm_numbers) or 1) * 2 * 3 * sources * destinations


@settings(max_examples=300)
@given(WANTED, seen(), st.booleans())
def test_the_matches_together_match_what_the_rule_matches(
    wanted: StandingMatch, there: dict[str, int], port_masks: bool
) -> None:
    try:
        found = matches.matches(wanted, 3, port_masks)
    except CannotExpressError:
        assert not port_masks or most_matches(wanted) > matches.BOUND
        return
    assert any(all(matches_term(term, there) for term in one) for one in found) is rule_matches(wanted, there)


LATER = {"eth_type": 0x86DD, "ip_proto": 44, "ip_frag": 3}
FIRST = {"eth_type": 0x86DD, "ip_proto": UDP, "ip_frag": 1, "udp_src": 0, "udp_dst": 0}


@pytest.mark.parametrize(
    ("wanted", "there", "takes_it"),
    [
        (StandingMatch(ip_proto=UDP, dst_ports=((53, 53),)), {"ip_proto": UDP, "udp_src": 0, "udp_dst": 0}, True),
        (StandingMatch(ip_proto=TCP, dst_ports=((53, 53),)), {"ip_proto": UDP, "udp_src": 0, "udp_dst": 0}, False),
        (StandingMatch(ip_proto=UDP, dst_ports=((53, 53),)), {"ip_proto": UDP, "udp_src": 0, "udp_dst": 54}, False),
        (StandingMatch(dst_ports=((53, 53),)), LATER, True),
        (StandingMatch(ip_proto=TCP), LATER, True),
        (StandingMatch(ip_proto=TCP), FIRST, True),
        (StandingMatch(ip_proto=TCP, eth_type=0x800), LATER, False),
        (StandingMatch(ip_proto=ICMP), LATER, False),
        (StandingMatch(ip_proto=UDP, dst_ports=((53, 53),)), FIRST, True),
        (StandingMatch(dscp=46), {**LATER, "ip_dscp": 0}, False),
    ],
)  # fmt: skip
def test_fragments_match_as_if_their_ports_did_and_in_ipv6_their_protocol(
    wanted: StandingMatch, there: dict[str, int], takes_it: bool
) -> None:
    seen_there = {**packet(1, eth_type=0x800), "metadata": 7 << 32 | 3, **there}
    for ip_frag in (True, False):
        found = matches.matches(wanted, 3, port_masks=True, ip_frag=ip_frag)
        known = takes_it and (ip_frag or there is not FIRST or bool(wanted.dst_ports))
        assert any(all(matches_term(term, seen_there) for term in one) for one in found) is known


def test_without_masks_a_range_becomes_single_ports() -> None:
    wanted = StandingMatch(eth_type=0x800, ip_proto=TCP, dst_ports=((80, 82),))
    assert [one[-1].value for one in matches.matches(wanted, 1, port_masks=False)] == [80, 81, 82, 0]
    assert len(matches.matches(wanted, 1, port_masks=True)) == 3


def test_icmp_types_take_no_masks_and_choose_their_family() -> None:
    wanted = StandingMatch(ip_proto=ICMPV6, src_ports=((128, 129),))
    found = matches.matches(wanted, 1, port_masks=True)
    assert [(one[1].value, one[-1].field, one[-1].value) for one in found] == [
        (0x86DD, "icmpv6_type", 128),
        (0x86DD, "icmpv6_type", 129),
        (0x86DD, "ip_frag", 1),
    ]


@pytest.mark.parametrize(
    ("wanted", "port_masks"),
    [
        (StandingMatch(ip_proto=TCP, dst_ports=((1, 60000),)), False),
        (StandingMatch(ip_proto=TCP, dst_ports=((1, 65534),), src_ports=((1, 65534),)), True),
        (StandingMatch(vm_numbers=tuple(range(1, 1000))), True),
        (StandingMatch(ip_proto=ICMP, src=(bytes(16), 64)), True),
        (StandingMatch(src=(bytes(16), 64), dst=(bytes(4), 8)), True),
        (StandingMatch(eth_type=0x8847, dscp=3), True),
        (StandingMatch(ip_proto=47, dst_ports=((1, 2),)), True),
    ],
    ids=["wide range", "two wide ranges", "many VMs", "ICMP in IPv6", "two families", "MPLS with DSCP", "GRE ports"],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(wanted: StandingMatch, port_masks: bool) -> None:
    with pytest.raises(CannotExpressError):
        matches.matches(wanted, 1, port_masks)


@pytest.mark.parametrize(
    ("wanted", "there", "takes_it"),
    [
        (StandingMatch(vlan=5), {"vlan_vid": 0x1005}, True),
        (StandingMatch(vlan=5), {"vlan_vid": 0x1006}, False),
        (StandingMatch(vlan=0), {"vlan_vid": 0}, False),
        (StandingMatch(pcp=3), {"vlan_vid": 0x1006, "vlan_pcp": 3}, True),
        (StandingMatch(pcp=0), {"vlan_vid": 0}, False),
        (StandingMatch(src=(bytes((10, 0, 0, 0)), 8)), {"eth_type": 0x800, "ipv4_src": 0x0A010203}, True),
        (StandingMatch(src=(bytes((10, 0, 0, 0)), 8)), {"eth_type": 0x800, "ipv4_src": 0x0B010203}, False),
        (StandingMatch(dst=(bytes(15) + b"\1", 128)), {"eth_type": 0x86DD, "ipv6_dst": 1}, True),
        (StandingMatch(dst=(bytes(15) + b"\1", 128)), {"eth_type": 0x86DD, "ipv6_dst": 2}, False),
        (StandingMatch(vm_numbers=(7, 8)), {"metadata": 8 << 32 | 3}, True),
        (StandingMatch(vm_numbers=(7, 8)), {"metadata": 9 << 32 | 3}, False),
        (StandingMatch(dscp=46), {"eth_type": 0x86DD, "ip_dscp": 46}, True),
        (StandingMatch(), {"metadata": 4}, False),
    ],
)
def test_each_part_of_a_rule_by_itself(wanted: StandingMatch, there: dict[str, int], takes_it: bool) -> None:
    seen_there = {**packet(1), "metadata": 7 << 32 | 3, **there}
    found = matches.matches(wanted, 3, port_masks=True)
    assert any(all(matches_term(term, seen_there) for term in one) for one in found) is takes_it
