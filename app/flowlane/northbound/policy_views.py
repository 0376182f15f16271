"""The policy as JSON-ready objects: what is in force, and what another document would change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.policy import Policy, Rule, TrafficClass
    from flowlane.northbound import policy_shapes


def policy_view(policy: Policy) -> policy_shapes.PolicyView:
    """The policy in force."""
    return {
        "text": policy.text,
        "classes": [_class(item) for item in policy.classes],
        "rules": [rule.name for rule in policy.rules],
        "strategy": policy.balance.strategy,
    }


def _class(item: TrafficClass) -> policy_shapes.ClassView:
    return {
        "name": item.name,
        "priority": item.priority,
        "qos": item.qos,
        "rate_limit": item.rate_limit,
        "min_rate": item.min_rate,
        "exclusive": item.exclusive,
        "road": item.road.value,
    }


def policy_change(old: Policy, new: Policy, *, applied: bool) -> policy_shapes.PolicyChange:
    """What ``new`` changes against ``old``, by the names of classes and rules.

    A rule has changed when it matches something else, leads to another class, or stands elsewhere in the
    order; its line in the file does not matter.
    """
    old_classes, new_classes = _classes(old), _classes(new)
    old_rules, new_rules = _rules(old), _rules(new)
    return {
        "applied": applied,
        "classes_added": _missing(new_classes, old_classes),
        "classes_removed": _missing(old_classes, new_classes),
        "classes_changed": _changed(old_classes, new_classes),
        "rules_added": _missing(new_rules, old_rules),
        "rules_removed": _missing(old_rules, new_rules),
        "rules_changed": _changed(old_rules, new_rules),
    }


def _classes(policy: Policy) -> dict[str, object]:
    return {item.name: replace(item, index=0) for item in policy.classes}


def _rules(policy: Policy) -> dict[str, object]:
    return {rule.name: _meaning(policy, rule) for rule in policy.rules}


def _meaning(policy: Policy, rule: Rule) -> object:
    """A rule without indices, so that it can be compared with a rule of another policy."""
    gate = None if rule.match.gate is None else policy.gates[rule.match.gate]
    hint = tuple(policy.classes[index].name for index in rule.match.hint)
    match = replace(rule.match, gate=None, hint=())
    return rule.index, match, gate, hint, policy.classes[rule.class_index].name


def _missing(names: Mapping[str, object], others: Mapping[str, object]) -> list[str]:
    return [name for name in names if name not in others]


def _changed(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return [name for name in new if name in old and old[name] != new[name]]
