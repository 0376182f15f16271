"""What would give a flow another class: each item that is named does, and each that does is named."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.engine.random_policies import WEB, facts, matches, one_part, policy_of, trusts

from flowlane.core.classify.changes import (
    Change,
    HintChange,
    HintEnd,
    IdsChange,
    Outcome,
    RateChange,
    Situation,
    changes,
)
from flowlane.core.classify.classifier import NO_RULE, compile_rules
from flowlane.core.classify.gates import OPEN_GATES, advance, resolve
from flowlane.core.classify.hints import find_hint, trust_of, weigh
from flowlane.core.classify.matching import Facts, specificity, unmet
from flowlane.core.flowkey import IPV4, TCP, FlowParts
from flowlane.core.model import Hint, HintSource
from flowlane.core.policy import Match, Policy, RateGate, Trust, VmSelector

GATES = (RateGate(10**7, 2.0, 5 * 10**6), RateGate(10**8, 1.0, 5 * 10**7), RateGate(10**9, 5.0, 10**9))
RESOLVED = resolve(GATES, 0)
RATES = (0, 10**6, 5 * 10**6, 10**7, 3 * 10**7, 5 * 10**7, 10**8, 10**9 - 1, 10**9, 10**10)
"""One rate at least on every side of every threshold."""

PATIENCE = 30
"""Seconds: longer than all holds of the gates together."""

LABELLED = VmSelector(external_ids=(("tier", "back"),))
APART = (HintSource.REST, HintSource.OVSDB)

selectors = st.sampled_from(
    [None, None, None, LABELLED, VmSelector(("web-*",)), VmSelector(("web-*",), LABELLED.external_ids)]
)
parts_of_rules = st.one_of(one_part, matches, st.just(Match()))
rules = st.lists(
    st.builds(
        lambda match, vms, gate, hint: replace(match, vms=vms, gate=gate, hint=hint),
        parts_of_rules,
        selectors,
        st.sampled_from([None, None, 0, 1, 2]),
        st.sampled_from([(), (), (1,), (1, 2)]),
    ),
    max_size=6,
)
trust_apart = st.lists(
    st.builds(
        Trust,
        vms=st.sampled_from([VmSelector(), VmSelector(("web-*",))]),
        sources=st.sampled_from([frozenset(APART), frozenset(APART[:1]), frozenset(APART[1:])]),
        classes=st.sampled_from([frozenset({1}), frozenset({0, 1, 2})]),
        gate=st.sampled_from([None, None, 0, 1]),
    ),
    max_size=2,
).map(tuple)
policies = st.builds(
    lambda wanted, marks, apart: replace(policy_of(*wanted), gates=GATES, trust=(*apart, *marks)),
    rules,
    trusts,
    trust_apart,
)


def _hint(name: str, source: HintSource, match: Match) -> Hint:
    """OVSDB's hint is for all flows of the VM."""
    given = Match() if source is HintSource.OVSDB else match
    return Hint(f"{source.name}-{name}", WEB.id, name, given, source)


hints = st.lists(
    st.builds(
        _hint,
        st.sampled_from(["c0", "c1", "c2", "unknown"]),
        st.sampled_from(APART),
        st.sampled_from([Match(), Match(protocols=(6,))]),
    ),
    max_size=2,
    unique_by=lambda hint: hint.id,
).map(lambda given: tuple(sorted(given, key=lambda hint: -specificity(hint.match))))
"""In the order in which the engine keeps them: the most specific first."""


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    policy = draw(policies)
    flow = draw(facts().filter(lambda flow: flow is not None))
    assert flow is not None
    given_hints = draw(hints) if flow.vm is WEB else ()
    opened = draw(st.sampled_from([0, 0, 1, 2, 3, 7]))
    return Situation(
        compile_rules(policy),
        flow.vm,
        flow.parts,
        flow.dscp,
        flow.pcp,
        given_hints,
        opened,
        resolve(policy.gates, 0),
    )


def class_of(
    situation: Situation,
    opened: int | None = None,
    policy: Policy | None = None,
    hints: tuple[Hint, ...] | None = None,
) -> tuple[int, int]:
    """Class and rule, by looking at every rule in turn."""
    policy = policy or situation.classifier.policy
    opened = situation.opened if opened is None else opened
    marks = situation.dscp, situation.pcp
    hint = find_hint(situation.hints if hints is None else hints, situation.parts, *marks)
    believed = weigh(trust_of(policy, situation.vm), *marks, hint, opened).class_index
    flow = Facts(situation.vm, situation.parts, *marks, believed, opened)
    rule = next((rule for rule in policy.rules if not unmet(rule.match, flow)), None)
    return (rule.class_index, rule.index) if rule else (believed or 0, NO_RULE)


def classes_over_time(situation: Situation, rate: float) -> list[tuple[float, int]]:
    """(seconds since the first measurement, class) while the flow has one rate, measured twice a second."""
    level, since, classes = situation.opened, 0.0, []
    for step in range(2 * PATIENCE):
        level, since = advance(RESOLVED, level, since, rate, step / 2)
        classes.append((step / 2, class_of(situation, level & OPEN_GATES)[0]))
    return classes


def hint_for(situation: Situation, index: int, source: HintSource) -> tuple[Hint, ...]:
    """The VM's hints once it gives one more: REST's for this flow alone, OVSDB's in the place of the last."""
    name = situation.classifier.policy.classes[index].name
    hint = Hint("new", "", name, Match(), source)
    if source is HintSource.REST:
        return (hint, *situation.hints)
    others = [other for other in situation.hints if other.source is not HintSource.OVSDB]
    specific = [other for other in others if other.match != Match()]
    return (*specific, hint, *(other for other in others if other not in specific))


def make_true(situation: Situation, change: Change) -> int:
    """The class that the flow gets when what was named happens."""
    policy = situation.classifier.policy
    match change:
        case RateChange():
            return next(index for at, index in classes_over_time(situation, change.low) if at >= change.hold)
        case HintChange():
            (found,) = {
                class_of(situation, hints=hint_for(situation, change.asked, source))[0]
                for source in change.sources
            }
            return found
        case HintEnd():
            return class_of(situation, hints=tuple(h for h in situation.hints if h is not change.hint))[0]
        case IdsChange():
            asked_for_less = tuple(
                replace(rule, match=replace(rule.match, vms=None)) if rule is change.rule else rule
                for rule in policy.rules
            )
            return class_of(situation, policy=replace(policy, rules=asked_for_less))[0]


@settings(max_examples=400)
@given(situations())
def test_each_change_that_is_named_gives_the_flow_the_class_that_is_named(situation: Situation) -> None:
    present, _ = class_of(situation)
    for change in changes(situation):
        event(type(change).__name__)
        assert change.outcome.class_index != present
        assert make_true(situation, change) == change.outcome.class_index


@settings(max_examples=200)
@given(situations())
def test_a_range_of_rates_leads_to_its_class_at_both_ends_and_for_good(situation: Situation) -> None:
    for change in changes(situation):
        if isinstance(change, RateChange):
            for rate in (change.low, 10**11 if change.high is None else change.high - 1):
                late = {index for at, index in classes_over_time(situation, rate) if at >= change.hold}
                assert late == {change.outcome.class_index}


@settings(max_examples=200)
@given(situations())
def test_each_rate_that_changes_the_class_is_named(situation: Situation) -> None:
    present, _ = class_of(situation)
    ranges = [change for change in changes(situation) if isinstance(change, RateChange)]
    for rate in RATES:
        lasting = classes_over_time(situation, rate)[-1][1]
        named = [
            change.outcome.class_index
            for change in ranges
            if change.low <= rate and (change.high is None or rate < change.high)
        ]
        assert named == ([] if lasting == present else [lasting])


@settings(max_examples=200)
@given(situations())
def test_each_hint_that_changes_the_class_is_named(situation: Situation) -> None:
    policy, (present, _) = situation.classifier.policy, class_of(situation)
    named = {
        (change.asked, source)
        for change in changes(situation)
        if isinstance(change, HintChange)
        for source in change.sources
    }
    trust = trust_of(policy, situation.vm)
    for index, wanted in enumerate(policy.classes):
        for source in APART:
            given_hints = hint_for(situation, index, source)
            counts = find_hint(given_hints, situation.parts, situation.dscp, situation.pcp)
            hint = Hint("new", "", wanted.name, Match(), source)
            is_new = counts is not None and counts.id == "new"
            believed = weigh(trust, 0, 0, hint, situation.opened).class_index == index
            changed = class_of(situation, hints=given_hints)[0] != present
            assert ((index, source) in named) == (is_new and believed and changed)


@settings(max_examples=200)
@given(situations())
def test_rules_after_the_one_that_takes_the_flow_are_never_named(situation: Situation) -> None:
    _, rule = class_of(situation)
    assert all(change.rule.index < rule for change in changes(situation) if isinstance(change, IdsChange))


def example_parts() -> FlowParts:
    return FlowParts(1, None, IPV4, TCP, 40000, 443, bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)))


def test_all_four_kinds_by_hand() -> None:
    """A flow of the VM's hint: over 10 Mbit/s it is a heavy one, with the label it is the first rule's."""
    policy = replace(
        policy_of(
            Match(vms=LABELLED), Match(gate=0), Match(vms=VmSelector(("db-*",))), Match(dst_ports=((1, 1),))
        ),
        gates=GATES[:1],
        trust=(Trust(VmSelector(), frozenset(APART[:1]), frozenset({2, 4})),),
    )
    hint = Hint("h", WEB.id, "c4", Match(), HintSource.REST)
    situation = Situation(
        compile_rules(policy), WEB, example_parts(), 0, 0, (hint,), 0, resolve(policy.gates, 0)
    )
    assert class_of(situation) == (4, NO_RULE)
    found = list(changes(situation))
    assert found == [
        RateChange(10**7, None, 2.0, Outcome(2, 1)),
        HintEnd(hint, Outcome(0, NO_RULE)),
        HintChange(2, (HintSource.REST,), Outcome(2, NO_RULE)),
        IdsChange(policy.rules[0], Outcome(1, 0)),
    ]


def test_a_flow_of_no_vm_is_changed_by_its_rate_only() -> None:
    policy = replace(policy_of(Match(vms=LABELLED), Match(gate=0)), gates=GATES[:1])
    situation = Situation(compile_rules(policy), None, example_parts(), 0, 0, (), 1, resolve(policy.gates, 0))
    assert list(changes(situation)) == [RateChange(0, 5 * 10**6, 0.0, Outcome(0, NO_RULE))]


def test_ranges_of_one_class_last_as_long_as_the_longest_needs() -> None:
    """Over 100 Mbit/s the second rule takes the flow after 1 s, and the first one after 5 s, for good."""
    gates = (RateGate(10**7, 2.0, 10**7), RateGate(10**8, 1.0, 10**8), RateGate(10**8, 5.0, 10**8))
    policy = policy_of(Match(gate=2), Match(gate=1), Match(gate=0))
    rules_of = tuple(replace(rule, class_index=2 if rule.index == 1 else 1) for rule in policy.rules)
    policy = replace(policy, gates=gates, rules=rules_of)
    situation = Situation(compile_rules(policy), WEB, example_parts(), 0, 0, (), 0, resolve(policy.gates, 0))
    assert [change.hold for change in changes(situation) if isinstance(change, RateChange)] == [5.0]


def test_a_hint_of_the_database_does_not_count_beside_a_more_specific_one() -> None:
    policy = replace(policy_of(), trust=(Trust(VmSelector(), frozenset(APART), frozenset({1, 2})),))

    def sources(match: Match) -> list[tuple[HintSource, ...]]:
        hint = Hint("h", WEB.id, "c1", match, HintSource.REST)
        situation = Situation(
            compile_rules(policy), WEB, example_parts(), 0, 0, (hint,), 0, resolve(policy.gates, 0)
        )
        return [change.sources for change in changes(situation) if isinstance(change, HintChange)]

    assert sources(Match(protocols=(TCP,))) == [APART[:1]]
    assert sources(Match()) == [APART]
