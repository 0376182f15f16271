"""What would give a flow another class: its rate, a hint, the end of a hint, external ids of its VM.

Each is tried on the classifier itself, with everything else as it is. What a flow's packets show (addresses,
ports, marks) cannot change, since another value would make another flow of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.classify.hints import HintResult, HintVerdict, find_hint
from flowlane.core.classify.matching import Facts, names_fit, specificity, unmet
from flowlane.core.model import Hint, HintSource
from flowlane.core.policy import Match

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowlane.core.classify.classifier import Classifier
    from flowlane.core.classify.gates import PortGate
    from flowlane.core.flowkey import FlowParts
    from flowlane.core.model import Vm
    from flowlane.core.policy import Rule


class Outcome(NamedTuple):
    """Class and rule of a flow, by their indexes; the rule is NO_RULE when no rule takes the flow."""

    class_index: int
    rule_index: int


class RateChange(NamedTuple):
    """A rate of ``low`` bit/s or more and, unless None, below ``high``, for ``hold`` s."""

    low: float
    high: float | None
    hold: float
    outcome: Outcome


class HintChange(NamedTuple):
    """A hint of the VM for a class (by its index), by one of the sources."""

    asked: int
    sources: tuple[HintSource, ...]
    outcome: Outcome


class HintEnd(NamedTuple):
    """The end of a hint that the VM has given: withdrawn or expired."""

    hint: Hint
    outcome: Outcome


class IdsChange(NamedTuple):
    """External ids of the VM that the rule asks for."""

    rule: Rule
    outcome: Outcome


Change = RateChange | HintChange | HintEnd | IdsChange


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides a flow's class: its VM, its key and marks, the VM's hints, the gates that are open.

    ``hints`` are all hints of the VM that were given apart from flows, in the order in which they count. ``gates`` are
    the policy's on the flow's egress port.
    """

    classifier: Classifier
    vm: Vm | None
    parts: FlowParts
    dscp: int
    pcp: int
    hints: Sequence[Hint]
    opened: int
    gates: Sequence[PortGate]

    def given(self) -> Hint | None:
        """Find the hint that the VM has given for the flow, apart from it."""
        return find_hint(self.hints, self.parts, self.dscp, self.pcp)

    def weigh(self) -> HintResult:
        """Weigh the VM's hints for the flow as they are."""
        return self.classifier.weigh_hints(self.vm, self.dscp, self.pcp, self.given(), self.opened)

    def facts(self) -> Facts:
        """Put together what rules are matched against."""
        hint = self.weigh().class_index
        return Facts(self.vm, self.parts, self.dscp, self.pcp, hint, self.opened)

    def outcome(self, hint: Hint | None, opened: int) -> Outcome:
        """Classify the flow with a hint given apart from it (None: without one) and with open gates."""
        result = self.classifier.weigh_hints(self.vm, self.dscp, self.pcp, hint, opened)
        return Outcome(
            *self.classifier.classify(self.vm, self.parts, self.dscp, self.pcp, result.class_index, opened)
        )

    def allows(self, hint: Hint) -> bool:
        """Check whether the policy trusts a hint of the VM, given apart from the flow."""
        result = self.classifier.weigh_hints(self.vm, self.dscp, self.pcp, hint, self.opened)
        return result.verdict is HintVerdict.TRUSTED and result.source is hint.source


def changes(situation: Situation) -> Iterator[Change]:
    """List what would give the flow another class, and which."""
    given = situation.given()
    present = situation.outcome(given, situation.opened)
    yield from _rates(situation, given, present)
    yield from _hint_ends(situation, given, present)
    yield from _hints(situation, given, present)
    yield from _external_ids(situation, present)


def _rates(situation: Situation, given: Hint | None, present: Outcome) -> Iterator[RateChange]:
    """Find the ranges of a lasting rate in which the flow would be of another class.

    Gates open and close at their thresholds only, so between two neighbouring thresholds all rates are alike.
    Neighbouring ranges that lead to the same class are one.
    """
    gates, opened = situation.gates, situation.opened
    edges = {0, *(gate.at_least for gate in gates)}
    edges.update(gate.below for gate in gates if opened & gate.bit)
    merged: RateChange | None = None
    for low, high in pairwise((*sorted(edges), None)):
        assert low is not None
        outcome, hold = _lasting(situation, given, low)
        if merged is not None and merged.outcome.class_index == outcome.class_index:
            merged = merged._replace(high=high, hold=max(merged.hold, hold))
            continue
        if merged is not None and merged.outcome.class_index != present.class_index:
            yield merged
        merged = RateChange(low, high, hold, outcome)
    if merged is not None and merged.outcome.class_index != present.class_index:
        yield merged


def _lasting(situation: Situation, given: Hint | None, rate: float) -> tuple[Outcome, float]:
    """Classify the flow at a rate (bit/s) that lasts: what it comes to, and after how many seconds for good."""
    gates = situation.gates
    opened = sum(gate.bit for gate in gates if situation.opened & gate.bit and rate >= gate.below)
    opening = [(gate.hold, gate.bit) for gate in gates if rate >= gate.at_least and not opened & gate.bit]
    hold, outcome = 0.0, situation.outcome(given, opened)
    for seconds, bit in sorted(opening):
        opened |= bit
        later = situation.outcome(given, opened)
        if later.class_index != outcome.class_index:
            hold = seconds
        outcome = later
    return outcome, hold


def _hint_ends(situation: Situation, given: Hint | None, present: Outcome) -> Iterator[HintEnd]:
    if given is None:
        return
    others = [hint for hint in situation.hints if hint is not given]
    next_hint = find_hint(others, situation.parts, situation.dscp, situation.pcp)
    outcome = situation.outcome(next_hint, situation.opened)
    if outcome.class_index != present.class_index:
        yield HintEnd(given, outcome)


def _hints(situation: Situation, given: Hint | None, present: Outcome) -> Iterator[HintChange]:
    """Try a hint for each class, by each source whose hint would count before those that the VM has given."""
    vm = situation.vm
    if vm is None:
        return
    for traffic_class in situation.classifier.policy.classes:
        tried = [Hint("", vm.id, traffic_class.name, Match(), source) for source in _sources(given)]
        allowed = [hint for hint in tried if situation.allows(hint)]
        if allowed:
            outcome = situation.outcome(allowed[0], situation.opened)
            if outcome.class_index != present.class_index:
                sources = tuple(hint.source for hint in allowed)
                yield HintChange(traffic_class.index, sources, outcome)


def _sources(given: Hint | None) -> tuple[HintSource, ...]:
    """List the sources of a hint that would count: REST's may match the flow alone, OVSDB's match all flows."""
    if given is None or given.source is HintSource.OVSDB or not specificity(given.match):
        return HintSource.REST, HintSource.OVSDB
    return (HintSource.REST,)


def _external_ids(situation: Situation, present: Outcome) -> Iterator[IdsChange]:
    """Find the rules before the one that takes the flow for which only external ids of its VM are missing."""
    vm, facts = situation.vm, situation.facts()
    if vm is None:
        return
    for rule in situation.classifier.policy.rules:
        if rule.index == present.rule_index:
            return
        selector = rule.match.vms
        if (
            rule.class_index != present.class_index
            and unmet(rule.match, facts) == ("vm",)
            and selector is not None
            and names_fit(selector.names, vm)
        ):
            yield IdsChange(rule, Outcome(rule.class_index, rule.index))
