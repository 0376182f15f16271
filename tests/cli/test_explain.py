"""What ``flowlane explain`` prints of one device."""

from __future__ import annotations

import pytest

from flowlane.cli.client import Answer
from flowlane.cli.explain import class_text


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("backups (line 9)", "small, by backups (line 9)"),
        ("the VM's hint: no rule matches", "small, by the VM's hint: no rule matches"),
        ("the default: no rule matches", "small, the default: no rule matches"),
    ],
)
def test_what_gives_the_flow_its_class(rule: str, text: str) -> None:
    assert class_text(Answer({"class": "small", "rule": rule})) == text
