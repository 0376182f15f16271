"""Policies are replaced while clients read over HTTP; each piece of work is measured meanwhile."""

from __future__ import annotations

import re

import pytest
from bench.controller import policy_change


def test_clients_read_while_policies_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    longest = policy_change.measure_rest(3, 60, 5, 0.05)
    printed = capsys.readouterr().out
    assert longest[0].took >= longest[-1].took > 0
    assert re.match(r"[1-9]\d* policies;", printed)
    answered = set(re.findall(r"'([^']+) (\d+)'", printed))
    assert {status for _, status in answered} == {"200"}
    assert {"one flow", "/metrics", "/v1/events", "/v1/status"} <= {path for path, _ in answered}
