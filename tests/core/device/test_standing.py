"""Standing rules: a device places a new flow by them as the controller does at its first packet (M14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.random_policies import DB, WEB, facts, matches, one_part, policy_of, trusts

from flowlane.core.classify.classifier import compile_rules
from flowlane.core.classify.matching import ETHERTYPES, Facts
from flowlane.core.device.standing import MAX_ENTRIES, left_to_controller, standing_rules
from flowlane.core.effects import StandingMatch, StandingRule
from flowlane.core.flowkey import ICMP, IPV4, IPV6, LAYER2, SCTP, TCP, UDP, FlowParts, is_of_fragments
from flowlane.core.model import HintSource
from flowlane.core.policy import Match, Trust, VmSelector

VMS = {WEB.number: WEB, DB.number: DB}


def queues_of(class_index: int, port_no: int) -> tuple[tuple[int, int], ...]:
    return ((class_index, 1),) if port_no == 9 else ()


def inside(prefix: tuple[bytes, int], address: bytes) -> bool:
    network, length = prefix
    bits = 8 * len(address)
    mask = (1 << bits) - (1 << bits - length)
    return len(network) == len(address) and not (int.from_bytes(network) ^ int.from_bytes(address)) & mask


def takes(match: StandingMatch, f: Facts) -> bool:
    """What an OpenFlow switch would do with the entry, prerequisites included (OpenFlow 1.3.5, 7.2.3.8)."""
    parts = f.parts
    eth_type = ETHERTYPES.get(parts.kind, parts.src_port)
    if match.ip_proto is not None or match.dscp is not None or match.src or match.dst:
        assert match.eth_type in (0x0800, 0x86DD)
    if match.src_ports or match.dst_ports:
        assert match.ip_proto in (TCP, UDP, SCTP)
    fragments = is_of_fragments(parts)
    protocols: tuple[int | None, ...] = (None, parts.protocol)
    if fragments and parts.kind == IPV6:
        protocols = (None, *(set(range(256)) - {ICMP}))
    return (
        (not match.vm_numbers or (f.vm is not None and f.vm.number in match.vm_numbers))
        and match.eth_type in (None, eth_type)
        and match.ip_proto in protocols
        and (match.src is None or inside(match.src, parts.src))
        and (match.dst is None or inside(match.dst, parts.dst))
        and (not match.src_ports or fragments or any(a <= parts.src_port <= b for a, b in match.src_ports))
        and (not match.dst_ports or fragments or any(a <= parts.dst_port <= b for a, b in match.dst_ports))
        and match.dscp in (None, f.dscp)
        and (match.pcp is None or (parts.vlan is not None and match.pcp == f.pcp))
        and (match.vlan is None or match.vlan == parts.vlan)
    )


def class_on_device(rules: tuple[StandingRule, ...], f: Facts) -> str:
    return max((rule for rule in rules if takes(rule.match, f)), key=lambda rule: rule.order).class_name


@settings(max_examples=400)
@given(st.lists(st.one_of(matches, one_part), max_size=5), trusts, st.lists(facts(), min_size=1, max_size=5))
def test_the_device_decides_as_the_controller_does_at_the_first_packet(
    rules: list[Match], trust: tuple[Trust, ...], flows: list[Facts]
) -> None:
    policy = replace(policy_of(*(replace(match, hint=()) for match in rules)), trust=trust)
    classifier = compile_rules(policy)
    standing = standing_rules(policy, [9], VMS, queues_of)
    for f in flows:
        hint = classifier.weigh_hints(f.vm, f.dscp, f.pcp).class_index
        expected, _ = classifier.classify(f.vm, f.parts, f.dscp, f.pcp, hint, 0)
        assert class_on_device(standing, f) == policy.classes[expected].name


@settings(max_examples=200)
@given(st.lists(matches, max_size=4), st.lists(facts(), min_size=1, max_size=5))
def test_rules_on_hints_work_for_marks_that_the_device_sees(rules: list[Match], flows: list[Facts]) -> None:
    marks = Trust(
        VmSelector(("web-*",)), frozenset({HintSource.DSCP}), frozenset({1, 2}), dscp=((10, 1), (46, 2))
    )
    policy = replace(policy_of(*rules), trust=(marks,))
    classifier = compile_rules(policy)
    standing = standing_rules(policy, [9], VMS, queues_of)
    for f in flows:
        hint = classifier.weigh_hints(f.vm, f.dscp, f.pcp).class_index
        expected, _ = classifier.classify(f.vm, f.parts, f.dscp, f.pcp, hint, 0)
        assert class_on_device(standing, f) == policy.classes[expected].name


def test_queues_and_meters_are_those_of_the_class_on_the_port() -> None:
    policy = policy_of(Match(protocols=(TCP,), eth_types=(0x0800,)))
    rules = standing_rules(policy, [9], VMS, lambda c, p: ((c, 2), (c + 1, 1)), lambda c, p: 10 * p + c)
    assert [(rule.class_name, rule.queues, rule.meter_id, rule.egress_port) for rule in rules] == [
        ("c1", ((1, 2), (2, 1)), 91, 9),
        ("c0", ((0, 2), (1, 1)), 90, 9),
    ]
    assert all(rule.learn for rule in rules)


def test_a_port_without_queues_only_shows_new_flows() -> None:
    policy = policy_of(Match(protocols=(TCP,)))
    rules = standing_rules(policy, [9, 10], VMS, queues_of)
    assert [rule.match for rule in rules if rule.egress_port == 10] == [StandingMatch()]
    assert [rule.queues for rule in rules if rule.egress_port == 10] == [()]


def test_a_rule_for_vms_that_are_not_there_is_no_rule_for_all() -> None:
    policy = policy_of(Match(vms=VmSelector(("nobody",))))
    assert [rule.class_name for rule in standing_rules(policy, [9], VMS, queues_of)] == ["c0"]


def test_ports_of_a_protocol_without_ports_take_nothing() -> None:
    policy = policy_of(Match(protocols=(1,), dst_ports=((5, 5),)))
    assert [rule.class_name for rule in standing_rules(policy, [9], VMS, queues_of)] == ["c0"]


def test_what_is_left_to_the_controller() -> None:
    policy = policy_of(
        Match(gate=0), Match(hint=(1,)), Match(vlans=((0, 4095),), pcp=(1, 2)), Match(protocols=(TCP,))
    )
    assert [rule.name for rule, _ in left_to_controller(policy)] == ["r0", "r1", "r2"]
    names = {rule.class_name for rule in standing_rules(policy, [9], VMS, queues_of)}
    assert names == {"c0", "c4"}


def test_a_rule_never_takes_more_entries_than_allowed() -> None:
    policy = policy_of(Match(vlans=((1, MAX_ENTRIES - 1),)))
    assert len(standing_rules(policy, [9], VMS, queues_of)) == MAX_ENTRIES


@pytest.mark.parametrize("order", [1, -1])
def test_equal_inputs_give_equal_rules(order: int) -> None:
    policy = policy_of(Match(vms=VmSelector(("*",))), Match(dscp=(46,)))
    vms = dict(list(VMS.items())[::order])
    assert standing_rules(policy, [9], vms, queues_of) == standing_rules(policy, [9], VMS, queues_of)


def test_layer_2_flows_take_the_rules_for_their_ethertype() -> None:
    policy = policy_of(Match(eth_types=(0x0806, 0x0800)))
    rules = standing_rules(policy, [9], VMS, queues_of)
    assert [rule.match.eth_type for rule in rules] == [0x0806, 0x0800, None]
    assert LAYER2 not in ETHERTYPES


def test_a_packet_with_both_marks_goes_by_its_dscp() -> None:
    both = frozenset({HintSource.DSCP, HintSource.PCP})
    trust = Trust(VmSelector(), both, frozenset({1, 2}), dscp=((46, 1),), pcp=((5, 2),))
    policy = replace(policy_of(), trust=(trust,))
    parts = FlowParts(1, 7, IPV4, UDP, 1, 2, bytes(4), bytes(4))
    rules = standing_rules(policy, [9], VMS, queues_of)
    class_names = [
        class_on_device(rules, Facts(WEB, parts, dscp, pcp))
        for dscp, pcp in ((46, 5), (46, 0), (0, 5), (0, 0))
    ]
    assert class_names == ["c1", "c1", "c2", "c0"]


def test_a_port_without_queues_gets_the_rules_down_to_the_last_one_with_a_meter() -> None:
    """Rules above a limited class keep flows from it; those below it decide nothing there."""
    to = [Match(protocols=(TCP,), dst_ports=((port, port),)) for port in (1, 2, 3, 4)]
    policy = policy_of(*to)
    limited = {2: 77}

    def names(of_port: int, meters: Callable[..., Any]) -> list[str]:
        return [rule.class_name for rule in standing_rules(policy, (of_port,), VMS, queues_of, meters)]

    def meter_of(index: int, _port_no: int) -> int:
        return limited.get(index, 0)

    assert set(names(9, meter_of)) == {one.name for one in policy.classes}
    rules = names(8, meter_of)
    assert set(rules) == {policy.classes[index].name for index in (0, 1, 2)}
    assert rules[-1] == policy.classes[0].name
    assert names(8, lambda _index, _port_no: 0) == [policy.classes[0].name]
    assert set(names(8, lambda index, _port_no: 5 if index == 0 else 0)) == {
        one.name for one in policy.classes
    }
