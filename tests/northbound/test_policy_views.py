from __future__ import annotations

from dataclasses import replace

from flowlane.core.policy import Match, Policy, RateGate, Rule, TrafficClass
from flowlane.northbound.policy_views import policy_change, policy_view

BASE = Policy(
    classes=(TrafficClass("default", 0), TrafficClass("bulk", 1, rate_limit=5)),
    rules=(Rule("a", 0, Match(dst_ports=((80, 80),)), 1, line=3), Rule("b", 1, Match(gate=0), 1, line=4)),
    gates=(RateGate(100, 2.0, 80),),
    text="text",
)


def changes(new):
    change = policy_change(BASE, new, applied=False)
    return {name: value for name, value in change.items() if value}


def test_the_same_policy_changes_nothing():
    assert changes(BASE) == {}


def test_places_in_the_file_and_numbers_do_not_matter():
    """Another order of classes renumbers them all: what rules mean stays."""
    classes = (replace(BASE.classes[1], index=0), replace(BASE.classes[0], index=1))
    rules = tuple(replace(rule, class_index=0, line=99) for rule in BASE.rules)
    assert changes(replace(BASE, classes=classes, rules=rules)) == {}


def test_what_differs_is_named():
    classes = (BASE.classes[0], TrafficClass("bulk", 1, rate_limit=6), TrafficClass("voice", 2))
    assert changes(replace(BASE, classes=classes)) == {
        "classes_added": ["voice"],
        "classes_changed": ["bulk"],
    }
    assert changes(replace(BASE, rules=BASE.rules[:1])) == {"rules_removed": ["b"]}
    assert changes(replace(BASE, gates=(RateGate(200, 2.0, 80),))) == {"rules_changed": ["b"]}
    order = (replace(BASE.rules[1], index=0), replace(BASE.rules[0], index=1))
    assert changes(replace(BASE, rules=order)) == {"rules_changed": ["b", "a"]}


def test_the_policy_in_force():
    view = policy_view(BASE)
    assert (view["text"], view["rules"], view["strategy"]) == ("text", ["a", "b"], "combined")
    assert [(item["name"], item["rate_limit"]) for item in view["classes"]] == [
        ("default", None),
        ("bulk", 5),
    ]
