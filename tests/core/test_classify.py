"""Classification: a table by hand, and the same answers as looking at every rule in turn (M4)."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlane.core.classify import NO_RULE, compile_rules
from flowlane.core.flowkey import ICMP, IPV4, IPV6, LAYER2, SCTP, TCP, UDP, FlowParts
from flowlane.core.matching import Facts, unmet
from flowlane.core.model import Vm
from flowlane.core.policy import Match, Policy, Rule, TrafficClass, VmSelector

WEB = Vm(1, "web-1", "web-1", 1, 1, "p1", external_ids={"tier": "front"})
DB = Vm(2, "db-1", "db-1", 1, 2, "p2")


def policy_of(*matches):
    """One class for each rule, class 0 for the rest."""
    classes = tuple(TrafficClass(f"c{index}", index) for index in range(len(matches) + 1))
    return Policy(classes, tuple(Rule(f"r{i}", i, match, i + 1) for i, match in enumerate(matches)))


def ip(text):
    return ip_address(text).packed


def flow(protocol=TCP, dst_port=80, src="10.0.0.1", dst="10.0.0.2", vlan=None, src_port=1024):
    kind = IPV4 if ip_address(src).version == 4 else IPV6
    return FlowParts(1, vlan, kind, protocol, src_port, dst_port, ip(src), ip(dst))


def test_the_first_rule_that_matches_counts():
    found = compile_rules(
        policy_of(Match(protocols=(UDP,)), Match(dst_ports=((80, 90),)), Match(protocols=(TCP,)))
    )
    assert found.classify(WEB, flow(), 0, 0) == (2, 1)
    assert found.classify(WEB, flow(dst_port=91), 0, 0) == (3, 2)
    assert found.classify(WEB, flow(UDP), 0, 0) == (1, 0)
    assert found.classify(WEB, flow(SCTP, 443), 0, 0) == (0, NO_RULE)


def test_a_hint_counts_where_no_rule_does():
    found = compile_rules(policy_of(Match(protocols=(UDP,)), Match(hint=(1,), protocols=(SCTP,))))
    assert found.classify(WEB, flow(), 0, 0, hint=2) == (2, NO_RULE)
    assert found.classify(WEB, flow(UDP), 0, 0, hint=2) == (1, 0)
    assert found.classify(WEB, flow(SCTP), 0, 0, hint=1) == (2, 1)
    assert found.classify(WEB, flow(SCTP), 0, 0, hint=2) == (2, NO_RULE)
    assert found.classify(WEB, flow(SCTP), 0, 0) == (0, NO_RULE)


def test_a_rate_counts_while_its_gate_is_open():
    found = compile_rules(policy_of(Match(gate=1), Match(gate=0)))
    assert [found.classify(WEB, flow(), 0, 0, level=level)[0] for level in (0, 1, 2, 3)] == [0, 2, 1, 1]
    watched = 2 << 12
    assert found.classify(WEB, flow(), 0, 0, level=watched) == (0, NO_RULE)


def test_a_vm_that_changed_is_looked_at_anew():
    found = compile_rules(policy_of(Match(vms=VmSelector(external_ids=(("tier", "front"),)))))
    assert found.classify(WEB, flow(), 0, 0) == (1, 0)
    changed = Vm(1, "web-1", "web-1", 1, 1, "p1", external_ids={"tier": "back"})
    assert found.classify(changed, flow(), 0, 0) == (0, NO_RULE)


def test_rules_keep_their_index_in_a_subset():
    whole = policy_of(Match(protocols=(UDP,)), Match())
    found = compile_rules(Policy(whole.classes, whole.rules[1:]))
    assert found.classify(WEB, flow(UDP), 0, 0) == (2, 1)


def test_no_rules_at_all():
    assert compile_rules(policy_of()).classify(None, flow(), 0, 0) == (0, NO_RULE)


PREFIXES = [
    ip_network(t) for t in ("10.0.0.0/8", "10.0.0.0/24", "10.0.0.1/32", "::/0", "2001:db8::/32", "0.0.0.0/0")
]
prefixes = st.lists(
    st.sampled_from([(n.network_address.packed, n.prefixlen) for n in PREFIXES]), max_size=2
).map(tuple)
spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda s: (min(s), max(s))), max_size=2
).map(tuple)


def some(values, most=2):
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


matches = st.builds(
    Match,
    vms=st.sampled_from([None, None, VmSelector(("web-*",)), VmSelector(("db-*",)), VmSelector(("*",))]),
    eth_types=some([0x0800, 0x86DD, 0x0806]),
    vlans=spans,
    protocols=some([TCP, UDP, ICMP, 0]),
    src=prefixes,
    dst=prefixes,
    src_ports=spans,
    dst_ports=spans,
    dscp=some([0, 10, 46]),
    pcp=some([0, 5, 7]),
    hint=some([1, 2]),
    gate=st.sampled_from([None, None, 0, 1]),
)
ADDRESSES = {
    IPV4: [ip("10.0.0.1"), ip("10.0.1.1"), ip("192.0.2.1"), ip("255.255.255.255")],
    IPV6: [ip("2001:db8::1"), ip("fd00::1"), ip("ffff::ffff")],
    LAYER2: [bytes(6), bytes([255] * 6)],
}


@st.composite
def facts(draw):
    kind = draw(st.sampled_from([IPV4, IPV6, LAYER2]))
    port = st.integers(0, 31)
    parts = FlowParts(
        1,
        draw(st.one_of(st.none(), port)),
        kind,
        0 if kind == LAYER2 else draw(st.sampled_from([TCP, UDP, ICMP, SCTP, 255])),
        draw(st.sampled_from([0x0806, 0x88CC])) if kind == LAYER2 else draw(port),
        0 if kind == LAYER2 else draw(port),
        draw(st.sampled_from(ADDRESSES[kind])),
        draw(st.sampled_from(ADDRESSES[kind])),
    )
    dscp = 0 if kind == LAYER2 else draw(st.sampled_from([0, 10, 46]))
    pcp = 0 if parts.vlan is None else draw(st.sampled_from([0, 5, 7]))
    vm = draw(st.sampled_from([WEB, DB, None]))
    return Facts(vm, parts, dscp, pcp, draw(st.sampled_from([None, 1, 2])), draw(st.integers(0, 3)))


@settings(max_examples=300)
@given(st.lists(matches, max_size=8), st.lists(facts(), min_size=1, max_size=6))
def test_same_answer_as_looking_at_every_rule(rules, flows):
    policy = policy_of(*rules)
    found = compile_rules(policy)
    for f in flows:
        first = next((rule for rule in policy.rules if not unmet(rule.match, f)), None)
        expected = (first.class_index, first.index) if first else (f.hint or 0, NO_RULE)
        assert found.classify(f.vm, f.parts, f.dscp, f.pcp, f.hint, f.opened) == expected


@pytest.mark.parametrize("count", [10, 1000])
def test_what_is_kept_does_not_grow_with_flows(count):
    found = compile_rules(policy_of(*(Match(dst_ports=((i, i),)) for i in range(count))))
    for port in range(5000):
        found.classify(WEB, flow(dst_port=port), 0, 0)
    assert len(found.views) == 1
    assert len(found.gate_bits) == 1
