"""``kill -9`` under load in short: nothing that stands and no flow's place or reason changes, and no packet is lost."""

from __future__ import annotations

import pytest
from bench.restarts import __main__ as bench
from bench.restarts.scene import POLICY

pytestmark = pytest.mark.ovs

SELDOM = "balance: {interval: 60s}\n"
"""The load is not balanced meanwhile: what changes is by the restarts."""


def test_kills_leave_no_trace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "POLICY", POLICY + SELDOM)
    code = bench.main(["--kills", "2", "--settle", "4", "--after", "6", "--require"])
    assert code == 0, capsys.readouterr().out
