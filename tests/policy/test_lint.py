"""Notes of ``flowlane check`` on keys in their older spelling; those on rules are in tests/cli/test_check.py."""

from __future__ import annotations

from flowlane import policy as policies
from flowlane.policy.lint import notes

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
