"""What ``flowlane explain`` prints of one device."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flowlane.cli.client import Answer
from flowlane.cli.explain import _print_device, class_text
from flowlane.cli.tables import console


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


def test_where_a_flow_came_from_and_the_other_interfaces_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    texts = dict.fromkeys(("reason", "hint", "meter", "entry", "not_hardware"), "")
    texts |= {"class": "heavy", "rule": "heavy", "device_name": "soft0", "port": "eth0", "kind": "software"}
    now = datetime.now(UTC).isoformat()
    came = {"device_name": "nic0", "port": "pf0", "queue_id": 2, "at": now, "why": "its link is down"}
    other = {"vm": "vm1-direct", "device_name": "nic0", "port": "pf0vf0", "note": "they are full"}
    lists: dict[str, list[object]] = {"rules_before": [], "would_change": [], "considered": []}
    _print_device(
        console(),
        Answer({**texts, **lists, "queue_id": 1, "since": now, "came_from": came, "other_paths": [other]}),
    )
    printed = capsys.readouterr().out
    assert "came      from nic0 pf0 queue 2, 0s ago: its link is down" in printed
    assert "other     vm1-direct on nic0 (pf0vf0): they are full" in printed
