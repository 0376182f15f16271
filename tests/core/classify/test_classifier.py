"""Classification: a table by hand, and the same answers as looking at every rule in turn (M4)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.random_policies import WEB, facts, ip, matches, policy_of

from flowlane.core.classify.classifier import NO_RULE, compile_rules
from flowlane.core.classify.matching import Facts, unmet
from flowlane.core.flowkey import IPV4, IPV6, SCTP, TCP, UDP, FlowParts
from flowlane.core.model import Vm
from flowlane.core.pacing import BETWEEN
from flowlane.core.policy import Match, Policy, VmSelector


def test_rules_are_indexed_with_places_for_pauses_in_every_pass() -> None:
    several = [
        Match(
            dst=((bytes((10, number, 0, 0)), 24),), dst_ports=((number, number),), protocols=(TCP,), dscp=(8,)
        )
        for number in range(1, 3 * BETWEEN)
    ]
    counts: list[int] = []
    assert len(several) > 2 * BETWEEN
    compile_rules(policy_of(*several), pace=lambda: counts.append(0))
    assert len(counts) >= 20 * 2


def flow(
    protocol: int = TCP,
    dst_port: int = 80,
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    vlan: None = None,
    src_port: int = 1024,
) -> FlowParts:
    kind = IPV4 if len(ip(src)) == 4 else IPV6
    return FlowParts(1, vlan, kind, protocol, src_port, dst_port, ip(src), ip(dst))


def test_the_first_rule_that_matches_counts() -> None:
    classifier = compile_rules(
        policy_of(Match(protocols=(UDP,)), Match(dst_ports=((80, 90),)), Match(protocols=(TCP,)))
    )
    assert classifier.classify(WEB, flow(), 0, 0) == (2, 1)
    assert classifier.classify(WEB, flow(dst_port=91), 0, 0) == (3, 2)
    assert classifier.classify(WEB, flow(UDP), 0, 0) == (1, 0)
    assert classifier.classify(WEB, flow(SCTP, 443), 0, 0) == (0, NO_RULE)


def test_a_hint_counts_where_no_rule_does() -> None:
    classifier = compile_rules(policy_of(Match(protocols=(UDP,)), Match(hint=(1,), protocols=(SCTP,))))
    assert classifier.classify(WEB, flow(), 0, 0, hint=2) == (2, NO_RULE)
    assert classifier.classify(WEB, flow(UDP), 0, 0, hint=2) == (1, 0)
    assert classifier.classify(WEB, flow(SCTP), 0, 0, hint=1) == (2, 1)
    assert classifier.classify(WEB, flow(SCTP), 0, 0, hint=2) == (2, NO_RULE)
    assert classifier.classify(WEB, flow(SCTP), 0, 0) == (0, NO_RULE)


def test_a_rate_counts_while_its_gate_is_open() -> None:
    classifier = compile_rules(policy_of(Match(gate=1), Match(gate=0)))
    assert [classifier.classify(WEB, flow(), 0, 0, gate_state=level)[0] for level in (0, 1, 2, 3)] == [
        0,
        2,
        1,
        1,
    ]
    watched = 2 << 12
    assert classifier.classify(WEB, flow(), 0, 0, gate_state=watched) == (0, NO_RULE)


def test_a_vm_that_changed_is_looked_at_anew() -> None:
    classifier = compile_rules(policy_of(Match(vms=VmSelector(external_ids=(("tier", "front"),)))))
    assert classifier.classify(WEB, flow(), 0, 0) == (1, 0)
    changed = Vm(1, "web-1", "web-1", 1, 1, "p1", external_ids={"tier": "back"})
    assert classifier.classify(changed, flow(), 0, 0) == (0, NO_RULE)


def test_rules_keep_their_index_in_a_subset() -> None:
    whole = policy_of(Match(protocols=(UDP,)), Match())
    classifier = compile_rules(Policy(whole.classes, whole.rules[1:]))
    assert classifier.classify(WEB, flow(UDP), 0, 0) == (2, 1)


def test_no_rules_at_all() -> None:
    assert compile_rules(policy_of()).classify(None, flow(), 0, 0) == (0, NO_RULE)


@settings(max_examples=300)
@given(st.lists(matches, max_size=8), st.lists(facts(), min_size=1, max_size=6))
def test_same_answer_as_looking_at_every_rule(rules: list[Match], flows: list[Facts]) -> None:
    policy = policy_of(*rules)
    classifier = compile_rules(policy)
    for f in flows:
        first = next((rule for rule in policy.rules if not unmet(rule.match, f)), None)
        expected = (first.class_index, first.index) if first else (f.hint or 0, NO_RULE)
        assert classifier.classify(f.vm, f.parts, f.dscp, f.pcp, f.hint, f.opened) == expected


@pytest.mark.parametrize("count", [10, 1000])
def test_what_is_kept_does_not_grow_with_flows(count: int) -> None:
    classifier = compile_rules(policy_of(*(Match(dst_ports=((i, i),)) for i in range(count))))
    for port in range(5000):
        classifier.classify(WEB, flow(dst_port=port), 0, 0)
    assert len(classifier.views) == 1
    assert len(classifier.gate_bits) == 1


def test_trust_is_stored_once_for_vms_that_are_trusted_alike() -> None:
    classifier = compile_rules(policy_of(Match(protocols=(UDP,))))
    for number in (1, 2, 3):
        classifier.weigh_hints(replace(WEB, number=number), 0, 0)
    assert len(classifier.views) == 3
    assert len({id(view.trust) for view in classifier.views.values()}) == 1
