"""Notes of ``flowlane check`` on older spellings and on hints that lose; tests/cli/test_check.py has those on rules."""

from __future__ import annotations

import pytest

from flowlane import policy as policies
from flowlane.core.classify.classifier import compile_rules
from flowlane.core.flowkey import IPV4, TCP, FlowParts
from flowlane.policy.lint import notes

PARTS = FlowParts(1, None, IPV4, TCP, 1000, 80, bytes(4), bytes(4))

OLDER = """\
version: 1
default: road
classes:
  road: {road: software}
  b:
    limit: 5Mbit/s
    road: hardware
rules:
  - {name: road, match: {vm: road}, class: b}
devices:
  - match: {name: road}
    change:
      road: {road: hardware}
"""
NEWER = OLDER.replace("{road:", "{path:").replace("    road: h", "    path: h")


def test_the_older_spelling_means_the_same() -> None:
    older, newer = policies.load(OLDER), policies.load(NEWER)
    assert [item.path.value for item in older.classes] == ["software", "hardware"]
    assert [change.path and change.path.value for change in older.devices[0].changes] == ["hardware"]
    assert (newer.classes, newer.devices) == (older.classes, older.devices)


def test_each_older_spelling_has_a_note_with_its_line() -> None:
    text = "road is the older spelling of path: write path"
    assert notes(policies.load(OLDER)) == ((4, text), (7, text), (13, text))


def test_names_are_not_taken_for_keys() -> None:
    assert notes(policies.load(NEWER)) == ()


HINTED = """\
version: 1
default: small
classes:
  small: {}
  heavy: {queues: exclusive}
  bulk: {path: software}
rules:
  - name: heavy for a while
    match: {rate: ">= 10Mbit/s for 2s until below 5Mbit/s"}
    class: heavy
trust:
  - {sources: [rest], classes: [bulk]}
"""
LOSES = (
    8,
    "rule 'heavy for a while' takes heavy flows for which a trusted hint asks for 'bulk' (path: software): rules come "
    "before hints; to let the hint decide, put a rule before it: {match: {hint: bulk}, class: bulk}",
)


def test_a_hint_to_software_that_loses_against_a_rule_on_a_rate_has_a_note() -> None:
    assert notes(policies.load(HINTED)) == (LOSES,)


def test_the_remedy_of_the_note_is_one() -> None:
    remedied = HINTED.replace("rules:\n", "rules:\n  - {match: {hint: bulk}, class: bulk}\n")
    policy = policies.load(remedied)
    assert not [text for _, text in notes(policy) if "rules come before hints" in text]
    classifier = compile_rules(policy)
    heavy_and_open = 1
    chosen, _rule = classifier.classify(None, PARTS, 0, 0, 2, heavy_and_open)
    assert policy.classes[chosen].name == "bulk"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("classes: [bulk]", "classes: [small]"),
        ("bulk: {path: software}", "bulk: {}"),
        ("heavy: {queues: exclusive}", "heavy: {path: software}"),
        ("classes: [bulk]}", "classes: [bulk], at-most: 10Mbit/s for 2s until below 5Mbit/s}"),
        ("match: {rate", "match: {hint: bulk, rate"),
    ],
)
def test_hints_that_do_not_lose_have_none(old: str, new: str) -> None:
    found = notes(policies.load(HINTED.replace(old, new)))
    assert not [text for _, text in found if "rules come before hints" in text]


def test_a_trust_that_ends_at_a_higher_rate_loses_below_it() -> None:
    text = HINTED.replace(
        "classes: [bulk]}", "classes: [bulk], at-most: 20Mbit/s for 2s until below 5Mbit/s}"
    )
    assert notes(policies.load(text)) == (LOSES,)
